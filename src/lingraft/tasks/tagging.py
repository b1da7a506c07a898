"""Tagging words: parts of speech and named entities, with a linear classifier on each word's first subword."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoModelForTokenClassification, PreTrainedModel, PreTrainedTokenizerBase

from ..errors import CorpusError
from ..surgery import LanguageModel, length_limit, save_tokenizer
from ..training.data import pad
from .heads import load_task_model, with_task_head
from .tag_data import TaggedSentences, TagKind, entities
from .words import WordPieces, encode_words

Array = np.ndarray[Any, Any]

_BATCH_SIZE = 64


@dataclass(frozen=True)
class TaggingModel:
    """A token classifier of plain transformers, which reads and writes words.

    model: its config names the tags (``id2label``), so that transformers' own pipelines understand it. max_length:
    subwords it takes at once, special tokens included; longer sentences are tagged in pieces.
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

    def encode(self, sentences: Sequence[Sequence[str]]) -> WordPieces:
        """The sentences' words as subwords, in pieces that the model takes at once."""
        return encode_words(self.tokenizer, sentences, self.max_length)

    def logits(self, pieces: WordPieces, batch: Array) -> Tensor:
        """Scores of the tags, float32 (words, tags), of all words of these pieces (int64, numbers), in their order."""
        device = next(self.model.parameters()).device
        ids, mask = pad([pieces.ids[piece] for piece in batch], self.tokenizer.pad_token_id or 0)
        places = [pieces.first[piece] for piece in batch]
        rows = np.repeat(np.arange(len(batch)), [place.size for place in places])
        scores = self.model(
            input_ids=torch.from_numpy(ids).to(device), attention_mask=torch.from_numpy(mask).to(device)
        ).logits
        at = torch.from_numpy(rows).to(device), torch.from_numpy(np.concatenate(places).astype(np.int64)).to(device)
        return cast(Tensor, scores[at].float())

    def predict(self, sentences: Sequence[Sequence[str]]) -> list[list[str]]:
        """The best tag of every word."""
        pieces = self.encode(sentences)
        labels = self.labels
        found: list[list[str]] = [[] for _ in range(len(pieces))]
        order = np.argsort(pieces.ids.lengths, kind="stable")
        was_training = self.model.training
        self.model.eval()
        with torch.inference_mode():
            for start in range(0, order.size, _BATCH_SIZE):
                batch = order[start : start + _BATCH_SIZE]
                best = self.logits(pieces, batch).argmax(-1).tolist()
                for piece in batch:
                    size = pieces.first[piece].size
                    found[piece], best = [labels[tag] for tag in best[:size]], best[size:]
        self.model.train(was_training)
        tags: list[list[str]] = [[] for _ in sentences]
        for sentence, piece_tags in zip(pieces.sentence.tolist(), found, strict=True):
            tags[sentence] += piece_tags
        return tags

    def with_model(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> TaggingModel:
        """The same around another transformer."""
        return TaggingModel(model, tokenizer, self.max_length)

    def save(self, folder: Path) -> None:
        """Writes a folder that `load_tagger` and plain transformers load."""
        folder.mkdir(parents=True, exist_ok=True)
        self.model.save_pretrained(folder)
        tokenizer = copy.deepcopy(self.tokenizer)
        tokenizer.model_max_length = min(tokenizer.model_max_length, self.max_length)
        save_tokenizer(tokenizer, folder)


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
    """Training a tagger on some sentences, choosing by others. An example is a piece of a sentence (`WordPieces`).

    model, encoder: the classifier, and the transformer inside it. lengths: int64 (examples,), subwords of each.
    """

    def __init__(self, tagger: TaggingModel, train: TaggedSentences, dev: TaggedSentences) -> None:
        self.model = tagger.model
        self.encoder = cast(PreTrainedModel, tagger.model.base_model)
        self._tagger = tagger
        self._dev = dev
        _check_kind(tagger, dev)
        self._pieces = tagger.encode(train.words)
        self.lengths: Array = self._pieces.ids.lengths
        number = {label: k for k, label in enumerate(tagger.labels)}
        unknown = {tag for tags in train.tags for tag in tags} - number.keys()
        if unknown:
            raise CorpusError(f"'{train.source}' has the tag '{min(unknown)}', which the model does not know.")
        tags = np.asarray([number[tag] for sentence in train.tags for tag in sentence], np.int64)
        self._tags = np.split(tags, self._pieces.first.offsets[1:-1])

    def loss(self, batch: Array) -> Tensor:
        """Mean cross-entropy, in nats a word, of the words of the examples with these numbers (int64)."""
        logits = self._tagger.logits(self._pieces, batch)
        gold = torch.from_numpy(np.concatenate([self._tags[piece] for piece in batch])).to(logits.device)
        return F.cross_entropy(logits, gold)

    def score(self) -> dict[str, float]:
        """Accuracy or F1 on the sentences to choose by."""
        scores = evaluate_tagging(self._tagger, self._dev)
        return {name: float(value) for name, value in scores.items() if name in ("accuracy", "f1")}


def evaluate_tagging(tagger: TaggingModel, sentences: TaggedSentences) -> dict[str, float | int | str]:
    """How well a tagger does: accuracy over words for parts of speech, F1 over entities for entities.

    An entity is found if its first word, its last word and its type are right (Tjong Kim Sang & De Meulder 2003). n:
    words. Raises CorpusError where model and sentences are not of one kind.
    """
    _check_kind(tagger, sentences)
    counts = tagging_counts(tagger.predict(sentences.words), sentences)
    name = "accuracy" if sentences.kind == "pos" else "f1"
    return {"task": "tag", name: tagging_score(counts), "n": sentences.n_words}


def tagging_counts(predicted: Sequence[Sequence[str]], sentences: TaggedSentences) -> Array:
    """For every sentence how many are right, predicted and true, int64 (sentences, 3): words, or entities for ``ner``.

    `tagging_score` of the sum of any of its rows is the score of those sentences, which is what a bootstrap over
    sentences needs.
    """
    counts = np.zeros((len(sentences), 3), np.int64)
    for row, (found, gold) in enumerate(zip(predicted, sentences.tags, strict=True)):
        if sentences.kind == "pos":
            counts[row] = sum(map(str.__eq__, found, gold)), len(gold), len(gold)
        else:
            guessed, true = set(entities(found)), set(entities(gold))
            counts[row] = len(guessed & true), len(guessed), len(true)
    return counts


def tagging_score(counts: Array) -> float:
    """F1 out of rows of (right, predicted, true), 2 right / (predicted + true); accuracy where each word is one.

    0 where nothing is true and nothing predicted.
    """
    right, predicted, true = counts.reshape(-1, 3).sum(0).tolist()
    return float(2 * right / max(1, predicted + true))


def _check_kind(tagger: TaggingModel, sentences: TaggedSentences) -> None:
    if tagger.kind != sentences.kind:
        names = {"pos": "parts of speech", "ner": "named entities"}
        raise CorpusError(
            f"'{sentences.source}' has {names[sentences.kind]} and the model tags {names[tagger.kind]}; "
            "data of the model's own kind was expected."
        )
