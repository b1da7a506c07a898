from __future__ import annotations

import time
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lingraft.corpus import TokenSequences, TokenStream
from lingraft.training.data import LengthBatches, PackedBlocks, pad, permuted

LINES = st.lists(st.lists(st.integers(10, 99), max_size=9), min_size=1, max_size=30)


def packed_of(lines: list[list[int]], length: int, start: int | None) -> PackedBlocks:
    """Blocks of lines that are closed by 2."""
    return PackedBlocks(TokenStream.of(TokenSequences.from_lists(lines), 2, 100), length, start)


def every_block(packed: PackedBlocks) -> np.ndarray[Any, Any]:
    return packed.take(np.arange(packed.n_blocks))


@given(LINES, st.integers(3, 12))
def test_packing_drops_no_token(lines: list[list[int]], length: int):
    packed = packed_of(lines, length, 1)
    stream = [token for line in lines for token in [*line, 2]]
    blocks = every_block(packed)
    assert blocks.dtype == np.int32
    assert blocks.shape == (packed.n_blocks, packed.length) == (packed.n_blocks, length)
    assert (blocks[:, 0] == 1).all()
    body = blocks[:, 1:].reshape(-1)
    assert body[: len(stream)].tolist() == stream
    # the last block is filled from the beginning
    assert body[len(stream) :].tolist() == (stream * len(body))[: len(body) - len(stream)]
    assert len(body) - len(stream) < length - 1
    assert packed.last_length == length - (len(body) - len(stream))


def test_blocks_without_opening():
    packed = packed_of([[10, 11], [12]], 4, None)
    assert every_block(packed).tolist() == [[10, 11, 2, 12], [2, 10, 11, 2]]
    assert packed.last_length == 1


def test_an_epoch_of_blocks_is_every_block_once_and_any_batch_can_be_rebuilt():
    packed = packed_of([[k] * 7 for k in range(10, 45)], 8, None)
    seen = np.concatenate([packed.batch(step, 5, seed=3) for step in range(packed.n_blocks // 5)])
    assert sorted(map(tuple, seen)) == sorted(map(tuple, every_block(packed)))
    np.testing.assert_array_equal(packed.batch(9, 5, 3), packed.batch(9, 5, 3))
    assert (packed.batch(0, 5, 3) != packed.batch(packed.n_blocks // 5, 5, 3)).any()
    assert (packed.batch(0, 5, 3) != packed.batch(0, 5, 4)).any()


@given(st.integers(1, 25), st.integers(1, 9), st.integers(0, 3))
def test_epochs_follow_each_other_without_a_break(n_blocks: int, batch_size: int, seed: int):
    packed = packed_of([[k] for k in range(10, 10 + n_blocks)], 2, None)
    steps = -(-3 * n_blocks // batch_size)
    seen = np.concatenate([packed.batch(step, batch_size, seed) for step in range(steps)])[: 3 * n_blocks, 0]
    for epoch in seen.reshape(3, n_blocks).tolist():
        assert sorted(epoch) == list(range(10, 10 + n_blocks))


@given(st.integers(1, 5000), st.integers(0, 2**32), st.integers(0, 2**20))
def test_an_order_is_a_permutation(size: int, seed: int, epoch: int):
    order = permuted(np.arange(size), size, seed, epoch)
    np.testing.assert_array_equal(np.sort(order), np.arange(size))


@given(st.integers(1, 2**45), st.integers(0, 2**32), st.integers(0, 9), st.integers(0, 2**32))
def test_any_part_of_an_order_can_be_asked_for_alone(size: int, seed: int, epoch: int, draw: int):
    places = np.random.default_rng(draw).integers(0, size, 20)
    together = permuted(places, size, seed, epoch)
    assert ((together >= 0) & (together < size)).all()
    assert [int(permuted(place[None], size, seed, epoch)[0]) for place in places] == together.tolist()
    assert np.unique(together).size == np.unique(places).size


def test_other_seeds_and_epochs_are_other_orders():
    size = 1000
    orders = np.stack([permuted(np.arange(size), size, seed, epoch) for seed in range(8) for epoch in range(8)])
    same = [(one == other).sum() for one, other in combinations(orders, 2)]
    # two random permutations agree in one place on average, whatever their size (variance 1)
    assert abs(np.mean(same) - 1) < 0.15
    assert max(same) < 9
    # and neither keeps neighbours together nor the direction
    steps = np.diff(orders, axis=1)
    assert abs((steps > 0).mean() - 0.5) < 0.01
    assert np.abs(steps).mean() == pytest.approx(size / 3, rel=0.02)


@pytest.mark.parametrize("size", [2, 3, 7, 20])
def test_every_place_is_equally_likely(size: int):
    """Chi-squared over seeds, for every pair of place and image, with a bound that chance passes once in 10^6 runs."""
    n = 1500
    orders = np.stack([permuted(np.arange(size), size, seed, 0) for seed in range(n)])
    for place in range(size):
        seen = np.bincount(orders[:, place], minlength=size)
        assert stats.chisquare(seen).pvalue > 1e-6


def test_the_order_of_today_is_the_order_of_tomorrow():
    """Runs are resumed by newer versions: the permutation is part of what a checkpoint means."""
    assert permuted(np.arange(10), 10, 5, 1).tolist() == [7, 8, 3, 4, 6, 2, 5, 0, 9, 1]
    far = permuted(np.array([0, 1, 10**9]), 10**12, 5, 1)
    assert far.tolist() == [59531708063, 978998941249, 681699217991]


def test_a_batch_costs_the_same_in_a_corpus_of_any_size():
    packed = packed_of([[10]], 2, None)
    packed.n_blocks = 10**12
    began = time.perf_counter()
    packed.batch(10**9, 64, 0)
    assert time.perf_counter() - began < 0.5


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


def test_pad():
    ids, mask = pad([np.array([5, 6]), np.array([7])], 9)
    assert ids.tolist() == [[5, 6], [7, 9]]
    assert mask.tolist() == [[1, 1], [1, 0]]
