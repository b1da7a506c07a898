"""Text and bitext as the later stages see them: NFC, stripped, without empty and overlong lines; all drops counted."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..errors import CorpusError
from .files import check_readable, read_lines

#: at most this share of the lines of a TSV may have another number of columns than two
MALFORMED_SHARE = 0.01


@dataclass
class Counts:
    """What became of the lines of a corpus.

    read: all lines (or pairs). kept: what went on. empty: nothing was left of a side. overlong: had more than the
    allowed characters. malformed: had another number of columns than two. malformed_lines: 1-based numbers of the first
    few malformed lines.
    """

    read: int = 0
    kept: int = 0
    empty: int = 0
    overlong: int = 0
    malformed: int = 0
    malformed_lines: list[int] = field(default_factory=list)

    def as_dict(self) -> dict[str, object]:
        """For run.json."""
        return asdict(self)

    def add(self, other: Counts) -> None:
        """Adds the counts of another file."""
        for name in ("read", "kept", "empty", "overlong", "malformed"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.malformed_lines = (self.malformed_lines + other.malformed_lines)[:10]


def clean(line: str) -> str:
    """NFC, every run of white space and control characters made one space, ends stripped."""
    line = unicodedata.normalize("NFC", line)
    if not line.isprintable():
        # format characters (joiners) carry meaning in Indic and Arabic script and stay
        line = "".join(" " if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c for c in line)
    return " ".join(line.split())


def _kept(sides: Sequence[str], max_chars: int, counts: Counts) -> bool:
    counts.read += 1
    if not all(sides):
        counts.empty += 1
        return False
    if max(map(len, sides)) > max_chars:
        counts.overlong += 1
        return False
    counts.kept += 1
    return True


def clean_text(lines: Iterable[str], max_chars: int, counts: Counts) -> Iterator[str]:
    """Clean lines of running text.

    max_chars: of a line; longer ones are dropped. counts: what became of the lines is added to it.
    """
    for line in lines:
        line = clean(line)
        if _kept((line,), max_chars, counts):
            yield line


def clean_pairs(pairs: Iterable[tuple[str, str]], max_chars: int, counts: Counts) -> Iterator[tuple[str, str]]:
    """Clean sentence pairs; a pair goes as a whole.

    max_chars: of the longer side. counts: what became of the pairs is added to it.
    """
    for pair in pairs:
        english, foreign = clean(pair[0]), clean(pair[1])
        if _kept((english, foreign), max_chars, counts):
            yield english, foreign


def split_bitext(name: str) -> tuple[Path, ...]:
    """The file (a TSV) or the two files (English, foreign) that a bitext option names.

    CorpusError if it names more than two.
    """
    if "," in name and not Path(name).exists():
        parts = [Path(part.strip()) for part in name.split(",")]
        if len(parts) != 2:
            raise CorpusError(f"'{name}' names {len(parts)} files; a bitext is one TSV or EN_FILE,XX_FILE.")
        return tuple(parts)
    return (Path(name),)


def check_lengths(paths: Sequence[Path], lines: Sequence[int]) -> None:
    """Raises CorpusError unless the two files of a bitext, English first, have equally many lines."""
    if lines[0] != lines[1]:
        raise CorpusError(
            f"'{paths[0]}' has {lines[0]:,} lines and '{paths[1]}' has {lines[1]:,}; "
            "line k of one must be the translation of line k of the other."
        )


def check_columns(path: Path, malformed: int, lines: int, first: int, columns: int) -> None:
    """Raises CorpusError if too many lines of a TSV are malformed; number and columns of the first such line."""
    if malformed > MALFORMED_SHARE * lines:
        raise CorpusError(
            f"'{path}': line {first} has {columns} column{'s' if columns != 1 else ''}, two were expected "
            f"(English, tab, foreign); {malformed:,} of {lines:,} lines are like that and at most 1 % are skipped."
        )


def read_bitext(name: str, counts: Counts) -> Iterator[tuple[str, str]]:
    """Raw pairs (English, foreign) of a two-column TSV or of a pair of files with equally many lines.

    name: of the TSV, or EN_FILE,XX_FILE.

    A TSV line without exactly two columns is skipped and counted in ``counts``; more than 1 % of them, or a pair of
    files of different length, raise CorpusError once the end is reached.
    """
    paths = split_bitext(name)
    for path in paths:
        check_readable(path)
    yield from _read_two(*paths) if len(paths) == 2 else _read_tsv(paths[0], counts)


def _read_tsv(path: Path, counts: Counts) -> Iterator[tuple[str, str]]:
    number, malformed = 0, 0
    first = (0, 0)
    for number, line in enumerate(read_lines(path), 1):
        columns = line.split("\t")
        if len(columns) == 2:
            yield columns[0], columns[1]
        elif line.strip():
            malformed += 1
            first = first if malformed > 1 else (number, len(columns))
            if len(counts.malformed_lines) < 10:
                counts.malformed_lines.append(number)
        else:
            yield "", ""
    counts.read += malformed
    counts.malformed += malformed
    check_columns(path, malformed, number, *first)


def _read_two(english: Path, foreign: Path) -> Iterator[tuple[str, str]]:
    end = object()
    left, right = read_lines(english), read_lines(foreign)
    number = 0
    while True:
        one, two = next(left, end), next(right, end)
        if one is end or two is end:
            break
        number += 1
        yield str(one), str(two)
    if one is not two:
        rest = 1 + sum(1 for _ in (right if one is end else left))
        lengths = (number, number + rest) if one is end else (number + rest, number)
        check_lengths((english, foreign), lengths)
