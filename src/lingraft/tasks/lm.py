"""Language modelling on held-out text, comparable between tokenizers: bits per byte."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import torch

from ..errors import ModelError, RecipeError
from ..evidence import encode
from ..surgery import LanguageModel
from ..training.data import PackedBlocks
from ..training.masking import mask_tokens, random_for
from ..training.objectives import Side, causal_loss, masked_loss
from ..vocabulary import special_ids
from .intervals import Counts, bootstrap_interval

Array = np.ndarray[Any, Any]

#: the seed of evaluation masks; fixed, so that every evaluation hides the same tokens
_MASK_SEED = 15_000


def _batches(packed: PackedBlocks, batch_size: int, shortest: int) -> Iterator[Array]:
    """All blocks once, the last one by itself and without what it was filled up with, if it has so many tokens."""
    whole = packed.blocks[: packed.n_blocks - 1]
    for start in range(0, len(whole), batch_size):
        yield whole[start : start + batch_size]
    last = packed.blocks[-1:, : packed.last_length]
    if last.shape[1] >= shortest:
        yield last


def evaluate_lm(
    language_model: LanguageModel,
    lines: list[str],
    length: int = 128,
    mask_rate: float = 0.15,
    batch_size: int = 16,
    method: Literal["fixed", "pll"] = "fixed",
) -> dict[str, Any]:
    """Loss in nats a predicted token, and bits per byte of the text, each with its 95 % interval under ``intervals``.

    A causal model predicts all tokens. Of a masked model, ``fixed`` hides 15 % of the tokens, the same on every
    evaluation, and is quick; ``pll`` hides every token once, alone, and so gives the pseudo-log-likelihood of the text
    (Salazar et al. 2020, equation 1): exact, at the price of a pass for every token. Both see the same running text of
    so many tokens (length). mask_rate: for ``fixed``. batch_size: texts of that length in one pass.

    Bits per byte = loss / ln 2 * tokens of the text / UTF-8 bytes of the text. A masked model is never asked for the
    unknown token: tokens of the text that are unknown count with the mean loss, however much text stands behind them.
    unknown_share is their share; with many of them the number is better than the model. Intervals are by bootstrap
    over the blocks of tokens that the text is read in.

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
    side = Side(language_model, text, length)
    device = next(language_model.model.parameters()).device
    total: list[Array] = []
    predicted: list[Array] = []
    with torch.inference_mode():
        for number, ids in enumerate(_batches(side.blocks, batch_size, 2 if language_model.kind == "causal" else 1)):
            if language_model.kind == "masked" and side.special[ids].all():
                continue  # nothing a masked model is asked for
            if method == "pll":
                losses, rows = _each_alone(side, ids, batch_size, device)
            elif language_model.kind == "causal":
                losses = causal_loss(language_model.model, ids, device, "none").cpu().numpy()
                rows = np.repeat(np.arange(ids.shape[0]), ids.shape[1] - 1)
            else:
                random = random_for(_MASK_SEED, number)
                changed, positions, labels = mask_tokens(
                    ids, side.special, side.mask_id, side.n_tokens, mask_rate, random
                )
                losses = masked_loss(language_model.model, changed, positions, labels, device, "none").cpu().numpy()
                rows = positions // ids.shape[1]
            total.append(np.bincount(rows, losses, ids.shape[0]))
            predicted.append(np.bincount(rows, minlength=ids.shape[0]))
    blocks = Counts(*(np.concatenate([np.zeros(1), *each]) for each in (total, predicted)))
    n_bytes = sum(len(line.encode()) for line in lines)
    n_tokens = int(np.asarray(text.lengths).sum())
    bits = n_tokens / max(1, n_bytes) / math.log(2)
    interval = bootstrap_interval(blocks.hits, blocks.totals)
    return {
        "task": "lm",
        "loss": blocks.score,
        "bits_per_byte": bits * blocks.score,
        "intervals": {"loss": list(interval), "bits_per_byte": [bits * end for end in interval]},
        "n_tokens": n_tokens,
        "unknown_share": float((text.ids == special_ids(language_model.tokenizer).get("unk", -1)).mean()),
    }


def _each_alone(side: Side, ids: Array, batch_size: int, device: torch.device) -> tuple[Array, Array]:
    """Loss in nats of every ordinary token of some blocks, predicted with no other hidden, and the block it is in.

    ids: int (blocks, length).
    """
    blocks, places = np.nonzero(~side.special[ids])
    losses = []
    for start in range(0, blocks.size, batch_size):
        block, place = blocks[start : start + batch_size], places[start : start + batch_size]
        rows = np.arange(block.size)
        changed = ids[block]
        labels = changed[rows, place]
        changed[rows, place] = side.mask_id
        positions = rows * ids.shape[1] + place
        losses.append(masked_loss(side.model, changed, positions, labels, device, "none").cpu().numpy())
    return np.concatenate(losses), blocks
