"""The decoder against all trees there are, and against another implementation on longer sentences."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from trees import all_trees, leads_to_the_root

from lingraft.errors import RunError
from lingraft.tasks.parsing import decode_trees


def value(scores: np.ndarray, heads: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Arcs of score -inf, negative, and the sum of the others; of trees (..., n)."""
    chosen = scores[np.arange(heads.shape[-1]), heads]
    return -np.isneginf(chosen).sum(-1), np.where(np.isneginf(chosen), 0, chosen).sum(-1)


def assert_best(scores: np.ndarray, heads: np.ndarray) -> None:
    """Heads are a tree, and no other tree is better."""
    n = len(scores)
    assert (heads == 0).sum() == 1
    assert leads_to_the_root(heads.tolist())
    forbidden, sums = value(scores.astype(np.float64), all_trees(n))
    most = forbidden.max()
    found = value(scores.astype(np.float64), heads)
    assert found[0] == most
    assert found[1] == pytest.approx(sums[forbidden == most].max(), rel=1e-12, abs=1e-9)


#: few different numbers, so that many trees are equally good, and numbers of all sizes
few = st.sampled_from([0.0, -1.0, 1.0, -np.inf])
log_probabilities = st.floats(-30, 0)
any_size = st.one_of(st.floats(-1e6, 1e6), st.sampled_from([-1e-9, 1e-9]))


@settings(deadline=None, max_examples=80)
@given(st.data())
def test_no_tree_of_up_to_six_words_is_better(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 6))
    numbers = data.draw(st.sampled_from([few, log_probabilities, any_size]))
    scores = data.draw(arrays.arrays(np.float64, (n, n + 1), elements=numbers, fill=numbers))
    assert_best(scores, decode_trees(scores[None], np.array([n]))[0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6])
def test_random_scores_in_a_padded_batch(n, dtype):
    random = np.random.default_rng(n)
    lengths = random.integers(0, n + 1, 60)
    scores = random.normal(size=(60, n, n + 1)).astype(dtype)
    scores[random.random(scores.shape) < 0.1] = -np.inf
    for b, length in enumerate(lengths):
        scores[b, length:], scores[b, :, length + 1 :] = np.nan, np.inf  # beyond the sentence nothing is read
    scores[:, np.arange(n), np.arange(1, n + 1)] = np.nan
    heads = decode_trees(scores, lengths)
    assert heads.dtype == np.int64
    for b, length in enumerate(lengths):
        assert (heads[b, length:] == -1).all()
        if length:
            own = np.nan_to_num(scores[b, :length, : length + 1], nan=-1e9, neginf=-np.inf)
            assert_best(own, heads[b, :length])


def test_two_words_that_both_want_the_root():
    scores = np.array([[[9.0, 0.0, 1.0], [10.0, 3.0, 0.0]]])
    assert decode_trees(scores, np.array([2])).tolist() == [[0, 1]]  # 9 + 3, not 10 + 1 nor both roots


def test_a_cycle_in_a_cycle():
    """Words 1 and 2 love each other, 3 loves word 2 and is loved by word 1 a little less, only 4 reaches the root."""
    scores = np.full((1, 4, 5), -50.0)
    scores[0, 0, 2], scores[0, 1, 1] = 10, 10
    scores[0, 0, 3], scores[0, 2, 2] = 9, 9
    scores[0, 2, 4], scores[0, 3, 1], scores[0, 3, 0] = 1, 8, -9
    assert decode_trees(scores, np.array([4])).tolist() == [[3, 1, 4, 0]]


def test_huge_scores_take_nothing_from_small_ones():
    scores = np.zeros((1, 3, 4))
    scores[0, :, 0] = [1e15, 1e15, 1e15]
    scores[0, 1, 3] = scores[0, 2, 1] = 1e-9
    assert_best(scores[0], decode_trees(scores, np.array([3]))[0])
    assert decode_trees(scores, np.array([3])).tolist() == [[0, 3, 1]]


def test_where_every_tree_needs_an_impossible_arc_one_is_given():
    scores = np.full((1, 5, 6), -np.inf)
    heads = decode_trees(scores, np.array([5]))[0]
    assert (heads == 0).sum() == 1
    assert leads_to_the_root(heads.tolist())


def test_the_same_tree_whatever_is_beside_it():
    random = np.random.default_rng(3)
    scores = random.integers(0, 3, (40, 12, 13)).astype(np.float32)
    together = decode_trees(scores, np.full(40, 12))
    alone = [decode_trees(scores[b : b + 1], np.array([12]))[0] for b in range(40)]
    assert (together == np.array(alone)).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_that_are_none_are_refused(bad):
    scores = np.zeros((3, 4, 5), np.float32)
    scores[1, 2, 1] = bad
    with pytest.raises(RunError, match="sentence 2 of a batch"):
        decode_trees(scores, np.array([4, 4, 4]))
    assert decode_trees(scores, np.array([4, 2, 4])).shape == (3, 4)


@pytest.mark.parametrize(
    ("shape", "lengths"),
    [((1, 3, 3), [3]), ((3, 4), [3]), ((1, 3, 4), [4]), ((1, 3, 4), [-1]), ((2, 3, 4), [3])],
)
def test_other_shapes_are_refused(shape, lengths):
    with pytest.raises(ValueError, match="expected"):
        decode_trees(np.zeros(shape), np.array(lengths))


def test_no_sentence_and_no_word():
    assert decode_trees(np.zeros((0, 3, 4)), np.zeros(0, np.int64)).shape == (0, 3)
    assert decode_trees(np.zeros((2, 0, 1)), np.zeros(2, np.int64)).shape == (2, 0)


@pytest.mark.parametrize("n", [7, 12, 30])
def test_longer_sentences_against_another_implementation(n):
    """That one knows nothing of a single root, so it decodes once for every root there may be."""
    other = pytest.importorskip("ufal.chu_liu_edmonds").chu_liu_edmonds
    random = np.random.default_rng(n)
    scores = random.normal(size=(10, n, n + 1)) * random.choice([1, 20], (10, 1, 1))
    scores[5:, :, 0] += 3  # several words want the root
    heads = decode_trees(scores, np.full(10, n))
    for b in range(10):
        best = -np.inf
        for root in range(1, n + 1):
            square = np.full((n + 1, n + 1), np.nan)  # there an arc that does not exist
            square[1:, 1:] = scores[b, :, 1:]
            square[root, 0] = scores[b, root - 1, 0]
            np.fill_diagonal(square, np.nan)
            best = max(best, other(square)[1])
        assert (heads[b] == 0).sum() == 1
        assert leads_to_the_root(heads[b].tolist())
        assert scores[b, np.arange(n), heads[b]].sum() == pytest.approx(best, abs=1e-9)
