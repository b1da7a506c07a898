"""Word vectors: what they are, and to and from files.

The text format is that of word2vec and fastText (``.vec``): a header with the number of words and the dimension, then a
word a line and its numbers, separated by single spaces, most frequent word first. GloVe's files, which have no header,
are read too. Only the space separates: words hold whatever else Unicode calls a space.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import math
import os
import zipfile
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import IO, Any

import numpy as np
import zstandard

from ...cache import replacing
from ...corpus import Counts, check_readable, read_blocks
from ...corpus.clean import MALFORMED_SHARE
from ...errors import CorpusError, MissingExtraError, OutputError
from ..alignment.compiled import Array, Growing, compiled

#: how many rows are written at once
_ROWS = 4096
_OPEN: dict[str, Callable[[IO[bytes]], Any]] = {
    ".gz": lambda stream: gzip.GzipFile("", "wb", fileobj=stream, mtime=0),  # the same vectors make the same file
    ".zst": lambda stream: zstandard.ZstdCompressor().stream_writer(stream, closefd=False),
    ".xz": lambda stream: lzma.LZMAFile(stream, "wb"),  # noqa: SIM115 -- opened by who calls this
    ".bz2": lambda stream: bz2.BZ2File(stream, "wb"),
}


@dataclass(frozen=True, eq=False)
class WordVectors:
    """Vectors of words, most frequent word first.

    words: all different. matrix: float32, shape (n, d), finite. counts: float64, shape (n,), how often each word
    occurred, or None where that is not known. Raises ValueError where these do not fit together.
    """

    words: list[str]
    matrix: Array
    counts: Array | None = None

    def __post_init__(self) -> None:
        n = len(self.words)
        if self.matrix.ndim != 2 or len(self.matrix) != n or self.matrix.dtype != np.float32:
            raise ValueError(f"{n} words and vectors of {self.matrix.dtype}, shape {self.matrix.shape}")
        if self.counts is not None and (self.counts.shape != (n,) or not (self.counts > 0).all()):
            raise ValueError(f"{n} words and counts of shape {self.counts.shape}, or some of them not positive")

    def __len__(self) -> int:
        return len(self.words)

    @property
    def dimension(self) -> int:
        """How many numbers a vector has."""
        return int(self.matrix.shape[1])

    @cached_property
    def frequencies(self) -> Array:
        """Occurrences of every word, float64, shape (n,).

        The counts, or an estimate from the rank: words follow Zipf's law, p(w) ~ 1 / rank (Tran 2020), and the last one
        is taken to have been seen once.
        """
        return len(self) / np.arange(1.0, len(self) + 1) if self.counts is None else self.counts

    @cached_property
    def index(self) -> dict[str, int]:
        """The row of every word."""
        return {word: row for row, word in enumerate(self.words)}


def read_vectors(
    path: str | os.PathLike[str], limit: int | None = 200_000, counts: Counts | None = None
) -> WordVectors:
    """Reads word vectors: text, plain or compressed (.gz, .zst, .xz, .bz2), or a fastText model (.bin).

    limit: how many rows are read; None reads all. Memory is bounded by what is read, but for ``.bin``, which is loaded
    as a whole and brings counts along. Rows are malformed that have another number of numbers than the first, a number
    that is none or not finite, no word, or a word that a row before has; they are skipped and counted.

    counts: what became of the rows is added to it. Raises CorpusError when the file cannot be read, a header is wrong
    (the rows end before or go on behind what it says, or are of another dimension), there are no vectors, or more than
    1 % of the rows are malformed; MissingExtraError for a ``.bin`` without the fastText library.
    """
    path = Path(path)
    if limit is not None and limit < 1:
        raise ValueError(f"{limit} rows of '{path}' cannot be read")
    counts = Counts() if counts is None else counts
    return _read_model(path, limit) if path.suffix == ".bin" else _Reader(path, limit).read(counts)


def write_vectors(vectors: WordVectors, path: str | os.PathLike[str]) -> None:
    """Writes word vectors as text, compressed if the suffix says so (.gz, .zst, .xz, .bz2), without their counts.

    `read_vectors` gives back the same words and numbers, bit for bit. Raises CorpusError for a word that the format has
    no place for or a vector that is not finite, OutputError when the file cannot be written.
    """
    path = Path(path)
    for word in vectors.words:
        if not word or any(mark in word for mark in " \n\0"):
            raise CorpusError(
                f"{word!r} cannot be written to '{path}': a word must not be empty or hold a space, a line end or NUL."
            )
    if not np.isfinite(vectors.matrix).all() or not vectors.matrix.size:
        raise CorpusError(f"'{path}' cannot be written: there are no vectors, or one holds NaN or infinity.")
    try:
        with replacing(path) as aside, aside.open("wb") as file, _OPEN.get(path.suffix, nullcontext)(file) as out:
            out.write(f"{len(vectors)} {vectors.dimension}\n".encode())
            for start in range(0, len(vectors), _ROWS):
                # the shortest text that is read back as the same float32
                rows = vectors.matrix[start : start + _ROWS].astype(str).tolist()
                words = vectors.words[start : start + _ROWS]
                out.write("".join(f"{word} {' '.join(row)}\n" for word, row in zip(words, rows, strict=True)).encode())
    except UnicodeEncodeError as error:
        raise CorpusError(f"'{path}' cannot be written: a word holds {error.object[error.start]!r}.") from None
    except OSError as error:
        raise OutputError(f"'{path}' cannot be written: {error.strerror}.") from None


class _Reader:
    """One text file, read once."""

    def __init__(self, path: Path, limit: int | None) -> None:
        self._path, self._limit = path, math.inf if limit is None else limit
        self._promised: int | None = None
        self._dimension = 0
        self._line = self._empty = 0
        self._malformed: list[tuple[int, str]] = []
        self._words: dict[str, None] = {}

    def read(self, counts: Counts) -> WordVectors:
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
        return WordVectors(words, parts.finished().reshape(len(words), self._dimension))

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
            if len(self._words) >= self._limit:
                break
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
                byte = np.int64(text[at])
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
                    exponent = exponent * 10 + (np.int64(text[at]) - 48)
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


def load_fasttext(what: str) -> Any:
    """The fastText library; MissingExtraError naming what needs it where it is not installed."""
    try:
        import fasttext
    except ImportError:
        raise MissingExtraError(what, "vectors") from None
    return fasttext


def _read_model(path: Path, limit: int | None) -> WordVectors:
    check_readable(path)
    fasttext = load_fasttext(f"Reading '{path}'")
    try:
        model = fasttext.load_model(str(path))
    except (ValueError, RuntimeError, MemoryError) as error:
        raise CorpusError(f"'{path}' is no fastText model ({error}).") from None
    vectors = of_model(model, limit)
    if not len(vectors):
        raise CorpusError(f"'{path}' holds no word vectors.")
    return vectors


def of_model(model: Any, limit: int | None) -> WordVectors:
    """The words of a fastText model, each with the vector of itself and its character n-grams, and its count."""
    words, frequencies = model.get_words(include_freq=True, on_unicode_error="replace")
    # the mark of a line's end is no word, and a word with half a character cannot be asked for
    rows = [k for k, word in enumerate(words) if word != "</s>" and "\ufffd" not in word][:limit]
    matrix = np.empty((len(rows), model.get_dimension()), np.float32)
    for row, k in enumerate(rows):
        matrix[row] = model.get_word_vector(words[k])
    return WordVectors([words[k] for k in rows], matrix, np.asarray(frequencies, np.float64)[rows])


def save_vectors(vectors: WordVectors, path: Path) -> None:
    """Writes word vectors with their counts as one ``.npz`` without pickles, for later stages of a run."""
    blob = "\0".join(vectors.words).encode("utf-8", "surrogatepass")
    with path.open("wb") as stream:
        np.savez(
            stream,
            words=np.frombuffer(blob, np.uint8),
            matrix=vectors.matrix,
            counts=np.zeros(0) if vectors.counts is None else vectors.counts,
        )


def load_vectors(path: Path) -> WordVectors:
    """Reads what `save_vectors` wrote; CorpusError if the file is missing, damaged or no such file."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            words = arrays["words"].tobytes().decode("utf-8", "surrogatepass").split("\0")
            counts = arrays["counts"]
            return WordVectors(words, arrays["matrix"], counts if counts.size else None)
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise CorpusError(f"'{path}' holds no word vectors ({type(error).__name__}: {error}).") from None
