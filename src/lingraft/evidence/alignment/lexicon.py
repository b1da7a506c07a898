"""Bilingual lexicons: out of an alignment, to and from files, and as prior knowledge of the next alignment.

A file has one entry a line, tab-separated UTF-8, in two to five columns:

    English  foreign  p(English | foreign)  p(foreign | English)  count

so a plain word list of two columns is a lexicon too. The count is the expected number of links of the two words.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import math
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import zstandard

from ...cache import replacing
from ...corpus import Counts, read_lines
from ...corpus.clean import MALFORMED_SHARE
from ...errors import CorpusError, OutputError, RecipeError
from .compiled import Array
from .words import join, take_apart

#: byte order mark, which readers take off a file
_BOM = "\ufeff"
#: what the largest float32 is written as; a little more than it is
_MOST = 3.4028235e38
_COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": lambda content: gzip.compress(content, mtime=0),  # the same lexicon makes the same file
    ".zst": zstandard.compress,
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
}


@dataclass(frozen=True, eq=False)
class Lexicon:
    """Word translations, entry k being ``(english[k], foreign[k])``.

    english, foreign: the words; from a file also phrases of several words.
    english_given_foreign, foreign_given_english: float32, shape (entries,), p(English | foreign) and p(foreign |
    English), in [0, 1]. count: float32, shape (entries,), expected number of links. NaN in these three stands for a
    column that a file does not have.
    """

    english: list[str]
    foreign: list[str]
    english_given_foreign: Array
    foreign_given_english: Array
    count: Array

    def __len__(self) -> int:
        return len(self.english)


def joined_lexicons(lexicons: Sequence[Lexicon]) -> Lexicon:
    """All entries of several lexicons, one after the other."""
    return Lexicon(
        [word for lexicon in lexicons for word in lexicon.english],
        [word for lexicon in lexicons for word in lexicon.foreign],
        *(np.concatenate(column) for column in zip(*map(_numbers, lexicons), strict=True)),
    )


def lexicon_from_counts(
    counts_indptr: Array,
    counts_columns: Array,
    counts_values: Array,
    english_words: list[str],
    foreign_words: list[str],
    min_count: float = 0.5,
    min_probability: float = 0.01,
) -> Lexicon:
    """The lexicon of an aligned bitext: relative frequencies of the expected links between words.

    counts_indptr, counts_columns, counts_values: CSR, shape (foreign types, English types), of expected links, each
    pair of types once. english_words, foreign_words: the word of every type. Probabilities are shares of all links of a
    word, those of dropped entries included. Entries with fewer than min_count expected links are dropped, and those
    whose two probabilities are both below min_probability; by default what was hardly ever the better choice.

    The entries are sorted by foreign type and then by descending p(English | foreign).

    Raises RecipeError for a negative min_count or a min_probability outside [0, 1], ValueError where the counts are not
    of so many words.
    """
    if not 0 <= min_count < math.inf:
        raise RecipeError(f"the least number of links of a lexicon entry is {min_count}; it must be 0 or more.")
    if not 0 <= min_probability <= 1:
        raise RecipeError(f"the least probability of a lexicon entry is {min_probability}; it must lie in [0, 1].")
    if counts_indptr.size != len(foreign_words) + 1 or (counts_columns >= len(english_words)).any():
        raise ValueError(f"the counts are not of {len(foreign_words)} foreign and {len(english_words)} English words")
    rows = np.repeat(np.arange(len(foreign_words), dtype=np.int32), np.diff(counts_indptr))
    of_foreign = np.bincount(rows, counts_values, len(foreign_words))
    of_english = np.bincount(counts_columns, counts_values, len(english_words))
    kept = (counts_values >= min_count) & (counts_values > 0)
    rows, columns, values = rows[kept], counts_columns[kept], counts_values[kept].astype(np.float64)
    backward, forward = values / of_foreign[rows], values / of_english[columns]
    likely = np.flatnonzero((backward >= min_probability) | (forward >= min_probability))
    order = likely[np.lexsort((columns[likely], -backward[likely], rows[likely]))]
    return Lexicon(
        [english_words[k] for k in columns[order].tolist()],
        [foreign_words[k] for k in rows[order].tolist()],
        backward[order].astype(np.float32),
        forward[order].astype(np.float32),
        values[order].astype(np.float32),
    )


def write_lexicon(lexicon: Lexicon, path: str | os.PathLike[str]) -> None:
    """Writes a lexicon as a TSV, compressed if the suffix says so (.gz, .zst, .xz, .bz2).

    ``read_lexicon`` gives back what was written. Unknown numbers (NaN) are empty columns, which are left
    out at the end of a line. The file is written aside and renamed, so that it is either whole or not there.

    Raises CorpusError for a word that cannot be a column of a TSV, OutputError when the file cannot be written.
    """
    path = Path(path)
    # the shortest text that is read back as the same float32
    numbers = [column.astype(str).tolist() for column in _numbers(lexicon)]
    rows = []
    for english, foreign, *values in zip(lexicon.english, lexicon.foreign, *numbers, strict=True):
        for word in (english, foreign):
            if not word.strip(" ") == word != "" or any(mark in word for mark in "\t\n\r\0"):
                raise CorpusError(
                    f"{word!r} cannot be written to '{path}': a word must not be empty, begin or end with a space, or "
                    "hold a tab, a line end or NUL."
                )
        rows.append("\t".join([english, foreign, *("" if value == "nan" else value for value in values)]).rstrip("\t"))
    text = "".join(f"{row}\n" for row in rows)
    if text.startswith(_BOM):
        # part of the first word: readers take off one mark, and it is to be another
        text = _BOM + text
    try:
        with replacing(path) as aside:
            aside.write_bytes(_COMPRESS.get(path.suffix, bytes)(text.encode()))
    except UnicodeEncodeError as error:
        raise CorpusError(f"'{path}' cannot be written: a word holds {error.object[error.start]!r}.") from None
    except OSError as error:
        raise OutputError(f"'{path}' cannot be written: {error.strerror}.") from None


def _numbers(lexicon: Lexicon) -> tuple[Array, Array, Array]:
    return lexicon.english_given_foreign, lexicon.foreign_given_english, lexicon.count


def _entry(line: str) -> tuple[str, str, list[float]] | str:
    """The words and the three numbers of a line, or what is wrong with it."""
    columns = [column.strip(" ") for column in line.split("\t")]
    if not 2 <= len(columns) <= 5:
        return f"has {len(columns)} column{'s' if len(columns) != 1 else ''}"
    if not columns[0] or not columns[1]:
        return "has an empty word"
    numbers = [math.nan] * 3
    for k, column in enumerate(columns[2:]):
        if not column:
            continue
        most = 1.0 if k < 2 else _MOST
        try:
            numbers[k] = float(column)
        except ValueError:
            return f"holds '{column[:40]}' where a number belongs"
        if not 0 <= numbers[k] <= most:
            return f"holds '{column[:40]}' where a {'probability' if k < 2 else 'count'} belongs"
    return columns[0], columns[1], numbers


def read_lexicon(path: str | os.PathLike[str], counts: Counts | None = None) -> Lexicon:
    """Reads a lexicon, plain or compressed; the columns are those of the module's docstring.

    A line has two columns (English, foreign), three (and p(English | foreign)), four (and p(foreign | English)) or five
    (and the count); numbers that are absent or empty are unknown. Words and phrases are kept as they are, but for
    spaces at their ends. Empty lines are passed over. Malformed lines are skipped and counted: another number of
    columns, an empty word, a probability that is no number in [0, 1], a count that is no number from 0 up.

    counts: what became of the lines is added to it. Raises CorpusError when the file cannot be read, holds no entry or
    when more than 1 % of its lines are malformed.
    """
    path = Path(path)
    counts = Counts() if counts is None else counts
    number = malformed = 0
    first = ""
    english: list[str] = []
    foreign: list[str] = []
    numbers: list[list[float]] = []
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip(" \t"):
            counts.empty += 1
            continue
        entry = _entry(line)
        if isinstance(entry, str):
            malformed += 1
            first = first or f"line {number} {entry}"
            if len(counts.malformed_lines) < 10:
                counts.malformed_lines.append(number)
            continue
        english.append(entry[0])
        foreign.append(entry[1])
        numbers.append(entry[2])
    counts.read += number
    counts.malformed += malformed
    counts.kept += len(english)
    if malformed > MALFORMED_SHARE * number:
        raise CorpusError(
            f"'{path}': {first}; expected were English, tab, foreign and perhaps p(English | foreign), p(foreign | "
            f"English) and a count, tab-separated. {malformed:,} of {number:,} lines are malformed; at most 1 % are "
            "skipped."
        )
    if not english:
        raise CorpusError(f"'{path}' holds no lexicon entries, only empty lines.")
    table = np.array(numbers, np.float32)
    return Lexicon(english, foreign, *(np.ascontiguousarray(column) for column in table.T))


def prior_counts(
    lexicon: Lexicon,
    english_index: Mapping[str, int],
    foreign_index: Mapping[str, int],
    strength: float,
    characters: bool = False,
) -> tuple[Array, Array, Array]:
    """Pseudo-counts that make the aligner expect the links of a lexicon.

    An entry is worth ``strength`` expected links, times the mean of its two probabilities (of the known one if one is
    unknown), or divided by the number of different entries of its foreign word where neither is known. It counts where
    both words occur. With ``characters`` words are taken apart as the text is (`words.take_apart`), and what an entry
    of one unit with several is worth is shared among them. Of repeated entries the largest counts. Those that
    `unused_entries` counts are passed over.

    english_index, foreign_index: type id of every word or unit, each below their number, in the same spelling
    (normalisation, case) as the lexicon. strength: 0 or more.

    Returns indptr (int64, shape (foreign types + 1,)), columns (int32) and values (float32) of a CSR matrix, shape
    (foreign types, English types), columns ascending within a row. Raises RecipeError for an impossible strength,
    ValueError for a foreign type that is not below the number of words.
    """
    if not 0 <= strength <= _MOST:
        raise RecipeError(f"the strength of the lexicon is {strength}; it must be a number, 0 or more.")
    entries = Counter(word for _, word in set(zip(lexicon.english, lexicon.foreign, strict=True)))
    cells: dict[tuple[int, int], float] = {}
    backward, forward = lexicon.english_given_foreign.tolist(), lexicon.foreign_given_english.tolist()
    for units, foreign, *both in zip(_units(lexicon, characters), lexicon.foreign, backward, forward, strict=True):
        known = [p for p in both if not math.isnan(p)]
        value = strength * (sum(known) / len(known) if known else 1 / entries[foreign])
        for one, other in units:
            if one in english_index and other in foreign_index:
                cell = foreign_index[other], english_index[one]
                cells[cell] = max(value / len(units), cells.get(cell, 0.0))
    links = sorted(cell for cell, value in cells.items() if value > 0)
    rows = np.array([row for row, _ in links], np.int64)
    if rows.size and rows.max() >= len(foreign_index):
        raise ValueError(f"foreign type {rows.max()} where there are {len(foreign_index)} types")
    indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.bincount(rows, minlength=len(foreign_index)))])
    columns = np.array([column for _, column in links], np.int32)
    return indptr, columns, np.array([cells[link] for link in links], np.float32)


def unused_entries(lexicon: Lexicon, characters: bool = False) -> int:
    """How many entries say nothing of two units: those with a space in them, or with several units on both sides."""
    return sum(not units for units in _units(lexicon, characters))


def _units(lexicon: Lexicon, characters: bool) -> Iterator[list[tuple[str, str]]]:
    """For every entry the (English, foreign) units it links, each pair once; none where it cannot be known."""
    sides = [
        _taken_apart(side) if characters else [[word] for word in side] for side in (lexicon.english, lexicon.foreign)
    ]
    for one, other in zip(*sides, strict=True):
        plain = min(len(one), len(other)) == 1 and not any(" " in unit for unit in one + other)
        yield [(english, foreign) for english in one for foreign in other] if plain else []


def _taken_apart(words: list[str]) -> list[list[str]]:
    """The different units of every word."""
    # a list of Python's may hold half a surrogate pair, which no text holds
    block, starts, ends = join(word.encode("utf-8", "surrogatepass") for word in words)
    starts, ends, lengths, _ = take_apart(block, starts, ends, np.ones(len(words), np.int64))
    spans = zip(starts.tolist(), ends.tolist(), strict=True)
    units = iter([block[start:end].decode("utf-8", "surrogatepass") for start, end in spans])
    return [list(dict.fromkeys(islice(units, length))) for length in lengths.tolist()]
