"""Language modelling on held-out text, comparable between tokenizers: bits per byte."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import torch

from ..corpus import TokenSequences
from ..errors import ModelError, RecipeError
from ..evidence import encode
from ..surgery import LanguageModel
from ..training.data import PackedBlocks, text_stream
from ..training.language_modelling import Side, causal_loss, masked_loss
from ..training.masking import Masked, generator_for, mask_tokens
from ..vocabulary import special_ids
from .intervals import Counts, bootstrap_interval

Array = np.ndarray[Any, Any]

#: the seed of evaluation masks; fixed, so that every evaluation hides the same tokens
_MASK_SEED = 15_000


def _batches(packed: PackedBlocks, batch_size: int) -> Iterator[Array]:
    """All blocks once, the last one by itself and without what it was filled up with."""
    whole = np.arange(packed.n_blocks - 1)
    for start in range(0, whole.size, batch_size):
        yield packed.take(whole[start : start + batch_size])
    yield packed.take(np.array([packed.n_blocks - 1]))[:, : packed.last_length]


def _windows(
    text: TokenSequences, length: int, opening: int | None, closing: int | None, batch_size: int
) -> Iterator[tuple[Array, Array]]:
    """Running text in overlapping windows, and which of their tokens are predicted there, of all but their first.

    Each window begins half a length behind the one before it and predicts what that one did not reach, so that every
    token of the text is predicted once, from half a length of text or all there is before it. ids: int32
    (windows, length); predicted: bool (windows, length - 1), false for what separates the lines.
    """
    ends = text.offsets[1:] if closing is not None else text.offsets[:0]
    ids = np.insert(text.ids, ends, -1 if closing is None else closing)
    ordinary = np.insert(np.ones(text.ids.size, bool), ends, False)
    if opening is not None:
        ids, ordinary = np.insert(ids, 0, opening), np.insert(ordinary, 0, False)
    step = length // 2
    starts = np.arange(0, max(1, ids.size - length + step), step)
    for first in range(0, starts.size - 1, batch_size):
        places = starts[first : min(first + batch_size, starts.size - 1), None] + np.arange(length)
        predicted = ordinary[places]
        predicted[int(first == 0) :, : length - step] = False
        yield ids[places], predicted[:, 1:]
    last = slice(starts[-1], None)
    predicted = ordinary[last][None].copy()
    predicted[:, : length - step if starts.size > 1 else 0] = False
    if predicted.shape[1] > 1:
        yield ids[last][None], predicted[:, 1:]


def evaluate_lm(
    language_model: LanguageModel,
    lines: list[str],
    length: int = 128,
    mask_rate: float = 0.15,
    batch_size: int = 16,
    method: Literal["fixed", "pll"] = "fixed",
) -> dict[str, Any]:
    """Loss in nats a predicted token, and bits per byte of the text, each with its 95 % interval under ``intervals``.

    A causal model predicts every token of the text once, by overlapping windows of so many tokens (length), from at
    least half as many tokens before it or, near the beginning, from all there are: the begin token, where the
    tokenizer has one; else the first token of the text is not predicted and counts with the mean loss. Lines are
    separated by the end token, which is read as context but not predicted.

    Of a masked model, ``fixed`` hides 15 % of the tokens (mask_rate), the same on every evaluation, and is quick;
    ``pll`` hides every token once, alone, and so gives the pseudo-log-likelihood of the text (Salazar et al. 2020,
    equation 1): exact, at the price of a pass for every token. Both see the same blocks of so many tokens (length).
    batch_size: blocks or windows in one pass. The loss is 0 where there is nothing to predict.

    Bits per byte = loss / ln 2 * tokens of the text / UTF-8 bytes of the text. A masked model is never asked for the
    unknown token: tokens of the text that are unknown count with the mean loss, however much text stands behind them.
    unknown_share is their share; with many of them the number is better than the model. Intervals are by bootstrap
    over the blocks or windows that the text is read in.

    Raises ModelError without a head or, for a masked model, without a mask token, and for ``pll`` of a causal model;
    RecipeError for another method.
    """
    if method not in ("fixed", "pll"):
        raise RecipeError(f"There is no method '{method}' of measuring a language model; fixed or pll was expected.")
    if not language_model.has_head:
        raise ModelError("The model has no language-modelling head, so it gives no probabilities to measure.")
    if language_model.kind == "masked" and language_model.tokenizer.mask_token_id is None:
        raise ModelError("The tokenizer has no mask token, so a masked language model cannot be measured with it.")
    if language_model.kind == "causal" and method == "pll":
        raise ModelError(
            "A pseudo-log-likelihood is for masked language models; a causal model's loss is exact as it is (fixed)."
        )
    text = encode(language_model.tokenizer, lines)
    side = Side(language_model, text_stream(language_model, text), length)
    device = next(language_model.model.parameters()).device
    roles = special_ids(language_model.tokenizer)
    total: list[Array] = [np.zeros(0)]
    predicted: list[Array] = [np.zeros(0)]
    with torch.inference_mode():
        if language_model.kind == "causal":
            longest = max(2, side.blocks.length)
            for ids, wanted in _windows(text, longest, roles.get("bos"), roles.get("eos"), batch_size):
                windows = torch.from_numpy(ids.astype(np.int64)).to(device)
                every = causal_loss(language_model.model, windows).cpu().numpy()
                total.append((every * wanted).sum(1))
                predicted.append(wanted.sum(1))
        else:
            special = torch.from_numpy(side.special)
            for number, ids in enumerate(_batches(side.blocks, batch_size)):
                if method == "pll":
                    losses, rows = _each_alone(side, ids, batch_size, device)
                    total.append(np.bincount(rows, losses, ids.shape[0]))
                    predicted.append(np.bincount(rows, minlength=ids.shape[0]))
                    continue
                # drawn on the CPU, whatever the device, so that every machine hides the same tokens
                generator = generator_for(torch.device("cpu"), _MASK_SEED, number)
                hidden = mask_tokens(
                    torch.from_numpy(ids.astype(np.int64)), special, side.mask_id, mask_rate, generator
                )
                total.append(masked_loss(language_model.model, hidden.to(device)).sum(1).cpu().numpy())
                predicted.append(hidden.weights.sum(1).numpy())
    blocks = Counts(np.concatenate(total), np.concatenate(predicted))
    n_bytes = sum(len(line.encode()) for line in lines)
    n_tokens = int(np.asarray(text.lengths).sum())
    bits = n_tokens / max(1, n_bytes) / math.log(2)
    interval = bootstrap_interval(blocks.hits, blocks.totals) if blocks.totals.any() else (0.0, 0.0)
    return {
        "task": "lm",
        "loss": blocks.score,
        "bits_per_byte": bits * blocks.score,
        "intervals": {"loss": list(interval), "bits_per_byte": [bits * end for end in interval]},
        "n_tokens": n_tokens,
        "unknown_share": float((text.ids == roles.get("unk", -1)).mean()),
    }


def _each_alone(side: Side, ids: Array, batch_size: int, device: torch.device) -> tuple[Array, Array]:
    """Loss in nats of every ordinary token of some blocks, predicted with no other hidden, and the block it is in.

    ids: int (blocks, length).
    """
    blocks, places = np.nonzero(~side.special[ids])
    losses = [np.zeros(0)]
    for start in range(0, blocks.size, batch_size):
        whole = torch.from_numpy(ids[blocks[start : start + batch_size]].astype(np.int64)).to(device)
        place = torch.from_numpy(places[start : start + batch_size]).to(device).unsqueeze(1)
        labels = whole.gather(1, place)
        batch = Masked(whole.scatter(1, place, side.mask_id), place, labels, torch.ones(labels.shape, device=device))
        losses.append(masked_loss(side.model, batch)[:, 0].cpu().numpy())
    return np.concatenate(losses), blocks
