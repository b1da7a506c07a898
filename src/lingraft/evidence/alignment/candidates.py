"""From the links of the first stage to the candidates of the second, and their cells (pairs of types)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .compiled import Array, compiled, grown
from .hmm import Pairs
from .ibm import PROBABILITY


class Found(NamedTuple):
    """Links found by one direction: for each child token its parents and their posteriors.

    links: uint16 (child tokens,), how many. start: uint32 (child tokens,), where those of the token begin in
    ``position``, uint16, and ``posterior``, uint8 as `ibm.compact` writes it.
    """

    links: Array
    start: Array
    position: Array
    posterior: Array


@compiled()
def starts_in_order(where: Array, links: Array) -> Array:
    """Where each token's links begin in lists that follow the rows of ``where`` (`ibm.occurrences_by_type`)."""
    start = np.empty(links.size, np.uint32)
    at = np.int64(0)
    for k in range(where.shape[0]):
        if where[k, 0] >= 0:
            start[where[k, 0]] = at
            at += links[where[k, 0]]
    return start


@compiled()
def merge_chunk(
    first: int,
    last: int,
    pairs: Pairs,
    to_foreign: Found,
    to_english: Found,
    least: float,
    links: Array,
) -> tuple[Array, Array, Array, Array]:
    """Links that both directions found and whose product of posteriors is at least ``least``, pair after pair.

    Returns uint16 positions of the English tokens, int32 English types, and uint8 posteriors foreign given English and
    English given foreign, ascending by foreign then English position; the number for each foreign token goes to
    ``links``, int32 (foreign tokens,).
    """
    size, filled, enough = 1024, 0, np.float32(least)
    position, english = np.empty(size, np.uint16), np.empty(size, np.int32)
    forward, backward = np.empty(size, np.uint8), np.empty(size, np.uint8)
    dense = np.zeros(1024, np.uint8)
    for s in range(first, last):
        e0, f0 = pairs.english_offsets[s], pairs.foreign_offsets[s]
        m, n = pairs.english_offsets[s + 1] - e0, pairs.foreign_offsets[s + 1] - f0
        if m * n > dense.size:
            dense = np.zeros(2 * m * n, np.uint8)
        for i in range(m):
            here = int(to_english.start[e0 + i])
            for x in range(here, here + to_english.links[e0 + i]):
                dense[int(to_english.position[x]) * m + i] = to_english.posterior[x]
        for j in range(n):
            here, most, before = int(to_foreign.start[f0 + j]), int(to_foreign.links[f0 + j]), filled
            if filled + most > size:
                size = 2 * (filled + most)
                position, english = grown(position, size), grown(english, size)
                forward, backward = grown(forward, size), grown(backward, size)
            for x in range(here, here + most):
                i = int(to_foreign.position[x])
                one, other = to_foreign.posterior[x], dense[j * m + i]
                if other > 0 and PROBABILITY[one] * PROBABILITY[other] >= enough:
                    position[filled], english[filled] = i, pairs.english[e0 + i]
                    forward[filled], backward[filled] = one, other
                    filled += 1
            links[f0 + j] = filled - before
        for i in range(m):
            here = int(to_english.start[e0 + i])
            for x in range(here, here + to_english.links[e0 + i]):
                dense[int(to_english.position[x]) * m + i] = 0
    return position[:filled].copy(), english[:filled].copy(), forward[:filled].copy(), backward[:filled].copy()


@compiled()
def group_by_type(ids: Array, types: int) -> tuple[Array, Array]:
    """Counting sort: ``order[start[v]:start[v + 1]]`` are the positions where type v stands, ascending."""
    start = np.zeros(types + 1, np.int64)
    for v in ids:
        start[v + 1] += 1
    for v in range(types):
        start[v + 1] += start[v]
    following, order = start[:-1].copy(), np.empty(ids.size, np.int32)
    for position in range(ids.size):
        order[following[ids[position]]] = position
        following[ids[position]] += 1
    return start, order


@compiled()
def rank_chunk(
    first: int, last: int, start: Array, order: Array, offsets: Array, english: Array, types: int, lengths: Array
) -> Array:
    """The English types each foreign type from ``first`` to ``last`` may be linked to, ascending: columns of a CSR.

    Their numbers go to ``lengths`` (foreign types,). In ``english``, int32 (links,), the English type of every link is
    replaced by its rank in the row.
    """
    number, touched = np.full(types, -1, np.int32), np.empty(types, np.int32)
    columns, filled = np.empty(1024, np.int32), 0
    for f in range(first, last):
        met = 0
        for k in range(start[f], start[f + 1]):
            for x in range(offsets[order[k]], offsets[order[k] + 1]):
                e = english[x]
                if number[e] < 0:
                    number[e] = 0
                    touched[met] = e
                    met += 1
        if filled + met > columns.size:
            columns = grown(columns, 2 * (filled + met))
        touched[:met].sort()
        for x in range(met):
            number[touched[x]] = x
            columns[filled + x] = touched[x]
        for k in range(start[f], start[f + 1]):
            for x in range(offsets[order[k]], offsets[order[k] + 1]):
                english[x] = number[english[x]]
        for x in range(met):
            number[touched[x]] = -1
        filled += met
        lengths[f] = met
    return columns[:filled].copy()


@compiled()
def ranks_to_cells(foreign: Array, offsets: Array, indptr: Array, cell: Array) -> None:
    """Replaces the rank of every link in its row by the number of its cell.

    foreign: types of the foreign tokens. indptr: where the rows of the ranks begin.
    """
    for token in range(foreign.size):
        row = indptr[foreign[token]]
        for x in range(offsets[token], offsets[token + 1]):
            cell[x] += row


@compiled()
def union(indptr: Array, columns: Array, more_indptr: Array, more_columns: Array) -> tuple[Array, Array]:
    """Union of two CSR patterns, each with ascending columns: indptr, columns."""
    result, merged, at = np.zeros(indptr.size, np.int64), np.empty(columns.size + more_columns.size, np.int32), 0
    for row in range(indptr.size - 1):
        x, y = indptr[row], more_indptr[row]
        while x < indptr[row + 1] or y < more_indptr[row + 1]:
            if y == more_indptr[row + 1] or (x < indptr[row + 1] and columns[x] <= more_columns[y]):
                if y < more_indptr[row + 1] and columns[x] == more_columns[y]:
                    y += 1
                merged[at] = columns[x]
                x += 1
            else:
                merged[at] = more_columns[y]
                y += 1
            at += 1
        result[row + 1] = at
    return result, merged[:at].copy()


@compiled()
def places(indptr: Array, columns: Array, wider_indptr: Array, wider_columns: Array) -> Array:
    """Where the cells of one CSR pattern are in another that has them all, int32 (cells,)."""
    result = np.empty(columns.size, np.int32)
    for row in range(indptr.size - 1):
        y = wider_indptr[row]
        for x in range(indptr[row], indptr[row + 1]):
            while wider_columns[y] < columns[x]:
                y += 1
            result[x] = y
    return result


@compiled()
def look_up(indptr: Array, columns: Array, known_indptr: Array, known_columns: Array, known_values: Array) -> Array:
    """The values, float32 (cells,), that a second CSR matrix has in the cells of a first; 0 where it has none."""
    values = np.zeros(columns.size, np.float32)
    for row in range(indptr.size - 1):
        y, end = known_indptr[row], known_indptr[row + 1]
        for x in range(indptr[row], indptr[row + 1]):
            while y < end and known_columns[y] < columns[x]:
                y += 1
            if y < end and known_columns[y] == columns[x]:
                values[x] = known_values[y]
    return values
