"""The first stage: word translation and relative position only, on all pairs of words that ever meet.

IBM model 2 with a relative-position prior (Brown et al. 1993; Dyer, Chahuneau & Smith 2013): the child at position j of
n comes from the parent at position i of m with prior proportional to exp(-slope |i/m - j/n|), or from none with a fixed
probability. Its posteriors say which links deserve to be *candidates* of the hidden Markov model.

Everything is grouped by child type. The counts of one type with all parent types it ever meets fit in a dense vector,
so two E-steps for a type are: visit its occurrences and add up the prior's posteriors, visit them again with the
counts. Nothing is kept between types but one total per parent type, which takes a sweep over sentence lengths. So the
memory is that of the text, nothing is hashed, and nothing is shared between threads.

The second E-step leaves a link's own contribution out of the count it is judged by: what counts is what the *other*
occurrences say. That is to mean-field inference in the collapsed Bayesian model (CVB0; Asuncion et al. 2009) what
leave-one-out is to relative frequencies, and keeps words that occur once from explaining whatever stands beside them.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from .compiled import FAST, Array, compiled, grown

#: relative positions of the child are told apart this finely
LEVELS = 32
#: steepness of the position prior
SLOPE = 2.0
#: types with at most so many tokens are judged by all of them, whatever the block
RARE = 50
#: a posterior below this in either direction never becomes a candidate
FLOOR = 0.02


class Positions(NamedTuple):
    """The position prior as a table: a row of parent weights for each number of parents and level of the child.

    start: int64 (longest + 1,), where the rows of m parents begin, -1 where no sentence has m. weight: float32, the row
    of level q is ``weight[start[m] + q * m :][: m]`` and sums to 1.
    """

    start: Array
    weight: Array


def tabulate(lengths: Array) -> Positions:
    """The table for the numbers of parents that occur."""
    present = np.unique(lengths[lengths > 0]).astype(np.int64)
    start = np.full(int(present.max(initial=0)) + 1, -1, np.int64)
    ends = np.cumsum(present * LEVELS)
    start[present] = ends - present * LEVELS
    weight = np.empty(int(ends[-1]) if ends.size else 0, np.float32)
    child = (np.arange(LEVELS)[:, None] + 0.5) / LEVELS
    for m in present:
        weights = np.exp(-SLOPE * np.abs((np.arange(m)[None] + 0.5) / m - child))
        weight[start[m] : start[m] + LEVELS * m] = (weights / weights.sum(1, keepdims=True)).ravel()
    return Positions(start, weight)


@compiled()
def occurrences_by_type(
    ids: Array, offsets: Array, parent_offsets: Array, table_start: Array, frequency: Array, first: int, last: int
) -> tuple[Array, Array]:
    """The tokens of the sentences ``first`` to ``last`` by type, and where each finds its parents (a counting sort).

    Types that are rare in the whole text come with all their occurrences, because those of one block tell too little.
    frequency: int64 (types,), in the whole text.

    Returns ``start``, int64 (types + 1,), and ``where``, int32 (occurrences, 4); those of type v are the rows
    ``start[v]`` to ``start[v + 1]``, in the order of the text: position of the token counted from that of the first
    sentence (-1 outside of the sentences), first parent token, number of parents, row of the position table.
    """
    start = np.zeros(frequency.size + 1, np.int64)
    for v in ids[offsets[first] : offsets[last]]:
        start[v + 1] += 1
    for v in range(frequency.size):
        if start[v + 1] > 0 and frequency[v] <= RARE:
            start[v + 1] = frequency[v]
    for v in range(frequency.size):
        start[v + 1] += start[v]
    following = start[:-1].copy()
    where = np.empty((start[-1], 4), np.int32)
    for s in range(offsets.size - 1):
        inside = first <= s < last
        m, n = parent_offsets[s + 1] - parent_offsets[s], offsets[s + 1] - offsets[s]
        for j in range(n):
            v = ids[offsets[s] + j]
            if not inside and (frequency[v] > RARE or start[v] == start[v + 1]):
                continue
            here = where[following[v]]
            following[v] += 1
            here[0] = offsets[s] + j - offsets[first] if inside else -1
            here[1], here[2] = parent_offsets[s], m
            here[3] = table_start[m] + (2 * j + 1) * LEVELS // (2 * n) * m if m > 0 else 0
    return start, where


@compiled(fastmath=FAST)
def parent_totals(
    first: int,
    last: int,
    child_offsets: Array,
    parent: Array,
    parent_offsets: Array,
    parents: int,
    positions: Positions,
) -> Array:
    """Expected links of each parent type, float64 (parents,), in the sentences, under uniform translation."""
    totals = np.zeros(parents, np.float64)
    for s in range(first, last):
        n, m = child_offsets[s + 1] - child_offsets[s], parent_offsets[s + 1] - parent_offsets[s]
        for j in range(n if m > 0 else 0):
            row = positions.start[m] + (2 * j + 1) * LEVELS // (2 * n) * m
            for i in range(m):
                totals[parent[parent_offsets[s] + i]] += positions.weight[row + i]
    return totals


class Model(NamedTuple):
    """What the first stage needs to know of one direction.

    parent: int32 (parent tokens,) of the whole text. frequency: int64 (child types,) in the whole text. positions: the
    prior. inverse_totals: float32 (parent types,), 1 / (expected links of the parent in the whole text + smoothing).
    null: prior odds of no parent times the probability of a type given that. alpha: smoothing of each count. leave_out:
    1 to leave a link's own contribution out of the counts, 0 for plain EM. prior_indptr, prior_columns, prior_counts:
    CSR of pseudo-counts (child types x parent types).
    """

    parent: Array
    frequency: Array
    positions: Positions
    inverse_totals: Array
    null: float
    alpha: float
    leave_out: float
    prior_indptr: Array
    prior_columns: Array
    prior_counts: Array


@compiled()
def _count_row(here: Array, model: Model, row: int, count: Array, touched: Array) -> int:
    """Counts of one child type with all parent types it meets, under the position prior alone, into ``count[:, 0]``.

    They are what the whole text would give if it were all like the occurrences ``here``. Beside each, ``count[:, 1]``
    becomes the inverse total of the parent: one cache line for both. Returns how many parent types there are, listed in
    ``touched``.
    """
    met = 0
    for k in range(here.shape[0]):
        first, m = here[k, 1], here[k, 2]
        tokens, weights = model.parent[first : first + m], model.positions.weight[here[k, 3] : here[k, 3] + m]
        for i in range(m):
            p = np.uint32(tokens[i])
            old = count[p, 0]
            touched[met] = p
            met += old == 0
            count[p, 0] = old + weights[i]
    share = np.float32(model.frequency[row] / max(here.shape[0], 1))
    for x in range(met):
        count[touched[x], 0] *= share
        count[touched[x], 1] = model.inverse_totals[touched[x]]
    for x in range(model.prior_indptr[row], model.prior_indptr[row + 1]):
        # words of a lexicon that never meet the child are of no use here
        if count[model.prior_columns[x], 0] != 0:
            count[model.prior_columns[x], 0] += model.prior_counts[x]
    return met


@compiled(fastmath=FAST)
def expect_chunk(
    first: int, last: int, start: Array, where: Array, model: Model, links: Array
) -> tuple[Array, Array, float]:
    """Both E-steps for the child types ``first`` to ``last``: the links whose posterior is at least `FLOOR`.

    start, where: from `occurrences_by_type`. Returns uint16 positions of the parents and uint8 posteriors as `compact`
    writes them, occurrence after occurrence; how many each has goes to ``links``, uint16 (child tokens,), by position
    in the text. And the log-likelihood in nats, without the constant log(1 - null probability) per token.
    """
    parents = model.inverse_totals.size
    count, touched = np.zeros((parents, 2), np.float32), np.empty(parents + 1, np.int32)
    value = np.empty(model.positions.start.size, np.float32)
    alpha, null, floor = np.float32(model.alpha), np.float32(model.null), np.float32(FLOOR)
    leave_out, likelihood, pending, filled = np.float32(model.leave_out), 0.0, 1.0, 0
    position, posterior = np.empty(1024, np.uint16), np.empty(1024, np.uint8)
    for c in range(first, last):
        here = where[start[c] : start[c + 1]]
        met = _count_row(here, model, c, count, touched)
        for k in range(here.shape[0]):
            if here[k, 0] < 0:
                continue
            p0, m, row = here[k, 1], here[k, 2], here[k, 3]
            if filled + m > position.size:
                position, posterior = grown(position, 2 * (filled + m)), grown(posterior, 2 * (filled + m))
            tokens, weights = model.parent[p0 : p0 + m], model.positions.weight[row : row + m]
            total: Any = null
            for i in range(m):
                p, w = np.uint32(tokens[i]), weights[i]
                value[i] = w * (count[p, 0] - w * leave_out + alpha) * count[p, 1]
                total += value[i]
            if m > 0:
                # one logarithm for many factors
                pending *= total
                if pending < 1e-200:
                    likelihood += math.log(pending)
                    pending = 1.0
            enough, inverse, before = floor * total, np.float32(1) / total, filled
            for i in range(m):
                if value[i] >= enough:
                    position[filled] = i
                    posterior[filled] = compact(value[i] * inverse)
                    filled += 1
            links[here[k, 0]] = filled - before
        for x in range(met):
            count[touched[x], 0] = 0
    return position[:filled].copy(), posterior[:filled].copy(), likelihood + math.log(pending)


@compiled(inline="always")
def compact(probability: Any) -> Any:
    """A probability as one byte: its square root in units of 1/255, right to about 3 % where it is above `FLOOR`."""
    return np.uint8(math.sqrt(probability) * np.float32(255) + np.float32(0.5))


#: the probability that each byte stands for
PROBABILITY = ((np.arange(256) / 255) ** 2).astype(np.float32)
