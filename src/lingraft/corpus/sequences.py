"""Many token sequences in two flat arrays, the form in which all later stages take text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class TokenSequences:
    """Token ids of many lines, one after the other.

    ids: int32, shape (tokens,). offsets: int64, shape (lines + 1,); line k is ``ids[offsets[k]:offsets[k + 1]]``.
    """

    ids: np.ndarray[Any, Any]
    offsets: np.ndarray[Any, Any]

    @classmethod
    def from_lists(cls, lines: Iterable[Sequence[int] | np.ndarray[Any, Any]]) -> TokenSequences:
        """Packs lists of ids, int (length,) each; an empty list is kept as an empty line."""
        rows = [np.asarray(line, np.int32) for line in lines]
        offsets = np.zeros(len(rows) + 1, np.int64)
        np.cumsum([row.size for row in rows], out=offsets[1:])
        return cls(np.concatenate([np.empty(0, np.int32), *rows]), offsets)

    def __len__(self) -> int:
        return self.offsets.size - 1

    def __getitem__(self, line: int) -> np.ndarray[Any, Any]:
        return self.ids[self.offsets[line] : self.offsets[line + 1]]

    @property
    def lengths(self) -> np.ndarray[Any, Any]:
        """Tokens per line, int64, shape (lines,)."""
        return np.diff(self.offsets)

    def take(self, lines: np.ndarray[Any, Any]) -> TokenSequences:
        """The lines of these numbers, int64 (n,), in this order; a number may be there several times."""
        lengths = self.lengths[lines]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        places = np.arange(offsets[-1]) + np.repeat(self.offsets[lines] - offsets[:-1], lengths)
        return TokenSequences(self.ids[places], offsets)

    def select(self, lines: np.ndarray[Any, Any]) -> TokenSequences:
        """The lines where the boolean mask of shape (lines,) is True."""
        offsets = np.concatenate([[0], np.cumsum(self.lengths[lines])])
        return TokenSequences(self.ids[np.repeat(lines, self.lengths)], offsets)
