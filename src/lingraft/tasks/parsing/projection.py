"""Annotation projection: trees of English sentences, carried over word links to their translations.

Hwa et al. (2005), "Bootstrapping parsers via syntactic projection across parallel texts". An English parser parses the
English side of a bitext; where word d is linked to d' and its head h to h', each to no other, d' gets the head h' and
the relation of d. What is known of the language's trees beside that is put right (`conventions.py`, `reshaping.py`),
and punctuation marks hang where Universal Dependencies has them (`punctuation.py`). Words without such a link or a
convention, or whose head has none, stay without a head: a tree in part, from which a parser learns what it says
(`BiaffineHead.loss`), with some doubt (`DOUBT`), and nothing of the rest. A parser that was swapped into a language has
never seen its order of words; this is where it does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ...corpus.scripts import is_spaceless
from ...evidence.alignment import align
from .attachment import Parse
from .biaffine import HeadDoubt
from .clitics import ArabicClitics
from .conventions import Conventions, conventions_of
from .cutting import primary, treebank_words
from .parser import Parser
from .punctuation import attach_punctuation, is_punctuation
from .reshaping import attach, believed, bind_expressions, insert, insertions, nominalize, raise_verbs, relation_of
from .text import Piece, Pieces, sentence_of, text_of, words_of
from .treebank import UNKNOWN, Sentence

Links = Sequence[tuple[int, int]]
OnProgress = Callable[[float, str], None]

#: those of languages of which nothing more is known
PLAIN = Conventions()
#: share of a sentence's words that must get a head
MIN_SHARE = 0.6
#: trees that are wanted of a bitext
TREES = 12_000
#: words of a sentence that is projected: what is shorter is mostly no sentence, what is longer mostly several
SHORTEST, LONGEST = 6, 40
#: share of an English sentence's words that must end in a letter; else it is a table or a command
_LETTERS = 0.6
#: sentences that the teacher parses together
_BLOCK = 512
#: of projected heads. The right one is often a word beside that got none, as one English word is put as two and one of
#: them has the link: "1991" as "1991 year", "use" as "use make"
DOUBT = HeadDoubt(beside=1.0, other=0.1)
#: languages that write a space between syllables, and whose treebanks' words have several
_SYLLABLES = ("vi",)
#: languages that write what treebanks have apart as one word, to be told by the words of their text
_CLITICS = ("ar",)


class Linked(NamedTuple):
    """A sentence pair as words, each with whether a space follows, and the links of words that have one and no other.

    counterparts: English position to foreign position, counted from 0.
    """

    english: Pieces
    foreign: Pieces
    counterparts: dict[int, int]


class LinkedBitext(NamedTuple):
    """The pairs of a bitext that can carry a tree over.

    of_length: how many are of a fit length, linked well or not.
    conventions: of the foreign language's trees.
    """

    pairs: list[Linked]
    of_length: int
    conventions: Conventions


@dataclass(frozen=True)
class Projection:
    """Trees in part. sentences: of the new language. parsed: how many pairs the English parser read to find them."""

    sentences: list[Sentence]
    parsed: int

    @property
    def words(self) -> int:
        """Words of all sentences."""
        return sum(map(len, self.sentences))

    @property
    def attached(self) -> int:
        """Those of them that have a head."""
        return self.words - sum(sentence.heads.count(UNKNOWN) for sentence in self.sentences)


def linked_pairs(
    pairs: Sequence[tuple[str, str]],
    language: str,
    min_share: float = MIN_SHARE,
    on_progress: OnProgress | None = None,
) -> LinkedBitext:
    """The pairs of a bitext that are of a fit length and whose words are linked well enough to carry a tree over.

    pairs: raw (English, foreign) sentences; all of them are aligned, as every pair teaches the aligner. Those are of a
    fit length that have `SHORTEST` to `LONGEST` words on both sides, and English of which most words end in a letter.
    language: tag of the foreign side, by which words are cut (`treebank_words`, `ArabicClitics`) and conventions known.
    min_share: of the foreign words that need a counterpart, or a convention that settles their head, in (0, 1].
    on_progress: told the share of the alignment that is done, and a note.
    """
    if on_progress:
        on_progress(0.0, f"{len(pairs):,} pairs")
    known: dict[Piece, Piece] = {}  # a word is one object, however often it occurs

    def kept(words: Pieces) -> Pieces:
        return [known.setdefault(piece, piece) for piece in words]

    cut = [(kept(treebank_words(english, "en")), kept(treebank_words(foreign, language))) for english, foreign in pairs]
    if primary(language) in _CLITICS:
        clitics = ArabicClitics(word for _, foreign in cut for word, _ in foreign)
        cut = [(english, kept(clitics.apart(foreign))) for english, foreign in cut]
    links = align(
        ((words_of(english), words_of(foreign)) for english, foreign in cut),
        on_progress=on_progress,
    ).links
    found = []
    of_length = 0
    conventions = conventions_of(language)
    for (english, words), of_pair in zip(cut, links, strict=True):
        if SHORTEST <= len(english) <= LONGEST and _mostly_letters(english):
            foreign, between = joined(words, of_pair, language)
            if SHORTEST <= len(foreign) <= LONGEST:
                of_length += 1
                forms = words_of(foreign)
                counterparts = one_to_one(believed(words_of(english), forms, between, conventions))
                settled = {place for place, form in enumerate(forms) if conventions.settles(form)}
                if len(settled.union(counterparts.values())) >= min_share * len(foreign):
                    found.append(Linked(english, foreign, counterparts))
    return LinkedBitext(found, of_length, conventions)


def project_trees(
    teacher: Parser,
    linked: LinkedBitext,
    at_most: int = TREES,
    seed: int = 0,
    min_share: float = MIN_SHARE,
    precision: str = "auto",
    on_progress: OnProgress | None = None,
) -> Projection:
    """The trees that an English parser gives the English sentences, as far as links carry them to the foreign ones.

    teacher: the English parser. linked: pairs, of which ``at_most`` different sentences are taken at random. seed: of
    their order. min_share: of a sentence's words that must get a head, in (0, 1]; the root is always among them.
    precision: of the parser, as for `Parser.parse`. on_progress: told the share done and a note.
    """
    found: list[Sentence] = []
    seen: set[tuple[str, ...]] = set()
    parsed = 0
    conventions = linked.conventions.restricted_to(teacher.labels)
    order = np.random.default_rng(seed).permutation(len(linked.pairs)).tolist()
    while parsed < len(order) and len(found) < at_most:
        block = [linked.pairs[k] for k in order[parsed : parsed + _BLOCK]]
        parsed += len(block)
        parses = teacher.parse([words_of(pair.english) for pair in block], precision=precision)
        for pair, parse in zip(block, parses, strict=True):
            forms = tuple(words_of(pair.foreign))
            heads, deprels = project(parse, words_of(pair.english), pair.counterparts, forms, conventions)
            with_head = len(heads) - heads.count(UNKNOWN)
            if len(found) < at_most and 0 in heads and with_head >= min_share * len(heads) and forms not in seen:
                seen.add(forms)
                sentence = sentence_of(pair.foreign, len(found) + 1, f"text_en = {text_of(pair.english)}")
                found.append(sentence.with_tree(heads, deprels))
        if on_progress:
            on_progress(max(len(found) / at_most, parsed / len(order)), f"{len(found):,} sentences")
    return Projection(found, parsed)


def project(
    parse: Parse,
    english: Sequence[str],
    counterparts: Mapping[int, int],
    foreign: Sequence[str],
    conventions: Conventions = PLAIN,
) -> tuple[list[int], list[str]]:
    """Heads and relations of a translation, `UNKNOWN` and ``_`` where links and conventions say nothing.

    parse: of the English sentence. english, foreign: the words. counterparts: English position to foreign position,
    counted from 0, no position twice. conventions: by which trees of the language differ. Arcs that cross each other
    are left out: treebanks have few, wrong links make them.
    """
    heads, deprels = [UNKNOWN] * len(foreign), ["_"] * len(foreign)
    english_of = {place: i for i, place in counterparts.items() if not is_punctuation(foreign[place])}
    forms = [word.lower() for word in foreign]
    found = insertions(forms, english_of, parse.deprels, conventions)
    for insertion in found:
        english_of.pop(insertion.word, None)
    linked = {i: place for place, i in english_of.items()}
    for place, i in english_of.items():
        head, deprel = parse.heads[i] - 1, parse.deprels[i]
        if head < 0:
            heads[place], deprels[place] = 0, deprel
        elif head in linked:
            heads[place] = linked[head] + 1
            deprels[place] = relation_of(deprel, (i, place), (head, linked[head]), english, forms, conventions)
    for insertion in found:
        insert(heads, deprels, insertion)
    if conventions.modal or conventions.copulas:
        raise_verbs(heads, deprels, english, forms, english_of, conventions)
    if conventions.expressions:
        bind_expressions(heads, deprels, forms, conventions.expressions)
    attach(heads, deprels, forms, english_of, parse.deprels, conventions)
    if conventions.prepositions:
        nominalize(heads, deprels, forms, english_of, parse.deprels, conventions)
    for word in _crossing(heads):
        heads[word], deprels[word] = UNKNOWN, "_"
    if conventions.punctuation:
        attach_punctuation(heads, deprels, foreign, conventions.punctuation)
    return heads, deprels


def _crossing(heads: Sequence[int]) -> set[int]:
    """Words, counted from 0, whose arc crosses another one; the root's is none."""
    arcs = sorted((min(head - 1, word), max(head - 1, word), word) for word, head in enumerate(heads) if head > 0)
    crossing: set[int] = set()
    for number, (start, end, word) in enumerate(arcs):
        for other_start, other_end, other in arcs[number + 1 :]:
            if other_start >= end:
                break
            if start < other_start and end < other_end:
                crossing |= {word, other}
    return crossing


def one_to_one(links: Links) -> dict[int, int]:
    """The links (English position, foreign position) of words that have no other."""
    per_english, per_foreign = ([link[side] for link in links] for side in (0, 1))
    return {i: j for i, j in links if per_english.count(i) == 1 and per_foreign.count(j) == 1}


def joined(words: Pieces, links: Links, language: str) -> tuple[Pieces, list[tuple[int, int]]]:
    """Words with neighbours made one where treebanks have one, and the links between English words and these.

    words: with whether a space follows. links: (English position, foreign position). language: of the words, a tag.

    Of text without spaces every character comes as a word (`split_words`), of Vietnamese every syllable. Neighbours
    that are linked to one and the same English word and no other are taken for one word.
    """
    syllables = primary(language) in _SYLLABLES
    english_of: dict[int, list[int]] = {}
    for i, j in links:
        english_of.setdefault(j, []).append(i)
    result: Pieces = []
    place: list[int] = []
    for j, (word, space) in enumerate(words):
        if result and len(english_of.get(j, [])) == 1 and english_of.get(j - 1) == english_of[j]:
            before, gap = result[-1]
            if _joinable(before, word, gap, syllables):
                result[-1] = (f"{before}{' ' * gap}{word}", space)
                place.append(len(result) - 1)
                continue
        result.append((word, space))
        place.append(len(result) - 1)
    return result, sorted({(i, place[j]) for i, j in links})


def _joinable(before: str, word: str, gap: bool, syllables: bool) -> bool:
    if syllables:
        return before[-1].isalpha() and word[0].isalpha()
    return not gap and is_spaceless(before[0]) and is_spaceless(word[0])  # marks, which end a unit, are not


def _mostly_letters(words: Pieces) -> bool:
    return sum(word[-1].isalpha() for word, _ in words) >= _LETTERS * len(words)
