"""The tokens of a text one after the other, in memory or on disk, and windows of them."""

from __future__ import annotations

import mmap
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

import numpy as np

from .sequences import TokenSequences

Array = np.ndarray[Any, Any]


class TokenStream:
    """The lines of a text without a gap, each closed by the separator where there is one.

    parts: arrays of token ids, any integer type, shape (tokens of the part,), that make the stream in this order.
    counts: int64 (vocabulary,), how often each token stands in the lines; the separators that close them do not count.
    lines: how many there are. mappings: the memory-mapped files that the parts are views of, if they are.
    """

    def __init__(
        self, parts: Sequence[Array], counts: Array, lines: int, mappings: Sequence[mmap.mmap] = ()
    ) -> None:  # fmt: skip
        self._parts = [part for part in parts if part.size]
        self._ends = np.cumsum([part.size for part in self._parts]).tolist()
        self._mappings = mappings
        self.counts = counts
        self.lines = lines
        #: tokens, separators included
        self.size: int = self._ends[-1] if self._ends else 0

    @classmethod
    def of(cls, text: TokenSequences, separator: int | None, vocabulary: int) -> TokenStream:
        """The stream of a text in memory, int32 (tokens,).

        text: its lines. separator: id of the token that stands behind every line, or None. vocabulary: how many tokens
        there are.
        """
        closing = np.full(0 if separator is None else len(text), separator or 0, np.int32)
        stream = np.insert(text.ids, text.offsets[1:] if closing.size else [], closing)
        return cls([stream], np.bincount(text.ids, minlength=vocabulary), len(text))

    def take(self, starts: Array, length: int) -> Array:
        """So many tokens from each of these places on, int32 (starts, length); behind the end comes the beginning.

        What memory-mapped files had to load for it is given back at once, so the process does not grow by them.
        Raises ValueError for a stream without tokens.
        """
        if not self.size:
            raise ValueError("there are no tokens to take from")
        windows = np.empty((len(starts), length), np.int32)
        for window, start in zip(windows, starts.tolist(), strict=True):
            place, filled = start % self.size, 0
            while filled < length:
                number = bisect_right(self._ends, place)
                part, end = self._parts[number], self._ends[number]
                piece = part[part.size - (end - place) :][: length - filled]
                window[filled : filled + piece.size] = piece
                filled += piece.size
                place = (place + piece.size) % self.size
        for mapping in self._mappings:
            advise(mapping, "MADV_DONTNEED")
        return windows


def advise(mapping: mmap.mmap, advice: str) -> None:
    """Tells the system how a memory-mapped file is used, where it takes such advice."""
    if hasattr(mapping, "madvise") and hasattr(mmap, advice):
        mapping.madvise(getattr(mmap, advice))
