"""Natural language inference: does the premise entail the hypothesis, contradict it, or neither?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase

from ..errors import CorpusError, ModelError, RecipeError
from ..surgery import LanguageModel, length_limit, save_tokenizer
from ..training.data import pad, token_batches
from ..training.precision import inference
from .heads import load_task_model, with_task_head
from .intervals import Counts
from .nli_data import LABELS, NliData

Array = np.ndarray[Any, Any]

#: tokens, padding included, that an evaluation batch holds; a longer batch is no faster on any machine we have
_BATCH_TOKENS = 4096

#: tokens that a pair may have unless told otherwise, special ones included
MAX_LENGTH = 128


@dataclass(frozen=True)
class EncodedPairs:
    """Premises and hypotheses as a model reads them, special tokens included.

    ids, types: int32 arrays of equal length, one pair a row; types say which of the two a token belongs to and are
    empty for a model that does not ask. shortened: pairs that were longer than the model takes; their premise was cut.
    """

    ids: list[Array]
    types: list[Array]
    shortened: int

    @property
    def lengths(self) -> Array:
        """Tokens of every pair, int64 (pairs,)."""
        return np.array([row.size for row in self.ids], np.int64)


def encode_pairs(
    tokenizer: PreTrainedTokenizerBase, premises: Sequence[str], hypotheses: Sequence[str], max_length: int
) -> EncodedPairs:
    """Encodes pairs with whole hypotheses: what is too long loses the end of its premise.

    Only a hypothesis that leaves no room for one token of the premise is cut itself.
    """
    ids: list[Array] = []
    types: list[Array] = []
    shortened = 0
    with_types = "token_type_ids" in tokenizer.model_input_names
    for start in range(0, len(premises), 10_000):
        batch = tokenizer(
            list(premises[start : start + 10_000]), list(hypotheses[start : start + 10_000]),
            truncation=False, padding=False, return_attention_mask=False, return_token_type_ids=with_types,
            verbose=False,
        )  # fmt: skip
        for row, given in enumerate(batch["input_ids"]):
            tokens = np.asarray(given, np.int32)
            kinds = np.asarray(batch["token_type_ids"][row], np.int32) if with_types else np.zeros(0, np.int32)
            if tokens.size > max_length:
                kept = _kept(batch.sequence_ids(row), max_length)
                tokens, shortened = tokens[kept], shortened + 1
                kinds = kinds[kept] if with_types else kinds
            ids.append(tokens)
            types.append(kinds)
    return EncodedPairs(ids, types, shortened)


def _kept(sequence: list[int | None], max_length: int) -> Array:
    """Positions that stay: of the premise (0) the first ones, at least one; then of the hypothesis (1) likewise."""
    which = np.array([-1 if value is None else value for value in sequence])
    premise, hypothesis = np.flatnonzero(which == 0), np.flatnonzero(which == 1)
    room = max(0, max_length - int((which == -1).sum()))
    first = min(premise.size, max(min(1, premise.size), room - hypothesis.size))
    second = max(0, room - first)
    drop = np.concatenate([premise[first:], hypothesis[second:]])
    return np.setdiff1d(np.arange(which.size), drop)


@dataclass(frozen=True)
class NliModel:
    """A sequence classifier over `LABELS`, with its tokenizer.

    max_length: tokens a pair may have, special ones included. columns: for each of `LABELS` the output of the model
    that stands for it; a model may have them in any order.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    columns: tuple[int, ...]
    max_length: int

    @property
    def encoder(self) -> PreTrainedModel:
        """The transformer without its head."""
        return self.model.base_model  # type: ignore[return-value]

    def encode(self, premises: Sequence[str], hypotheses: Sequence[str]) -> EncodedPairs:
        """Pairs as this model reads them; see `encode_pairs`.

        premises, hypotheses: sentence k of one goes with sentence k of the other.
        """
        return encode_pairs(self.tokenizer, premises, hypotheses, self.max_length)

    def logits(self, pairs: EncodedPairs, rows: Array) -> Tensor:
        """Logits of some of the pairs, float (rows, 3), columns in the order of `LABELS`; with gradient."""
        device = next(self.model.parameters()).device
        ids, mask = pad([pairs.ids[k] for k in rows], self.model.config.pad_token_id or 0)
        inputs = {"input_ids": ids, "attention_mask": mask}
        if pairs.types[rows[0]].size:
            inputs["token_type_ids"] = pad([pairs.types[k] for k in rows], 0)[0]
        output = self.model(**{name: torch.from_numpy(value).to(device) for name, value in inputs.items()})
        return output.logits[:, list(self.columns)]  # type: ignore[no-any-return]

    def predict(self, premises: Sequence[str], hypotheses: Sequence[str], precision: str = "auto") -> Array:
        """The likeliest label of every pair as its number in `LABELS`, int64 (pairs,).

        premises, hypotheses: as for `encode`. precision: ``float32``, ``bf16``, or ``auto`` for bf16 where the device
        has it in hardware.
        """
        return self.predict_encoded(self.encode(premises, hypotheses), precision)

    def predict_encoded(self, pairs: EncodedPairs, precision: str = "auto") -> Array:
        """`predict` for pairs that were encoded before.

        Int64 (pairs,). precision: as for `predict`.
        """
        predicted = np.zeros(len(pairs.ids), np.int64)
        with inference(precision, next(self.model.parameters()).device):
            for rows in token_batches(pairs.lengths, _BATCH_TOKENS):
                predicted[rows] = self.logits(pairs, rows).argmax(1).cpu().numpy()
        return predicted

    def with_model(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> NliModel:
        """The same around another transformer.

        tokenizer: the one that belongs to it.
        """
        return replace(self, model=model, tokenizer=tokenizer)

    def save(self, folder: Path) -> None:
        """Writes a folder that ``AutoModelForSequenceClassification`` loads; the tokenizer's says what is too long."""
        self.model.save_pretrained(folder)
        save_tokenizer(self.tokenizer, folder, self.max_length)


def label_columns(names: Mapping[Any, str], what: str) -> tuple[int, ...]:
    """For each of `LABELS` the output with that name, in whatever case; ModelError if the names are others."""
    found = {str(name).strip().lower(): int(column) for column, name in names.items()}
    if not set(LABELS) <= set(found) or len(names) != len(LABELS):
        raise ModelError(
            f"{what} has the labels {', '.join(map(str, names.values()))}; a model for natural language inference has "
            f"{', '.join(LABELS)}, in any order. Put these names into id2label of its config.json."
        )
    return tuple(found[label] for label in LABELS)


def new_nli_model(language_model: LanguageModel, max_length: int = MAX_LENGTH, seed: int = 0) -> NliModel:
    """A fresh classifier on an encoder: a `LanguageModel`, a sentence encoder's included.

    max_length: tokens a pair may have, special ones included, as far as the encoder can read as many. The classifier's
    config names the tokenizer's padding token, by which decoders find the end of a pair. Raises RecipeError for a
    max_length below 8, ModelError if there is no padding token and no end token to take for it.
    """
    if max_length < 8:
        raise RecipeError(f"max_length, the tokens of a pair, is at least 8; given: {max_length}.")
    tokenizer = language_model.tokenizer
    model = with_task_head(
        language_model, AutoModelForSequenceClassification, seed=seed,
        pad_token_id=_pad_id("The model", tokenizer.pad_token_id, language_model.model.config.pad_token_id, tokenizer),
        id2label=dict(enumerate(LABELS)), label2id={label: k for k, label in enumerate(LABELS)},
    )  # fmt: skip
    return NliModel(model, tokenizer, (0, 1, 2), min(max_length, language_model.max_length))


def _pad_id(what: str, first: int | None, second: int | None, tokenizer: PreTrainedTokenizerBase) -> int:
    for found in (first, second, tokenizer.eos_token_id):
        if found is not None and found >= 0:
            return int(found)
    raise ModelError(f"{what} has neither a padding token nor an end token, and one is needed to pad batches with.")


class NliTask:
    """Fine-tuning on English pairs, for `lingraft.tasks.loop`."""

    def __init__(self, nli: NliModel, train: NliData, dev: NliData) -> None:
        self._nli = nli
        self.model: nn.Module = nli.model
        self.encoder = nli.encoder
        self._labels = _labels(train)
        self._pairs = nli.encode(train.premises, train.hypotheses)
        self._dev_labels = _labels(dev)
        self._dev_pairs = nli.encode(dev.premises, dev.hypotheses)
        self.lengths = self._pairs.lengths
        #: of the training and the dev examples how many were shortened and how many rows were left out
        self.left_out = {"train": _left_out(train, self._pairs), "dev": _left_out(dev, self._dev_pairs)}

    def loss(self, batch: Array) -> Tensor:
        """Cross-entropy in nats."""
        logits = self._nli.logits(self._pairs, batch)
        wanted = torch.from_numpy(self._labels[batch]).to(logits.device)
        return nn.functional.cross_entropy(logits.float(), wanted)

    def score(self, precision: str = "auto") -> dict[str, float]:
        """Accuracy on dev."""
        right = self._nli.predict_encoded(self._dev_pairs, precision) == self._dev_labels
        return {"accuracy": float(right.mean())}


def _labels(data: NliData) -> Array:
    if data.labels is None:
        raise CorpusError(f"'{data.source}' has no labels, which training and scores need.")
    return data.labels


def _left_out(data: NliData, pairs: EncodedPairs) -> dict[str, int]:
    """Pairs that were shortened, rows without label and rows in other languages, each where there are any."""
    found = {
        "shortened": pairs.shortened, "unlabelled": data.unlabelled, "other_languages": data.other_languages,
    }  # fmt: skip
    return {name: number for name, number in found.items() if number}


def evaluate_nli(nli: NliModel, data: NliData, precision: str = "auto") -> tuple[dict[str, Any], dict[str, Counts]]:
    """Accuracy, and for every pair whether it was right.

    The result also says, where it is not 0, how many pairs were ``shortened`` and how many rows of the data were left
    out (``unlabelled``, ``other_languages``).
    """
    pairs = nli.encode(data.premises, data.hypotheses)
    right = nli.predict_encoded(pairs, precision) == _labels(data)
    counts = Counts(right, np.ones(right.size, np.int64))
    result = {"task": "nli", "accuracy": counts.score, "n": int(right.size), **_left_out(data, pairs)}
    return result, {"accuracy": counts}


def load_nli(name: str | Path, max_length: int | None = None) -> NliModel:
    """Reads a sequence classifier; ModelError if it is none or its labels are not those of inference.

    name: a folder or a hub id. max_length: takes fewer tokens than the model was saved with; it never takes more.
    """
    model, tokenizer = load_task_model(name, AutoModelForSequenceClassification)
    model.config.pad_token_id = _pad_id(f"'{name}'", model.config.pad_token_id, tokenizer.pad_token_id, tokenizer)
    columns = label_columns(model.config.id2label or {}, f"'{name}'")
    longest = length_limit(model, tokenizer)
    return NliModel(model, tokenizer, columns, longest if max_length is None else min(max_length, longest))
