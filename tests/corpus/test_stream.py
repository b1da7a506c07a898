from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lingraft.corpus import TokenSequences, TokenStream

LINES = st.lists(st.lists(st.integers(0, 99), max_size=6), min_size=1, max_size=20)


@given(LINES, st.sampled_from([None, 2]))
def test_a_stream_of_lines_in_memory(lines: list[list[int]], separator: int | None):
    stream = TokenStream.of(TokenSequences.from_lists(lines), separator, 120)
    flat = [token for line in lines for token in (line if separator is None else [*line, separator])]
    assert (stream.size, stream.lines) == (len(flat), len(lines))
    assert stream.counts.tolist() == [sum(line.count(token) for line in lines) for token in range(120)]
    if flat:
        assert stream.take(np.array([0]), len(flat)).tolist() == [flat]


@given(
    st.lists(st.lists(st.integers(0, 60_000), max_size=5), max_size=6),
    st.lists(st.integers(0, 100), max_size=5), st.integers(1, 40), st.sampled_from([np.uint16, np.uint32, np.int32]),
)  # fmt: skip
def test_windows_go_over_the_borders_of_parts_and_round_the_end(
    parts: list[list[int]], starts: list[int], length: int, dtype: type
):
    whole = [token for part in parts for token in part]
    stream = TokenStream([np.array(part, dtype) for part in parts], np.zeros(0, np.int64), 0)
    assert stream.size == len(whole)
    if not whole:
        with pytest.raises(ValueError, match="no tokens"):
            stream.take(np.array([0]), length)
        return
    windows = stream.take(np.array(starts, np.int64), length)
    assert windows.dtype == np.int32
    assert windows.shape == (len(starts), length)
    for start, window in zip(starts, windows.tolist(), strict=True):
        assert window == [whole[(start + k) % len(whole)] for k in range(length)]
