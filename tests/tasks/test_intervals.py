from __future__ import annotations

import numpy as np
import pytest

from lingraft.tasks.intervals import bootstrap_interval


def test_it_agrees_with_the_normal_approximation():
    right = np.random.default_rng(0).random(2000) < 0.7
    low, high = bootstrap_interval(right, np.ones(2000))
    error = 1.96 * np.sqrt(right.mean() * (1 - right.mean()) / 2000)
    assert low == pytest.approx(right.mean() - error, abs=0.003)
    assert high == pytest.approx(right.mean() + error, abs=0.003)


def test_ratios_of_sums_are_resampled_by_sentence():
    random = np.random.default_rng(1)
    words = random.integers(1, 40, 500)
    right = random.binomial(words, random.beta(8, 2, 500))  # sentences differ in difficulty
    low, high = bootstrap_interval(right, words)
    share = right.sum() / words.sum()
    assert low < share < high
    # the delta method for a ratio of means
    error = 1.96 * np.sqrt(((right - share * words) ** 2).mean() / 500) / words.mean()
    assert high - low == pytest.approx(2 * error, rel=0.1)


def test_seeds_that_differ_widen_it():
    right = np.random.default_rng(2).random((1, 1000)) < 0.5
    same = np.repeat(right, 3, 0)
    apart = np.stack([right[0], np.ones(1000, bool), np.zeros(1000, bool)])
    narrow, wide = bootstrap_interval(same, np.ones(1000)), bootstrap_interval(apart, np.ones(1000))
    assert narrow == pytest.approx(bootstrap_interval(right, np.ones(1000)), abs=0.01)
    assert wide.high - wide.low > 5 * (narrow.high - narrow.low)


def test_it_is_repeatable_and_certain_scores_have_no_width():
    hits = np.random.default_rng(3).random(50) < 0.5
    assert bootstrap_interval(hits, np.ones(50)) == bootstrap_interval(hits, np.ones(50))
    assert bootstrap_interval(np.ones(50), np.ones(50)) == (1.0, 1.0)
    assert bootstrap_interval(np.zeros(3), np.zeros(3)) == (0.0, 0.0)
