from __future__ import annotations

import numpy as np

from lingraft.corpus import sample_lines


def test_a_sample_is_spread_over_the_text_and_bounded() -> None:
    lines = [f"line {k}" for k in range(5000)]
    assert list(sample_lines(lines, 1 << 20)) == lines
    sample = list(sample_lines(lines, 10_000))
    numbers = [int(line.split()[1]) for line in sample]
    assert numbers == sorted(numbers)
    assert 9_900 <= sum(len(line) + 1 for line in sample) <= 10_000
    share = len(numbers) / 5000
    # six standard deviations of how many of the first half are drawn
    assert abs(np.sum(np.array(numbers) < 2500) / 2500 - share) < 6 * (share / 2500) ** 0.5
    assert set(sample_lines(lines[::-1], 10_000)) == set(sample)
    assert list(sample_lines(["a" * 100, "b" * 100], 10)) == ["a" * 100, "b" * 100]
