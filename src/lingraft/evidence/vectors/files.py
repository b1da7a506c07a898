"""Word vectors: what they are, and to and from files.

The text format is that of word2vec and fastText (``.vec``): a header with the number of words and the dimension, then a
word a line and its numbers, separated by single spaces, most frequent word first. GloVe's files, which have no header,
are read too. Only the space separates: words hold whatever else Unicode calls a space.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import zipfile
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
import zstandard

from ...cache import replacing
from ...corpus import Counts, check_readable
from ...errors import CorpusError, MissingExtraError, OutputError
from ..alignment.compiled import Array
from .text import TextReader

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
    """Reads word vectors: text, plain or compressed (.gz, .zst, .xz, .bz2), a fastText model (.bin) or our .npz.

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
    if path.suffix == ".npz":
        return load_vectors(path)
    return _read_model(path, limit) if path.suffix == ".bin" else WordVectors(*TextReader(path, limit).read(counts))


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
    """Writes word vectors with their counts as one ``.npz`` without pickles, for later stages of a run.

    path: the file, which `load_vectors` reads.
    """
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
