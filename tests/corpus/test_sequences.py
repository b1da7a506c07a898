from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lingraft.corpus import TokenSequences

lines_of_ids = st.lists(st.lists(st.integers(0, 2**31 - 1), max_size=8), max_size=12)


def unpacked(sequences):
    return [sequences[line].tolist() for line in range(len(sequences))]


@given(lines_of_ids)
def test_lists_come_back_as_they_were(lines):
    sequences = TokenSequences.from_lists(lines)
    assert unpacked(sequences) == lines
    assert sequences.lengths.tolist() == [len(line) for line in lines]
    assert (sequences.ids.dtype, sequences.offsets.dtype) == (np.int32, np.int64)


@given(lines_of_ids)
def test_an_iterator_packs_as_a_list_does(lines):
    assert unpacked(TokenSequences.from_lists(iter(lines))) == lines


@given(st.data())
def test_selecting_keeps_the_lines_of_the_mask(data):
    lines = data.draw(lines_of_ids)
    mask = data.draw(st.lists(st.booleans(), min_size=len(lines), max_size=len(lines)))
    selected = TokenSequences.from_lists(lines).select(np.array(mask, bool))
    assert unpacked(selected) == [line for line, kept in zip(lines, mask, strict=True) if kept]
    assert (selected.ids.dtype, selected.offsets.dtype) == (np.int32, np.int64)


def test_no_lines_at_all():
    nothing = TokenSequences.from_lists([])
    assert (len(nothing), nothing.ids.size) == (0, 0)
    assert len(nothing.select(np.zeros(0, bool))) == 0


def test_take_gives_lines_in_the_order_of_their_numbers():
    text = TokenSequences.from_lists([[1, 2], [], [3], [4, 5, 6]])
    taken = text.take(np.array([3, 0, 1, 3]))
    assert [line.tolist() for line in taken] == [[4, 5, 6], [1, 2], [], [4, 5, 6]]
    assert len(text.take(np.array([], np.int64))) == 0
