"""Word alignment of a bitext, both directions at once, without any external program.

The model of one direction is IBM model 2 with a relative-position prior (Brown et al. 1993; Dyer, Chahuneau & Smith
2013, "A Simple, Fast, and Effective Reparameterization of IBM Model 2"): the child token at position j of n comes from
the parent at position i of m with weight w(i/m - j/n), or from no parent with a fixed probability. Dyer's w is
exp(-4 |d|); here that is only the start and w is re-estimated as a histogram. The M-step is variational Bayes under a
sparse Dirichlet prior (Mermer & Saraclar 2011), which keeps rare words from collecting links. The last iterations train
both directions to agree (Liang, Taskar & Klein 2006): a link counts as much as the product of its two posteriors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import sparse
from scipy.special import digamma

from ..corpus.sequences import TokenSequences
from . import kernels

Array = np.ndarray[Any, Any]

#: one unit of parallel work; fixed, so that sums are taken in the same order on any number of threads
_CHUNKS = 64


@dataclass(frozen=True)
class AlignerSettings:
    """Hyperparameters of the aligner.

    iterations: EM iterations with independent directions. agreement_iterations: further ones trained on the product
    of both directions' posteriors. alpha: Dirichlet concentration of p(child | parent). null_prior: probability that a
    child has no parent. diagonal: steepness of the initial position prior exp(-diagonal * |i/m - j/n|). prune_after,
    prune_below: after so many iterations, pairs of types with fewer expected links in both directions are dropped.
    """

    iterations: int = 5
    agreement_iterations: int = 2
    alpha: float = 0.1
    null_prior: float = 0.08
    diagonal: float = 4.0
    prune_after: int = 2
    prune_below: float = 0.01


@dataclass
class _Direction:
    """One direction of the model: the child side grouped by type, its cells, and the current parameters."""

    child: TokenSequences
    parent: TokenSequences
    sentence: Array  # (child tokens,) int32
    n_parents: int
    bounds: Array  # (chunks + 1,) child types of each unit of work
    start: Array  # (child types + 1,)
    order: Array  # (child tokens,)
    indptr: Array  # (child types + 1,)
    columns: Array  # (cells,) parent types
    probability: Array  # (cells,) float32, p(child | parent)
    null_probability: Array  # (child types,) float64
    prior: Array  # (BUCKETS,) float32

    possible: Array  # (BUCKETS,) float64, mass per bucket under uniform choice

    def expect(self, null_prior: float) -> tuple[Array, Array, Array, float, Array]:
        counts, null, moved, likelihood, factor = kernels.expect(
            self.bounds, self.start, self.order, self.sentence, self.child.offsets, self.parent.ids,
            self.parent.offsets, self.n_parents, self.indptr, self.columns, self.probability, self.null_probability,
            self.prior, null_prior,
        )  # fmt: skip
        return counts, null, moved.sum(0), float(likelihood.sum()), factor

    def maximise(self, counts: Array, alpha: float) -> None:
        """Variational M-step for p(child | parent) from expected counts per cell."""
        totals = np.bincount(self.columns, counts, self.n_parents)
        cells = np.bincount(self.columns, minlength=self.n_parents)
        denominator = np.exp(digamma(np.maximum(totals + alpha * cells, alpha)))
        self.probability = kernels.variational_probabilities(counts, self.columns, denominator, alpha)

    def keep(self, cells: Array) -> None:
        """Drops the cells where the mask is False."""
        kept = np.concatenate([[0], np.cumsum(cells)])
        self.indptr, self.columns, self.probability = kept[self.indptr], self.columns[cells], self.probability[cells]

    def move(self, null: Array, moved: Array) -> None:
        """Re-estimates the null distribution and the position prior."""
        self.null_probability = (null + 1e-6) / (null + 1e-6).sum()
        weight = (moved + 1.0) / (self.possible + 1.0)
        self.prior = (weight / weight.max()).astype(np.float32)


def _chunk_bounds(start: Array) -> Array:
    """Splits the types into `_CHUNKS` runs that hold about the same number of tokens each."""
    wanted = np.linspace(0, start[-1], _CHUNKS + 1)[1:-1]
    return np.concatenate([[0], np.searchsorted(start, wanted), [start.size - 1]]).astype(np.int64)


def _both_directions(
    english: TokenSequences, foreign: TokenSequences, n_english: int, n_foreign: int, diagonal: float
) -> tuple[_Direction, _Direction, Array]:
    """Foreign from English, English from foreign, and the cell of the first that each cell of the second mirrors."""
    displacement = np.linspace(-1, 1, kernels.BUCKETS)
    prior = np.exp(-diagonal * np.abs(displacement)).astype(np.float32)
    foreign_line, english_line = foreign.line_of_token(), english.line_of_token()
    start_f, order_f = kernels.positions_by_type(foreign.ids, n_foreign)
    start_e, order_e = kernels.positions_by_type(english.ids, n_english)
    bounds_f, bounds_e = _chunk_bounds(start_f), _chunk_bounds(start_e)
    where = (bounds_f, start_f, order_f, foreign_line, english.ids, english.offsets, n_english)
    indptr_f = np.concatenate([[0], np.cumsum(kernels.row_lengths(*where))])
    columns_f = kernels.fill_rows(*where, indptr_f)
    indptr_e, columns_e, mirror = kernels.transpose(indptr_f, columns_f, n_english)

    def direction(
        child: TokenSequences, parent: TokenSequences, n_children: int, n_parents: int, line: Array, bounds: Array,
        start: Array, order: Array, indptr: Array, columns: Array,
    ) -> _Direction:  # fmt: skip
        possible = kernels.possible_mass(bounds, start, order, line, child.offsets, parent.offsets).sum(0)
        uniform = 1 / n_children
        return _Direction(
            child, parent, line, n_parents, bounds, start, order, indptr, columns,
            np.full(columns.size, uniform, np.float32), np.full(n_children, uniform), prior, possible,
        )  # fmt: skip

    to_foreign = direction(
        foreign, english, n_foreign, n_english, foreign_line, bounds_f, start_f, order_f, indptr_f, columns_f
    )
    to_english = direction(
        english, foreign, n_english, n_foreign, english_line, bounds_e, start_e, order_e, indptr_e, columns_e
    )
    return to_foreign, to_english, mirror


@dataclass(frozen=True)
class AlignmentCounts:
    """What the aligner learned about pairs of types.

    counts: CSR (foreign types x English types) float32, expected number of links on which both directions agree.
    log_likelihood: per iteration, (foreign given English, English given foreign), in nats per child token.
    """

    counts: sparse.csr_matrix
    log_likelihood: list[tuple[float, float]]


@contextmanager
def _torch_threads_kept() -> Iterator[None]:
    """Undoes what numba does to torch: it sets the number of OpenMP threads of the whole process.

    With another number sums round differently, and a run that was resumed behind the alignment would end elsewhere.
    """
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@_torch_threads_kept()
def alignment_counts(
    english: TokenSequences,
    foreign: TokenSequences,
    n_english: int,
    n_foreign: int,
    settings: AlignerSettings | None = None,
    on_iteration: Callable[[int, int, float], None] | None = None,
) -> AlignmentCounts:
    """Trains both directions on a bitext and returns expected link counts between types.

    english, foreign: line k of one is the translation of line k of the other; ids are below n_english, n_foreign.
    on_iteration: called with (iterations done, iterations in all, log-likelihood per token).
    """
    settings = settings or AlignerSettings()
    to_foreign, to_english, mirror = _both_directions(english, foreign, n_english, n_foreign, settings.diagonal)
    total = settings.iterations + settings.agreement_iterations
    history: list[tuple[float, float]] = []
    agreed = np.zeros(0, np.float32)
    # one more E-step than M-steps: the counts returned are those of the final parameters
    for iteration in range(total + 1):
        f_counts, f_null, f_moved, f_ll, f_factor = to_foreign.expect(settings.null_prior)
        e_counts, e_null, e_moved, e_ll, e_factor = to_english.expect(settings.null_prior)
        history.append((f_ll / max(1, foreign.ids.size), e_ll / max(1, english.ids.size)))
        if iteration >= settings.iterations:
            agreed = _agree(to_foreign, to_english, mirror, f_factor, e_factor)
            f_counts, e_counts = agreed, agreed[mirror]
        if on_iteration:
            on_iteration(iteration + 1, total + 1, sum(history[-1]))
        if iteration == total:
            break
        to_foreign.maximise(f_counts, settings.alpha)
        to_english.maximise(e_counts, settings.alpha)
        if iteration == settings.prune_after - 1:
            mirror = _prune(to_foreign, to_english, mirror, f_counts, e_counts, settings.prune_below)
        to_foreign.move(f_null, f_moved)
        to_english.move(e_null, e_moved)
    counts = sparse.csr_matrix((agreed, to_foreign.columns, to_foreign.indptr), shape=(n_foreign, n_english))
    return AlignmentCounts(counts, history)


def _prune(
    to_foreign: _Direction, to_english: _Direction, mirror: Array, f_counts: Array, e_counts: Array, below: float
) -> Array:
    """Drops the cells with hardly a count in either direction; returns the mirror of those that stay."""
    alive_e = (e_counts >= below) | (f_counts[mirror] >= below)
    alive_f = np.empty_like(alive_e)
    alive_f[mirror] = alive_e
    to_foreign.keep(alive_f)
    to_english.keep(alive_e)
    return (np.cumsum(alive_f) - 1)[mirror[alive_e]]


def _agree(
    to_foreign: _Direction, to_english: _Direction, mirror: Array, foreign_factor: Array, english_factor: Array
) -> Array:
    backward = np.empty_like(to_foreign.probability)
    backward[mirror] = to_english.probability
    return kernels.agree(
        to_foreign.bounds, to_foreign.start, to_foreign.order, to_foreign.sentence, to_foreign.child.offsets,
        to_foreign.parent.ids, to_foreign.parent.offsets, to_foreign.n_parents, to_foreign.indptr, to_foreign.columns,
        to_foreign.probability, backward, to_foreign.prior, to_english.prior, foreign_factor, english_factor,
    )  # fmt: skip
