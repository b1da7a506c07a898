"""Language modelling on held-out text, comparable between tokenizers: bits per byte."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from ..errors import ModelError
from ..evidence import encode
from ..surgery import LanguageModel
from ..training.data import PackedBlocks
from ..training.masking import mask_tokens, random_for
from ..training.objectives import Side, causal_loss, masked_loss

Array = np.ndarray[Any, Any]

#: the seed of evaluation masks; fixed, so that every evaluation hides the same tokens
_MASK_SEED = 15_000


def _batches(packed: PackedBlocks, batch_size: int) -> Iterator[Array]:
    """All blocks once, the last one by itself and without what it was filled up with."""
    whole = packed.blocks[: packed.n_blocks - 1]
    for start in range(0, len(whole), batch_size):
        yield whole[start : start + batch_size]
    last = packed.blocks[-1:, : packed.last_length]
    if last.shape[1] > 1:
        yield last


def evaluate_lm(
    language_model: LanguageModel, lines: list[str], length: int = 128, mask_rate: float = 0.15, batch_size: int = 16
) -> dict[str, float | int | str]:
    """Loss in nats a predicted token, and bits per byte of the text.

    A masked model predicts a fixed 15 % of the tokens, the same on every evaluation; a causal model predicts all.
    Bits per byte = loss / ln 2 * tokens of the text / UTF-8 bytes of the text. Raises ModelError without a head or,
    for a masked model, without a mask token.
    """
    if not language_model.has_head:
        raise ModelError("The model has no language-modelling head, so it gives no probabilities to measure.")
    if language_model.kind == "masked" and language_model.tokenizer.mask_token_id is None:
        raise ModelError("The tokenizer has no mask token, so a masked language model cannot be measured with it.")
    text = encode(language_model.tokenizer, lines)
    side = Side(language_model, text, length)
    device = next(language_model.model.parameters()).device
    total, predicted = 0.0, 0
    with torch.inference_mode():
        for number, ids in enumerate(_batches(side.blocks, batch_size)):
            if language_model.kind == "causal":
                n = ids.shape[0] * (ids.shape[1] - 1)
                loss = causal_loss(language_model.model, ids, device)
            else:
                random = random_for(_MASK_SEED, number)
                changed, positions, labels = mask_tokens(
                    ids, side.special, side.mask_id, side.n_tokens, mask_rate, random
                )
                n = labels.size
                loss = masked_loss(language_model.model, changed, positions, labels, device)
            total += float(loss) * n
            predicted += n
    loss_per_token = total / max(1, predicted)
    n_bytes = sum(len(line.encode()) for line in lines)
    n_tokens = int(np.asarray(text.lengths).sum())
    return {
        "task": "lm",
        "loss": loss_per_token,
        "bits_per_byte": loss_per_token / math.log(2) * n_tokens / max(1, n_bytes),
        "n_tokens": n_tokens,
    }
