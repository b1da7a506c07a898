"""Masked language modelling: which positions are predicted and what stands there (Devlin et al. 2019)."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

#: what stands at a predicted position. ``80-10-10``: the mask token, a random token, the token itself (Devlin et al.
#: 2019); ``90-10``: the mask token, the token itself (the code of Tran 2020)
MaskScheme = Literal["80-10-10", "90-10"]

_MASKED_SHARE = {"80-10-10": 0.8, "90-10": 0.9}


class Masked(NamedTuple):
    """A batch with hidden tokens.

    ids: int64 (rows, length), what the model reads. positions: int64 (rows, k), ascending, where it predicts; the same
    number in every row. labels: int64 (rows, k), the true tokens there. weights: float32 (rows, k), 1, or 0 where a row
    with special tokens predicts fewer than k.
    """

    ids: Tensor
    positions: Tensor
    labels: Tensor
    weights: Tensor

    def rows(self, start: int, stop: int) -> Masked:
        """Some of the rows."""
        return Masked(*(part[start:stop] for part in self))

    def to(self, device: torch.device) -> Masked:
        """The same on another device."""
        return Masked(*(part.to(device) for part in self))


def mask_tokens(
    ids: Tensor, special: Tensor, mask_id: int, rate: float, generator: torch.Generator,
    scheme: MaskScheme = "80-10-10",
) -> Masked:  # fmt: skip
    """Hides a share of the ordinary tokens of every row, all on the device of ids and without waiting for it.

    ids: int64 (rows, length). special: bool (tokens of the vocabulary,), True for ids that are never predicted and
    never put in; on the same device. rate: share of a row's ordinary tokens that is predicted, at least one.
    """
    k = max(1, round(rate * ids.shape[1]))
    hidden = special[ids]
    keys = torch.rand(ids.shape, generator=generator, device=ids.device) + hidden
    found = keys.topk(k, dim=1, largest=False, sorted=True).indices
    n_ordinary = (~hidden).sum(1, keepdim=True)
    wanted = (rate * n_ordinary).round().clamp(min=1).minimum(n_ordinary)
    chosen = torch.arange(k, device=ids.device) < wanted
    positions, order = found.sort(dim=1)
    ordinary = chosen.gather(1, order)
    labels = ids.gather(1, positions)
    kind = torch.rand(labels.shape, generator=generator, device=ids.device)
    instead = torch.full_like(labels, mask_id)
    masked = _MASKED_SHARE[scheme]
    instead = torch.where(kind < masked, instead, labels)
    if scheme == "80-10-10":
        choice = torch.rand(labels.shape, generator=generator, device=ids.device)
        drawn = _ordinary_token(special, choice)
        instead = torch.where((kind >= masked) & (kind < masked + 0.1), drawn, instead)
    changed = ids.scatter(1, positions, torch.where(ordinary, instead, labels))
    return Masked(changed, positions, labels, ordinary.float())


def _ordinary_token(special: Tensor, uniform: Tensor) -> Tensor:
    """A token that is not special, for each number in [0, 1); none drawn where all are special."""
    # the k-th ordinary token is the first at which k + 1 have been seen; counting needs no list of unknown length
    seen = (~special).long().cumsum(0)
    wanted = (uniform.double() * seen[-1]).long() + 1
    return torch.searchsorted(seen, wanted).clamp(max=special.shape[0] - 1)


def generator_for(device: torch.device, *key: int) -> torch.Generator:
    """A random generator of the device that depends on these numbers alone."""
    state = int(np.random.SeedSequence(list(key)).generate_state(1, np.uint64)[0])
    return torch.Generator(device).manual_seed(state >> 1)
