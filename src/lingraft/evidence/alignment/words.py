"""Tokens as bytes, and ids for them: text is cut and looked up in compiled loops, without a Python object per token.

A *span* is a token's place in a block of UTF-8 bytes: its first byte and the byte behind its last.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import numpy as np

from ...corpus.scripts import MARK, OTHER, SPACELESS, character_classes
from ...errors import CorpusError
from .compiled import Array, compiled


@compiled()
def _cut(block: Array, lines: int) -> tuple[Array, Array, Array]:
    starts = np.empty(block.size // 2 + 1, np.int64)
    ends = np.empty(block.size // 2 + 1, np.int64)
    lengths = np.zeros(lines, np.int64)
    tokens = first = line = 0
    inside = False
    for at in range(block.size):
        byte = block[at]
        if byte == 32 or 9 <= byte <= 13:
            if inside:
                ends[tokens] = at
                tokens += 1
                inside = False
            if byte == 10:
                lengths[line] = tokens - first
                first = tokens
                line += 1
        elif not inside:
            starts[tokens] = at
            inside = True
    if inside:
        ends[tokens] = block.size
        tokens += 1
    if line < lines:
        lengths[line] = tokens - first
    return starts[:tokens], ends[:tokens], lengths


def cut(block: bytes) -> tuple[Array, Array, Array]:
    """Spans of the tokens of a text: maximal runs of bytes other than white space (space, `\\t`, `\\v`, `\\f`, `\\r`).

    A line ends at `\\n`; what follows the last one is a line if there is anything. Returns starts and ends, int64 of
    shape (tokens,), and the tokens of each line, int64 of shape (lines,).
    """
    lines = block.count(b"\n") + (not block.endswith(b"\n") and bool(block))
    spans: tuple[Array, Array, Array] = _cut(np.frombuffer(block, np.uint8), lines)
    return spans


@compiled()
def _take_apart(
    block: Array, starts: Array, ends: Array, lengths: Array, classes: Array
) -> tuple[Array, Array, Array, Array]:
    # a character of a script without spaces has three bytes or more and ends at most one unit and its own
    most = starts.size + 2 * (block.size // 3 + 1)
    unit_starts = np.empty(most, np.int64)
    unit_ends = np.empty(most, np.int64)
    words = np.empty(most, np.int32)
    unit_lengths = np.empty(lengths.size, np.int64)
    units = token = 0
    for line in range(lengths.size):
        first = units
        for word in range(lengths[line]):
            start, end = starts[token], ends[token]
            token += 1
            unit_starts[units] = start
            words[units] = word
            before = OTHER
            at = start
            while at < end:
                lead = np.int64(block[at])
                size = 1 if lead < 0x80 else 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
                code = lead if size == 1 else lead & (0x7F >> size)
                for k in range(at + 1, min(at + size, end)):
                    code = code << 6 | (block[k] & 0x3F)
                kind = classes[code] if code < classes.size else OTHER
                if at > start and (kind == SPACELESS or (kind == OTHER and before == SPACELESS)):
                    unit_ends[units] = at
                    units += 1
                    unit_starts[units] = at
                    words[units] = word
                if kind != MARK:
                    before = kind
                at += size
            unit_ends[units] = end
            units += 1
        unit_lengths[line] = units - first
    return unit_starts[:units], unit_ends[:units], unit_lengths, words[:units]


def take_apart(block: bytes, starts: Array, ends: Array, lengths: Array) -> tuple[Array, Array, Array, Array]:
    """Spans of the units of tokens: each character of a script written without spaces, and each run of others.

    Han, kana, Thai, Lao, Khmer and Myanmar are such scripts; a combining mark stays with the character before. block
    must be UTF-8; the rest is as `cut` returns it, and so are the first three results. The fourth is int32 of shape
    (units,): the number of the token, within its line, that the unit is a part of.
    """
    spans: tuple[Array, Array, Array, Array] = _take_apart(
        np.frombuffer(block, np.uint8), starts, ends, lengths, character_classes()
    )
    return spans


@compiled()
def _look_up(
    block: Array, starts: Array, ends: Array, done: int, slots: Array, blob: Array, offsets: Array, types: int,
    ids: Array,
) -> tuple[int, int]:  # fmt: skip
    """Fills ``ids[done:]`` and stops early when a new type finds no room; returns the ids filled and the types.

    A slot holds the upper half of the token's hash and, plus one, its id; 0 marks a free one.
    """
    mask = np.uint64(slots.size - 1)
    half = np.uint64(32)
    for token in range(done, starts.size):
        start = starts[token]
        size = ends[token] - start
        # FNV-1a, and one more round of mixing because its upper bits hardly feel the last bytes
        value = np.uint64(0xCBF29CE484222325)
        for k in range(start, start + size):
            value = (value ^ np.uint64(block[k])) * np.uint64(0x00000100000001B3)
        value = (value ^ (value >> half)) * np.uint64(0xD6E8FEB86659FD93)
        tag = (value ^ (value >> half)) & np.uint64(0xFFFFFFFF)
        slot = tag & mask
        found: int | np.int64 = -1
        while slots[slot] != 0:
            if slots[slot] >> half == tag:
                known = np.int64(slots[slot] & np.uint64(0xFFFFFFFF)) - 1
                begin = offsets[known]
                if offsets[known + 1] - begin == size:
                    k = 0
                    while k < size and blob[begin + k] == block[start + k]:
                        k += 1
                    if k == size:
                        found = known
                        break
            slot = (slot + np.uint64(1)) & mask
        if found < 0:
            begin = offsets[types]
            if 2 * types >= slots.size or types + 1 >= offsets.size or begin + size > blob.size:
                return token, types
            for k in range(size):
                blob[begin + k] = block[start + k]
            found = types
            types += 1
            offsets[types] = begin + size
            slots[slot] = tag << half | np.uint64(types)
        ids[token] = found
    return starts.size, types


@compiled()
def _spread(slots: Array, wider: Array) -> None:
    """Enters the types of one table into an empty one with more slots."""
    mask = np.uint64(wider.size - 1)
    for entry in slots:
        if entry != 0:
            slot = (entry >> np.uint64(32)) & mask
            while wider[slot] != 0:
                slot = (slot + np.uint64(1)) & mask
            wider[slot] = entry


class Vocabulary:
    """The types of one side of a bitext: an open-addressing hash table over the bytes of tokens.

    Ids count from 0 in the order of first appearance.
    """

    def __init__(self) -> None:
        self._slots = np.zeros(1 << 12, np.uint64)
        self._blob = np.empty(1 << 14, np.uint8)
        self._offsets = np.zeros((1 << 11) + 1, np.int64)
        self._types = 0

    def __len__(self) -> int:
        return self._types

    def encode_spans(self, block: bytes, starts: Array, ends: Array) -> Array:
        """Ids, int32 (tokens,), of the tokens ``block[starts[k]:ends[k]]``, whatever bytes they hold.

        starts, ends: int64, shape (tokens,). Unknown tokens become new types.
        """
        text = np.frombuffer(block, np.uint8)
        ids = np.empty(starts.size, np.int32)
        done = 0
        while True:
            done, self._types = _look_up(
                text, starts, ends, done, self._slots, self._blob, self._offsets, self._types, ids
            )
            if done == starts.size:
                return ids
            self._grow(int(ends[done] - starts[done]))

    def _grow(self, size: int) -> None:
        """Makes room for one more type of so many bytes, and at least doubles what was full."""
        if 2 * self._types >= self._slots.size:
            wider = np.zeros(2 * self._slots.size, np.uint64)
            _spread(self._slots, wider)
            self._slots = wider
        if self._types + 1 >= self._offsets.size:
            self._offsets = np.concatenate([self._offsets, np.empty(self._offsets.size, np.int64)])
        if self._offsets[self._types] + size > self._blob.size:
            self._blob = np.concatenate([self._blob, np.empty(max(self._blob.size, size), np.uint8)])

    def copy(self) -> Vocabulary:
        """The same types, to add to."""
        result = Vocabulary()
        result._slots, result._blob, result._offsets = self._slots.copy(), self._blob.copy(), self._offsets.copy()
        result._types = self._types
        return result

    def words(self) -> list[str]:
        """The types, by id."""
        blob = self._blob.tobytes()
        return [blob[start:end].decode() for start, end in pairwise(self._offsets[: self._types + 1].tolist())]

    def to_arrays(self) -> tuple[Array, Array]:
        """(bytes of all types one after the other, uint8; offsets of the types in them, int64, shape (types + 1,))."""
        offsets = self._offsets[: self._types + 1].copy()
        return self._blob[: offsets[-1]].copy(), offsets

    @classmethod
    def from_arrays(cls, blob: Array, offsets: Array) -> Vocabulary:
        """The vocabulary that `to_arrays` took apart; CorpusError if the arrays are not what it returned."""
        # compiled loops will read by these offsets; differences would wrap around where values are absurd
        whole = offsets.dtype == np.int64 and offsets.ndim == 1 and blob.dtype == np.uint8 and blob.ndim == 1
        whole = whole and offsets.size > 0 and offsets[0] == 0 and offsets[-1] == blob.size
        if not whole or (offsets[1:] < offsets[:-1]).any():
            raise CorpusError(
                f"A saved vocabulary is damaged: its offsets do not fit its {blob.size:,} bytes. Make it again."
            )
        vocabulary = cls()
        ids = vocabulary.encode_spans(blob.tobytes(), offsets[:-1], offsets[1:])
        if len(vocabulary) != ids.size:
            raise CorpusError("A saved vocabulary is damaged: it holds a word twice. Make it again.")
        return vocabulary


def join(tokens: Iterable[bytes]) -> tuple[bytes, Array, Array]:
    """Tokens one after the other, and their spans, int64 of shape (tokens,)."""
    tokens = list(tokens)
    offsets = np.zeros(len(tokens) + 1, np.int64)
    np.cumsum([len(token) for token in tokens], out=offsets[1:])
    return b"".join(tokens), offsets[:-1], offsets[1:]
