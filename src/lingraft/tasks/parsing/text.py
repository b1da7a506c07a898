"""Plain text as sentences to be parsed: words already separated by spaces, or raw text that a small rule cuts."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from os import PathLike
from pathlib import Path

from ...corpus import read_lines
from ...errors import CorpusError
from .treebank import Sentence

#: a word, and whether white space, or the end, follows it
Piece = tuple[str, bool]
Pieces = list[Piece]

_SPACE, _LETTER, _DIGIT, _MARK, _SINGLE, _OTHER = range(6)

#: what may stand inside a word, between two letters: apostrophes, the Catalan middle dot, the Hebrew gershayim
_IN_WORDS = frozenset("'’·״")
#: what may stand inside a number, between two digits
_IN_NUMBERS = frozenset(".,:")

#: beginnings of the Unicode names of characters that are words of their own, as their scripts have no spaces
_SINGLE_NAMES = ("CJK UNIFIED", "CJK COMPATIBILITY IDEOGRAPH", "HIRAGANA", "THAI", "LAO", "KHMER", "MYANMAR")


def read_text(path: str | PathLike[str], *, tokenised: bool) -> Iterator[Sentence]:
    """Sentences without trees out of a text file, one for each line that is not empty.

    tokenised: the words are separated by white space; without, `split_words` finds them. A sentence gets the comments
    ``sent_id``, counted from 1, and ``text``. Raises CorpusError when the file cannot be read, with the line, and when
    there is no word in it.
    """
    number = 0
    for line in read_lines(Path(path)):
        pieces = [(word, True) for word in line.split()] if tokenised else split_words(line)
        if not pieces:
            continue
        number += 1
        yield sentence_of(pieces, number)
    if not number:
        raise CorpusError(f"'{path}' holds no word; text with one sentence a line was expected.")


def sentence_of(pieces: Pieces, number: int, *comments: str) -> Sentence:
    """A sentence without a tree, with the comments ``sent_id``, ``text`` and those given.

    pieces: its words. number: its ``sent_id``. Raises CorpusError as `Sentence.from_words` does.
    """
    told = [f"sent_id = {number}", f"text = {text_of(pieces)}", *comments]
    return Sentence.from_words(words_of(pieces), told, [space for _, space in pieces])


def words_of(pieces: Pieces) -> list[str]:
    """The words alone."""
    return [word for word, _ in pieces]


def text_of(pieces: Pieces) -> str:
    """Words as running text."""
    return "".join(word + " " * space for word, space in pieces).rstrip(" ")


def split_words(line: str) -> Pieces:
    """The words of raw text, each with whether white space, or the end, follows it.

    A word is a run of letters, marks and digits, with single apostrophes between letters (``don't`` is one word) and
    single ``.``, ``,``, ``:`` between digits (``3.14``); or a run of one and the same other character (``...``). Han,
    Hiragana, Thai, Lao, Khmer and Myanmar characters are a word each, with the marks that follow them: no small rule
    can tell where words begin in these scripts, so better give such text tokenised.
    """
    kinds = [_kind(character) for character in line]
    words: Pieces = []
    start = 0
    while start < len(line):
        if kinds[start] == _SPACE:
            start += 1
            continue
        end = _end_of_word(line, kinds, start)
        words.append((line[start:end], end == len(line) or kinds[end] == _SPACE))
        start = end
    return words


def _end_of_word(line: str, kinds: list[int], start: int) -> int:
    kind = kinds[start]
    run = (_LETTER, _DIGIT, _MARK)
    end = start + 1
    while end < len(line):
        here, before = kinds[end], kinds[end - 1]
        after = kinds[end + 1] if end + 1 < len(line) else _SPACE
        joins = (
            here == _MARK
            or (kind in run and here in run)
            or (kind in run and before != _DIGIT and after == _LETTER and line[end] in _IN_WORDS)
            or (kind in run and before == after == _DIGIT and line[end] in _IN_NUMBERS)
            or (kind in run and here == _LETTER and line[end - 1] in _IN_WORDS)
            or (kind in run and here == _DIGIT and line[end - 1] in _IN_NUMBERS)
            or (kind == _OTHER and line[end] == line[start])
        )
        if not joins:
            break
        end += 1
    return end


@lru_cache(maxsize=1 << 14)
def _kind(character: str) -> int:
    category = unicodedata.category(character)
    if category in ("Cc", "Zs", "Zl", "Zp"):
        return _SPACE
    if category[0] == "M" or category == "Cf":
        return _MARK
    if category[0] in "LN" and unicodedata.name(character, "").startswith(_SINGLE_NAMES):
        return _SINGLE
    return _LETTER if category[0] == "L" else _DIGIT if category[0] == "N" else _OTHER
