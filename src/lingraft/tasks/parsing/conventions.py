"""Where the tree of a translation is another one than that of the English sentence.

Projection (`projection.py`) gives a word the head that its English counterpart has, so a word without counterpart gets
none and is none, and what should hang on it hangs on the word beside. Some of the words that English leaves out are known
beforehand, as they are of a closed class and Universal Dependencies say where they belong: English "1991" is "the year
1991" in many languages; English "to use" is "to make use" in Hindi, where the verb is the head and "use" its
`compound`. `INSERTED` lists them by language. A language that is not there is projected by links alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from .cutting import primary

#: English relations of function words, which are no predicates
FUNCTION = frozenset(("aux", "case", "cc", "cop", "det", "expl", "mark", "punct"))
#: relations to a noun: these words stay with the noun of "make use"; all others are the verb's
_OF_NOUNS = frozenset(("acl", "amod", "appos", "case", "compound", "det", "fixed", "flat", "nmod", "nummod"))


class Inserted(NamedTuple):
    """Words that English leaves out, which are the head of the word beside them.

    forms: the words, in small letters. before: whether they stand before that word, their companion; else behind it.
    companion: which words that may be: a ``number`` that counts nothing, as that of a year; a ``predicate``, which is
    any word whose counterpart is no function word; an ``adposition`` or subordinator. relation: of the companion, whose
    head and relation the inserted word takes.
    """

    forms: frozenset[str]
    before: bool
    companion: str
    relation: str

    def goes_with(self, form: str, deprel: str) -> bool:
        """Whether a word, whose English counterpart has this relation (without subtype), can be the companion."""
        if self.companion == "number":
            return form[0].isdigit() and deprel != "nummod"
        if self.companion == "adposition":
            return deprel in ("case", "mark")
        return deprel not in FUNCTION

    def companion_of(self, word: int) -> int:
        """The place of the companion of an inserted word, inside the sentence or not."""
        return word + 1 if self.before else word - 1

    def hands_over(self, deprel: str) -> bool:
        """Whether the inserted word takes a word of this relation from its companion."""
        return self.companion != "predicate" or _base(deprel) not in _OF_NOUNS


class Insertion(NamedTuple):
    """An inserted word of a sentence. word, companion: their places, counted from 0."""

    word: int
    companion: int
    rule: Inserted


def _forms(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: by language. Years: Russian, Chinese and Vietnamese count them with the word "year" (in Russian by an ordinal, which
#: is an adjective), Arabic puts it before. Hindi: forms of करना and होना behind what English has as a verb, unless they
#: are also postpositions or auxiliaries of the copula; के and की, which most postpositions of several words begin with
INSERTED: Mapping[str, tuple[Inserted, ...]] = {
    "ar": (Inserted(_forms("عام العام سنة عاما عاماً"), True, "number", "nmod"),),
    "hi": (
        Inserted(
            _forms(
                "कर करना करने करनी करता करती करते करें करे करेगा करेगी करेंगे करके करो किया किये किए कराया कराने करवाया "
                "हो होना होने होनी होता होती होते हुआ हुई हुए हुये होगा होगी होंगे होकर"
            ),
            False,
            "predicate",
            "compound",
        ),
        Inserted(_forms("के की"), True, "adposition", "fixed"),
    ),
    "ru": (Inserted(_forms("год года году годом годе г г."), False, "number", "amod"),),
    "vi": (Inserted(_forms("năm tháng ngày"), True, "number", "flat"),),
    "zh": (Inserted(_forms("年 月 日"), False, "number", "nummod"),),
}


#: relations of English that a word has only before its head, and what their translation behind it is: in "stone wall"
#: the first noun is a compound, in "mur de pierre" a modifier
TURNED: Mapping[str, str] = {"compound": "nmod"}


class Conventions(NamedTuple):
    """Of the trees of one language. inserted, turned: as `INSERTED` and `TURNED`."""

    inserted: tuple[Inserted, ...] = ()
    turned: Mapping[str, str] = TURNED

    def inserts(self, form: str) -> bool:
        """Whether English may leave this word out."""
        return any(form.lower() in rule.forms for rule in self.inserted)


def conventions_of(language: str, labels: Collection[str] | None = None) -> Conventions:
    """The conventions of a language, by its tag. labels: relations that are known; others are not made."""
    inserted = INSERTED.get(primary(language), ())
    if labels is None:
        return Conventions(inserted)
    return Conventions(
        tuple(rule for rule in inserted if rule.relation in labels),
        {old: new for old, new in TURNED.items() if new in labels},
    )


def told_apart(
    english: Sequence[str], foreign: Sequence[str], links: Sequence[tuple[int, int]], conventions: Conventions
) -> list[tuple[int, int]]:
    """The links (English position, foreign position) that can be of use.

    Without those of a word with a punctuation mark, and those of an inserted word to what its companion is linked to,
    which has one counterpart then. foreign: as it is after neighbours were joined.
    """
    of_foreign: dict[int, set[int]] = {}
    for i, j in links:
        of_foreign.setdefault(j, set()).add(i)
    nothing: set[int] = set()
    spare = set()
    for rule in conventions.inserted:
        for word, form in enumerate(foreign):
            if form.lower() in rule.forms:
                shared = of_foreign.get(rule.companion_of(word), nothing)
                spare.update((i, word) for i in of_foreign.get(word, nothing) & shared)
    return [(i, j) for i, j in links if _is_word(english[i]) == _is_word(foreign[j]) and (i, j) not in spare]


def insertions(
    forms: Sequence[str], english_of: Mapping[int, int], deprels: Sequence[str], conventions: Conventions
) -> list[Insertion]:
    """The inserted words of a sentence: listed ones beside a companion, linked to nothing or to a function word.

    english_of: foreign position to that of the counterpart, counted from 0. deprels: of the English words.
    """
    found: list[Insertion] = []
    taken: set[int] = set()
    for rule in conventions.inserted:
        for word, form in enumerate(forms):
            companion = rule.companion_of(word)
            if form.lower() not in rule.forms or companion not in english_of or {word, companion} & taken:
                continue
            if word in english_of and _base(deprels[english_of[word]]) not in FUNCTION:
                continue
            if rule.goes_with(forms[companion], _base(deprels[english_of[companion]])):
                found.append(Insertion(word, companion, rule))
                taken |= {word, companion}
    return found


def insert(heads: list[int], deprels: list[str], insertion: Insertion) -> None:
    """Puts an inserted word in the place that its companion has in a tree, in place; the companion goes under it.

    heads: counted from 1, the root's 0, `treebank.UNKNOWN` where there is none; the inserted word's is.
    """
    word, companion, rule = insertion
    for other, head in enumerate(heads):
        if head == companion + 1 and rule.hands_over(deprels[other]):
            heads[other] = word + 1
    heads[word], deprels[word] = heads[companion], deprels[companion]
    heads[companion], deprels[companion] = word + 1, rule.relation


def _base(deprel: str) -> str:
    return deprel.partition(":")[0]


def _is_word(form: str) -> bool:
    return any(character.isalnum() for character in form)
