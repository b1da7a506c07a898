"""Projected trees into the shape that the trees of the language have, as far as `conventions.py` knows it.

Positions count from 0, heads from 1; the root's head is 0, one that is not known `treebank.UNKNOWN`. Where words are
called forms they are in small letters, as conventions list them.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableSequence, Sequence
from typing import NamedTuple

from .attachment import universal
from .conventions import FUNCTION, Conventions, Inserted, word_set
from .treebank import UNKNOWN, above

#: English modal verbs, as treebanks cut them ("ca n't"); "will" and "would" make tenses elsewhere
_MODALS = word_set("can could may might must shall should ca ought")
_POSSESSIVES = word_set("my your his her its our their")
#: relations that a verb hands over to its modal verb
_OF_CLAUSES = word_set("advcl cc csubj discourse dislocated expl nsubj parataxis punct vocative")
#: those of words that it hands over if they stand before the modal verb
_OF_CLAUSES_BEFORE = word_set("advmod mark")
#: those that a predicate hands over to its copula, if they stand before it
_OF_COPULAS_BEFORE = word_set("advmod aux mark obl")
#: relations that a noun behind a preposition has not, and what it has in their place
_AS_NOUN: Mapping[str, str] = {
    **dict.fromkeys(["nsubj", "obj", "iobj", "advcl", "xcomp", "ccomp", "csubj", "advmod"], "obl"),
    **dict.fromkeys(["acl", "amod", "compound", "appos"], "nmod"),
}
#: those that no noun behind a preposition has, be it a predicate or not
_OF_NO_OBLIQUE = word_set("nsubj obj iobj xcomp advmod amod compound")
_OBJECTS = word_set("nsubj obj iobj obl")
#: relations of function words that prepositions get from English ones of another kind
_NO_CASE = word_set("mark advmod cc aux cop det expl amod advcl")
#: relations of verbs, adjectives and adverbs
_CLAUSAL = word_set("acl advcl advmod amod ccomp root")


class Insertion(NamedTuple):
    """A word that English leaves out, in a sentence, and its companion: their places."""

    word: int
    companion: int
    rule: Inserted


def believed(
    english: Sequence[str], foreign: Sequence[str], links: Sequence[tuple[int, int]], conventions: Conventions
) -> list[tuple[int, int]]:
    """The links (English position, foreign position) that can be right.

    Without those of a word with a punctuation mark and those of `Conventions.unlinked`. Where an inserted word and its
    companion are linked to the same English word, as two words that say "used" are, the companion alone keeps it.
    foreign: after neighbours were joined.
    """
    of_foreign: dict[int, set[int]] = {}
    for i, j in links:
        of_foreign.setdefault(j, set()).add(i)
    forms = [word.lower() for word in foreign]
    nothing: set[int] = set()
    spare: set[tuple[int, int]] = set()
    for rule in conventions.inserted:
        for word, form in enumerate(forms):
            if form in rule.forms:
                shared = of_foreign.get(rule.companion_of(word, forms), nothing)
                spare.update((i, word) for i in of_foreign.get(word, nothing) & shared)
    return [
        (i, j)
        for i, j in links
        if _is_sign(english[i]) == _is_sign(foreign[j])
        and english[i].lower() not in conventions.unlinked
        and (i, j) not in spare
    ]


def insertions(
    forms: Sequence[str], english_of: Mapping[int, int], of_english: Sequence[str], conventions: Conventions
) -> list[Insertion]:
    """The inserted words of a sentence: listed ones beside a companion that has a counterpart.

    Their own counterpart, if they have one, is a function word. english_of: foreign position to that of the
    counterpart. of_english: relations of the English words.
    """
    found: list[Insertion] = []
    taken: set[int] = set()
    for rule in conventions.inserted:
        for word, form in enumerate(forms):
            if form not in rule.forms:
                continue
            companion = rule.companion_of(word, forms)
            if companion not in english_of or {word, companion} & taken or forms[companion] in rule.but:
                continue
            if word in english_of and universal(of_english[english_of[word]]) not in FUNCTION:
                continue
            if rule.goes_with(forms[companion], universal(of_english[english_of[companion]])):
                found.append(Insertion(word, companion, rule))
                taken |= {word, companion}
    return found


def insert(heads: list[int], deprels: list[str], insertion: Insertion) -> None:
    """Puts an inserted word, which has no head yet, in its companion's place, in place; the companion goes under it."""
    word, companion, rule = insertion
    along = [other for other, its in enumerate(deprels) if rule.hands_over(universal(its))]
    _take_place(heads, deprels, word, companion, rule.relation, along)


def raise_verbs(
    heads: list[int],
    deprels: list[str],
    english: Sequence[str],
    forms: Sequence[str],
    english_of: Mapping[int, int],
    conventions: Conventions,
) -> None:
    """Puts modal verbs and copulas, which projection leaves under their verbs and predicates, in their place, in place.

    english: the words of the English sentence. conventions: whether, and what the verbs and predicates become.
    """
    for deprel, if_before in (("aux", _OF_CLAUSES_BEFORE), ("cop", _OF_COPULAS_BEFORE)):
        for word, i in english_of.items():
            if universal(deprels[word]) != deprel or heads[word] <= 0:
                continue
            if deprel == "cop":
                relation = conventions.copulas.get(forms[word], "")
            else:
                relation = conventions.modal if english[i].lower() in _MODALS else ""
            if relation:
                along = [
                    other
                    for other, its in enumerate(map(universal, deprels))
                    if its in _OF_CLAUSES or (its in if_before and other < word)
                ]
                _take_place(heads, deprels, word, heads[word] - 1, relation, along)


def attach(
    heads: list[int],
    deprels: list[str],
    forms: Sequence[str],
    english_of: Mapping[int, int],
    of_english: Sequence[str],
    conventions: Conventions,
) -> None:
    """Puts `Conventions.attached` under the word beside them, in place.

    What hung on them, but for the rest of a fixed expression, has no head any more. of_english: relations of the
    English words.
    """
    for rule in conventions.attached:
        for word, form in enumerate(forms):
            head = rule.head_of(word)
            if form not in rule.forms or not 0 <= head < len(forms):
                continue
            beside = forms[head]
            if _is_sign(beside) or beside in rule.but or any(beside in other.forms for other in conventions.attached):
                continue
            if heads[head] == word + 1 and deprels[head] == "fixed":
                continue
            if rule.not_before and (word + 1 == len(forms) or forms[word + 1] in rule.not_before):
                continue
            relation = rule.relation
            if rule.of_clauses:
                if head not in english_of:
                    continue
                if universal(of_english[english_of[head]]) in _CLAUSAL:
                    relation = rule.of_clauses
            for other, its in enumerate(heads):
                if its == word + 1 and deprels[other] != "fixed":
                    heads[other], deprels[other] = UNKNOWN, "_"
            if word in above(head, heads):  # else the two would hang on each other
                heads[head], deprels[head] = UNKNOWN, "_"
            heads[word], deprels[word] = head + 1, relation


def bind_expressions(
    heads: list[int], deprels: list[str], forms: Sequence[str], expressions: Mapping[tuple[str, ...], str]
) -> None:
    """Puts the first word of an expression in its place and the others under it, in place.

    expressions: `Conventions.expressions`. Of several that begin at a word the longest one is taken.
    """
    longest = max(map(len, expressions))
    bound = 0
    for first in range(len(forms)):
        beginnings = (tuple(forms[first : first + length]) for length in range(longest, 1, -1))
        found = next((words for words in beginnings if words in expressions), ())
        if not found or first < bound:
            continue
        inside = range(first, first + len(found))
        bound = inside.stop
        outward = [heads[word] for word in inside if heads[word] != UNKNOWN and above(word, heads).isdisjoint(inside)]
        for other, head in enumerate(heads):
            if head - 1 in inside:
                heads[other] = first + 1
        for word in inside[1:]:
            heads[word], deprels[word] = first + 1, "fixed"
        if not outward:
            heads[first], deprels[first] = UNKNOWN, "_"
        else:
            heads[first], deprels[first] = outward[0], expressions[found] if outward[0] else "root"


def nominalize(
    heads: Sequence[int],
    deprels: MutableSequence[str],
    forms: Sequence[str],
    english_of: Mapping[int, int],
    of_english: Sequence[str],
    conventions: Conventions,
) -> None:
    """Gives nouns, told by a preposition before them, relations that nouns have, and their words those of a noun's.

    If the preposition is put for one in English, the noun is one there, too: its relation is left as it is then, unless
    it is one that no noun behind a preposition has. The root stays what it is. heads: as they are when all words have
    theirs. deprels: changed in place. of_english: relations of the English words.
    """
    nouns: set[int] = set()
    for word, form in enumerate(forms[:-1]):
        noun = heads[word] - 1
        if noun <= word or form not in conventions.prepositions:
            continue
        if forms[word + 1] in conventions.subordinators:
            continue
        if universal(deprels[word]) in _NO_CASE:
            deprels[word] = "case"
        if universal(deprels[word]) != "case" or heads[noun] == 0:
            continue
        deprel = universal(deprels[noun])
        same = word in english_of and universal(of_english[english_of[word]]) == "case"
        if not same or deprel in _OF_NO_OBLIQUE:
            deprels[noun] = _AS_NOUN.get(deprel, deprels[noun])
        if not same:
            nouns.add(noun)
    for word, head in enumerate(heads):
        if head - 1 in nouns and universal(deprels[word]) in _OBJECTS:
            deprels[word] = "nmod"


def relation_of(
    deprel: str,
    place: tuple[int, int],
    head: tuple[int, int],
    english: Sequence[str],
    forms: Sequence[str],
    conventions: Conventions,
) -> str:
    """The relation of a word whose counterpart has ``deprel``. place, head: English position, foreign position."""
    form = forms[place[1]]
    if form in conventions.function_words and universal(deprel) in (*FUNCTION, "advmod", "amod"):
        return conventions.function_words[form]
    if conventions.article and place[1] == head[1] + 1 and form.startswith(conventions.article):
        agrees = forms[head[1]].startswith(conventions.article)
        if universal(deprel) in ("amod", "compound", "nmod"):
            return "amod" if agrees else "nmod"
    if place[0] < head[0] and place[1] > head[1]:
        return conventions.behind.get(deprel, deprel)
    if place[1] < head[1]:
        if conventions.possessive and deprel == "nmod:poss" and english[place[0]].lower() in _POSSESSIVES:
            return conventions.possessive
        after = forms[place[1] + 1]
        if deprel == "amod" and after in conventions.particles:
            return deprel
        if conventions.suffixed and place[1] + 1 == head[1] and len(after) == 1 and deprel in conventions.before:
            return conventions.suffixed
        return conventions.before.get(deprel, deprel)
    return deprel


def _take_place(heads: list[int], deprels: list[str], word: int, old: int, relation: str, along: Sequence[int]) -> None:
    """Puts a word in the place of another, which goes under it, and those ``along`` that hung on the other one, too."""
    for other in along:
        if heads[other] == old + 1 and other != word:
            heads[other] = word + 1
    heads[word], deprels[word] = heads[old], deprels[old]
    heads[old], deprels[old] = word + 1, relation


def _is_sign(form: str) -> bool:
    """Whether a word is a punctuation mark or a symbol, whose links are no better than those of marks."""
    return not any(character.isalnum() for character in form)
