"""Heads of punctuation marks, from the tree of the words.

Links do not carry them over: a translation has its commas at other places, and only one linked comma in three or four
gets the right head that way. The guidelines of Universal Dependencies say it for every language: a mark that separates
a subordinate unit hangs on that unit's head, a pair of brackets or quotes on the head of what is between them, the last
mark of a sentence on its root. Where too little of the tree is known to tell, a mark has no head.

Positions count from 0, heads from 1, as in `reshaping.py`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Mapping, MutableSequence, Sequence

from .attachment import universal
from .treebank import UNKNOWN, above

#: what may close what
_CLOSERS: Mapping[str, Collection[str]] = {
    "(": ")",
    "[": "]",
    "{": "}",
    "«": "»",
    "»": "«",
    "‹": "›",
    "‚": "‘’",
    "“": "”",
    "„": "“”",
    "‘": "’",
    '"': '"',
    "``": ("''",),
    "（": "）",
    "「": "」",
    "『": "』",
    "《": "》",
    "〈": "〉",
    "【": "】",
}
_DASHES = frozenset({"-", "–", "—", "--", "―"})
_SUBJECTS = frozenset({"nsubj", "csubj"})
#: are put for words, though Unicode calls them punctuation
_SYMBOLS = frozenset("%&@#*§†‡‰/\\·・")


def is_punctuation(form: str) -> bool:
    """Whether a word is a punctuation mark, or several; a symbol such as % or + is none."""
    return all((unicodedata.category(sign)[0] == "P" and sign not in _SYMBOLS) or sign == "`" for sign in form)


def attach_punctuation(
    heads: MutableSequence[int], deprels: MutableSequence[str], forms: Sequence[str], relation: str
) -> None:
    """Puts the marks of a sentence under words, in place; they must have no head before, and nothing under them.

    heads: where they are not known, `UNKNOWN`. relation: of the marks.
    """
    marks = [is_punctuation(form) for form in forms]
    words = [place for place, mark in enumerate(marks) if not mark]
    if not words:
        return
    paired = _pairs(forms)
    for mark, is_mark in enumerate(marks):
        if not is_mark:
            continue
        if mark in paired:
            start, end = paired[mark]
            word = _head_between(heads, [place for place in words if start < place < end])
        elif mark > words[-1]:
            word = heads.index(0) if 0 in heads else None
        else:
            left = max((place for place in words if place < mark), default=None)
            right = min(place for place in words if place > mark)
            word = _separated(heads, deprels, left, mark, right, forms[mark] in _DASHES)
        if word is not None:
            heads[mark], deprels[mark] = word + 1, relation


def _pairs(forms: Sequence[str]) -> dict[int, tuple[int, int]]:
    """The places of both marks of a pair, by either of them; what is opened and never closed is no pair."""
    found: dict[int, tuple[int, int]] = {}
    opened: list[int] = []
    for place, form in enumerate(forms):
        closed = next((k for k in reversed(range(len(opened))) if form in _CLOSERS[forms[opened[k]]]), None)
        if closed is not None:
            start = opened[closed]
            del opened[closed:]
            found[start] = found[place] = (start, place)
        elif form in _CLOSERS:
            opened.append(place)
    return found


def _head_between(heads: Sequence[int], words: Sequence[int]) -> int | None:
    """The word of a pair's contents, which lie side by side, that hangs on none of the others, if it is known."""
    inside = {place + 1 for place in words}
    outward = [place for place in words if heads[place] not in inside]
    known = [place for place in outward if heads[place] != UNKNOWN]
    # words without a head may hang on any; one that is alone is what the others hang on
    found = known or outward
    return found[0] if len(found) == 1 else None


def _separated(
    heads: Sequence[int], deprels: Sequence[str], left: int | None, mark: int, right: int, dash: bool
) -> int | None:
    """The head of the unit that a mark separates, which begins at ``right`` or ends at ``left``."""
    after, of_after = _highest(heads, right, range(mark + 1, len(heads)))
    highest_after = None if of_after == UNKNOWN else after
    if left is None:
        return highest_after
    before, of_before = _highest(heads, left, range(mark))
    if of_after > 0 and (of_before <= 0 or after not in above(before, heads)):
        return after
    if of_before > 0:
        # a dash in the place of a copula: the subject is no unit that it separates
        return highest_after if dash and universal(deprels[before]) in _SUBJECTS else before
    return None


def _highest(heads: Sequence[int], word: int, side: range) -> tuple[int, int]:
    """The highest of the words above a word, itself the first, that are on its side of a mark, and that one's head."""
    while heads[word] > 0 and heads[word] - 1 in side:
        word = heads[word] - 1
    return word, heads[word]
