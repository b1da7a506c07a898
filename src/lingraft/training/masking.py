"""Masked language modelling: which positions are predicted and what stands there (Devlin et al. 2019)."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def mask_tokens(
    ids: Array, special: Array, mask_id: int, n_tokens: int, rate: float, random: np.random.Generator
) -> tuple[Array, Array, Array]:
    """Masks a fixed share of the ordinary tokens of a batch.

    ids: int (batch, length). special: bool (n_tokens,), True for ids that are never predicted and never put in. Of the
    chosen positions 80 % become the mask token, 10 % a random ordinary token, 10 % stay. Returns the changed ids, the
    flat positions (chosen,) ascending, and the true tokens there. At least one position is chosen, a special one if
    there are no others.
    """
    candidates = np.flatnonzero(~special[ids.reshape(-1)])
    if not candidates.size:  # nothing but unknown tokens in this batch
        candidates = np.arange(ids.size)
    wanted = min(candidates.size, max(1, round(rate * candidates.size)))
    chosen = np.sort(random.choice(candidates, wanted, replace=False))
    changed = ids.reshape(-1).copy()
    labels = changed[chosen]
    kind = random.random(wanted)
    changed[chosen[kind < 0.8]] = mask_id
    ordinary = np.flatnonzero(~special[:n_tokens])
    swapped = chosen[(kind >= 0.8) & (kind < 0.9)]
    changed[swapped] = random.choice(ordinary, swapped.size)
    return changed.reshape(ids.shape), chosen, labels


def random_for(*key: int) -> np.random.Generator:
    """A generator that depends on these numbers alone."""
    return np.random.default_rng(list(key))
