"""Tagging words: parts of speech and named entities, with a linear classifier on each word's first subword."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoModelForTokenClassification, PreTrainedModel, PreTrainedTokenizerBase

from ..errors import CorpusError
from ..surgery import LanguageModel, length_limit, save_tokenizer
from ..training.precision import inference
from .heads import load_task_model, with_task_head
from .intervals import Counts
from .subwords import SubwordEncoder, Subwords
from .tag_data import TaggedSentences, TagKind, check_kind, entities

Array = np.ndarray[Any, Any]

#: sentences that are tagged at once, and windows of long ones that are read at once
_BATCH_SIZE = 64


@dataclass(frozen=True)
class TaggingModel:
    """A token classifier of plain transformers, which reads and writes words.

    tokenizer: the model's own. model: its config names the tags (``id2label``), so that transformers' own pipelines
    understand it. max_length: subwords it takes at once, special tokens included; longer sentences are read in windows.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    max_length: int

    @property
    def labels(self) -> list[str]:
        """The tags it knows, in the order of its outputs."""
        names = cast(dict[int, str], self.model.config.id2label)
        return [names[k] for k in range(len(names))]

    @property
    def kind(self) -> TagKind:
        """``ner`` for a model that knows the tag of no entity, else ``pos``."""
        return "ner" if "O" in self.labels else "pos"

    @cached_property
    def subwords(self) -> SubwordEncoder:
        """Words to subwords."""
        return SubwordEncoder(self.tokenizer, self.max_length)

    def logits(self, sentences: Sequence[Subwords]) -> Tensor:
        """Scores of the tags, float32 (words, tags), of all words of sentences that ``subwords.encode`` encoded."""
        batch = self.subwords.batch(sentences).to(next(self.model.parameters()).device)
        # a file without borders of sentences is a single one, of more windows than can be read at once
        rows = max(_BATCH_SIZE, len(sentences))
        parts = zip(batch.input_ids.split(rows), batch.attention_mask.split(rows), strict=True)
        scores = torch.cat([self.model(input_ids=ids, attention_mask=mask).logits for ids, mask in parts])
        return scores.flatten(0, 1)[batch.first].float()

    def predict(self, sentences: Sequence[Sequence[str]], precision: str = "auto") -> list[list[str]]:
        """The best tag of every word.

        sentences: as lists of words. precision: ``float32``, ``bf16``, or ``auto`` for bf16 where the device has it in
        hardware.
        """
        encoded = self.subwords.encode(sentences)
        labels = self.labels
        tags: list[list[str]] = [[] for _ in sentences]
        order = [k for k in np.argsort([each.ids.size for each in encoded], kind="stable") if len(sentences[k])]
        was_training = self.model.training
        self.model.eval()
        with inference(precision, next(self.model.parameters()).device):
            for start in range(0, len(order), _BATCH_SIZE):
                batch = order[start : start + _BATCH_SIZE]
                best = iter(self.logits([encoded[k] for k in batch]).argmax(-1).tolist())
                for k in batch:
                    tags[k] = [labels[next(best)] for _ in sentences[k]]
        self.model.train(was_training)
        return tags

    def with_model(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> TaggingModel:
        """The same around another transformer.

        tokenizer: the one that belongs to it.
        """
        return TaggingModel(model, tokenizer, self.max_length)

    def save(self, folder: Path) -> None:
        """Writes a folder that `load_tagger` and plain transformers load."""
        folder.mkdir(parents=True, exist_ok=True)
        self.model.save_pretrained(folder)
        save_tokenizer(self.tokenizer, folder, self.max_length)


def new_tagger(language_model: LanguageModel, sentences: TaggedSentences, seed: int = 0) -> TaggingModel:
    """A tagger for the tags of these sentences on a copy of the language model's encoder; its head is untrained.

    For entities it also knows ``O`` and, of every type, the tag of the words behind the first.
    """
    found = {tag for tags in sentences.tags for tag in tags}
    if sentences.kind == "ner":
        found |= {"O"} | {"I" + tag[1:] for tag in found if tag != "O"}
    labels = sorted(found)
    model = with_task_head(
        language_model,
        AutoModelForTokenClassification,
        seed=seed,
        id2label=dict(enumerate(labels)),
        label2id={label: k for k, label in enumerate(labels)},
    )
    return TaggingModel(model, language_model.tokenizer, language_model.max_length)


def load_tagger(name: str | Path) -> TaggingModel:
    """Reads a token classifier, lingraft's own or any of plain transformers; ModelError where it is none."""
    model, tokenizer = load_task_model(name, AutoModelForTokenClassification)
    return TaggingModel(model, tokenizer, length_limit(model, tokenizer))


class TaggingTask:
    """Training a tagger on some sentences, choosing by others. An example is a sentence that has words.

    model, encoder: the classifier, and the transformer inside it. lengths: int64 (examples,), subwords of each.
    """

    def __init__(self, tagger: TaggingModel, train: TaggedSentences, dev: TaggedSentences) -> None:
        self.model = tagger.model
        self.encoder = cast(PreTrainedModel, tagger.model.base_model)
        self._tagger = tagger
        self._dev = dev
        check_kind(tagger.kind, dev)
        number = {label: k for k, label in enumerate(tagger.labels)}
        unknown = {tag for tags in train.tags for tag in tags} - number.keys()
        if unknown:
            raise CorpusError(f"'{train.source}' has the tag '{min(unknown)}', which the model does not know.")
        full = [k for k, words in enumerate(train.words) if words]
        self._sentences = tagger.subwords.encode([train.words[k] for k in full])
        self._tags = [np.asarray([number[tag] for tag in train.tags[k]], np.int64) for k in full]
        self.lengths: Array = np.asarray([sentence.ids.size for sentence in self._sentences], np.int64)

    def loss(self, batch: Array) -> Tensor:
        """Mean cross-entropy, in nats a word, of the words of the examples with these numbers (int64)."""
        logits = self._tagger.logits([self._sentences[k] for k in batch])
        gold = torch.from_numpy(np.concatenate([self._tags[k] for k in batch])).to(logits.device)
        return F.cross_entropy(logits, gold)

    def score(self, precision: str = "auto") -> dict[str, float]:
        """Accuracy or F1 on the sentences to choose by."""
        _, counts = evaluate_tagging(self._tagger, self._dev, precision)
        return {name: each.score for name, each in counts.items()}


def evaluate_tagging(
    tagger: TaggingModel, sentences: TaggedSentences, precision: str = "auto"
) -> tuple[dict[str, Any], dict[str, Counts]]:
    """How well a tagger does: accuracy over words for parts of speech, F1 over entities for entities.

    An entity is found if its first word, its last word and its type are right (Tjong Kim Sang & De Meulder 2003). n:
    words. Also the counts for each sentence that the score is a ratio of. Raises CorpusError where model and sentences
    are not of one kind.
    """
    check_kind(tagger.kind, sentences)
    counts = tagging_ratio(tagging_counts(tagger.predict(sentences.words, precision), sentences))
    name = "accuracy" if sentences.kind == "pos" else "f1"
    return {"task": "tag", name: counts.score, "n": sentences.n_words}, {name: counts}


def tagging_counts(predicted: Sequence[Sequence[str]], sentences: TaggedSentences) -> Array:
    """For every sentence how many are right, predicted and true, int64 (sentences, 3): words, or entities for ``ner``.

    `tagging_ratio` of any of its rows has the score of those sentences, which is what a bootstrap over sentences needs.
    """
    counts = np.zeros((len(sentences), 3), np.int64)
    for row, (found, gold) in enumerate(zip(predicted, sentences.tags, strict=True)):
        if sentences.kind == "pos":
            counts[row] = sum(map(str.__eq__, found, gold)), len(gold), len(gold)
        else:
            guessed, true = set(entities(found)), set(entities(gold))
            counts[row] = len(guessed & true), len(guessed), len(true)
    return counts


def tagging_ratio(counts: Array) -> Counts:
    """F1 out of rows of (right, predicted, true), 2 right / (predicted + true); accuracy where each word is one.

    Its score is 0 where nothing is true and nothing predicted.
    """
    right, predicted, true = counts.reshape(-1, 3).T
    return Counts(2 * right, predicted + true)
