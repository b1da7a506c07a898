"""Objectives ``mlm`` and ``clm`` on running text of English and of the new languages."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ..corpus import TokenStream
from ..errors import CorpusError
from ..surgery import LanguageModel
from ..vocabulary import all_special_ids, special_ids
from .attention import documents_of
from .data import Array, PackedBlocks, text_marks
from .encoder import embed_tokens, flop_forward, head_logits, hidden_states
from .loss import cross_entropy
from .masking import Masked, MaskScheme, generator_for, mask_tokens
from .objectives import by_language, draws
from .timing import Stopwatch


def masked_loss(model: PreTrainedModel, batch: Masked) -> Tensor:
    """Cross-entropy in nats of the true token at every predicted position: float (rows, k), 0 where the weight is.

    model: with its head. batch: with hidden tokens.
    """
    hidden = hidden_states(model, embed_tokens(model, batch.ids), batch.positions)
    return cross_entropy(head_logits(model, hidden), batch.labels) * batch.weights


def causal_loss(model: PreTrainedModel, ids: Tensor) -> Tensor:
    """Cross-entropy in nats of every token given the ones before it in its row: float (rows, length - 1).

    model: with its head. ids: int64 (rows, length).
    """
    hidden = hidden_states(model, embed_tokens(model, ids))
    return cross_entropy(head_logits(model, hidden[:, :-1]), ids[:, 1:])


def special_tokens(language_model: LanguageModel) -> Array:
    """Bool (tokens,): which tokens of the vocabulary stand for no text."""
    tokenizer = language_model.tokenizer
    special = np.zeros(len(tokenizer), bool)
    special[sorted(all_special_ids(tokenizer) | set(special_ids(tokenizer).values()))] = True
    return special


class Side:
    """One language of language modelling: its model and its packed text."""

    def __init__(self, language_model: LanguageModel, text: TokenStream, length: int) -> None:
        tokenizer = language_model.tokenizer
        roles = special_ids(tokenizer)
        opening, closing = text_marks(tokenizer, causal=language_model.kind == "causal")
        self.model = language_model.model
        self.separator = closing
        self.blocks = PackedBlocks(text, min(length, language_model.max_length), opening)
        self.special = special_tokens(language_model)
        if self.special[np.flatnonzero(text.counts)].all():
            raise CorpusError("The tokenizer knows no token of the text: is it text of the tokenizer's language?")
        self.mask_id = roles.get("mask", -1)
        self.n_tokens = len(tokenizer)


class LanguageModelling:
    """Objectives ``mlm`` and ``clm``: all languages predict their own text through one body, in one pass.

    foreign: the new language, or several by name. Each has batch_size rows of a step, and English as many as one of
    them; the loss is the sum of the languages' means, ``loss_en`` and one ``loss_NAME`` each (``loss_xx`` where there
    is one new language).

    apart: a token sees its own line of the text alone; otherwise all of its packed row. one_pass, whole_last_layer: how
    the same gradient is computed, for comparison; the defaults are the fast ones.
    """

    def __init__(
        self, english: Side, foreign: Side | Mapping[str, Side], *, masked: bool, batch_size: int, mask_rate: float,
        seed: int, device: torch.device, mask_scheme: MaskScheme = "80-10-10", apart: bool = False,
        one_pass: bool = True, whole_last_layer: bool = False,
    ) -> None:  # fmt: skip
        self._foreign = by_language(foreign)
        self._sides = self._foreign | {"en": english}
        self._draws = {language: draws(number) for number, language in enumerate(self._foreign)} | {"en": 1}
        self.module: nn.Module = nn.ModuleList([english.model, *(side.model for side in self._foreign.values())])
        self._masked = masked
        self._batch_size = batch_size
        self._mask_rate = mask_rate
        self._mask_scheme = mask_scheme
        self._seed = seed
        self._device = device
        self._apart = apart
        self._one_pass = one_pass and len({side.blocks.length for side in self._sides.values()}) == 1
        self._whole_last_layer = whole_last_layer
        self._special = {language: torch.from_numpy(side.special).to(device) for language, side in self._sides.items()}
        #: time spent on making batches, for the meter
        self.waiting = Stopwatch()
        self._made: tuple[tuple[int, bool], dict[str, tuple[Array, Masked]]] | None = None

    def _batch(self, step: int, both: bool) -> dict[str, tuple[Array, Masked]]:
        """The blocks of all languages at a step and what is predicted there; of the same step it is made once."""
        if self._made is None or self._made[0] != (step, both):
            made = {}
            for language, side in self._training(both).items():
                with self.waiting:
                    blocks = side.blocks.batch(step, self._batch_size, self._seed + self._draws[language])
                    ids = torch.from_numpy(blocks.astype(np.int64)).to(self._device, non_blocking=True)
                generator = generator_for(self._device, self._seed, step, self._draws[language])
                made[language] = blocks, self._hide(language, ids, generator)
            self._made = (step, both), made
        return self._made[1]

    def _training(self, both: bool) -> dict[str, Side]:
        """The languages that take part in a step."""
        return self._sides if both else self._foreign

    def _hide(self, language: str, ids: Tensor, generator: torch.Generator) -> Masked:
        if self._masked:
            side = self._sides[language]
            return mask_tokens(
                ids, self._special[language], side.mask_id, self._mask_rate, generator, self._mask_scheme
            )
        # a causal model reads everything and predicts, at each position but the last, the token behind it
        positions = torch.arange(ids.shape[1] - 1, device=self._device).expand(ids.shape[0], -1)
        labels = ids[:, 1:]
        return Masked(ids, positions, labels, torch.ones(labels.shape, device=self._device))

    def loss(self, step: int, both: bool, part: int = 0, parts: int = 1) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Objective`."""
        batch = self._batch(step, both)
        start, stop = (self._batch_size * k // parts for k in (part, part + 1))
        total = torch.zeros((), device=self._device)
        losses: dict[str, Tensor] = {}
        if start == stop:
            return total, losses
        mine = {
            language: (blocks[start:stop], masked.rows(start, stop)) for language, (blocks, masked) in batch.items()
        }
        for language, hidden in self._hidden(mine).items():
            masked = mine[language][1]
            each = cross_entropy(head_logits(self._sides[language].model, hidden), masked.labels)
            loss = (each * masked.weights).sum() / batch[language][1].weights.sum().clamp(min=1)
            losses[f"loss_{language}"] = loss.detach()
            total = total + loss
        return total, losses

    def _hidden(self, batch: dict[str, tuple[Array, Masked]]) -> dict[str, Tensor]:
        """Last hidden states at the predicted positions, (rows, k, width), by language."""
        groups = [list(batch)] if self._one_pass else [[language] for language in batch]
        found: dict[str, Tensor] = {}
        for group in groups:
            sides = [self._sides[language] for language in group]
            masked = [batch[language][1] for language in group]
            embedded = torch.cat([embed_tokens(side.model, m.ids) for side, m in zip(sides, masked, strict=True)])
            documents = None
            if self._apart:
                ends = [batch[name][0] == side.separator for name, side in zip(group, sides, strict=True)]
                documents = documents_of(np.concatenate(ends), self._device)
            positions = torch.cat([m.positions for m in masked]) if self._masked else None
            hidden = hidden_states(
                sides[0].model, embedded, positions, documents=documents, whole_last_layer=self._whole_last_layer
            )
            if not self._masked:
                hidden = hidden[:, :-1]
            found |= dict(zip(group, hidden.split([len(m.ids) for m in masked]), strict=True))
        return found

    def at_once(self, step: int) -> int | None:  # noqa: ARG002
        """See `Objective`; all sequences are equally long, so the micro-batch says it."""
        return None

    def tokens(self, step: int, both: bool) -> int:  # noqa: ARG002
        """See `Objective`."""
        return self._batch_size * sum(side.blocks.length for side in self._training(both).values())

    def flop(self, step: int, both: bool) -> float:
        """See `Objective`; new vocabularies alone take two thirds, as no matrix of the body needs a gradient.

        English is counted with the vocabulary of the new languages.
        """
        predicted = self._mask_rate if self._masked else 1.0
        forward = [flop_forward(side.model, side.blocks.length, predicted) for side in self._foreign.values()]
        return self.tokens(step, both) * (3 if both else 2) * sum(forward) / len(forward)
