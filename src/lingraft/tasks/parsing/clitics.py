"""Arabic words into what treebanks have apart: conjunctions, prepositions and pronouns written with their neighbours.

"And in his house" is one word of Arabic text and four of a treebank, و ب بيت ه. No rule about letters can tell whether
a word begins with a conjunction or happens to begin with its letter (وقت, "time"), but a text can: what is left has to
occur by itself, and no less often than the whole word (of وقت, قت does not). Such counts go back to Lee et al. (2003),
"Language model based Arabic word segmentation", who make a language model of them. Words are cut as they are written;
letters that change before a pronoun (مدرسة, مدرسته) are put back to look a stem up, and not in what is cut.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from .cutting import spaced
from .text import Pieces

#: letters of Arabic words, without vowel marks; what has any is not cut
_WORD = re.compile(r"[\u0621-\u063a\u0641-\u064a]{2,}")
_CONJUNCTIONS = ("و", "ف")
_PREPOSITIONS = ("ب", "ل", "ك")
#: the future's particle, and what a verb behind it begins with
_FUTURE, _VERB = "س", ("ي", "ت", "ن", "أ")
_ARTICLE = "ال"
#: pronouns, the longest first. That of "my" is left out: most words that end in its letter are adjectives
_PRONOUNS = ("هما", "ها", "هم", "هن", "كم", "نا", "ه", "ك")
#: words that seem to begin or end with one of these and do not
_WHOLE = frozenset(("هناك", "ذلك", "تلك", "كذلك", "أولئك", "كما", "هذه", "الله"))
#: prepositions of one letter with a pronoun, which leave nothing that could be looked up
_CLOSED = re.compile(rf"([بل])({'|'.join(_PRONOUNS)}|ي)")
#: letters at the end of a stem that are others without a pronoun behind them
_ENDINGS = {"ت": "ة", "ي": "ى"}
#: a stem that a text has only once shows nothing
_LEAST = 2


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
        """The parts of a word in order, which together are the word; most words are one part."""
        if not _WORD.fullmatch(word) or word in _WHOLE:
            return [word]
        before, stem = self._prefixes(word)
        if found := _CLOSED.fullmatch(stem):
            return [*before, found[1], found[2]]
        return [*before, *self._suffix(stem)]

    def _prefixes(self, word: str) -> tuple[list[str], str]:
        """A conjunction and a preposition or the future's particle, where there are any, and the rest."""
        found: list[str] = []
        for kind in (self._conjunction, self._preposition):
            if kind(word):
                found.append(word[0])
                word = word[1:]
        return found, word

    def _conjunction(self, word: str) -> bool:
        rest = word[1:]
        return word.startswith(_CONJUNCTIONS) and (
            self._stands(rest, word) or self._definite(rest) or self._preposition(rest) or bool(_CLOSED.fullmatch(rest))
        )

    def _preposition(self, word: str) -> bool:
        rest = word[1:]
        if word in _WHOLE:
            return False
        if word.startswith(_FUTURE):
            return rest.startswith(_VERB) and self._stands(rest, word, 3)
        # for "to the" the article loses its first letter
        definite = self._definite(f"ا{rest}" if word.startswith("لل") else rest)
        return word.startswith(_PREPOSITIONS) and (definite or self._stands(rest, word, 3 if word[0] == "ك" else 2))

    def _definite(self, rest: str) -> bool:
        """Whether a rest is a noun of the text with its article, which no word has inside."""
        return rest.startswith(_ARTICLE) and len(rest) > len(_ARTICLE) + 2 and self._counts[rest] > 0

    def _stands(self, rest: str, word: str, letters: int = 2) -> bool:
        """Whether a rest of so many letters occurs by itself, no less often than the whole word."""
        return len(rest) >= letters and self._counts[rest] >= max(_LEAST, self._counts[word])

    def _suffix(self, word: str) -> list[str]:
        if word.startswith(_ARTICLE) or word in _WHOLE:
            return [word]
        for pronoun in _PRONOUNS:
            stem = word.removesuffix(pronoun)
            if stem != word and any(self._stands(form, word) for form in _forms(stem)):
                return [stem, pronoun]
        return [word]


def _forms(stem: str) -> list[str]:
    """A stem, and how it is written at the end of a word."""
    return [stem, stem[:-1] + _ENDINGS[stem[-1]]] if stem[-1:] in _ENDINGS else [stem]
