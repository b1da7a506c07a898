"""Parsing as a task: training examples for fine-tuning, scores on a treebank, and whole files."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from ...corpus import read_lines
from ...errors import CorpusError, RecipeError
from ..intervals import Counts
from ..subwords import Array
from .attachment import count_attachments
from .biaffine import HeadDoubt
from .parser import Parser
from .text import read_text
from .treebank import UNKNOWN, Sentence, is_conllu, iter_conllu, write_conllu

InputFormat = Literal["conllu", "tokenised", "raw"]

#: sentences of a file that are parsed together
_BLOCK = 4096


class ParsingTask:
    """Fine-tuning of a parser. train, dev: sentences with trees.

    model: the parser. encoder: its encoder. lengths: int64 (train,), subwords of each training sentence. partial:
    words may lack a head (``UNKNOWN``, with the relation ``_``), and are then neither learnt from nor scored. doubt: of
    the heads to learn from, where they may be wrong. Raises CorpusError when a training sentence has a relation that
    the parser does not have, or a sentence has no tree.
    """

    def __init__(
        self,
        parser: Parser,
        train: Sequence[Sentence],
        dev: Sequence[Sentence],
        partial: bool = False,
        doubt: HeadDoubt | None = None,
    ) -> None:
        number = {label: k for k, label in enumerate(parser.labels)}
        if partial:
            number["_"] = UNKNOWN
        unknown = {deprel for sentence in train for deprel in sentence.deprels} - number.keys()
        if unknown:
            raise CorpusError(
                f"The training sentences have relations the parser does not know: {', '.join(sorted(unknown)[:5])}. "
                "Build it for this treebank."
            )
        if not train or not dev:
            raise CorpusError("Training a parser needs sentences to train on, and others to score it on.")
        if not partial and any(head < 0 for part in (train, dev) for sentence in part for head in sentence.heads):
            raise CorpusError("A sentence without a tree was given; training and scoring need whole trees.")
        self.model = parser
        self._dev, self._partial, self._doubt = dev, partial, doubt
        self._train_subwords = parser.subwords.encode([sentence.forms for sentence in train])
        self._dev_subwords = parser.subwords.encode([sentence.forms for sentence in dev])
        self._heads = [np.asarray(sentence.heads, np.int64) for sentence in train]
        self._labels = [np.asarray([number[deprel] for deprel in sentence.deprels], np.int64) for sentence in train]
        self.lengths: Array = np.asarray([subwords.ids.size for subwords in self._train_subwords], np.int64)

    @property
    def encoder(self) -> PreTrainedModel:
        """The transformer inside."""
        return self.model.encoder

    def loss(self, batch: Array) -> Tensor:
        """Mean loss over the words of the training sentences with these numbers, int64 (batch,)."""
        device = self.model.device
        words = self.model.subwords.batch([self._train_subwords[k] for k in batch]).to(device)
        heads, labels = (
            torch.from_numpy(np.concatenate([gold[k] for k in batch])).to(device)
            for gold in (self._heads, self._labels)
        )
        return self.model.loss(words, heads, labels, self._doubt)

    def score(self, precision: str = "auto") -> dict[str, float]:
        """LAS and UAS on dev, in [0, 1], punctuation counted."""
        parses = self.model.parse_subwords(self._dev_subwords, precision=precision)
        counts = count_attachments(self._dev, parses, partial=self._partial)
        return {"las": counts.las, "uas": counts.uas}


def evaluate_parse(
    parser: Parser, sentences: Sequence[Sentence], precision: str = "auto", batch_tokens: int | None = None
) -> tuple[dict[str, Any], dict[str, Counts]]:
    """Attachment scores of a parser on a treebank with gold segmentation, as `count_attachments` defines them.

    batch_tokens, precision: as for `Parser.parse`.

    ``uas`` and ``las``, in [0, 1], count punctuation, as the evaluation of Universal Dependencies does;
    ``uas_without_punct`` and ``las_without_punct`` leave it out. Also the counts for each sentence that every score is
    a ratio of.
    """
    parses = parser.parse(sentences, batch_tokens, precision)
    result: dict[str, Any] = {"task": "parse"}
    counts: dict[str, Counts] = {}
    for punct, suffix in ((True, ""), (False, "_without_punct")):
        found = count_attachments(sentences, parses, punct)
        result |= {f"uas{suffix}": found.uas, f"las{suffix}": found.las, f"n_words{suffix}": found.n_words}
        counts[f"uas{suffix}"] = Counts(found.heads, found.words)
        counts[f"las{suffix}"] = Counts(found.labelled, found.words)
    return {**result, "punct": True, "n": len(sentences)}, counts


def parse_file(
    parser: Parser,
    path: str | PathLike[str],
    out: str | PathLike[str],
    input_format: InputFormat | None = None,
    batch_tokens: int | None = None,
    precision: str = "auto",
    on_progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Parses a file and writes CoNLL-U; returns the numbers of sentences and words, and the seconds it took.

    path: a file, plain or compressed. out: where the trees go. batch_tokens, precision: as for `Parser.parse`.
    input_format: ``conllu``, of which everything but HEAD
    and DEPREL is kept and HEAD may be ``_``; ``tokenised``, a sentence a line and its words separated by white space;
    ``raw``, a sentence a line, words found by `split_words`. By default files that look like CoNLL-U (`is_conllu`) or
    are named ``.conllu`` or ``.conll`` (and compressed ones) are the first and all others the last. on_progress: is
    told now and then how many sentences are done. The file is whole or not there. Raises CorpusError when the input is
    wrong, OutputError when the output cannot be written, RecipeError for an input_format that is none of these.
    """
    path, out = Path(path), Path(out)
    if input_format is None:
        named = {".conllu", ".conll"} & set(path.suffixes[-2:])
        input_format = "conllu" if named or is_conllu(path) else "raw"
    if input_format == "conllu":
        sentences: Iterable[Sentence] = iter_conllu(read_lines(path), str(path), trees=False)
    elif input_format in ("tokenised", "raw"):
        sentences = read_text(path, tokenised=input_format == "tokenised")
    else:
        raise RecipeError(f"A file to be parsed is conllu, tokenised or raw; given: '{input_format}'.")
    began = time.perf_counter()
    done = {"sentences": 0, "words": 0}

    def parsed() -> Iterator[Sentence]:
        source = iter(sentences)
        while block := list(islice(source, _BLOCK)):
            for sentence, parse in zip(block, parser.parse(block, batch_tokens, precision), strict=True):
                done["words"] += len(sentence)
                yield sentence.with_tree(parse.heads, parse.deprels)
            done["sentences"] += len(block)
            if on_progress:
                on_progress(done["sentences"])

    write_conllu(parsed(), out)
    return {**done, "seconds": time.perf_counter() - began}
