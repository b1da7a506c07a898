"""Arabic words into what treebanks have apart: conjunctions, prepositions, the future's particle and pronouns.

"And his house" is one word of Arabic text and three of a treebank, و بيت ه. No rule about letters can tell whether a
word begins with a conjunction or happens to begin with its letter (وقت, "time"), but a text can: what is left has to
occur by itself, twice at least and no less often than the whole word (of وقت, قت does not). Where a word can be cut in
several ways, the most frequent stem decides. Such counts go back to Lee et al. (2003), "Language model based Arabic
word segmentation", who make a language model of them. Words are cut as they are written; letters that change before a
pronoun (مدرسة, مدرسته) are put back to look a stem up, and not in what is cut.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from .cutting import spaced
from .text import Pieces

#: Arabic letters alone: a word with vowel marks, a lengthened or a Persian one stays whole
_WORD = re.compile(r"[\u0621-\u063a\u0641-\u064a]{2,}")
_CONJUNCTIONS = ("و", "ف")
#: prepositions, and the letters that have to follow: "like" begins too many short words
_PREPOSITIONS = {"ب": 2, "ل": 2, "ك": 4}
#: the future's particle, the letters that have to follow, and what a verb begins with there
_FUTURE, _FUTURE_LETTERS, _VERB = "س", 3, ("ي", "ت", "ن", "أ")
#: behind a prefix, a word with its article is cut off even if by itself it has but this share of the whole word's
#: count ("in addition" is more frequent than "the addition"), as few words have an article inside
_ARTICLE, _ARTICLE_LETTERS, _DEFINITE_SHARE = "ال", 4, 0.1
#: pronouns, the longest first. That of "my" is left out: most words that end in its letter are adjectives
_PRONOUNS = ("هما", "ها", "هم", "هن", "كم", "نا", "ه", "ك")
#: words that seem to end with one of these, or to begin with a preposition, and do not
_WHOLE = frozenset(("هناك", "ذلك", "تلك", "لله"))
#: prepositions of one letter with a pronoun, which leave nothing to look up: two words wherever they occur twice
_CLOSED = re.compile(rf"([بل])({'|'.join(_PRONOUNS)}|ي)")
#: letters at the end of a stem that are others without a pronoun behind them
_ENDINGS = {"ت": "ة", "ي": "ى"}
#: what a text has only once shows nothing; and the letters of the shortest stem
_LEAST, _STEM_LETTERS = 2, 2


class _Way(NamedTuple):
    """One way to cut a word. stem: how often its stem occurs by itself."""

    stem: int
    parts: list[str]


class ArabicClitics:
    """Cuts words by what else is in their text.

    words: all words of the text, each as often as it occurs.
    """

    def __init__(self, words: Iterable[str]) -> None:
        self._counts = Counter(words)

    def apart(self, words: Pieces) -> Pieces:
        """All words of a sentence, cut; a part has no space behind it but where the word had one."""
        return [piece for word, space in words for piece in spaced(self.cut(word), space)]

    def cut(self, word: str) -> list[str]:
        """The parts of a word in order, which together are the word; most words are one part.

        A prefix is cut off if what is behind it occurs by itself, a pronoun that it has included.
        """
        if not _WORD.fullmatch(word):
            return [word]
        ways = self._ways(word)
        if word.startswith(_CONJUNCTIONS):
            rest = word[1:]
            behind: _Way | None
            if self._occurs(rest, self._counts[word]):
                behind = _likeliest(self._ways(rest)) or _Way(self._counts[rest], [rest])
            else:
                behind = self._preposition(rest, self._counts[word])
            if behind:
                ways.append(_Way(behind.stem, [word[0], *behind.parts]))
        chosen = _likeliest(ways)
        return chosen.parts if chosen else [word]

    def _ways(self, word: str) -> list[_Way]:
        """Ways to cut a word that has no conjunction; none for the word as it is."""
        found = (self._preposition(word, self._counts[word]), self._pronoun(word))
        return [way for way in found if way]

    def _preposition(self, word: str, times: int) -> _Way | None:
        """A word as a preposition or the future's particle, and what is behind it.

        times: the count of the whole word, which what is left must not fall short of.
        """
        if word in _WHOLE:
            return None
        if found := _CLOSED.fullmatch(word):
            return _Way(times, [found[1], found[2]]) if self._occurs(word, times) else None
        letter, rest = word[:1], word[1:]
        future = letter == _FUTURE and rest.startswith(_VERB) and len(rest) >= _FUTURE_LETTERS
        if not future and len(rest) < _PREPOSITIONS.get(letter, len(word)):
            return None
        # "to the" is written without the first letter of the article
        whole = f"ا{rest}" if word.startswith("لل") else rest
        if not self._occurs(whole, times):
            return None
        behind = self._pronoun(rest) or _Way(self._counts[whole], [rest])
        return _Way(behind.stem, [letter, *behind.parts])

    def _occurs(self, rest: str, times: int) -> bool:
        """Whether what is left occurs by itself, and often enough beside the whole word's count."""
        definite = rest.startswith(_ARTICLE) and len(rest) >= _ARTICLE_LETTERS
        return self._counts[rest] >= max(_LEAST, _DEFINITE_SHARE * times if definite else times)

    def _pronoun(self, word: str) -> _Way | None:
        """A word that has neither an article nor a prefix as a stem and a pronoun."""
        if word in _WHOLE or word.startswith((_ARTICLE, "لل")):
            return None
        stems = ((word.removesuffix(pronoun), pronoun) for pronoun in _PRONOUNS if word.endswith(pronoun))
        return _likeliest(
            _Way(self._counts[form], [stem, pronoun])
            for stem, pronoun in stems if len(stem) >= _STEM_LETTERS
            for form in _forms(stem) if self._occurs(form, self._counts[word])
        )  # fmt: skip


def _likeliest(ways: Iterable[_Way]) -> _Way | None:
    """That with the most frequent stem; None where there is none."""
    return max(ways, key=lambda way: way.stem, default=None)


def _forms(stem: str) -> list[str]:
    """A stem, and how it is written at the end of a word."""
    return [stem, stem[:-1] + _ENDINGS[stem[-1]]] if stem[-1:] in _ENDINGS else [stem]
