"""Word vectors of two languages in one space: from anchors, refined by what they find themselves.

1. Vectors are made unit length, centred, and made unit length again (Artetxe, Labaka & Agirre 2016).
2. The orthogonal map that brings anchors nearest to their translations (Procrustes: Xing et al. 2015). Anchors are the
   entries of a lexicon, or else the words that are written the same in both languages: numbers, names, loans. They
   weigh as the square root of the frequency of the rarer word: vectors of rare words are mostly noise.
3. Words that are each other's nearest neighbour by CSLS become the pairs of the next map (Lample et al. 2018), with the
   anchors among them, as often as that finds better translations. They are weighed in the same way.
4. By the pairs of the last map both languages are turned into the space of what they share: whitened, turned, and every
   dimension weighted by how well the languages agree in it (Artetxe, Labaka & Agirre 2018).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ...errors import CorpusError, RecipeError
from ..alignment.compiled import Array
from ..alignment.lexicon import Lexicon
from .files import WordVectors
from .similarity import nearest, neighbourhood, scaled_for_csls, unit

#: with so many pairs nothing is refined if nobody asks for it: what refinement finds is worse than a dictionary
ENOUGH_ANCHORS = 5000
_ROUNDS = 5
#: with fewer pairs of words than this there is nothing to start from
MIN_ANCHORS = 50
#: one in so many anchor words is left out of the map that is judged by them
_HELD_OUT = 10
#: dimensions that vary less than this share of the one that varies most are not whitened further
_LEAST_VARIANCE = 1e-4


@dataclass(frozen=True, eq=False)
class AlignedVectors:
    """Word vectors of two languages in one space, unit length.

    english, foreign: words and counts as they were given, vectors centred and mapped. english_map, foreign_map:
    float64, shape (d, d); centred rows of unit length times these are in the common space. If that was not whitened
    it is the English one: the one is the identity, the other orthogonal. anchors: how many pairs of words it started
    from, of which kind. pairs: how many pairs the last map was made of, and rounds: how many refinements it took.
    similarity: mean CSLS of the frequent foreign words to the English word nearest to each, by which maps of the same
    vectors can be compared (Lample et al. 2018, section 3). precision: share of held-out anchor words, translated by
    the map that the others gave after refinement, whose nearest English word by CSLS is a translation; NaN where
    there were too few anchors to hold some out.
    """

    english: WordVectors
    foreign: WordVectors
    english_map: Array
    foreign_map: Array
    anchors: int
    kind: Literal["lexicon", "identical"]
    pairs: int
    rounds: int
    similarity: float
    precision: float


def align_vectors(
    english: WordVectors,
    foreign: WordVectors,
    lexicon: Lexicon | None = None,
    *,
    rounds: int | None = None,
    words: int = 20_000,
    neighbours: int = 10,
    whiten: bool = True,
) -> AlignedVectors:
    """Brings word vectors of two languages into one space.

    lexicon: its entries of single words are the anchors, weighted by p(English | foreign) where that is known, else
    shared among the entries of the foreign word, and by the frequency of the rarer word; without one, words written
    the same in both. rounds: refinements at most, 0 for none; None: 5, or none where there are 5,000 anchors. words:
    how many of the most frequent words of each language take part in a refinement. neighbours: k of CSLS. whiten:
    whether the last step is taken, which leaves the English space.

    Raises CorpusError for vectors of different dimensions and for fewer than 50 anchors, RecipeError for impossible
    settings.
    """
    if (rounds or 0) < 0 or words < 1 or neighbours < 1:
        raise RecipeError(f"{rounds} rounds, {words} words, {neighbours} neighbours: 0, 1 and 1 is the least of each.")
    if english.dimension != foreign.dimension:
        raise CorpusError(
            f"The English word vectors have {english.dimension} dimensions, those of the other language "
            f"{foreign.dimension}. Both must have the same number."
        )
    anchors = identical_words(english, foreign) if lexicon is None else lexicon_anchors(english, foreign, lexicon)
    if anchors.rows.size < MIN_ANCHORS:
        raise CorpusError(_too_few(anchors.rows.size, lexicon))
    if rounds is None:
        rounds = 0 if anchors.rows.size >= ENOUGH_ANCHORS else _ROUNDS
    ours, theirs = normalised(english.matrix), normalised(foreign.matrix)
    held_out = anchors.rows % _HELD_OUT == 0 if np.unique(anchors.rows).size >= _HELD_OUT * MIN_ANCHORS else None

    def reliable(pairs: Pairs) -> Pairs:
        rarer = np.minimum(foreign.frequencies[pairs.rows], english.frequencies[pairs.columns])
        return replace(pairs, weights=pairs.weights * np.sqrt(rarer))

    anchors = reliable(anchors)
    seeds = anchors if held_out is None else anchors.select(~held_out)
    search = _Search(ours[:words], theirs[:words], neighbours)
    used, done, similarity = _refined(ours, theirs, seeds, search, rounds, reliable)
    precision = math.nan
    if held_out is not None:
        one, other = _maps(ours, theirs, used, whiten)
        mapped = _mapped(theirs, other)
        judge = _Search(_mapped(ours[:words], one), mapped[:words], neighbours)
        precision = _precision(judge, mapped, anchors.select(held_out & (anchors.columns < words)))
        # those that were held out have been of use and may help now
        used = _together(anchors, used)
    one, other = _maps(ours, theirs, used, whiten)
    return AlignedVectors(
        replace(english, matrix=_mapped(ours, one)),
        replace(foreign, matrix=_mapped(theirs, other)),
        one,
        other,
        int(anchors.rows.size),
        "identical" if lexicon is None else "lexicon",
        int(used.rows.size),
        done,
        similarity,
        precision,
    )


def _too_few(found: int, lexicon: Lexicon | None) -> str:
    if lexicon is None:
        return (
            f"Only {found} words are written the same in both languages, which is too little overlap to align their "
            f"word vectors; at least {MIN_ANCHORS} are needed. Give a bilingual dictionary with --lexicon."
        )
    return (
        f"Only {found} of {len(lexicon):,} lexicon entries have a vector on both sides, which is too little to align "
        f"the word vectors; at least {MIN_ANCHORS} are needed. Is the lexicon English first, and of these languages?"
    )


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of words. rows: foreign words, columns: English words, int64; weights: float64, positive; (pairs,) each."""

    rows: Array
    columns: Array
    weights: Array

    def select(self, which: Array) -> Pairs:
        """Some of them, by a mask."""
        return Pairs(self.rows[which], self.columns[which], self.weights[which])


def identical_words(english: WordVectors, foreign: WordVectors) -> Pairs:
    """The words that both have, each a pair of weight 1."""
    both = [(row, english.index[word]) for row, word in enumerate(foreign.words) if word in english.index]
    rows, columns = np.array(both, np.int64).reshape(-1, 2).T
    return Pairs(rows, columns, np.ones(rows.size))


def lexicon_anchors(english: WordVectors, foreign: WordVectors, lexicon: Lexicon) -> Pairs:
    """The entries whose words have vectors, as they are written or in lower case; see `align_vectors` for weights."""
    entries = Counter(lexicon.foreign)
    found: dict[tuple[int, int], float] = {}
    for ours, theirs, known in zip(
        lexicon.english, lexicon.foreign, lexicon.english_given_foreign.tolist(), strict=True
    ):
        column = english.index.get(ours, english.index.get(ours.lower()))
        row = foreign.index.get(theirs, foreign.index.get(theirs.lower()))
        weight = 1 / entries[theirs] if math.isnan(known) else known
        if row is not None and column is not None and weight > 0:
            found[row, column] = max(weight, found.get((row, column), 0.0))
    rows, columns = np.array(list(found), np.int64).reshape(-1, 2).T
    return Pairs(rows, columns, np.array(list(found.values()), np.float64))


def normalised(matrix: Array) -> Array:
    """Unit length, centred, unit length: float32, shape (n, d). Zero vectors stay zero and have no part in the mean."""
    absent = ~matrix.any(axis=1)
    rows = unit(matrix)
    rows -= (rows.sum(axis=0, dtype=np.float64) / max(1, len(rows) - absent.sum())).astype(np.float32)
    rows[absent] = 0
    return unit(rows)


def procrustes(foreign: Array, english: Array, pairs: Pairs) -> Array:
    """The orthogonal map R with the least sum of w |x R - y|^2 over the pairs (Schoenemann 1966), float64, (d, d).

    foreign, english: float, shapes (n, d) and (m, d).
    """
    weighted = foreign[pairs.rows].astype(np.float64) * pairs.weights[:, None]
    left, _, right = np.linalg.svd(weighted.T @ english[pairs.columns])
    return np.asarray(left @ right, np.float64)


def shared_space(foreign: Array, english: Array, pairs: Pairs) -> tuple[Array, Array]:
    """The maps of English and of foreign vectors, float64 (d, d) each, into the space of what they share.

    Both are whitened by the covariance of their words in the pairs; the singular vectors of the pairs' cross covariance
    turn them, and the square roots of its singular values, the largest made 1, weigh the dimensions.
    """
    one, other = _whitening(english, pairs.columns, pairs.weights), _whitening(foreign, pairs.rows, pairs.weights)
    share = pairs.weights / pairs.weights.sum()
    ours, theirs = english[pairs.columns] @ one, foreign[pairs.rows] @ other
    left, values, right = np.linalg.svd((theirs * share[:, None]).T @ ours)
    weights = np.sqrt(values / max(values[0], np.finfo(float).tiny))
    return np.asarray(one @ right.T * weights, np.float64), np.asarray(other @ left * weights, np.float64)


def _whitening(matrix: Array, rows: Array, weights: Array) -> Array:
    """The symmetric map, float64 (d, d), after which these rows have the unit matrix as covariance (about zero).

    All rows together count like d of the pairs, so that few pairs do not whiten what they do not tell about.
    """
    chosen, every = matrix[rows].astype(np.float64), matrix.astype(np.float64)
    dimension = matrix.shape[1]
    pairs = weights.sum() ** 2 / (weights**2).sum()  # as many of equal weight would be as good
    own = (chosen * (weights / weights.sum())[:, None]).T @ chosen
    covariance = (pairs * own + dimension * (every.T @ every) / len(every)) / (pairs + dimension)
    values, vectors = np.linalg.eigh(covariance)
    # what hardly varies is noise, and is not to be blown up
    return np.asarray(vectors / np.sqrt(np.maximum(values, _LEAST_VARIANCE * values[-1])) @ vectors.T)


def _maps(english: Array, foreign: Array, pairs: Pairs, whiten: bool) -> tuple[Array, Array]:
    """Of both languages, English first, as these pairs give them."""
    if whiten:
        return shared_space(foreign, english, pairs)
    return np.eye(english.shape[1]), procrustes(foreign, english, pairs)


def _mapped(matrix: Array, by: Array) -> Array:
    """Float32, rows of unit length."""
    return unit(np.asarray(matrix @ by, np.float32))


class _Search:
    """CSLS among the most frequent words of both languages."""

    def __init__(self, english: Array, foreign: Array, neighbours: int) -> None:
        self._english, self._foreign, self._k = english, foreign, neighbours

    def mutual(self, rotation: Array) -> tuple[Pairs, float]:
        """Pairs of words that are each other's nearest, and the mean CSLS of foreign words to their nearest."""
        mapped = np.asarray(self._foreign @ rotation, np.float32)
        r_english = neighbourhood(self._english, mapped, self._k)
        r_foreign = neighbourhood(mapped, self._english, self._k)
        forward, scores = nearest(*scaled_for_csls(mapped, self._english, r_english))
        backward, _ = nearest(*scaled_for_csls(self._english, mapped, r_foreign))
        rows = np.flatnonzero(backward[forward] == np.arange(len(mapped)))
        pairs = Pairs(rows, forward[rows].astype(np.int64), np.ones(rows.size))
        return pairs, float((scores - r_foreign).mean())

    def translations(self, mapped: Array, rows: Array) -> Array:
        """The nearest English word of some foreign words; mapped: all foreign vectors."""
        r_english = neighbourhood(self._english, mapped[: len(self._foreign)], self._k)
        return nearest(*scaled_for_csls(mapped[rows], self._english, r_english))[0]


def _refined(
    ours: Array, theirs: Array, seeds: Pairs, search: _Search, rounds: int, reliable: Callable[[Pairs], Pairs]
) -> tuple[Pairs, int, float]:
    """The pairs that the best map is made of, how many refinements were of use, and its similarity.

    reliable: weighs what is found, as the seeds are weighed.
    """
    used = seeds
    found, similarity = search.mutual(procrustes(theirs, ours, seeds))
    for done in range(rounds):
        pairs = _together(seeds, reliable(found))
        found, better = search.mutual(procrustes(theirs, ours, pairs))
        if better <= similarity:
            return used, done, similarity
        used, similarity = pairs, better
    return used, rounds, similarity


def _together(anchors: Pairs, found: Pairs) -> Pairs:
    """Both, a pair that is in both once."""
    new = np.isin(found.rows * (1 << 32) + found.columns, anchors.rows * (1 << 32) + anchors.columns, invert=True)
    return Pairs(
        np.concatenate([anchors.rows, found.rows[new]]),
        np.concatenate([anchors.columns, found.columns[new]]),
        np.concatenate([anchors.weights, found.weights[new]]),
    )


def _precision(search: _Search, mapped: Array, pairs: Pairs) -> float:
    """Share of the foreign words of the pairs whose nearest English word is a translation of theirs."""
    rows = np.unique(pairs.rows)
    if not rows.size:
        return math.nan
    found = search.translations(np.asarray(mapped, np.float32), rows)
    right = set(zip(pairs.rows.tolist(), pairs.columns.tolist(), strict=True))
    return float(np.mean([pair in right for pair in zip(rows.tolist(), found.tolist(), strict=True)]))
