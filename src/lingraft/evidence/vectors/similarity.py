"""Rows of weights out of similarities: sparsemax, or softmax over the nearest, with CSLS where it is asked for.

Similarities are computed a block of rows at a time, so the whole matrix never exists. What becomes of a row is found in
two passes over it. The first takes the largest score of every segment; from these alone follows a bound that no score
outside the result exceeds. The second looks only into segments that exceed it, and a few dozen scores are left to be
sorted. Nothing is approximate:

- sparsemax is max(z - tau, 0) with the tau for which it sums to 1. The sum grows with every score that is added, so the
  tau of some of the scores is never above the tau of all.
- The k-th largest of some of the scores is never above the k-th largest of all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal, get_args

import numpy as np
from scipy import sparse

from ...errors import RecipeError
from ..alignment.compiled import Array, Workers, compiled, grown

Activation = Literal["sparsemax", "softmax"]
ACTIVATIONS: tuple[Activation, ...] = get_args(Activation)

#: scores held at once, of a block of rows; 32 MB
_BLOCK = 1 << 23
#: rows a thread works on at a time
_CHUNK = 32
#: scores of a segment
_SEGMENT = 256


def sparsemax(scores: Array) -> Array:
    """The Euclidean projection of every row onto the probability simplex (Martins & Astudillo 2016).

    scores: float32 or float64, shape (n, m), m > 0. Returns the same shape and dtype; rows are not negative and sum
    to 1, equal scores get equal shares. Raises ValueError for another shape or scores that are not finite.
    """
    scores = np.ascontiguousarray(scores)
    if scores.ndim != 2 or not scores.shape[1] or scores.dtype not in (np.float32, np.float64):
        raise ValueError(f"sparsemax takes rows of floats, not {scores.dtype} of shape {scores.shape}")
    if not np.isfinite(scores).all():
        raise ValueError("sparsemax takes finite scores only")
    sizes, columns, weights = _sparsemax_rows(scores, 0, len(scores), 1.0)
    result = np.zeros_like(scores)
    result[np.repeat(np.arange(len(scores)), sizes), columns] = weights
    return result


def similarity_rows(
    target: Array,
    source: Array,
    *,
    activation: Activation = "sparsemax",
    temperature: float = 1.0,
    neighbours: int = 10,
    csls: int = 0,
) -> sparse.csr_matrix:
    """For every target vector a distribution over the source vectors that are like it.

    target: float32, shape (V_target, d). source: float32, shape (V_source, d). Scores are cosines, or with ``csls`` = k
    more than 0 twice the cosine less the mean cosine of the source vector to its k nearest target vectors, which keeps
    source vectors from being near to everything (Lample et al. 2018, equation 3; what it subtracts for the target
    vector is the same for the whole row and changes neither activation). activation: ``sparsemax`` of the scores over
    the temperature (Tran 2020, equation 3, has temperature 1 and cosines), or ``softmax`` of them over the
    ``neighbours`` largest (WECHSEL: 10, temperature 0.1).

    Returns CSR float64, shape (V_target, V_source), columns ascending. A row sums to 1, or is empty where the target
    vector is zero; a source vector that is zero has a part in no row. Memory is bounded: two unit copies of the
    vectors, 32 MB of scores, and the result.

    Raises RecipeError for an impossible setting, ValueError for vectors of different width or that are not finite.
    """
    if activation not in ACTIVATIONS:
        raise RecipeError(f"the activation of similarities is one of {', '.join(ACTIVATIONS)}; given: '{activation}'.")
    if not 0 < temperature < np.inf:
        raise RecipeError(f"the temperature of similarities is {temperature}; it must be more than 0.")
    if neighbours < 1 or csls < 0:
        raise RecipeError(f"{neighbours} neighbours and {csls} for CSLS: there must be at least 1 and 0.")
    shape = len(target), len(source)
    known, columns = _not_zero(target), _not_zero(source)
    queries, keys = unit(target[known]), unit(source[columns])
    if csls and known.size:
        queries, keys = scaled_for_csls(queries, keys, neighbourhood(keys, queries, csls))
    inverse = 1 / temperature

    def work(scores: Array, first: int, last: int) -> tuple[Array, Array, Array]:
        if activation == "sparsemax":
            return _sparsemax_rows(scores, first, last, inverse)
        found, values = _largest(scores, first, last, min(neighbours, scores.shape[1]))
        weights = np.exp((values - values[:, :1]) * inverse)
        weights /= weights.sum(1, keepdims=True)
        return np.full(last - first, found.shape[1]), found.ravel(), weights.ravel()

    parts = list(_by_rows(queries, keys, work)) if columns.size else []
    indptr = np.zeros(shape[0] + 1, np.int64)
    if parts:
        indptr[known + 1] = np.concatenate([sizes for sizes, _, _ in parts])
    indices = columns[np.concatenate([np.zeros(0, np.int64), *(part[1] for part in parts)])]
    data = np.concatenate([np.zeros(0), *(part[2] for part in parts)])
    rows = sparse.csr_matrix((data, indices, np.cumsum(indptr)), shape=shape)
    rows.sort_indices()
    return rows


def neighbourhood(queries: Array, keys: Array, k: int) -> Array:
    """The mean cosine of every query to its k nearest keys (r of CSLS), float64, shape (queries,).

    queries, keys: unit rows, float32, of equal width; of fewer than k keys all are taken.
    """

    def work(scores: Array, first: int, last: int) -> Array:
        return _largest(scores, first, last, min(k, len(keys)))[1].mean(1)  # type: ignore[no-any-return]

    return np.concatenate([np.zeros(0), *_by_rows(queries, keys, work)])


def scaled_for_csls(queries: Array, keys: Array, r_keys: Array) -> tuple[Array, Array]:
    """Queries and keys with one column more, whose products are 2 cos - r of the key."""
    ones = np.ones((len(queries), 1), np.float32)
    return np.hstack([2 * queries, ones]), np.hstack([keys, -r_keys[:, None].astype(np.float32)])


def nearest(queries: Array, keys: Array) -> tuple[Array, Array]:
    """For every query the number of the key with the largest product, int32, and the product, float64; (queries,)."""

    def work(scores: Array, first: int, last: int) -> tuple[Array, Array]:
        found, values = _largest(scores, first, last, 1)
        return found[:, 0], values[:, 0]

    parts = list(_by_rows(queries, keys, work))
    return (
        np.concatenate([np.zeros(0, np.int32), *(found for found, _ in parts)]),
        np.concatenate([np.zeros(0), *(values for _, values in parts)]),
    )


def unit(vectors: Array) -> Array:
    """The vectors at length 1, float32; a zero vector stays what it is."""
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1.0).astype(np.float32)[:, None], np.float32)


def _not_zero(vectors: Array) -> Array:
    """Numbers of the rows that are not zero; ValueError if the vectors are not finite."""
    if not np.isfinite(vectors).all():
        raise ValueError("the vectors hold NaN or infinity")
    return np.flatnonzero(vectors.any(axis=1))


def _by_rows(queries: Array, keys: Array, work: Callable[[Array, int, int], Any]) -> Iterator[Any]:
    """What ``work(scores, first, last)`` says of a few rows of a block, for all products of queries with keys."""
    if queries.shape[1] != keys.shape[1]:
        raise ValueError(f"vectors of {queries.shape[1]} and of {keys.shape[1]} dimensions have no similarity")
    height = max(_CHUNK, _BLOCK // max(1, len(keys)))
    block = np.empty((min(height, len(queries)), len(keys)), np.float32)
    with Workers() as workers:
        for start in range(0, len(queries), height):
            rows = queries[start : start + height]
            scores = np.matmul(rows, keys.T, out=block[: len(rows)])

            def some(chunk: int, scores: Array = scores) -> Any:
                return work(scores, chunk * _CHUNK, min(len(scores), (chunk + 1) * _CHUNK))

            yield from workers.map(some, -(-len(rows) // _CHUNK))


# maxima may be taken in any order: there is no NaN
@compiled(fastmath={"nnan", "nsz"})
def _maxima(row: Array) -> Array:
    """The largest score of every segment."""
    result = np.empty((row.size + _SEGMENT - 1) // _SEGMENT, row.dtype)
    for segment in range(result.size):
        first = segment * _SEGMENT
        largest = row[first]
        for k in range(first + 1, min(row.size, first + _SEGMENT)):
            largest = max(largest, row[k])
        result[segment] = largest
    return result


@compiled()
def _tau(scores: Array) -> float:
    """The threshold of sparsemax (Martins & Astudillo 2016, algorithm 1), of scores of which the largest is 0."""
    ordered = np.sort(scores)
    total, tau = 0.0, -1.0
    for count in range(1, ordered.size + 1):
        score = ordered[ordered.size - count]
        total += score
        if score * count <= total - 1:
            break
        tau = (total - 1) / count
    return tau


@compiled()
def _sparsemax_rows(scores: Array, first: int, last: int, inverse: float) -> tuple[Array, Array, Array]:
    """Sparsemax of some rows of scores times ``inverse``: entries a row, int64; their columns, int32, and weights."""
    sizes = np.zeros(last - first, np.int64)
    columns = np.empty(128 * (last - first), np.int32)
    weights = np.empty(columns.size, np.float64)
    filled = 0
    for number in range(first, last):
        row = scores[number]
        maxima = _maxima(row)
        top = np.float64(maxima.max())
        bound = _tau((maxima - top) * inverse)
        begin = filled
        for segment in range(maxima.size):
            if (maxima[segment] - top) * inverse <= bound:
                continue
            start = segment * _SEGMENT
            stop = min(row.size, start + _SEGMENT)
            if filled + stop - start > columns.size:
                columns = grown(columns, 2 * columns.size + _SEGMENT)
                weights = grown(weights, columns.size)
            for k in range(start, stop):
                score = (row[k] - top) * inverse
                if score > bound:
                    columns[filled] = k
                    weights[filled] = score
                    filled += 1
        tau = _tau(weights[begin:filled])
        candidates, filled = filled, begin
        for k in range(begin, candidates):
            if weights[k] > tau:
                columns[filled] = columns[k]
                weights[filled] = weights[k] - tau
                filled += 1
        sizes[number - first] = filled - begin
    return sizes, columns[:filled], weights[:filled]


@compiled()
def _largest(scores: Array, first: int, last: int, count: int) -> tuple[Array, Array]:
    """The ``count`` largest scores of some rows, float64, descending, and their columns, int32; ties by column."""
    columns = np.zeros((last - first, count), np.int32)
    values = np.zeros((last - first, count), np.float64)
    for number in range(first, last):
        row = scores[number]
        maxima = _maxima(row)
        bound = np.sort(maxima)[maxima.size - count] if maxima.size >= count else row.min()
        filled = 0
        for segment in range(maxima.size):
            if maxima[segment] < bound:
                continue
            start = segment * _SEGMENT
            for k in range(start, min(row.size, start + _SEGMENT)):
                score = row[k]
                if score < bound or (filled == count and score <= values[number - first, count - 1]):
                    continue
                at = min(filled, count - 1)
                while at > 0 and values[number - first, at - 1] < score:
                    values[number - first, at] = values[number - first, at - 1]
                    columns[number - first, at] = columns[number - first, at - 1]
                    at -= 1
                values[number - first, at] = score
                columns[number - first, at] = k
                filled = min(filled + 1, count)
    return columns, values
