"""The output bias of a grafted model, from running text of its language.

A bias that is a mixture of English biases carries English frequencies: what a mask most probably hides is then judged
by how common its translations are. The bias that is right for a text is known from it: under it the model's
predictions, averaged over the masks of the text, are the frequencies of its tokens (the condition of a maximum of the
likelihood in the bias). One step towards it,

    b <- b + log p - log m,

with m the model's mean prediction and p the frequencies, is nearly all of the way. The same is known as logit
adjustment for a change of the prior (Saerens, Latinne & Decaestecker 2002; Menon et al. 2021).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

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

_MASK_RATE = 0.15

#: the model's own mean prediction counts like so many tokens of the text: little text changes little
_PRIOR_TOKENS = 10_000

#: no mean prediction is taken to be smaller, whatever the few masks say
_FLOOR = 1e-7


@dataclass(frozen=True)
class Calibration:
    """What was done to a bias.

    tokens: of the text, ordinary ones. divergence: Kullback-Leibler divergence of the model's mean prediction from the
    tokens' frequencies, in nats, before.
    """

    tokens: int
    divergence: float


def calibrate_bias(language_model: LanguageModel, text: TokenStream | Sequence[str]) -> Calibration | None:
    """Makes the output bias of a masked language model agree with the frequencies of a text's tokens, in place.

    text: in the model's language, lines or the stream of them under its tokenizer (`text_stream`). The bias of special
    tokens, which no mask hides, stays. The same model and text give the same bias. None, and nothing is done, for a
    decoder, for a model without a head or without an output bias, and for a text without an ordinary token.
    """
    parameters = vocabulary_parameters(language_model.model)
    if language_model.kind == "causal" or "bias" not in parameters or language_model.tokenizer.mask_token_id is None:
        return None
    if not isinstance(text, TokenStream):
        text = text_stream(language_model, encode(language_model.tokenizer, list(text)))
    special = special_tokens(language_model)
    counts = np.where(special, 0, text.counts).astype(np.float64)
    total = counts.sum()
    if not total:
        return None
    bias = parameters["bias"]
    mean = np.maximum(_mean_prediction(Side(language_model, text, _LENGTH)), _FLOOR)
    mean /= mean[~special].sum()  # among what can be hidden
    share = (counts + _PRIOR_TOKENS * mean) / (total + _PRIOR_TOKENS)
    step = np.where(special, 0, np.log(share / mean))
    with torch.no_grad():
        bias[: step.size] += torch.from_numpy(step).to(bias)
    seen = counts > 0
    frequency = counts[seen] / total
    return Calibration(int(total), float((frequency * np.log(frequency / mean[seen])).sum()))


def _mean_prediction(side: Side) -> Array:
    """The model's probabilities of all tokens, float64 (tokens,), averaged over masks that are spread over the text."""
    model = side.model
    device = next(model.parameters()).device
    blocks = np.unique(np.linspace(0, side.blocks.n_blocks - 1, _BLOCKS).round().astype(np.int64))
    special = torch.from_numpy(side.special)
    total = torch.zeros(side.n_tokens, dtype=torch.float64)
    masks = 0.0
    with torch.inference_mode():
        for number, start in enumerate(range(0, blocks.size, _BATCH)):
            ids = torch.from_numpy(side.blocks.take(blocks[start : start + _BATCH]).astype(np.int64))
            # drawn on the CPU, whatever the device, so that every machine hides the same tokens
            generator = generator_for(torch.device("cpu"), number)
            masked = mask_tokens(ids, special, side.mask_id, _MASK_RATE, generator).to(device)
            hidden = hidden_states(model, embed_tokens(model, masked.ids), masked.positions)
            predicted = head_logits(model, hidden)[..., : side.n_tokens].float().softmax(-1)
            predicted = predicted * masked.weights.unsqueeze(-1)
            total += predicted.flatten(0, -2).sum(0, dtype=torch.float64).cpu()
            masks += float(masked.weights.sum())
    return total.numpy() / max(masks, 1.0)
