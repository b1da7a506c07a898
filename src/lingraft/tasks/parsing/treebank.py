"""Dependency treebanks: CoNLL-U in and out, nothing of a file lost on the way.

The format is that of Universal Dependencies (https://universaldependencies.org/format.html): a word a line, ten columns
separated by tabs, an empty line behind every sentence. Multiword tokens (``3-4``), empty nodes (``5.1``), comments and
all columns but HEAD and DEPREL stay the characters they were: a sentence keeps its lines, and only a new tree changes
those two columns.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

from ...cache import replacing
from ...corpus import read_lines
from ...errors import CorpusError, OutputError

COLUMNS = ("ID", "FORM", "LEMMA", "UPOS", "XPOS", "FEATS", "HEAD", "DEPREL", "DEPS", "MISC")
_ID, _FORM, _UPOS, _HEAD, _DEPREL = (COLUMNS.index(name) for name in ("ID", "FORM", "UPOS", "HEAD", "DEPREL"))

#: a word's, a multiword token's or an empty node's
_ANY_ID = re.compile(r"[1-9][0-9]*(-[1-9][0-9]*)?|[0-9]+\.[1-9][0-9]*")

#: the head of a word that has none yet, ``_`` in a file
UNKNOWN = -1

#: names by which `read_lines` would take a file for compressed
_COMPRESSED = (".gz", ".zst", ".xz", ".bz2")


@dataclass(frozen=True)
class Sentence:
    """The syntactic words of a sentence, and the lines they come from.

    forms, upos, heads, deprels: one entry for each syntactic word, that is for each line with a whole number as ID.
    heads: number of the head, counted from 1, 0 for the root's, ``UNKNOWN`` for ``_``. lines: the sentence as it stands
    in a file, comments included, without line ends. rows: for each word the index of its line in ``lines``.
    """

    forms: tuple[str, ...]
    upos: tuple[str, ...]
    heads: tuple[int, ...]
    deprels: tuple[str, ...]
    lines: tuple[str, ...]
    rows: tuple[int, ...]

    def __len__(self) -> int:
        """Syntactic words."""
        return len(self.forms)

    @classmethod
    def from_words(
        cls, forms: Sequence[str], comments: Iterable[str] = (), space_after: Sequence[bool] | None = None
    ) -> Sentence:
        """A sentence without a tree. comments: lines without their ``# ``. space_after: whether a space follows a word.

        forms: the words.

        CorpusError if there is no word, or one that cannot stand in a column.
        """
        if not forms:
            raise CorpusError("A sentence without a word was given; it needs at least one.")
        for number, form in enumerate(forms, 1):
            if not form.strip() or "\t" in form or "\n" in form or "\r" in form:
                raise CorpusError(f"Word {number} of a sentence is {form!r}; a word is no white space and has no tab.")
        spaces = [True] * len(forms) if space_after is None else space_after
        head = [f"# {comment}" for comment in comments]
        rows = [
            "\t".join([str(number), form, *"_" * (len(COLUMNS) - 3), "_" if space else "SpaceAfter=No"])
            for number, (form, space) in enumerate(zip(forms, spaces, strict=True), 1)
        ]
        n = len(forms)
        return cls(
            forms=tuple(forms),
            upos=("_",) * n,
            heads=(UNKNOWN,) * n,
            deprels=("_",) * n,
            lines=(*head, *rows),
            rows=tuple(range(len(head), len(head) + n)),
        )

    def with_tree(self, heads: Sequence[int], deprels: Sequence[str]) -> Sentence:
        """The same sentence with other heads, as in ``heads``, and relations; everything else stays as it is.

        heads: counted from 1, 0 for the root, ``UNKNOWN`` where there is none. deprels: the relations, ``_`` for none;
        both one a word.
        """
        lines = list(self.lines)
        for row, head, deprel in zip(self.rows, heads, deprels, strict=True):
            fields = lines[row].split("\t")
            fields[_HEAD], fields[_DEPREL] = "_" if head == UNKNOWN else str(head), deprel
            lines[row] = "\t".join(fields)
        return replace(
            self, heads=tuple(int(head) for head in heads), deprels=tuple(deprels), lines=tuple(lines)
        )  # fmt: skip


def read_conllu(path: str | PathLike[str], trees: bool = True) -> list[Sentence]:
    """Reads a CoNLL-U file, plain or compressed (``.gz``, ``.zst``, ``.xz``).

    trees: whether every sentence has to be a tree: each word with a head and a relation, one root, no cycle. Without,
    HEAD may be ``_``. Raises CorpusError, with the file and the line, for whatever is no CoNLL-U, and for a file
    without any sentence.
    """
    return list(iter_conllu(read_lines(Path(path)), str(path), trees))


def is_conllu(path: Path) -> bool:
    """Whether the first line that is neither empty nor a comment has ten columns, of which the first is an ID."""
    for line in read_lines(path):
        if line.strip() and not line.startswith("#"):
            columns = line.split("\t")
            return len(columns) == len(COLUMNS) and bool(_ANY_ID.fullmatch(columns[0]))
    return False


def iter_conllu(lines: Iterable[str], name: str, trees: bool = True) -> Iterator[Sentence]:
    """The sentences of lines without line ends, one after the other, as `read_conllu` describes them.

    name: what a message calls the text.
    """
    held: list[str] = []
    first, found = 1, False
    for number, line in enumerate(lines, 1):
        if line and not line.isspace():
            if not held:
                first = number
            held.append(line)
        elif held:
            yield _Reader(name, first).sentence(held, trees)
            held, found = [], True
    if held:
        yield _Reader(name, first).sentence(held, trees)
        found = True
    if not found:
        raise CorpusError(f"'{name}' holds no sentence; CoNLL-U was expected, a word a line in ten columns.")


def write_conllu(sentences: Iterable[Sentence], path: str | PathLike[str]) -> int:
    """Writes sentences to a CoNLL-U file; returns how many.

    What `read_conllu` read from a valid file is written byte for byte. The file is written aside and renamed, so that
    it is either whole or not there. Raises OutputError when it cannot be written or is named like a compressed file.
    """
    path = Path(path)
    if path.suffix in _COMPRESSED:
        raise OutputError(f"'{path}' is named like a compressed file, but CoNLL-U is written plain: use '{path.stem}'.")
    written = 0
    with replacing(path) as aside:
        try:
            stream = aside.open("w", encoding="utf-8", newline="\n")
        except OSError as error:
            raise OutputError(f"'{path}' cannot be written: {error.strerror}.") from None
        with stream:
            for sentence in sentences:
                stream.write("\n".join(sentence.lines) + "\n\n")
                written += 1
    return written


class _Reader:
    """Checks the lines of one sentence. first: number of the first of them in the file."""

    def __init__(self, name: str, first: int) -> None:
        self._name, self._first = name, first

    def _wrong(self, row: int, what: str) -> CorpusError:
        return CorpusError(f"'{self._name}': line {self._first + row} {what}")

    def sentence(self, lines: Sequence[str], trees: bool) -> Sentence:
        """The sentence, if its lines are in order."""
        rows: list[int] = []
        words: list[list[str]] = []
        order = _Order()
        for row, line in enumerate(lines):
            if line.startswith("#"):
                continue
            fields = line.split("\t")
            if len(fields) != len(COLUMNS):
                raise self._wrong(row, f"has {_columns(len(fields))}; CoNLL-U has {len(COLUMNS)}, separated by tabs.")
            expected = order.take(fields[_ID])
            if expected:
                raise self._wrong(row, f"has the ID '{_short(fields[_ID])}'; {expected}.")
            if not fields[_FORM].strip():
                raise self._wrong(row, "has an empty FORM; every word needs one.")
            if order.is_word:
                rows.append(row)
                words.append(fields)
        if not words:
            raise self._wrong(len(lines) - 1, "ends a sentence without any word; remove it or add its words.")
        if order.range_end > len(words):
            raise self._wrong(len(lines) - 1, f"ends a sentence in which a multiword token goes to {order.range_end}.")
        heads = [self._head(row, fields[_HEAD], len(words), trees) for row, fields in zip(rows, words, strict=True)]
        if trees:
            self._check_tree(rows, heads, [fields[_DEPREL] for fields in words])
        return Sentence(
            forms=tuple(fields[_FORM] for fields in words),
            upos=tuple(fields[_UPOS] for fields in words),
            heads=tuple(heads),
            deprels=tuple(fields[_DEPREL] for fields in words),
            lines=tuple(lines),
            rows=tuple(rows),
        )

    def _head(self, row: int, field: str, n: int, trees: bool) -> int:
        if field == "_":
            if trees:
                raise self._wrong(row, "has no HEAD ('_'), where a whole tree was expected.")
            return UNKNOWN
        head = _number(field)
        if head is None or head > n:
            raise self._wrong(
                row, f"has the HEAD '{_short(field)}'; a number from 0 to {n}, the last word, was expected."
            )
        return head

    def _check_tree(self, rows: Sequence[int], heads: Sequence[int], deprels: Sequence[str]) -> None:
        for row, deprel in zip(rows, deprels, strict=True):
            if not deprel.strip() or deprel == "_":
                raise self._wrong(row, f"has the DEPREL '{deprel}', where a relation was expected.")
        roots = [k for k, head in enumerate(heads) if head == 0]
        if len(roots) > 1:
            first, second = roots[0] + 1, roots[1] + 1
            raise self._wrong(rows[roots[1]], f"makes word {second} a second root beside word {first}; a tree has one.")
        if not roots:
            raise self._wrong(rows[0], "begins a sentence without a root; one of its words has the HEAD 0.")
        inside = _cycle(heads)
        if inside is not None:
            raise self._wrong(rows[inside], f"is part of a cycle: from word {inside + 1} the heads lead back to it.")


class _Order:
    """The order of IDs: words 1, 2, ...; a multiword token before its words; an empty node ``3.1`` behind word 3."""

    def __init__(self) -> None:
        self._word = self._empty = 0
        #: last word of the latest multiword token
        self.range_end = 0
        #: whether the last ID was that of a syntactic word
        self.is_word = False

    def take(self, field: str) -> str:
        """Takes the next ID; what was expected if it is not in order, else nothing."""
        self.is_word = False
        following = self._word + 1
        if "-" in field:
            first, last = (_number(part) for part in field.split("-", 1))
            if first != following or first <= self.range_end or last is None or last < first:
                return f"a multiword token before word {following} begins with {following}, apart from all others"
            self.range_end = last
        elif "." in field:
            word, empty = (_number(part) for part in field.split(".", 1))
            if word != self._word or empty != self._empty + 1:
                return f"an empty node here is {self._word}.{self._empty + 1}"
            self._empty += 1
        else:
            if _number(field) != following:
                return f"the next word of the sentence is {following}"
            self._word, self._empty, self.is_word = following, 0, True
        return ""


def _number(field: str) -> int | None:
    """The value of a decimal number without leading zeros."""
    if not (field.isascii() and field.isdigit()) or len(field) > 9 or (field[0] == "0" and field != "0"):
        return None
    return int(field)


def _columns(n: int) -> str:
    return f"{n} column" if n == 1 else f"{n} columns"


def _short(field: str) -> str:
    return field if len(field) <= 40 else field[:40] + "..."


def above(word: int, heads: Sequence[int]) -> set[int]:
    """Where all words stand, counted from 0, that a word hangs on, over others or not; of a circle, all in it."""
    found: set[int] = set()
    while heads[word] > 0 and heads[word] - 1 not in found:
        word = heads[word] - 1
        found.add(word)
    return found


def _cycle(heads: Sequence[int]) -> int | None:
    """The first word, counted from 0, whose heads lead back to it; None if there is none."""
    reached = [0] * (len(heads) + 1)  # by the walk of this number
    reached[0] = len(heads) + 1
    for start in range(1, len(heads) + 1):
        word = start
        while not reached[word]:
            reached[word] = start
            word = heads[word - 1]
        if reached[word] == start:
            return _first_of_cycle(heads, word)
    return None


def _first_of_cycle(heads: Sequence[int], word: int) -> int:
    members = [word]
    while heads[members[-1] - 1] != word:
        members.append(heads[members[-1] - 1])
    return min(members) - 1
