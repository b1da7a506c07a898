"""What a teacher that never changes has to say, asked once a sentence."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from .data import Array, LengthBatches

#: more bytes of embeddings than this are not kept; so long a text is hardly read twice
_MOST_BYTES = 1 << 30


class TeacherEmbeddings:
    """The teacher's sentence embeddings, float32 (lines, width), each kept from when it is first needed.

    The last bits of an embedding depend on the batch that it is computed in. Here that is always the sentence's batch
    of the first epoch, whenever it is asked for: so a run that is resumed in a later epoch sees what it would have.

    batches: of all lines. embed: unit embeddings (n, width) of n lines, without gradient. Above 1 GiB nothing
    is kept, and every batch is computed as it is asked for.
    """

    def __init__(self, batches: LengthBatches, embed: Callable[[Array], Tensor]) -> None:
        self._batches = batches
        self._embed = embed
        self._known = np.zeros(batches.lines, bool)
        self._kept: Tensor | None = None
        self._too_large = False

    def repeats(self, step: int) -> bool:
        """Whether what a step needs is there already in a run of all steps before it."""
        return not self._too_large and step >= self._batches.per_epoch

    def __getitem__(self, lines: Array) -> Tensor:
        """Embeddings of lines, by number, float32 (lines, width)."""
        if self._too_large:
            return self._embed(lines)
        missing = lines[~self._known[lines]]
        for number in np.unique(self._home[missing]):
            batch = self._first[number]
            made = self._embed(batch)
            if self._kept is None:
                if self._known.size * made.shape[1] * made.element_size() > _MOST_BYTES:
                    self._too_large = True
                    return self._embed(lines)
                self._kept = made.new_empty((self._known.size, made.shape[1]))
            self._kept[torch.from_numpy(batch).to(made.device)] = made
            self._known[batch] = True
        if self._kept is None:
            raise ValueError("no lines were asked for")
        return self._kept[torch.from_numpy(lines).to(self._kept.device)]

    @cached_property
    def _first(self) -> list[Array]:
        """The batches of the first epoch."""
        return self._batches.epoch(0)

    @cached_property
    def _home(self) -> Array:
        """For each line the number of its batch in the first epoch, int64 (lines,)."""
        home = np.empty(self._known.size, np.int64)
        for number, batch in enumerate(self._first):
            home[batch] = number
        return home
