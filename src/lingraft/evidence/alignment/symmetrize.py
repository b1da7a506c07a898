"""From the posteriors of both directions to one set of links per sentence pair.

``posterior`` keeps the links on which both directions agree well enough: the product of the two posteriors is at least
a threshold (Liang, Taskar & Klein 2006). The other methods first make *hard links*: every foreign token is linked to
its most probable English token, and every English token to its most probable foreign token, unless the null word is at
least as probable. They differ in how the two sets are put together (Och & Ney 2003; Koehn, Och & Marcu 2003):

- ``intersection``, ``union``: links of both directions, links of either.
- ``grow-diag``: starts from the intersection. The links found so far are visited in order (English position, then
  foreign position), and of each its eight neighbours, those in a row or column first. A neighbour that is in the union
  is added if one of its two words is unaligned, and is itself visited when its turn comes. Repeated until nothing is
  added. This is what Moses (``symal``) does. fast_align's ``atools`` visits the links of the union instead and adds
  those that have a neighbour; where links compete for a word, the two may choose differently.
- ``grow-diag-final``: after that adds, in order, the remaining links of direction 1 (foreign given English) with at
  least one unaligned word, then those of direction 2.
- ``grow-diag-final-and``: the same, but only links whose two words are both unaligned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from ...errors import CorpusError, RecipeError
from .compiled import Array, Workers, compiled

#: ways to put the two directions together
METHODS = ("posterior", "intersection", "union", "grow-diag", "grow-diag-final", "grow-diag-final-and")
#: how many words of a link must be unaligned for it to be added at the end; three never are
_UNALIGNED = {"grow-diag": 3, "grow-diag-final": 1, "grow-diag-final-and": 2}
_NEIGHBOURS = ((-1, 0), (0, -1), (1, 0), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1))
_POSITIONS = 1 << 16
#: one unit of parallel work holds about so many links and tokens
_CHUNK = 1 << 18


@dataclass(frozen=True)
class LinkPosteriors:
    """Candidate links of many sentence pairs, grouped by foreign token (CSR), with the posterior of each direction.

    offsets: int64, shape (foreign tokens + 1,); the links of foreign token t are ``offsets[t]:offsets[t + 1]``.
    english: uint16, shape (links,), position of the English token in its sentence, ascending within a foreign token.
    foreign_posterior: float32, shape (links,), probability that this English token generated this foreign token; the
    sum over the links of a foreign token is at most 1, the rest is the null word's.
    english_posterior: float32, shape (links,), the same of the other direction; the sum over the links of an English
    token is at most 1.
    """

    offsets: Array
    english: Array
    foreign_posterior: Array
    english_posterior: Array


@dataclass(frozen=True)
class Links:
    """Links of many sentence pairs, sorted within a pair by (English position, foreign position).

    pair_offsets: int64, shape (pairs + 1,); the links of pair k are ``pair_offsets[k]:pair_offsets[k + 1]``.
    english, foreign: uint16, shape (links,), positions in the sentence.
    posterior: float32, shape (links,), product of the posteriors of both directions.
    """

    pair_offsets: Array
    english: Array
    foreign: Array
    posterior: Array

    def __len__(self) -> int:
        return self.pair_offsets.size - 1

    def __getitem__(self, pair: int) -> list[tuple[int, int]]:
        """The links of one pair, (English position, foreign position)."""
        pair = range(len(self))[pair]
        links = slice(self.pair_offsets[pair], self.pair_offsets[pair + 1])
        return list(zip(self.english[links].tolist(), self.foreign[links].tolist(), strict=True))

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        return map(self.__getitem__, range(len(self)))


def check_choice(
    method: str, threshold: float, what: str = "way to symmetrize alignments", limit: str = "the threshold"
) -> None:
    """Raises RecipeError for an unknown method or a threshold outside [0, 1]; what, limit: what the user calls them."""
    if method not in METHODS:
        raise RecipeError(f"'{method}' is no {what}; give one of {', '.join(METHODS)}.")
    if not 0 <= threshold <= 1:
        raise RecipeError(f"{limit} on link posteriors is {threshold}; it must lie between 0 and 1.")


def symmetrize(
    posteriors: LinkPosteriors,
    english_offsets: Array,
    foreign_offsets: Array,
    method: str = "posterior",
    threshold: float = 0.2,
    workers: Workers | None = None,
) -> Links:
    """One set of links for every sentence pair; the module's docstring says what the methods do.

    english_offsets, foreign_offsets: int64, shape (pairs + 1,), the offsets of the TokenSequences of both sides; either
    side of a pair may be empty. method: one of METHODS. threshold: least product of the two posteriors, used by
    ``posterior`` alone. workers: threads to use; by default one for each core. The result is the same for any number.

    Raises RecipeError for an unknown method or a threshold outside [0, 1], CorpusError for a sentence of more than
    65,536 tokens, ValueError where posteriors and offsets do not belong together.
    """
    check_choice(method, threshold)
    _check_lengths(english_offsets, foreign_offsets)
    if foreign_offsets[-1] != posteriors.offsets.size - 1:
        raise ValueError(f"posteriors of {posteriors.offsets.size - 1} foreign tokens for {foreign_offsets[-1]} tokens")
    sizes = {posteriors.english.size, posteriors.foreign_posterior.size, posteriors.english_posterior.size}
    if sizes != {int(posteriors.offsets[-1])}:
        raise ValueError(f"arrays of {sorted(sizes)} links for offsets that end at {posteriors.offsets[-1]}")
    start_of_pair = posteriors.offsets[foreign_offsets]

    def work(first: int, last: int) -> Links:
        links = slice(start_of_pair[first], start_of_pair[last])
        starts = start_of_pair[first : last + 1] - links.start
        english, e_offsets = posteriors.english[links], english_offsets[first : last + 1] - english_offsets[first]
        f_offsets = foreign_offsets[first : last + 1] - foreign_offsets[first]
        tokens = posteriors.offsets[foreign_offsets[first] : foreign_offsets[last] + 1] - links.start
        foreign = _foreign_positions(tokens, english, e_offsets, f_offsets)
        forward, backward = posteriors.foreign_posterior[links], posteriors.english_posterior[links]
        # rounding may leave a posterior a little above 1
        product = np.minimum(forward * backward, np.float32(1))
        if method == "posterior":
            # compared as float32, so that the posteriors handed out are themselves never below the threshold
            kept = product >= np.float32(threshold)
        else:
            best = (
                _most_probable(starts, english, e_offsets, backward),
                _most_probable(starts, foreign, f_offsets, forward),
            )
            kept = _combine(method, best, starts, english, foreign, e_offsets, f_offsets)
        sizes, order = _sort_within_pairs(starts, english, kept)
        return Links(_cumulated(sizes), english[order], foreign[order], product[order])

    return _in_chunks(work, start_of_pair + foreign_offsets + english_offsets, workers)


def project(
    links: Links,
    english_word_of_unit: Array | None,
    foreign_word_of_unit: Array | None,
    english_offsets: Array,
    foreign_offsets: Array,
    workers: Workers | None = None,
) -> Links:
    """Links between the words that hold the linked units, for example the characters of a text without spaces.

    Two words are linked once, however many of their units are, with the largest posterior of those.

    english_word_of_unit, foreign_word_of_unit: int32, shape (units,), for every unit the index of its word within its
    line; None where units are words. english_offsets, foreign_offsets: int64, shape (pairs + 1,), in units.

    Raises ValueError where links and offsets do not belong together or an index is not in [0, 65,536).
    """
    _check_lengths(english_offsets, foreign_offsets)
    if len(links) != english_offsets.size - 1:
        raise ValueError(f"links of {len(links)} pairs for {english_offsets.size - 1} pairs")
    _check_words(english_word_of_unit, english_offsets, "english_word_of_unit")
    _check_words(foreign_word_of_unit, foreign_offsets, "foreign_word_of_unit")

    def work(first: int, last: int) -> Links:
        starts = links.pair_offsets[first : last + 1] - links.pair_offsets[first]
        inside = slice(links.pair_offsets[first], links.pair_offsets[last])
        pair = np.repeat(np.arange(first, last), np.diff(starts))
        english = _words(links.english[inside], english_word_of_unit, english_offsets, pair)
        foreign = _words(links.foreign[inside], foreign_word_of_unit, foreign_offsets, pair)
        every = np.ones(pair.size, np.bool_)
        order = _sort_within_pairs(starts, foreign, every)[1]
        order = order[_sort_within_pairs(starts, english[order], every)[1]]
        english, foreign = english[order], foreign[order]
        is_new = np.ones(pair.size, np.bool_)
        is_new[1:] = (np.diff(pair) != 0) | (english[1:] != english[:-1]) | (foreign[1:] != foreign[:-1])
        runs = np.flatnonzero(is_new)
        posterior = np.maximum.reduceat(links.posterior[inside][order], runs) if runs.size else links.posterior[:0]
        sizes = np.bincount(pair[runs] - first, minlength=last - first)
        return Links(_cumulated(sizes), english[runs], foreign[runs], posterior)

    return _in_chunks(work, links.pair_offsets + foreign_offsets + english_offsets, workers)


def joined(parts: Iterable[Links]) -> Links:
    """Links of one group of sentence pairs after those of another."""
    parts = list(parts)
    return Links(
        _cumulated(np.concatenate([np.empty(0, np.int64), *(np.diff(part.pair_offsets) for part in parts)])),
        np.concatenate([np.empty(0, np.uint16), *(part.english for part in parts)]),
        np.concatenate([np.empty(0, np.uint16), *(part.foreign for part in parts)]),
        np.concatenate([np.empty(0, np.float32), *(part.posterior for part in parts)]),
    )


def _check_lengths(english_offsets: Array, foreign_offsets: Array) -> None:
    """Raises unless both sides have equally many sentences, none of which is longer than a uint16 can count."""
    if english_offsets.size != foreign_offsets.size:
        raise ValueError(f"{english_offsets.size - 1} English and {foreign_offsets.size - 1} foreign sentences")
    for side, offsets in (("English", english_offsets), ("foreign", foreign_offsets)):
        lengths = np.diff(offsets)
        if lengths.size and lengths.max() > _POSITIONS:
            raise CorpusError(
                f"sentence pair {int(lengths.argmax()) + 1} has {int(lengths.max()):,} {side} tokens and at most "
                f"{_POSITIONS:,} can be aligned; split or drop it."
            )


def _check_words(word_of_unit: Array | None, offsets: Array, name: str) -> None:
    if word_of_unit is None:
        return
    if word_of_unit.size != offsets[-1]:
        raise ValueError(f"{name} has {word_of_unit.size} entries for {offsets[-1]} units")
    if word_of_unit.size and not 0 <= word_of_unit.min() <= word_of_unit.max() < _POSITIONS:
        raise ValueError(f"{name} must lie in [0, {_POSITIONS})")


def _words(positions: Array, word_of_unit: Array | None, offsets: Array, pair: Array) -> Array:
    """The words, uint16, that hold the units at these positions of these pairs."""
    units = offsets[pair] + positions
    if (units >= offsets[pair + 1]).any():
        raise ValueError("a link lies outside of its sentence pair")
    return positions if word_of_unit is None else word_of_unit[units].astype(np.uint16)


def _cumulated(sizes: Array) -> Array:
    """Offsets, int64, shape (pairs + 1,), of pairs with so many links."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes, dtype=np.int64)])


def _in_chunks(work: Callable[[int, int], Links], cost: Array, workers: Workers | None) -> Links:
    """Joins the links that ``work(first pair, last pair)`` makes of chunks of similar cost.

    cost: shape (pairs + 1,), ascending; pair k costs ``cost[k + 1] - cost[k]``.
    """
    if workers is None:
        with Workers() as own:
            return _in_chunks(work, cost, own)
    bounds = np.unique(np.append(np.searchsorted(cost, np.arange(0, cost[-1], _CHUNK)), [0, cost.size - 1]))
    return joined(workers.map(lambda chunk: work(int(bounds[chunk]), int(bounds[chunk + 1])), bounds.size - 1))


def _combine(
    method: str, best: tuple[Array, Array], starts: Array, english: Array, foreign: Array, e_offsets: Array,
    f_offsets: Array,
) -> Array:  # fmt: skip
    """Which links, bool, shape (links,), one of the methods on hard links keeps.

    best: for every English and for every foreign token the number of its hard link.
    """
    forward, backward = (np.zeros(english.size, np.bool_) for _ in range(2))
    backward[best[0][best[0] >= 0]] = True
    forward[best[1][best[1] >= 0]] = True
    if method == "union":
        return forward | backward
    kept = forward & backward
    if method != "intersection":
        sizes, union = _sort_within_pairs(starts, english, forward | backward)
        _grow_diagonal(
            _cumulated(sizes), union, english, foreign, e_offsets, f_offsets, best[0], best[1], forward, backward,
            _UNALIGNED[method], kept,
        )  # fmt: skip
    return kept


@compiled()
def _foreign_positions(tokens: Array, english: Array, e_offsets: Array, f_offsets: Array) -> Array:
    """Position of the foreign token of every link; ValueError where the English positions cannot be right.

    tokens: shape (foreign tokens + 1,), where the links of every foreign token begin.
    """
    foreign = np.empty(english.size, np.uint16)
    for pair in range(f_offsets.size - 1):
        length = e_offsets[pair + 1] - e_offsets[pair]
        for token in range(f_offsets[pair], f_offsets[pair + 1]):
            following = 0
            for k in range(tokens[token], tokens[token + 1]):
                if english[k] < following or english[k] >= length:
                    raise ValueError("the English positions of a foreign token do not ascend or are out of range")
                following = english[k] + 1
                foreign[k] = token - f_offsets[pair]
    return foreign


@compiled()
def _most_probable(starts: Array, position: Array, offsets: Array, posterior: Array) -> Array:
    """For every token of one side the number of its most probable link, or -1 where that is the null word.

    starts: (pairs + 1,), links of every pair. position: (links,), of the token in its sentence. offsets: (pairs + 1,),
    tokens of every pair. posterior: (links,), float32.
    """
    best = np.full(offsets[-1], -1, np.int64)
    total = np.zeros(offsets[-1], np.float64)
    for pair in range(offsets.size - 1):
        for k in range(starts[pair], starts[pair + 1]):
            token = offsets[pair] + position[k]
            total[token] += posterior[k]
            if best[token] < 0 or posterior[k] > posterior[best[token]]:
                best[token] = k
    for token in range(best.size):
        if best[token] >= 0 and not posterior[best[token]] > 1.0 - total[token]:
            best[token] = -1
    return best


@compiled()
def _sort_within_pairs(starts: Array, key: Array, kept: Array) -> tuple[Array, Array]:
    """How many links each pair keeps, and their numbers, sorted within each pair by key (stable counting sort)."""
    sizes = np.zeros(starts.size - 1, np.int64)
    order = np.empty(np.sum(kept), np.int64)
    following = np.zeros(_POSITIONS + 1, np.int64)
    at = 0
    for pair in range(starts.size - 1):
        most = 0
        for k in range(starts[pair], starts[pair + 1]):
            if kept[k]:
                sizes[pair] += 1
                following[key[k] + 1] += 1
                most = max(most, key[k] + 1)
        for v in range(most):
            following[v + 1] += following[v]
        for k in range(starts[pair], starts[pair + 1]):
            if kept[k]:
                order[at + following[key[k]]] = k
                following[key[k]] += 1
        following[: most + 1] = 0
        at += sizes[pair]
    return sizes, order


@compiled()
def _grow_diagonal(
    starts: Array, union: Array, english: Array, foreign: Array, e_offsets: Array, f_offsets: Array, e_best: Array,
    f_best: Array, forward: Array, backward: Array, unaligned: int, kept: Array,
) -> None:  # fmt: skip
    """Adds to kept, bool, shape (links,), first neighbours and then what is left of either direction.

    A remaining link is added if at least so many of its words are unaligned.
    starts: (pairs + 1,), where the links of each pair begin in union. union: numbers of the links of either direction,
    sorted by (English, foreign) position. e_best, f_best: (tokens,), the hard link of every token.
    """
    e_aligned, f_aligned = np.zeros(e_best.size, np.bool_), np.zeros(f_best.size, np.bool_)
    for pair in range(starts.size - 1):
        e_first, e_last, f_first, f_last = e_offsets[pair], e_offsets[pair + 1], f_offsets[pair], f_offsets[pair + 1]
        links = union[starts[pair] : starts[pair + 1]]
        added = False
        for k in links:
            if kept[k]:
                e_aligned[e_first + english[k]] = f_aligned[f_first + foreign[k]] = added = True
        while added:
            added = False
            for k in links:
                if not kept[k]:
                    continue
                for down, right in _NEIGHBOURS:
                    e, f = e_first + english[k] + down, f_first + foreign[k] + right
                    if e < e_first or e >= e_last or f < f_first or f >= f_last or (e_aligned[e] and f_aligned[f]):
                        continue
                    # a link of the union is the hard link of one of its two tokens
                    if f_best[f] >= 0 and e_first + english[f_best[f]] == e:
                        kept[f_best[f]] = True
                    elif e_best[e] >= 0 and f_first + foreign[e_best[e]] == f:
                        kept[e_best[e]] = True
                    else:
                        continue
                    e_aligned[e] = f_aligned[f] = added = True
        for of_direction in (forward, backward):
            for k in links:
                e, f = e_first + english[k], f_first + foreign[k]
                if of_direction[k] and 2 - e_aligned[e] - f_aligned[f] >= unaligned:
                    kept[k] = e_aligned[e] = f_aligned[f] = True
