"""What a grafted model predicts of its new tokens on average, made to agree with running text of its language.

Rows and bias that are mixtures of English ones carry English frequencies: a token is then predicted as often as its
translations are. The bias that is right for a text is known from it: under it the model's predictions, averaged over
the text, are the frequencies of its tokens (the condition of a maximum of the likelihood in the bias). One step towards
it,

    b <- b + log p - log m,

with m the model's mean prediction and p the frequencies, is nearly all of the way. The same is known as logit
adjustment for a change of the prior (Saerens, Latinne & Decaestecker 2002; Menon et al. 2021).

Most decoders have no bias. The mean c of their last hidden states h over the text serves in its place: as h is mostly
c, an output row that grows by b c / |c|^2 gives its token a logit that is higher by about b everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..corpus import TokenStream
from ..evidence import encode
from ..surgery import LanguageModel, vocabulary_parameters
from .data import text_stream
from .encoder import embed_tokens, head_logits, hidden_states
from .language_modelling import Side, special_tokens
from .masking import generator_for, mask_tokens

Array = np.ndarray[Any, Any]

#: tokens of a block, blocks that the mean prediction is taken over, and at once
_LENGTH, _BLOCKS, _BATCH = 128, 96, 4

#: a decoder predicts at every place of a block, so that it needs fewer
_CAUSAL_BLOCKS = 24

_MASK_RATE = 0.15

#: the model's own mean prediction counts like so many tokens of the text: little text changes little
_PRIOR_TOKENS = 10_000

#: no mean prediction is taken to be smaller, whatever the few places say
_FLOOR = 1e-7

#: the most that h . c / |c|^2, which is 1 on average, may differ from place to place, as a standard deviation; that of
#: SmolLM2 is 0.14
_MOST_UNEVEN = 0.5


@dataclass(frozen=True)
class Calibration:
    """What was done to a model's output.

    tokens: of the text, ordinary ones. divergence: Kullback-Leibler divergence of the model's mean prediction from the
    tokens' frequencies, in nats, before.
    """

    tokens: int
    divergence: float


@torch.no_grad()
def calibrate_output(language_model: LanguageModel, text: TokenStream | Sequence[str]) -> Calibration | None:
    """Makes a language model's mean prediction agree with the frequencies of a text's tokens, in place.

    text: in the model's language, lines or the stream of them under its tokenizer (`text_stream`). It changes the
    output bias or, of a decoder without one, the output rows, which may be the input's too; not of special tokens. The
    same model and text give the same result. None, and nothing is done, for a model without a head, a masked one
    without a bias, a decoder whose hidden states have nothing in common, and a text without an ordinary token.
    """
    causal = language_model.kind == "causal"
    parameters = vocabulary_parameters(language_model.model)
    if not language_model.has_head or not (causal or "bias" in parameters):
        return None
    if not causal and language_model.tokenizer.mask_token_id is None:
        return None
    if not isinstance(text, TokenStream):
        text = text_stream(language_model, encode(language_model.tokenizer, list(text)))
    special = special_tokens(language_model)
    counts = np.where(special, 0, text.counts).astype(np.float64)
    total = counts.sum()
    if not total:
        return None
    side = Side(language_model, text, _LENGTH)
    states = list(_all_states(side) if causal else _masked_states(side))
    bias, rows = parameters.get("bias"), parameters.get("output", parameters["input"])
    direction = _bias_direction(side, states, rows) if bias is None else None
    if bias is None and direction is None:
        return None
    mean = np.maximum(_mean_prediction(side, states), _FLOOR)
    mean /= mean[~special].sum()  # among what can be predicted
    share = (counts + _PRIOR_TOKENS * mean) / (total + _PRIOR_TOKENS)
    step = torch.from_numpy(np.where(special, 0, np.log(share / mean)))
    if bias is not None:
        bias[: len(step)] += step.to(bias)
    elif direction is not None:
        rows[: len(step)] += torch.outer(step.to(direction), direction).to(rows)
    seen = counts > 0
    frequency = counts[seen] / total
    return Calibration(int(total), float((frequency * np.log(frequency / mean[seen])).sum()))


class _States(NamedTuple):
    """Last hidden states, (rows, k, width), and what each counts in the mean prediction, (rows, k)."""

    hidden: Tensor
    weights: Tensor


def _spread(side: Side, number: int) -> Iterator[Tensor]:
    """About so many blocks that are spread over the text, some at once: int64 (rows, length)."""
    blocks = np.unique(np.linspace(0, side.blocks.n_blocks - 1, number).round().astype(np.int64))
    for start in range(0, blocks.size, _BATCH):
        yield torch.from_numpy(side.blocks.take(blocks[start : start + _BATCH]).astype(np.int64))


def _masked_states(side: Side) -> Iterator[_States]:
    """A masked model's at the masks."""
    device = next(side.model.parameters()).device
    special = torch.from_numpy(side.special)
    for number, ids in enumerate(_spread(side, _BLOCKS)):
        # drawn on the CPU, whatever the device, so that every machine hides the same tokens
        generator = generator_for(torch.device("cpu"), number)
        masked = mask_tokens(ids, special, side.mask_id, _MASK_RATE, generator).to(device)
        hidden = hidden_states(side.model, embed_tokens(side.model, masked.ids), masked.positions)
        yield _States(hidden, masked.weights)


def _all_states(side: Side) -> Iterator[_States]:
    """A decoder's at every place."""
    device = next(side.model.parameters()).device
    for ids in _spread(side, _CAUSAL_BLOCKS):
        hidden = hidden_states(side.model, embed_tokens(side.model, ids.to(device)))
        yield _States(hidden, torch.ones(ids.shape, device=device))


def _mean_prediction(side: Side, states: Sequence[_States]) -> Array:
    """The model's probabilities of all tokens, float64 (tokens,), averaged over the places."""
    total = torch.zeros(side.n_tokens, dtype=torch.float64)
    places = 0.0
    for hidden, weights in states:
        predicted = head_logits(side.model, hidden)[..., : side.n_tokens].float().softmax(-1)
        predicted = predicted * weights.unsqueeze(-1)
        total += predicted.flatten(0, -2).sum(0, dtype=torch.float64).cpu()
        places += float(weights.sum())
    return total.numpy() / max(places, 1.0)


def _bias_direction(side: Side, states: Sequence[_States], rows: Tensor) -> Tensor | None:
    """What an output row has to grow by for its logits to rise by about 1 everywhere, float32 (width,).

    rows: the output rows. None where hidden states have too little in common, as those of an untrained model.
    """
    hidden = torch.cat([some.hidden.flatten(0, -2) for some in states]).float()
    mean = hidden.mean(0)
    direction = mean / (mean @ mean)
    if not (hidden @ direction).std() <= _MOST_UNEVEN:  # no number is none either
        return None
    # some families scale or cap what comes of the rows: how fast do logits rise where the products with the rows do?
    some = hidden[:: max(1, len(hidden) // 16)].unsqueeze(0)
    rise = 0.01 * some @ rows[: side.n_tokens].float().T
    logits, higher = (
        head_logits(side.model, at.to(states[0].hidden))[..., : side.n_tokens].float() for at in (some, 1.01 * some)
    )
    return direction * (rise.square().sum() / ((higher - logits) * rise).sum())
