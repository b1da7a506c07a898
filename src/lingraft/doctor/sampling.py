"""What the doctor looks at: of a short text all, of a long one blocks of lines at even distances, always the same."""

from __future__ import annotations

import bz2
import gzip
import lzma
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Generic, TypeVar

import zstandard

from ..corpus import Counts, clean, is_hub, read_bitext, read_text, split_bitext
from ..corpus.clean import check_columns
from ..errors import CorpusError

T = TypeVar("T", str, tuple[str, str])

#: so much of a file is read, in bytes of its text
READ_BYTES = 64 << 20
#: and of that so much is kept
KEPT_BYTES = 16 << 20
#: lines that stand together in the text stay together: a shift shows between neighbours
BLOCK = 16
#: a longer plain file is read at so many places
_PLACES = 64

_COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress, ".xz": lzma.compress, ".bz2": bz2.compress,
    ".zst": lambda raw: zstandard.ZstdCompressor().compress(raw),
}  # fmt: skip


@dataclass
class Sample(Generic[T]):
    """Lines of text, or sentence pairs, as they stand in the files, in blocks of neighbours.

    names: of the files. lines: those that were kept, block after block. blocks: the number of each line's block. read,
    filled, repeats: how many were read, were not empty (on either side), and of these were equal to an earlier one once
    clean. whole: whether everything was read. total_bytes: of the text in all; None where nobody knows. seconds: that
    reading took.
    """

    names: tuple[str, ...]
    lines: list[T]
    blocks: list[int]
    read: int
    read_bytes: int
    filled: int
    repeats: int
    whole: bool
    total_bytes: int | None
    seconds: float
    counts: Counts = field(default_factory=Counts)

    @property
    def shown(self) -> str:
        """The names for people."""
        return ", ".join(Path(name).name if not is_hub(name) else name for name in self.names)

    @property
    def scale(self) -> float | None:
        """How many times as much text there is as was read; None where nobody knows."""
        if self.whole:
            return 1.0
        return None if self.total_bytes is None else max(1.0, self.total_bytes / max(1, self.read_bytes))

    @property
    def total(self) -> int | None:
        """Lines in all, estimated unless everything was read; None where nobody knows."""
        return None if self.scale is None else round(self.scale * self.read)

    def some(self, number: int) -> list[T]:
        """At most so many lines, whole blocks at even distances."""
        return [self.lines[k] for k in self.places(number)]

    def places(self, number: int) -> list[int]:
        """Where those lines are."""
        chosen = spread(self.blocks, number)
        return [k for k, block in enumerate(self.blocks) if block in chosen]

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {"read": self.read, "examined": len(self.lines), "whole": self.whole, "estimated_total": self.total}


def spread(blocks: Sequence[int], lines: int) -> set[int]:
    """Of the blocks those at even distances, so many that they have at most so many lines."""
    found = sorted(set(blocks))
    wanted = max(1, lines // BLOCK)
    return {found[k * len(found) // wanted] for k in range(wanted)} if len(found) > wanted else set(found)


def _sides(line: object) -> tuple[str, ...]:
    """A line of text, or the sides of a pair."""
    return line if isinstance(line, tuple) else (str(line),)


class _Keeper(Generic[T]):
    """Keeps every so many-th block of what comes along, so that what is kept stays below a size."""

    def __init__(self, at_most: int) -> None:
        self._at_most = at_most
        self._stride = 1
        self._blocks: dict[int, list[T]] = {}
        self._bytes = 0
        self._seen: set[int] = set()
        self.number = 0
        self.filled = 0
        self.repeats = 0
        self.bytes = 0

    def add(self, line: T) -> None:
        sides = _sides(line)
        size = sum(len(side.encode()) + 1 for side in sides)
        self.bytes += size
        seen = tuple(map(clean, sides))
        if all(seen):
            self.filled += 1
            self.repeats += hash(seen) in self._seen
            self._seen.add(hash(seen))
        block = self.number // BLOCK
        self.number += 1
        if block % self._stride:
            return
        self._blocks.setdefault(block, []).append(line)
        self._bytes += size
        while self._bytes > self._at_most and len(self._blocks) > 1:
            self._stride *= 2
            self._blocks = {k: lines for k, lines in self._blocks.items() if k % self._stride == 0}
            kept = chain.from_iterable(self._blocks.values())
            self._bytes = sum(len(side.encode()) + 1 for line in kept for side in _sides(line))

    def lines(self) -> tuple[list[T], list[int]]:
        kept = [(line, block) for block, lines in self._blocks.items() for line in lines]
        return [line for line, _ in kept], [block for _, block in kept]


def sample_text(names: Sequence[str]) -> Sample[str]:
    """Lines of texts (files or hub data sets); CorpusError where they cannot be read or are empty."""
    began = time.perf_counter()
    keeper: _Keeper[str] = _Keeper(KEPT_BYTES)
    whole, total = True, 0.0
    known = True
    for name in names:
        before = keeper.bytes
        share = READ_BYTES // len(names)
        if not is_hub(name) and Path(name).suffix not in _COMPRESS and Path(name).stat().st_size > share:
            for line in _places_of(Path(name), share):
                keeper.add(line)
            whole, total = False, total + Path(name).stat().st_size
            continue
        for line in read_text(name):
            keeper.add(line)
            if keeper.bytes - before > share:
                whole = False
                size = _whole_size([name], "\n".join(keeper.lines()[0][-5000:]))
                known, total = known and size is not None, total + (size or 0)
                break
        else:
            total += keeper.bytes - before
    lines, blocks = keeper.lines()
    if not any(map(str.strip, lines)):
        raise CorpusError(f"No line is left of {', '.join(names)}: {keeper.number:,} read, {keeper.number:,} empty.")
    seconds = time.perf_counter() - began
    return Sample(
        tuple(names), lines, blocks, keeper.number, keeper.bytes, keeper.filled, keeper.repeats, whole,
        int(total) if known else None, seconds,
    )  # fmt: skip


def sample_pairs(names: Sequence[str]) -> Sample[tuple[str, str]]:
    """Sentence pairs of bitexts; CorpusError where they cannot be read or hold no pair, as in a run."""
    began = time.perf_counter()
    keeper: _Keeper[tuple[str, str]] = _Keeper(2 * KEPT_BYTES)
    counts = Counts()
    whole, total, known = True, 0.0, True
    for name in names:
        before, share = keeper.bytes, 2 * READ_BYTES // len(names)
        paths = split_bitext(name)
        if len(paths) == 1 and paths[0].suffix not in _COMPRESS and paths[0].stat().st_size > share:
            for pair in _pairs_at_places(paths[0], share, counts):
                keeper.add(pair)
            whole, total = False, total + paths[0].stat().st_size
            continue
        for pair in read_bitext(name, counts):
            keeper.add(pair)
            if keeper.bytes - before > share:
                whole = False
                size = _whole_size(paths, "\n".join("\t".join(pair) for pair in keeper.lines()[0][-5000:]))
                known, total = known and size is not None, total + (size or 0)
                break
        else:
            total += keeper.bytes - before
    lines, blocks = keeper.lines()
    if not any(english.strip() and foreign.strip() for english, foreign in lines):
        raise CorpusError(
            f"No sentence pair is left of {', '.join(names)}: {keeper.number:,} read, {keeper.number:,} with an empty "
            "side."
        )
    seconds = time.perf_counter() - began
    return Sample(
        tuple(names), lines, blocks, keeper.number, keeper.bytes, keeper.filled, keeper.repeats, whole,
        int(total) if known else None, seconds, counts,
    )  # fmt: skip


def _places_of(path: Path, at_most: int) -> Iterator[str]:
    """Lines of a long plain file from places at even distances; CorpusError for what is no UTF-8 text."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        for place in range(_PLACES):
            stream.seek(size * place // _PLACES)
            if place:
                stream.readline()  # the rest of a line
            end = stream.tell() + at_most // _PLACES
            while stream.tell() < end and (raw := stream.readline()):
                yield _decoded(raw, path, stream.tell())


def _decoded(raw: bytes, path: Path, end: int) -> str:
    """A line that ends at a byte of a file."""
    if b"\0" in raw:
        raise CorpusError(f"'{path}' is not text: there are NUL bytes before byte {end:,}.")
    try:
        return raw.decode("utf-8").rstrip("\r\n").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"'{path}' is not UTF-8 text: before byte {end:,} there is the byte 0x{error.object[error.start]:02x}. "
            "Convert it to UTF-8 first (for example with iconv)."
        ) from None


def _pairs_at_places(path: Path, at_most: int, counts: Counts) -> Iterator[tuple[str, str]]:
    number, malformed, first = 0, 0, 0
    for line in _places_of(path, at_most):
        number += 1
        columns = line.split("\t")
        if len(columns) == 2:
            yield columns[0], columns[1]
        elif line.strip():
            malformed += 1
            first = first or len(columns)
    counts.malformed += malformed
    check_columns(path, malformed, number, 0, first)


def _whole_size(paths: Sequence[str | Path], sample: str) -> int | None:
    """Bytes of the text in files of which a part was read; of compressed ones by how well that part compresses."""
    if any(is_hub(path) for path in paths):
        return None
    total = 0.0
    raw = sample.encode()
    for path in map(Path, paths):
        compress = _COMPRESS.get(path.suffix)
        total += path.stat().st_size * (len(raw) / len(compress(raw)) if compress else 1.0)
    return int(total)
