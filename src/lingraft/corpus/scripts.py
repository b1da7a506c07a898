"""Kinds of characters: of scripts that are written without spaces between words, and marks."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

import numpy as np

#: kinds of characters, as `character_classes` has them
OTHER, SPACELESS, MARK = 0, 1, 2

#: characters of scripts written without spaces, first and last: Thai, Lao, Myanmar, Khmer, Han and kana, with the
#: extensions of each (Unicode 16); punctuation that the scripts share with others is not among them
SPACELESS_RANGES = (
    (0x0E01, 0x0E3A), (0x0E40, 0x0E5B), (0x0E81, 0x0EDF), (0x1000, 0x109F), (0x1780, 0x17F9), (0x19E0, 0x19FF),
    (0x2E80, 0x2FD5), (0x3005, 0x3005), (0x3007, 0x3007), (0x3021, 0x3029), (0x3038, 0x303B), (0x3041, 0x3096),
    (0x309D, 0x309F), (0x30A1, 0x30FA), (0x30FC, 0x30FF), (0x31F0, 0x31FF), (0x32D0, 0x32FE), (0x3300, 0x3357),
    (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xA9E0, 0xA9FE), (0xAA60, 0xAA7F), (0xF900, 0xFAD9), (0xFF66, 0xFF9D),
    (0x116D0, 0x116E3), (0x16FE2, 0x16FE3), (0x16FF0, 0x16FF6), (0x1AFF0, 0x1AFFE), (0x1B000, 0x1B167),
    (0x1F200, 0x1F200), (0x20000, 0x3FFFD),
)  # fmt: skip

#: combining marks and joiners, which stay with the character before: those of these scripts, then those of all scripts
MARK_RANGES = (
    (0x0E31, 0x0E31), (0x0E34, 0x0E3A), (0x0E47, 0x0E4E), (0x0EB1, 0x0EB1), (0x0EB4, 0x0EBC), (0x0EC8, 0x0ECE),
    (0x102B, 0x103E), (0x1056, 0x1059), (0x105E, 0x1060), (0x1062, 0x1064), (0x1067, 0x106D), (0x1071, 0x1074),
    (0x1082, 0x108D), (0x108F, 0x108F), (0x109A, 0x109D), (0x17B4, 0x17D3), (0x17DD, 0x17DD), (0xA9E5, 0xA9E5),
    (0xAA7B, 0xAA7D), (0x302A, 0x302F), (0x3099, 0x309A), (0xFF9E, 0xFF9F), (0x0300, 0x036F), (0x1AB0, 0x1AFF),
    (0x1DC0, 0x1DFF), (0x200C, 0x200D), (0x20D0, 0x20FF), (0xFE00, 0xFE0F), (0xFE20, 0xFE2F), (0xE0100, 0xE01EF),
)  # fmt: skip


@lru_cache(maxsize=1)
def character_classes() -> np.ndarray[Any, Any]:
    """Per code point up to the last mark, uint8: other, of a script without spaces, or a mark."""
    classes = np.full(0xE01F0, OTHER, np.uint8)
    for ranges, kind in ((SPACELESS_RANGES, SPACELESS), (MARK_RANGES, MARK)):
        for first, last in ranges:
            classes[first : last + 1] = kind
    return classes


def is_spaceless(character: str) -> bool:
    """Whether a character is of a script that is written without spaces (Thai, Lao, Myanmar, Khmer, Han, kana)."""
    code = ord(character)
    if code < SPACELESS_RANGES[0][0]:  # most text, at the price of a comparison
        return False
    classes = character_classes()
    return code < classes.size and bool(classes[code] == SPACELESS)


def is_latin_letter(character: str) -> bool:
    """Whether a character is a Latin letter, by its name in Unicode."""
    return unicodedata.name(character, "").startswith("LATIN")


def is_without_spaces(lines: Iterable[str]) -> bool:
    """Whether most letters of a text are of scripts that are written without spaces."""
    return _most_letters(lines, is_spaceless)


def is_latin(lines: Iterable[str]) -> bool:
    """Whether most letters of a text are Latin ones."""
    return _most_letters(lines, is_latin_letter)


def _most_letters(lines: Iterable[str], of_kind: Callable[[str], bool]) -> bool:
    characters: Counter[str] = Counter()
    for line in lines:
        characters.update(line)
    letters = {character: n for character, n in characters.items() if character.isalpha()}
    return 2 * sum(n for character, n in letters.items() if of_kind(character)) > sum(letters.values())


class _WordRuns(dict[int, str]):
    def __missing__(self, code: int) -> str:
        character = chr(code)
        word = unicodedata.category(character)[0] in "LMN"
        self[code] = character if word or character == " " else "\n"
        return self[code]


#: for `str.translate`: what is no letter, mark or number ends a run of words, and becomes the end of a line
WORD_RUNS = _WordRuns()
