"""The text format of word vectors, read fast: numbers by a compiled loop, what is odd about a line by Python."""

from __future__ import annotations

import math
from itertools import chain
from pathlib import Path

import numpy as np

from ...corpus import Counts, read_blocks
from ...corpus.clean import MALFORMED_SHARE
from ...errors import CorpusError
from ..alignment.compiled import Array, Growing, compiled


class TextReader:
    """One text file, read once."""

    def __init__(self, path: Path, limit: int | None) -> None:
        self._path, self._limit = path, math.inf if limit is None else limit
        self._promised: int | None = None
        self._dimension = 0
        self._line = self._empty = 0
        self._malformed: list[tuple[int, str]] = []
        self._words: dict[str, None] = {}

    def read(self, counts: Counts) -> tuple[list[str], Array]:
        """Words and vectors; see `files.read_vectors`."""
        blocks = read_blocks(self._path)
        first = self._header(next(blocks))
        expected = self._limit if self._promised is None else min(self._limit, self._promised)
        # a header without a row behind it may say anything
        parts = Growing(np.float32, int(expected) * self._dimension if first and expected < math.inf else 0)
        for block in chain([first], blocks):
            parts.append(self._rows(block).ravel())
            if len(self._words) >= self._limit:
                break
        rows = len(self._words) + len(self._malformed)
        counts.read += rows
        counts.kept += len(self._words)
        counts.empty += self._empty
        counts.malformed += len(self._malformed)
        counts.malformed_lines = (counts.malformed_lines + [line for line, _ in self._malformed])[:10]
        self._check(rows)
        words = list(self._words)
        return words, parts.finished().reshape(len(words), self._dimension)

    def _header(self, block: bytes) -> bytes:
        """The block behind the header, if there is one; sets the dimension, and the line before the first row."""
        first, _, rest = block.partition(b"\n")
        fields = first.rstrip(b" \r").split(b" ")
        if len(fields) == 2 and all(field.isdigit() for field in fields):
            self._promised, self._dimension, self._line = int(fields[0]), int(fields[1]), 1
            if not self._promised or not self._dimension:
                raise CorpusError(f"'{self._path}' holds no word vectors: its header is '{first.decode()[:40]}'.")
            row = rest.partition(b"\n")[0].rstrip(b" \r").split(b" ")
            if rest and len(row) - 1 != self._dimension and self._numbers(row) != self._dimension:
                raise CorpusError(
                    f"'{self._path}': line 2 has {self._numbers(row)} numbers, the header says {self._dimension}. Give "
                    "word vectors in the text format of word2vec or fastText."
                )
            return rest
        self._dimension = self._numbers(fields)
        if not self._dimension:
            raise CorpusError(
                f"'{self._path}': line 1 is neither a header (words, dimension) nor a word and its numbers. Give word "
                "vectors in the text format of word2vec, fastText or GloVe."
            )
        return block

    @staticmethod
    def _numbers(fields: list[bytes]) -> int:
        """How many fields at the end, all but the first at most, are numbers."""
        count = 0
        for field in reversed(fields[1:]):
            if _number(field) is None:
                break
            count += 1
        return count

    def _rows(self, block: bytes) -> Array:
        """The vectors of a block's well-formed lines, in order; their words are put down."""
        text = np.frombuffer(block, np.uint8)
        matrix, starts, ends, plain = _parse(text, block.count(b"\n"), self._dimension)
        kept = np.zeros(len(matrix), bool)
        for k, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
            if len(self._words) >= self._limit:
                break
            self._line += 1
            if plain[k]:
                word = block[start:end].decode()
            else:
                line = block[start : block.index(b"\n", start)].rstrip(b" \r")
                if not line:
                    self._empty += 1
                    continue
                row = _row(line.decode(), self._dimension)
                if isinstance(row, str):
                    self._malformed.append((self._line, row))
                    continue
                word, matrix[k] = row
            if word in self._words:
                self._malformed.append((self._line, f"has the word '{word[:40]}' a second time"))
                continue
            self._words[word] = None
            kept[k] = True
        return matrix[kept]

    def _check(self, rows: int) -> None:
        """CorpusError if the header was wrong or too much is malformed."""
        if len(self._malformed) > MALFORMED_SHARE * rows:
            line, what = self._malformed[0]
            raise CorpusError(
                f"'{self._path}': line {line} {what}; expected were a word and {self._dimension} numbers, separated by "
                f"spaces. {len(self._malformed):,} of {rows:,} rows are malformed; at most 1 % are skipped."
            )
        if self._promised is not None and (
            rows > self._promised or (rows < self._promised and len(self._words) < self._limit)
        ):
            raise CorpusError(
                f"'{self._path}': the header (line 1) says {self._promised:,} words and there are "
                f"{f'only {rows:,}' if rows < self._promised else 'more'}. The file is cut off, or its header is wrong."
            )
        if not self._words:
            raise CorpusError(f"'{self._path}' holds no word vectors, only a header.")


def _number(text: bytes | str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _row(line: str, dimension: int) -> tuple[str, Array] | str:
    """Word and vector of a line, or what is wrong with it."""
    word, *fields = line.rsplit(" ", dimension)
    if len(fields) < dimension:
        return f"has {len(fields)} number{'s' if len(fields) != 1 else ''}"
    numbers = [_number(field) for field in fields]
    for field, number in zip(fields, numbers, strict=True):
        if number is None:
            return f"holds '{field[:40]}' where a number belongs"
    with np.errstate(over="ignore"):
        vector = np.array(numbers, np.float32)
    if not np.isfinite(vector).all():
        return "holds NaN or a number too large"
    if _number(word.rpartition(" ")[2]) is not None and " " in word:
        return f"has more than {dimension} numbers"
    return (word, vector) if word else "has no word"


@compiled()
def _parse(text: Array, lines: int, dimension: int) -> tuple[Array, Array, Array, Array]:
    """Numbers of every line, float32 (lines, dimension); first byte of the line and the byte behind its word, int64;
    and whether the line was plain: a word, then so many plain decimal numbers. Others are left to Python.
    """  # fmt: skip
    matrix = np.zeros((lines, dimension), np.float32)
    starts, ends = np.zeros(lines, np.int64), np.zeros(lines, np.int64)
    plain = np.zeros(lines, np.bool_)
    powers = np.ones(23)
    for k in range(1, 23):
        powers[k] = powers[k - 1] * 10.0
    at = 0
    for line in range(lines):
        starts[line] = at
        while text[at] != 32 and text[at] != 10:
            at += 1
        ends[line] = at
        good = at > starts[line]
        filled = 0
        while good and filled < dimension:
            if text[at] != 32:
                good = False
                break
            at += 1
            negative = text[at] == 45
            if negative:
                at += 1
            # digits and powers of ten below 2^53 and 10^22 are exact, so that one rounding is all (Clinger 1990)
            digits, scale, seen = 0, 0, 0
            fraction = False
            while True:
                byte = int(text[at])
                if 48 <= byte <= 57:
                    if digits > 0 or byte > 48:
                        seen += 1
                    if seen > 15:
                        break
                    digits = digits * 10 + (byte - 48)
                    scale -= fraction
                elif byte == 46 and not fraction:
                    fraction = True
                else:
                    break
                at += 1
            before = text[at - 1]
            good = 48 <= before <= 57
            if good and (text[at] == 101 or text[at] == 69):
                at += 1
                down = text[at] == 45
                if down or text[at] == 43:
                    at += 1
                exponent = 0
                first = at
                while 48 <= text[at] <= 57 and at - first < 3:
                    exponent = exponent * 10 + (int(text[at]) - 48)
                    at += 1
                good = at > first
                scale += -exponent if down else exponent
            if not good or scale < -22 or scale > 22:
                good = False
                break
            value = np.float64(digits)
            value = value / powers[-scale] if scale < 0 else value * powers[scale]
            matrix[line, filled] = -value if negative else value
            filled += 1
        if good:
            while text[at] == 32 or text[at] == 13:
                at += 1
            good = text[at] == 10
            for k in range(dimension):
                good = good and np.isfinite(matrix[line, k])
        plain[line] = good
        while text[at] != 10:
            at += 1
        at += 1
    return matrix, starts, ends, plain
