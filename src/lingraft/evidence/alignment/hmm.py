"""The hidden Markov alignment model on sparse candidates: posteriors of both directions of a sentence pair.

One direction generates the *child* tokens one after the other (Vogel, Ney & Tillmann 1996). State k of a sentence with
m parents is "the last child that had a parent came from parent k - 1"; state 0 is the start. A child either has no
parent, with probability ``null``, and the state stays (a null that remembers its position), or it jumps to a parent i
with probability (1 - null) J(i - (k - 1)) / sum of J over the sentence. Both ways of being in a state have the same
future, so one vector per child holds them together. Only candidate links can be jumped to; the work is (candidates x
parents).

Jump weights are stored by descending jump, ``jumps[centre - d]``, so that the weights from all states to one parent lie
side by side: those to parent i are ``jumps[centre - 1 - i :][: m + 1]``.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from .compiled import FAST, Array, compiled

#: the centre of jump weights lies at least so far beyond the longest sentence
MARGIN = 10
_TINY = np.float32(1e-30)


@compiled()
def leaving(jumps: Array, centre: int, null: float, leave: Array) -> None:
    """Fills (1 - null) / (sum of the jump weights from state k to all parents) for the states of one sentence."""
    parents = leave.size - 1
    total = 0.0
    for x in range(centre - parents, centre):
        total += jumps[x]
    for k in range(parents + 1):
        # from state k the parents 0 .. m - 1 are the jumps 1 - k .. m - k
        leave[k] = (1.0 - null) / total
        total += np.float64(jumps[centre + k]) - np.float64(jumps[centre + k - parents])


@compiled()
def expose(left: Array, leave: Array, null: float, centre: int, exposed: Array) -> None:
    """Notes how often each jump weight took part in a choice, over the choice's normaliser.

    Leaving state k once exposes the weights of the jumps to all m parents: a range, kept as a step up and a step down.
    """
    parents = left.size - 1
    for k in range(parents + 1):
        share = left[k] * leave[k] / (1.0 - null)
        exposed[centre + k - parents] += share
        exposed[centre + k] -= share


@compiled()
def _padded(states: int) -> int:
    """A number of states that fills vector registers; the superfluous ones can never be left or reached."""
    return (states + 7) // 8 * 8


@compiled(fastmath=FAST)
def forward_backward(
    rows: Array,
    parent: Array,
    probability: Array,
    null: Array,
    jumps: Array,
    stay: float,
    parents: int,
    leave: Array,
    left: Array,
    forward: Array,
    scratch: Array,
    posterior: Array,
    jumped: Array,
    exposed: Array,
    count_jumps: bool,
) -> float:
    """Posteriors of one direction of one sentence pair; returns the log-likelihood in nats.

    rows: (n + 1,) where the candidates of child j begin in ``parent`` (0-based positions) and ``probability``
    (p(child | parent)). null: (n,) probability that child j is generated without parent; replaced by its posterior.
    stay: prior probability of that. parents: m. posterior: (candidates,) out. With ``count_jumps``, the expected number
    of jumps is added to ``jumped`` (laid out as ``jumps``) and what `expose` notes to ``exposed``; the expected number
    of times each state was left is then in ``left``. leave, left: (s,) where s is `_padded` (m + 1). forward: scratch
    (n + 1, s). scratch: (4, max(s, n)).
    """
    centre, states = jumps.size // 2, _padded(parents + 1)
    leave[:states] = 0
    leaving(jumps, centre, stay, leave[: parents + 1])
    left[:states] = 0
    n = rows.size - 1
    weighted, backward, entered, scale = scratch[0, :states], scratch[1, :states], scratch[2, :states], scratch[3]
    before = forward[0, :states]
    before[:] = 0
    before[0] = 1
    likelihood, pending = 0.0, 1.0
    for j in range(n):
        for k in range(states):
            weighted[k] = before[k] * leave[k]
        # the states before sum to 1, so the total needs no loop of its own
        total = null[j]
        for link in range(rows[j], rows[j + 1]):
            first = centre - 1 - parent[link]
            weights = jumps[first : first + states]
            reach = np.float32(0)
            for k in range(states):
                reach += weighted[k] * weights[k]
            reach *= probability[link]
            posterior[link] = reach
            total += reach
        inverse = np.float32(1) / max(total, _TINY)
        scale[j] = inverse
        keep = null[j] * inverse
        now = forward[j + 1, :states]
        for k in range(states):
            now[k] = before[k] * keep
        for link in range(rows[j], rows[j + 1]):
            posterior[link] *= inverse
            now[parent[link] + 1] += posterior[link]
        before = now
        # one logarithm for many factors
        pending *= max(total, _TINY)
        if pending < 1e-200:
            likelihood += math.log(pending)
            pending = 1.0
    likelihood += math.log(pending)
    backward[:] = 1
    for j in range(n - 1, -1, -1):
        entered[:] = 0
        if count_jumps:
            before = forward[j, :states]
            for k in range(states):
                weighted[k] = before[k] * leave[k]
        linked = np.float32(0)
        for link in range(rows[j], rows[j + 1]):
            ahead = backward[parent[link] + 1]
            posterior[link] *= ahead
            linked += posterior[link]
            arrive = probability[link] * ahead * scale[j]
            first = centre - 1 - parent[link]
            weights = jumps[first : first + states]
            for k in range(states):
                entered[k] += arrive * weights[k]
            if count_jumps:
                here = jumped[first : first + states]
                for k in range(states):
                    here[k] += arrive * weighted[k] * weights[k]
        if count_jumps:
            for k in range(states):
                left[k] += weighted[k] * entered[k]
        keep = null[j] * scale[j]
        for k in range(states):
            backward[k] = backward[k] * keep + entered[k] * leave[k]
        null[j] = max(np.float32(1) - linked, np.float32(0))
    if count_jumps:
        expose(left[: parents + 1], leave[: parents + 1], stay, centre, exposed)
    return likelihood


class Pairs(NamedTuple):
    """The encoded sentence pairs: ids int32 (tokens,) and offsets int64 (pairs + 1,) of both sides."""

    english: Array
    english_offsets: Array
    foreign: Array
    foreign_offsets: Array


class Candidates(NamedTuple):
    """The links that are considered, CSR over foreign tokens.

    offsets: int64 (foreign tokens + 1,). position: uint16 (links,), of the English token in its sentence. cell: int32
    (links,), number of the pair of types.
    """

    offsets: Array
    position: Array
    cell: Array


class Direction(NamedTuple):
    """Parameters of p(child | parent) of one direction.

    counts: float32 (cells,), expected links. own: float32 (links,), what each link itself contributed to them, or all
    zeros. inverse_totals: float32 (parent types,), 1 / (links of the parent + smoothing). null: float32 (child types,),
    distribution of children without parent. jumps: float32 (2 centre + 1,).
    """

    counts: Array
    own: Array
    inverse_totals: Array
    null: Array
    jumps: Array


@compiled(fastmath=FAST)
def expect_chunk(
    first: int,
    last: int,
    pairs: Pairs,
    candidates: Candidates,
    to_foreign: Direction,
    to_english: Direction,
    alpha: float,
    null: float,
    agree: bool,
    count_jumps: bool,
    foreign_posterior: Array,
    english_posterior: Array,
    foreign_null: Array,
    english_null: Array,
) -> tuple[Array, Array, float, float, Array]:
    """E-step of both directions over the sentence pairs ``first`` to ``last``.

    A candidate's p(child | parent) is (count - own + alpha) times the inverse of the parent's total: without its own
    contribution a link cannot argue for itself, which is what makes rare words collect links in plain EM. Posteriors go
    to ``foreign_posterior`` and ``english_posterior`` (links,), or with ``agree`` their product to the first; the
    posteriors of having no parent to ``foreign_null``, ``english_null`` (tokens,).

    Returns jump counts float32 (2, jumps.size), exposures float64 (2, jumps.size + 1) as differences (see
    `em.jump_weights`), rows foreign given English and English given foreign; both log-likelihoods in nats; and with
    ``agree`` the sum of the products for each cell, float32 (cells,).
    """
    english_offsets, foreign_offsets, offsets = pairs.english_offsets, pairs.foreign_offsets, candidates.offsets
    longest, most = 1, 1
    for s in range(first, last):
        longest = max(longest, english_offsets[s + 1] - english_offsets[s], foreign_offsets[s + 1] - foreign_offsets[s])
        most = max(most, offsets[foreign_offsets[s + 1]] - offsets[foreign_offsets[s]])
    wide = _padded(longest + 1)
    forward, scratch = np.empty((longest + 1, wide), np.float32), np.empty((4, wide), np.float32)
    leave, left, null_of = np.empty(wide, np.float32), np.empty(wide, np.float32), np.empty(wide, np.float32)
    rows, columns = np.empty(longest + 1, np.int64), np.empty(longest + 1, np.int64)
    following = np.empty(longest + 1, np.int64)
    parent, child, origin = np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most, np.int64)
    probability, posterior = np.empty(most, np.float32), np.empty(most, np.float32)
    turned, turned_posterior = np.empty(most, np.float32), np.empty(most, np.float32)
    jumped = np.zeros((2, to_foreign.jumps.size), np.float32)
    exposed = np.zeros((2, to_foreign.jumps.size + 1), np.float64)
    sums = np.zeros(to_foreign.counts.size if agree else 0, np.float32)
    smoothing, no_parent = np.float32(alpha), np.float32(null)
    foreign_likelihood, english_likelihood = 0.0, 0.0
    for s in range(first, last):
        e0, f0 = english_offsets[s], foreign_offsets[s]
        m, n = english_offsets[s + 1] - e0, foreign_offsets[s + 1] - f0
        if m == 0 or n == 0:
            continue
        l0 = offsets[f0]
        links = offsets[f0 + n] - l0
        columns[: m + 1] = 0
        for j in range(n):
            rows[j] = offsets[f0 + j] - l0
            null_of[j] = no_parent * to_foreign.null[pairs.foreign[f0 + j]]
        rows[n] = links
        for x in range(links):
            i = int(candidates.position[l0 + x])
            parent[x] = i
            columns[i + 1] += 1
            others = max(to_foreign.counts[candidates.cell[l0 + x]] - to_foreign.own[l0 + x], np.float32(0))
            probability[x] = (others + smoothing) * to_foreign.inverse_totals[pairs.english[e0 + i]]
        foreign_likelihood += forward_backward(
            rows[: n + 1], parent, probability, null_of, to_foreign.jumps, null, m, leave, left, forward, scratch,
            posterior, jumped[0], exposed[0], count_jumps,
        )  # fmt: skip
        foreign_null[f0 : f0 + n] = null_of[:n]
        # the same candidates seen from the English side
        for i in range(m):
            columns[i + 1] += columns[i]
            following[i] = columns[i]
            null_of[i] = no_parent * to_english.null[pairs.english[e0 + i]]
        for j in range(n):
            inverse = to_english.inverse_totals[pairs.foreign[f0 + j]]
            for x in range(rows[j], rows[j + 1]):
                y = following[parent[x]]
                following[parent[x]] += 1
                child[y] = j
                origin[y] = x
                others = max(to_english.counts[candidates.cell[l0 + x]] - to_english.own[l0 + x], np.float32(0))
                turned[y] = (others + smoothing) * inverse
        english_likelihood += forward_backward(
            columns[: m + 1], child, turned, null_of, to_english.jumps, null, n, leave, left, forward, scratch,
            turned_posterior, jumped[1], exposed[1], count_jumps,
        )  # fmt: skip
        english_null[e0 : e0 + m] = null_of[:m]
        for y in range(links):
            if agree:
                product = turned_posterior[y] * posterior[origin[y]]
                foreign_posterior[l0 + origin[y]] = product
                sums[candidates.cell[l0 + origin[y]]] += product
            else:
                foreign_posterior[l0 + origin[y]] = posterior[origin[y]]
                english_posterior[l0 + origin[y]] = turned_posterior[y]
    return jumped, exposed, foreign_likelihood, english_likelihood, sums
