"""Confidence intervals by bootstrap, over sentences and over seeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]

#: resamples; the interval's ends are then stable to about a fiftieth of its width
RESAMPLES = 2000


@dataclass(frozen=True)
class Counts:
    """A score as a ratio of sums over sentences, which is what can be resampled.

    hits, totals: numbers of shape (sentences,): for accuracy the right answers and ones, for attachment the right words
    and all words, for F1 twice the true positives, and predicted plus gold.
    """

    hits: Array
    totals: Array

    @property
    def score(self) -> float:
        """The ratio sum(hits) / sum(totals)."""
        return float(self.hits.sum() / max(1, self.totals.sum()))


class Interval(NamedTuple):
    """A 95 % interval."""

    low: float
    high: float


def bootstrap_interval(hits: Array, totals: Array, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Percentile interval (Efron 1979) of sum(hits) / sum(totals), the mean over seeds.

    hits, totals: as in `Counts`, of shape (sentences,) or (seeds, sentences). Sentences are drawn with replacement, the
    same ones for every seed, and seeds too: so the interval speaks of other test sentences and of other runs.
    resamples: how many. seed: of the drawing.
    """
    hits, totals = np.atleast_2d(hits).astype(np.float64), np.atleast_2d(totals).astype(np.float64)
    totals = np.broadcast_to(totals, hits.shape)
    random = np.random.default_rng(seed)
    n_seeds, n = hits.shape
    scores = np.empty(resamples)
    for k in range(resamples):
        weights = np.bincount(random.integers(n, size=n), minlength=n).astype(np.float64)
        ratios = (hits @ weights) / np.maximum(totals @ weights, 1e-12)
        scores[k] = ratios[random.integers(n_seeds, size=n_seeds)].mean()
    low, high = np.quantile(scores, (0.025, 0.975))
    return Interval(float(low), float(high))
