"""Projected trees into the shape that the trees of the language have, as far as `conventions.py` knows it.

Positions count from 0, heads from 1; the root's head is 0, one that is not known `treebank.UNKNOWN`.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableSequence, Sequence
from typing import NamedTuple

from .attachment import universal
from .conventions import FUNCTION, Conventions, Inserted, word_set
from .treebank import UNKNOWN

#: English modal verbs, as treebanks cut them ("ca n't"); "will" and "would" make tenses elsewhere
_MODALS = word_set("can could may might must shall should ca ought")
_POSSESSIVES = word_set("my your his her its our their")
#: relations that a verb hands over to its modal verb
_OF_CLAUSES = word_set("advcl cc csubj discourse dislocated expl nsubj parataxis punct vocative")
#: those of words that it hands over if they stand before the modal verb
_OF_CLAUSES_BEFORE = word_set("advmod mark")
#: relations that a noun behind a preposition has not, and what it has in their place
_AS_NOUN: Mapping[str, str] = {
    **dict.fromkeys(["nsubj", "obj", "iobj", "advcl", "xcomp", "ccomp", "csubj", "advmod"], "obl"),
    **dict.fromkeys(["acl", "amod", "compound", "nummod", "appos"], "nmod"),
}
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
    nothing: set[int] = set()
    spare: set[tuple[int, int]] = set()
    for rule in conventions.inserted:
        for word, form in enumerate(foreign):
            if form.lower() in rule.forms:
                shared = of_foreign.get(rule.companion_of(word, foreign), nothing)
                spare.update((i, word) for i in of_foreign.get(word, nothing) & shared)
    return [
        (i, j)
        for i, j in links
        if _is_mark(english[i]) == _is_mark(foreign[j])
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
            if form.lower() not in rule.forms:
                continue
            companion = rule.companion_of(word, forms)
            if companion not in english_of or {word, companion} & taken:
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
    for other, head in enumerate(heads):
        if head == companion + 1 and rule.hands_over(universal(deprels[other])):
            heads[other] = word + 1
    _replace(heads, deprels, word, companion, rule.relation)


def raise_verbs(
    heads: list[int],
    deprels: list[str],
    english: Sequence[str],
    foreign: Sequence[str],
    english_of: Mapping[int, int],
    conventions: Conventions,
) -> None:
    """Puts modal verbs and copulas, which projection leaves under their verbs and predicates, in their place, in place.

    english, foreign: the words of the sentences. conventions: whether, and what the verbs and predicates become.
    """
    for word, i in english_of.items():
        deprel = universal(deprels[word])
        relation = ""
        if deprel == "aux" and english[i].lower() in _MODALS:
            relation = conventions.modal
        elif deprel == "cop":
            relation = conventions.copulas.get(foreign[word].lower(), "")
        if relation and heads[word] > 0:
            verb = heads[word] - 1
            for other, head in enumerate(heads):
                if head == verb + 1 and other != word:
                    its = universal(deprels[other])
                    if its in _OF_CLAUSES or (its in _OF_CLAUSES_BEFORE and other < word):
                        heads[other] = word + 1
            _replace(heads, deprels, word, verb, relation)


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
    listed = frozenset[str]().union(*(rule.forms for rule in conventions.attached))
    for rule in conventions.attached:
        for word, form in enumerate(forms):
            head = rule.head_of(word)
            if form.lower() not in rule.forms or not 0 <= head < len(forms):
                continue
            beside = forms[head].lower()
            if _is_mark(beside) or beside in rule.but or beside in listed:
                continue
            if rule.not_before and (word + 1 == len(forms) or forms[word + 1].lower() in rule.not_before):
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
            if word in _above(head, heads):  # else the two would hang on each other
                heads[head], deprels[head] = UNKNOWN, "_"
            heads[word], deprels[word] = head + 1, relation


def nominalize(
    heads: Sequence[int], deprels: MutableSequence[str], forms: Sequence[str], prepositions: frozenset[str]
) -> None:
    """Gives nouns, told by a preposition before them, relations that nouns have, and their words those of a noun's.

    heads: as they are when all words have theirs. deprels: changed in place. prepositions: in small letters.
    """
    nouns: set[int] = set()
    for word, form in enumerate(forms):
        if heads[word] > word + 1 and form.lower() in prepositions:
            if universal(deprels[word]) in _NO_CASE:
                deprels[word] = "case"
            if universal(deprels[word]) == "case":
                nouns.add(heads[word] - 1)
    for word, head in enumerate(heads):
        if head > 0 and word in nouns:
            deprels[word] = _AS_NOUN.get(universal(deprels[word]), deprels[word])
    for word, head in enumerate(heads):
        if head - 1 in nouns and universal(deprels[word]) in _OBJECTS:
            deprels[word] = "nmod"


def relation_of(
    deprel: str,
    place: tuple[int, int],
    head: tuple[int, int],
    english: Sequence[str],
    foreign: Sequence[str],
    conventions: Conventions,
) -> str:
    """The relation of a word whose counterpart has ``deprel``. place, head: English position, foreign position."""
    form = foreign[place[1]].lower()
    if form in conventions.function_words and universal(deprel) in (*FUNCTION, "advmod", "amod"):
        return conventions.function_words[form]
    if conventions.article and place[1] == head[1] + 1 and form.startswith(conventions.article):
        agrees = foreign[head[1]].startswith(conventions.article)
        if universal(deprel) in ("amod", "compound", "nmod"):
            return "amod" if agrees else "nmod"
    if place[0] < head[0] and place[1] > head[1]:
        return conventions.behind.get(deprel, deprel)
    if place[1] < head[1]:
        if conventions.possessive and deprel == "nmod:poss" and english[place[0]].lower() in _POSSESSIVES:
            return conventions.possessive
        after = foreign[place[1] + 1]
        if after in conventions.particles:
            return deprel
        if conventions.suffixed and place[1] + 1 == head[1] and len(after) == 1 and deprel in conventions.before:
            return conventions.suffixed
        return conventions.before.get(deprel, deprel)
    return deprel


def _above(word: int, heads: Sequence[int]) -> set[int]:
    """The places of all words that a word hangs on, over others or not."""
    found = set()
    while heads[word] > 0:
        word = heads[word] - 1
        found.add(word)
    return found


def _replace(heads: list[int], deprels: list[str], word: int, old: int, relation: str) -> None:
    heads[word], deprels[word] = heads[old], deprels[old]
    heads[old], deprels[old] = word + 1, relation


def _is_mark(form: str) -> bool:
    return not any(character.isalnum() for character in form)
