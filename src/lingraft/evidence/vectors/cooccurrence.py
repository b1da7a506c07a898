"""Word vectors out of counts: positive pointwise mutual information, reduced by singular value decomposition.

Where text is short, vectors by counting are better than those that are trained by gradient steps (Sahlgren & Lenci
2016), and they are the same in every run. The choices are those of Levy, Goldberg & Dagan (2015): words beside each
other count more than distant ones, contexts are smoothed, and the singular values weigh by their square root.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from scipy import sparse

from ...errors import CorpusError
from ..alignment.compiled import Array
from .files import WordVectors

#: how many words to either side are a word's context
_WINDOW = 5
#: contexts count by this power of their frequency, so that rare ones say less
_SMOOTHING = 0.75
#: the most frequent words get vectors and are contexts
_WORDS = 50_000
#: directions beyond those asked for, and rounds, of the randomised decomposition
_MORE, _ROUNDS = 32, 4
#: tokens that are counted at a time
_BLOCK = 1 << 21


def count_vectors(sentences: Callable[[], Iterable[Sequence[str]]], dimension: int, min_count: int) -> WordVectors:
    """Vectors of the 50,000 most frequent words, with counts.

    sentences: gives the words of all sentences each time it is called; it is called twice. dimension: less than the
    number of words that occur min_count times, else CorpusError. Memory: about 20 bytes for every pair of words that
    ever meet within five words.
    """
    frequencies: Counter[str] = Counter()
    for sentence in sentences():
        frequencies.update(sentence)
    # words as frequent as each other in the order of their letters, whatever order they came in
    ranked = sorted(frequencies.items(), key=lambda item: (-item[1], item[0]))
    words = [word for word, count in ranked[:_WORDS] if count >= min_count]
    if len(words) <= dimension:
        raise CorpusError(
            f"There is too little text to train word vectors on: {len(words):,} words occur {min_count} times or more, "
            f"and vectors of {dimension} dimensions need more words than that."
        )
    index = {word: k for k, word in enumerate(words)}
    information = _information(_cooccurrences(sentences(), index))
    left, values = _decomposed(information, dimension)
    matrix = np.ascontiguousarray(left * np.sqrt(values), np.float32)
    return WordVectors(words, matrix, np.array([frequencies[word] for word in words], np.float64))


def _cooccurrences(sentences: Iterable[Sequence[str]], index: dict[str, int]) -> sparse.csr_matrix:
    """How often two words meet, float32, shape (words, words), symmetric; at a distance of d it counts (6 - d) / 5."""
    n = len(index)
    total: Any = sparse.csr_matrix((n, n), dtype=np.float64).astype(np.float32)
    for ids in _blocks(sentences, index):
        for distance in range(1, _WINDOW + 1):
            one, other = ids[:-distance], ids[distance:]
            both = (one >= 0) & (other >= 0)
            cells, counts = np.unique(one[both].astype(np.int64) * n + other[both], return_counts=True)
            weights = (counts * ((_WINDOW + 1 - distance) / _WINDOW)).astype(np.float32)
            total = total + sparse.csr_matrix((weights, (cells // n, cells % n)), shape=(n, n))
    return sparse.csr_matrix(total + total.T)


def _blocks(sentences: Iterable[Sequence[str]], index: dict[str, int]) -> Iterator[Array]:
    """Ids of whole sentences, about as many as a block has, with a window of -1 behind each; -1 for other words."""
    ids = array("i")
    border = array("i", [-1] * _WINDOW)
    for sentence in sentences:
        ids.extend(index.get(word, -1) for word in sentence)
        ids.extend(border)
        if len(ids) >= _BLOCK:
            yield np.array(ids, np.int32)
            ids = array("i")
    if ids:
        yield np.array(ids, np.int32)


def _information(counts: sparse.csr_matrix) -> sparse.csr_matrix:
    """Positive pointwise mutual information, float32, of counts of words (rows) with contexts (columns)."""
    of_word = np.asarray(counts.sum(axis=1), np.float64).ravel()
    share = of_word**_SMOOTHING
    share /= max(share.sum(), 1e-300)
    rows = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
    found = counts.copy()
    found.data = np.maximum(np.log(counts.data / (of_word[rows] * share[counts.indices])), 0).astype(np.float32)
    found.eliminate_zeros()
    return found


def _decomposed(matrix: sparse.csr_matrix, rank: int) -> tuple[Array, Array]:
    """The largest singular values, descending, float32 (rank,), and their left vectors, float32 (n, rank).

    By a randomised range finder with power iterations (Halko, Martinsson & Tropp 2011, algorithm 4.4), always with the
    same random numbers: exact for the leading values, a little too small for the last.
    """
    width = min(rank + _MORE, matrix.shape[0])
    turned = sparse.csr_matrix(matrix.T)
    found = matrix @ np.random.default_rng(0).normal(size=(matrix.shape[1], width)).astype(np.float32)
    for _ in range(_ROUNDS):
        found = matrix @ np.linalg.qr(turned @ np.linalg.qr(found).Q).Q
    basis = np.linalg.qr(found).Q
    # rows of what the matrix is within the basis: small enough for a plain decomposition
    left, values, _ = np.linalg.svd((turned @ basis).T, full_matrices=False)
    return basis @ left[:, :rank], values[:rank]
