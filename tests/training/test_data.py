from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lingraft.corpus import TokenSequences
from lingraft.training.data import LengthBatches, PackedBlocks, hold_out, pad

LINES = st.lists(st.lists(st.integers(10, 99), max_size=9), min_size=1, max_size=30)


@given(LINES, st.integers(3, 12))
def test_packing_drops_no_token(lines: list[list[int]], length: int):
    packed = PackedBlocks(TokenSequences.from_lists(lines), length, 1, 2)
    stream = [token for line in lines for token in [*line, 2]]
    assert packed.blocks.shape[1] == length
    assert (packed.blocks[:, 0] == 1).all()
    body = packed.blocks[:, 1:].reshape(-1)
    assert body[: len(stream)].tolist() == stream
    # the last block is filled from the beginning
    assert body[len(stream) :].tolist() == (stream * len(body))[: len(body) - len(stream)]
    assert len(body) - len(stream) < length - 1


def test_an_epoch_of_blocks_is_every_block_once_and_any_batch_can_be_rebuilt():
    packed = PackedBlocks(TokenSequences.from_lists([[k] * 7 for k in range(10, 45)]), 8, None, 2)
    seen = np.concatenate([packed.batch(step, 5, seed=3) for step in range(packed.n_blocks // 5)])
    assert sorted(map(tuple, seen)) == sorted(map(tuple, packed.blocks))
    np.testing.assert_array_equal(packed.batch(9, 5, 3), packed.batch(9, 5, 3))
    assert (packed.batch(0, 5, 3) != packed.batch(packed.n_blocks // 5, 5, 3)).any()


@given(st.lists(st.integers(0, 40), min_size=1, max_size=400), st.integers(1, 50), st.integers(0, 3))
def test_every_epoch_of_length_batches_has_every_line_once(lengths: list[int], size: int, seed: int):
    batches = LengthBatches(np.array(lengths), size, seed)
    for epoch in range(2):
        lines = np.concatenate([batches[epoch * batches.per_epoch + k] for k in range(batches.per_epoch)])
        assert sorted(lines.tolist()) == list(range(len(lengths)))


def test_length_batches_can_be_asked_in_any_order():
    lengths = np.random.default_rng(0).integers(1, 50, 333)
    forward = LengthBatches(lengths, 16, 5)
    first = [forward[step].tolist() for step in range(60)]
    other = LengthBatches(lengths, 16, 5)
    assert [other[step].tolist() for step in reversed(range(60))] == first[::-1]


def test_length_batches_save_padding():
    lengths = np.random.default_rng(0).integers(1, 100, 5000)
    batches = LengthBatches(lengths, 32, 0)
    padded = sum(lengths[batches[k]].max() * batches[k].size for k in range(batches.per_epoch))
    assert padded < 1.1 * lengths.sum()


@given(st.lists(st.text("abc", max_size=3), min_size=2, max_size=60))
def test_hold_out_goes_by_content_alone(lines: list[str]):
    train, held = hold_out(lines)
    assert set(train) | set(held) == set(lines)
    assert not set(train) & set(held)
    assert len(held) == len(set(held))
    assert set(hold_out(lines[::-1])[1]) == set(held)
    if len(set(lines)) > 1:
        assert train
        assert held


def test_hold_out_is_bounded_in_lines_and_bytes():
    lines = [f"{k} " + "x" * 100 for k in range(1000)]
    assert len(hold_out(lines, share=0.5, at_most=70)[1]) == 70
    assert sum(map(len, hold_out(lines, share=0.5, at_most_bytes=2000)[1])) <= 2000
    assert len(hold_out(["a" * 500_000, "b" * 500_000])[1]) == 1


def test_pad():
    ids, mask = pad([np.array([5, 6]), np.array([7])], 9)
    assert ids.tolist() == [[5, 6], [7, 9]]
    assert mask.tolist() == [[1, 1], [1, 0]]
