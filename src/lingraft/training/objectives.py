"""What is learned: one class an objective, each turning (seed, step) into a loss with its gradient.

An objective owns the data of both languages and the two models, whose bodies are one and the same set of parameters
(`lingraft.surgery.share_body`). ``backward`` runs the languages one after the other, so that only one of the two
graphs is in memory.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..corpus import TokenSequences, TokenStream
from ..errors import CorpusError
from ..surgery import LanguageModel
from ..vocabulary import all_special_ids, frame, special_ids
from .data import LengthBatches, PackedBlocks, pad, text_marks
from .masking import mask_tokens, random_for

Array = np.ndarray[Any, Any]


class Objective(Protocol):
    """What the training loop needs of an objective."""

    def backward(self, step: int, both: bool) -> dict[str, Tensor]:
        """Adds the gradient of one step; returns losses as detached scalars.

        both: the English side takes part too. Without it only the new language's vocabulary is being trained.
        """
        ...

    def tokens(self, step: int, both: bool) -> int:
        """Tokens the step runs through the encoder, padding not counted."""
        ...


@contextmanager
def only_positions(model: nn.Module, flat_positions: Tensor) -> Iterator[None]:
    """Inside, the base model hands only these positions of its last hidden state on: (1, chosen, width).

    Heads of masked language models work position by position, so the logits at the chosen positions are the same as
    without it, and the others are never computed.
    """

    def gather(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        hidden = output[0]
        output.last_hidden_state = hidden.reshape(-1, hidden.shape[-1])[flat_positions].unsqueeze(0)
        return output

    handle = model.base_model.register_forward_hook(gather)  # type: ignore[union-attr]
    try:
        yield
    finally:
        handle.remove()


def masked_loss(
    model: nn.Module, ids: Array, positions: Array, labels: Array, device: torch.device, reduction: str = "mean"
) -> Tensor:
    """Cross-entropy in nats of the true tokens at the masked positions; reduction ``none``: of each, (positions,)."""
    with only_positions(model, torch.from_numpy(positions).to(device)):
        logits = model(input_ids=torch.from_numpy(ids).long().to(device)).logits[0]
    return F.cross_entropy(logits.float(), torch.from_numpy(labels).long().to(device), reduction=reduction)


def causal_loss(model: nn.Module, ids: Array, device: torch.device, reduction: str = "mean") -> Tensor:
    """Cross-entropy in nats of every token given the ones before it in its block.

    reduction ``none``: of each, (blocks * (length - 1),), block by block.
    """
    batch = torch.from_numpy(ids).long().to(device)
    logits = model(input_ids=batch).logits[:, :-1]
    return F.cross_entropy(logits.float().reshape(-1, logits.shape[-1]), batch[:, 1:].reshape(-1), reduction=reduction)


class Side:
    """One language of language modelling: its model and its packed text."""

    def __init__(self, language_model: LanguageModel, text: TokenStream, length: int) -> None:
        tokenizer = language_model.tokenizer
        roles = special_ids(tokenizer)
        opening, _ = text_marks(tokenizer, causal=language_model.kind == "causal")
        self.model = language_model.model
        self.blocks = PackedBlocks(text, min(length, language_model.max_length), opening)
        self.special = np.zeros(len(tokenizer), bool)
        self.special[sorted(all_special_ids(tokenizer) | set(roles.values()))] = True
        if self.special[np.flatnonzero(text.counts)].all():
            raise CorpusError("The tokenizer knows no token of the text: is it text of the tokenizer's language?")
        self.mask_id = roles.get("mask", -1)
        self.n_tokens = len(tokenizer)


class LanguageModelling:
    """Objectives ``mlm`` and ``clm``: both languages predict their own text through one body."""

    def __init__(
        self, english: Side, foreign: Side, *, masked: bool, batch_size: int, mask_rate: float, seed: int,
        device: torch.device,
    ) -> None:  # fmt: skip
        self._sides = {"xx": foreign, "en": english}
        self._masked = masked
        self._batch_size = batch_size
        self._mask_rate = mask_rate
        self._seed = seed
        self._device = device

    def backward(self, step: int, both: bool) -> dict[str, Tensor]:
        """See `Objective`."""
        losses = {}
        for number, (language, side) in enumerate(self._sides.items()):
            if language == "en" and not both:
                continue
            ids = side.blocks.batch(step, self._batch_size, self._seed + number)
            if self._masked:
                random = random_for(self._seed, step, number)
                changed, positions, labels = mask_tokens(
                    ids, side.special, side.mask_id, side.n_tokens, self._mask_rate, random
                )
                loss = masked_loss(side.model, changed, positions, labels, self._device)
            else:
                loss = causal_loss(side.model, ids, self._device)
            loss.backward()
            losses[f"loss_{language}"] = loss.detach()
        return losses

    def tokens(self, step: int, both: bool) -> int:  # noqa: ARG002
        """See `Objective`."""
        length = self._sides["xx"].blocks.length
        return int(self._batch_size * length * (2 if both else 1))


class Distillation:
    """Objective ``distill``: the foreign sentence goes where the untouched English model puts its translation.

    The loss is the mean squared distance of the unit vectors (twice one minus their cosine) plus, with a weight, the
    cross-entropy of finding the right English sentence among those of the batch (temperature as given). When the body
    trains, English sentences are held at the teacher's embeddings the same way, so that old English indexes stay valid.
    """

    def __init__(
        self, english: LanguageModel, foreign: LanguageModel, english_text: TokenSequences,
        foreign_text: TokenSequences, *, batch_size: int, contrast: float, temperature: float, seed: int,
        device: torch.device,
    ) -> None:  # fmt: skip
        self._english, self._foreign = english, foreign
        self._texts = {"en": english_text, "xx": foreign_text}
        self._teacher = english.with_model(copy.deepcopy(english.model).requires_grad_(False))
        lengths = np.maximum(english_text.lengths, foreign_text.lengths)
        self._batches = LengthBatches(lengths, batch_size, seed)
        self._contrast = contrast
        self._temperature = temperature
        self._device = device

    def _embed(self, model: LanguageModel, side: str, lines: Array) -> Tensor:
        text = self._texts[side]
        ids, mask = pad([text[line] for line in lines], model.tokenizer.pad_token_id or 0)
        embedded = model.embed(torch.from_numpy(ids).to(self._device), torch.from_numpy(mask).to(self._device))
        return F.normalize(embedded.float(), dim=-1)

    def backward(self, step: int, both: bool) -> dict[str, Tensor]:
        """See `Objective`."""
        lines = self._batches[step]
        with torch.no_grad():
            teacher = self._embed(self._teacher, "en", lines)
        student = self._embed(self._foreign, "xx", lines)
        cosine = (student * teacher).sum(-1)
        loss = 2 * (1 - cosine.mean())
        if self._contrast and lines.size > 1:
            same = torch.arange(lines.size, device=self._device)
            loss = loss + self._contrast * F.cross_entropy(student @ teacher.T / self._temperature, same)
        loss.backward()
        losses = {"loss_xx": loss.detach(), "cosine_xx": cosine.detach().mean()}
        if both:
            held = self._embed(self._english, "en", lines)
            anchor = 2 * (1 - (held * teacher).sum(-1).mean())
            anchor.backward()
            losses["loss_en"] = anchor.detach()
        return losses

    def tokens(self, step: int, both: bool) -> int:
        """See `Objective`."""
        lines = self._batches[step]
        english = int(self._texts["en"].lengths[lines].sum())
        return int(self._texts["xx"].lengths[lines].sum()) + english * (2 if both else 1)


def framed(language_model: LanguageModel, text: TokenSequences) -> TokenSequences:
    """Every line as the model wants to see a single text: cut to its length limit, with its special tokens around."""
    before, after = frame(language_model.tokenizer)
    room = language_model.max_length - len(before) - len(after)
    return TokenSequences.from_lists(np.concatenate([before, text[k][:room], after]) for k in range(len(text)))
