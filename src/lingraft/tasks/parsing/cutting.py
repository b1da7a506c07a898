"""Raw text into words as the treebanks of a language have them, as far as a few rules go.

`split_words` cuts at white space and punctuation. What Universal Dependencies further takes apart, and what can be seen
on the surface, is cut here: English contractions (``do n't``, ``it 's``); French, Italian and Catalan elisions (``l'
homme``). Where a word of a treebank is larger than what is between spaces, word links tell (`projection.joined`); where
it is smaller and no mark says so, the rest of the text (`clitics.py`).
"""

from __future__ import annotations

import re

from .text import Pieces, split_words

_CONTRACTION = re.compile(r"(?i)(.+?)(n['’]t|['’](?:s|re|ve|ll|d|m))")
_ELISION = re.compile(
    r"(?i)((?:[cdjlmnstv]|qu|jusqu|lorsqu|puisqu|quoiqu|presqu|un|gl|(?:d?a|de|ne|su|co|que|be)?ll|dov|com|cos|anch|"
    r"quest|tutt|sant|nient)['’])(\w.*)"
)
#: English words that are two in the treebanks, and how long the first one is
_FUSED = {"cannot": 3, "gonna": 3, "wanna": 3, "gotta": 3}
_ELIDING = ("fr", "it", "ca")


def treebank_words(line: str, language: str) -> Pieces:
    """The words of raw text, each with whether white space, or the end, follows it.

    language: a tag; only its first part counts. Languages without a rule are cut by `split_words` alone.
    """
    words = split_words(line)
    if primary(language) == "en":
        return [piece for word, space in words for piece in spaced(_contracted(word), space)]
    if primary(language) in _ELIDING:
        return [piece for word, space in words for piece in spaced(_elided(word), space)]
    return words


def primary(language: str) -> str:
    """The first part of a tag, in small letters: ``pt`` of ``pt-BR``."""
    return language.partition("-")[0].lower()


def spaced(parts: list[str], space: bool) -> Pieces:
    """The parts of one word, of which only the last can have a space behind it."""
    return [*((part, False) for part in parts[:-1]), (parts[-1], space)]


def _contracted(word: str) -> list[str]:
    cut = _FUSED.get(word.lower())
    if cut:
        return [word[:cut], word[cut:]]
    found = _CONTRACTION.fullmatch(word)
    return [*_contracted(found[1]), found[2]] if found else [word]


def _elided(word: str) -> list[str]:
    found = _ELISION.fullmatch(word)
    return [found[1], *_elided(found[2])] if found else [word]
