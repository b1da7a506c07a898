"""The best dependency tree with exactly one root, by the algorithm of Chu & Liu (1965) and Edmonds (1967).

Paths are grown backwards from word to best head, and cycles are contracted as they close (Tarjan 1977; Gabow, Galil,
Spencer & Tarjan 1986), which takes O(n^2) for a sentence of n words. The score of an arc is a pair that is compared as
a whole: first a penalty, then the number given. The penalty of an arc from the root is larger than all others of a tree
together, so the best tree is the best one among those with a single root, and no constant has to be added to the
scores, which would cost them digits. An arc of score -inf has a penalty of 1, so that trees without such arcs win
wherever there is one.
"""

from __future__ import annotations

import numpy as np

from ...errors import RunError
from ...evidence.alignment.compiled import Array, compiled


def decode_trees(scores: Array, lengths: Array) -> Array:
    """The heads of the maximum spanning tree of every sentence, among all trees with exactly one root.

    scores: float32 or float64 (sentences, words, words + 1); ``scores[b, d - 1, h]`` is the score of head h of word d,
    words counted from 1, 0 is the root. What lies beyond a sentence's words, and a word as its own head, is not read.
    lengths: words of each sentence, (sentences,). Returns the heads, int64 (sentences, words), -1 beyond a sentence's
    words.

    Sums are taken in float64. Where every tree needs an arc of score -inf the result is one with as few of these as
    possible; among trees of equal score it is always the same one. Raises ValueError for other shapes, and RunError
    when a score is NaN or +inf.
    """
    scores, lengths = np.asarray(scores), np.asarray(lengths, np.int64)
    shape = scores.shape
    if len(shape) != 3 or shape[2] != shape[1] + 1 or lengths.shape != shape[:1]:
        raise ValueError(
            f"Scores of shape (sentences, words, words + 1) were expected; given: {shape}, {lengths.shape}."
        )
    if lengths.size and not 0 <= lengths.min() <= lengths.max() <= shape[1]:
        raise ValueError(
            f"Lengths from 0 to {shape[1]} words were expected; given: {lengths.min()} to {lengths.max()}."
        )
    if scores.dtype not in (np.float32, np.float64):
        scores = scores.astype(np.float64)
    heads = np.full(shape[:2], -1, np.int64)
    broken = _decode_batch(np.ascontiguousarray(scores), lengths, heads)
    if broken >= 0:
        raise RunError(
            f"Arc scores of sentence {broken + 1} of a batch are no numbers; the parser's weights are damaged or its "
            "training diverged."
        )
    return heads


@compiled()
def _decode_batch(scores: Array, lengths: Array, heads: Array) -> int:
    """Fills in the heads; gives the number of a sentence with a score that is none, or -1."""
    size = 0
    penalty = np.empty((0, 0), np.int64)
    weight = np.empty((0, 0), np.float64)
    arcs = np.empty((0, 0), np.int64)
    for sentence in range(lengths.size):
        n = lengths[sentence]
        for d in range(1, n + 1):
            best = -1
            for h in range(n + 1):
                value = scores[sentence, d - 1, h]
                if h == d:
                    continue
                if not value < np.inf:
                    return sentence
                if best < 0 or value > scores[sentence, d - 1, best]:
                    best = h
            heads[sentence, d - 1] = best
        if _is_tree(heads[sentence, :n]):
            continue
        if size <= n:
            size = lengths.max() + 1
            penalty = np.empty((size, size), np.int64)
            weight = np.empty((size, size), np.float64)
            arcs = np.empty((size, size), np.int64)
        for d in range(1, n + 1):
            for h in range(n + 1):
                if h == d:
                    continue
                value = scores[sentence, d - 1, h]
                forbidden = value == -np.inf
                penalty[d, h] = (n + 1 if h == 0 else 0) + (1 if forbidden else 0)
                weight[d, h] = 0.0 if forbidden else value
                arcs[d, h] = d * size + h
        _edmonds(penalty, weight, arcs, size, heads[sentence, :n])
    return -1


@compiled()
def _is_tree(heads: Array) -> bool:
    """Whether heads, counted from 1, make a tree with exactly one root."""
    n = heads.size
    roots = 0
    reached = np.zeros(n + 1, np.int64)  # by the walk of this number
    reached[0] = n + 1
    for start in range(1, n + 1):
        roots += heads[start - 1] == 0
        word = start
        while reached[word] == 0:
            reached[word] = start
            word = heads[word - 1]
        if reached[word] == start:
            return False
    return roots == 1


@compiled()
def _edmonds(penalty: Array, weight: Array, arcs: Array, size: int, heads: Array) -> None:
    """Fills in the heads of the spanning tree of least penalty and, among these, largest weight.

    penalty, weight: of the arc from head h to dependent d at ``[d, h]``; overwritten. arcs: for every such pair the arc
    between words, ``d * size + h``, that it stands for; overwritten. A contracted cycle lives on in the row and column
    of one of its members; ``node`` says which vertex a row is at present: up to n the words, above them the cycles.
    """
    n = heads.size
    active = np.ones(n + 1, np.bool_)
    node = np.arange(n + 1)
    parent = np.full(2 * n + 1, -1, np.int64)
    chosen = np.empty(2 * n + 1, np.int64)
    nodes = n + 1
    best = np.empty(n + 1, np.int64)
    on_path, done = 1, 2
    state = np.zeros(n + 1, np.int64)
    state[0] = done
    place = np.empty(n + 1, np.int64)
    path = np.empty(n + 1, np.int64)
    for start in range(1, n + 1):
        if not active[start] or state[start] == done:
            continue
        path[0], place[start], state[start] = start, 0, on_path
        top = 1
        while top:
            d = path[top - 1]
            h = -1
            for other in range(n + 1):
                if not active[other] or other == d:
                    continue
                if h < 0 or _beats(penalty[d, other], weight[d, other], penalty[d, h], weight[d, h]):
                    h = other
            best[d] = h
            chosen[node[d]] = arcs[d, h]
            if state[h] == done:
                for k in range(top):
                    state[path[k]] = done
                top = 0
            elif state[h] == on_path:
                first = place[h]
                _contract(penalty, weight, arcs, path[first:top], best, active, n)
                for k in range(first, top):
                    parent[node[path[k]]] = nodes
                node[h] = nodes
                nodes += 1
                top = first + 1
            else:
                path[top], place[h], state[h] = h, top, on_path
                top += 1
    # cycles are opened from the outermost inwards: the arc that enters one takes the place of its member's own
    entered = np.zeros(2 * n + 1, np.bool_)
    for vertex in range(nodes - 1, 0, -1):
        if entered[vertex]:
            continue
        d = chosen[vertex] // size
        heads[d - 1] = chosen[vertex] % size
        while d != vertex:
            entered[d] = True
            d = parent[d]


@compiled()
def _beats(penalty: int, weight: float, other_penalty: int, other_weight: float) -> bool:
    return penalty < other_penalty or (penalty == other_penalty and weight > other_weight)


@compiled()
def _contract(penalty: Array, weight: Array, arcs: Array, cycle: Array, best: Array, active: Array, n: int) -> None:
    """Makes a cycle one vertex, which takes the row and column of its first member; the others become inactive."""
    home = cycle[0]
    own_penalty = np.empty(cycle.size, np.int64)
    own_weight = np.empty(cycle.size, np.float64)
    for k in range(cycle.size):
        member = cycle[k]
        own_penalty[k] = penalty[member, best[member]]
        own_weight[k] = weight[member, best[member]]
        active[member] = False
    for other in range(n + 1):
        if not active[other]:
            continue
        # into the cycle: what the tree gains by this arc in place of the one its member had
        entry = home
        entry_penalty, entry_weight = penalty[home, other] - own_penalty[0], weight[home, other] - own_weight[0]
        for k in range(1, cycle.size):
            member = cycle[k]
            gained_penalty = penalty[member, other] - own_penalty[k]
            gained_weight = weight[member, other] - own_weight[k]
            if _beats(gained_penalty, gained_weight, entry_penalty, entry_weight):
                entry, entry_penalty, entry_weight = member, gained_penalty, gained_weight
        arcs[home, other] = arcs[entry, other]
        penalty[home, other], weight[home, other] = entry_penalty, entry_weight
        if other == 0:
            continue
        exit_ = home
        for k in range(1, cycle.size):
            member = cycle[k]
            if _beats(penalty[other, member], weight[other, member], penalty[other, exit_], weight[other, exit_]):
                exit_ = member
        penalty[other, home], weight[other, home] = penalty[other, exit_], weight[other, exit_]
        arcs[other, home] = arcs[other, exit_]
    active[home] = True
