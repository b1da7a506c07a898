from __future__ import annotations

import numba
import numpy as np
import pytest
import torch
from scipy.special import digamma

import tiny
from lingraft.corpus import TokenSequences
from lingraft.evidence import AlignerSettings, alignment_counts, kernels
from lingraft.evidence.alignment import _both_directions
from lingraft.recipe import AlignmentRecipe

#: nothing dropped and a null parent of no weight, so that brute force is short
EXACT = AlignerSettings(iterations=1, agreement_iterations=0, null_prior=1e-9, prune_below=0.0)


def sequences(*lines: list[int]) -> TokenSequences:
    return TokenSequences.from_lists(lines)


def random_bitext(n: int = 30, types: int = 9, seed: int = 0) -> tuple[TokenSequences, TokenSequences]:
    random = np.random.default_rng(seed)
    return tuple(  # type: ignore[return-value]
        TokenSequences.from_lists(random.integers(0, types, random.integers(1, 7)) for _ in range(n)) for _ in range(2)
    )


def bucket(i: int, m: int, j: int, n: int) -> int:
    """The displacement bucket nearest to i/m - j/n (centres of the positions)."""
    return round(((i + 0.5) / m - (j + 0.5) / n) * 64) + 64


def posterior(child: np.ndarray, parent: np.ndarray, table: np.ndarray, prior: np.ndarray, null: tuple) -> np.ndarray:
    """Brute force of one direction of one sentence: p(parent i | child j), shape (children, parents)."""
    null_prior, null_table = null
    n, m = len(child), len(parent)
    result = np.zeros((n, m))
    for j in range(n):
        weights = np.array([prior[bucket(i, m, j, n)] for i in range(m)], np.float64)
        joint = (1 - null_prior) * weights / weights.sum() * [table[p, child[j]] for p in parent]
        result[j] = joint / (joint.sum() + null_prior * null_table[child[j]])
    return result


def test_expected_counts_are_those_of_brute_force():
    english, foreign = random_bitext()
    to_foreign, _, _ = _both_directions(english, foreign, 9, 9, 4.0)
    random = np.random.default_rng(1)
    table = random.random((9, 9)).astype(np.float32)
    children = np.repeat(np.arange(9), np.diff(to_foreign.indptr))
    to_foreign.probability = table[to_foreign.columns, children]
    to_foreign.null_probability = random.random(9)
    counts, null, moved, likelihood, factor = to_foreign.expect(0.1)
    expected, expected_null = np.zeros((9, 9)), np.zeros(9)
    for line in range(len(english)):
        p = posterior(foreign[line], english[line], table, to_foreign.prior, (0.1, to_foreign.null_probability))
        for j, child in enumerate(foreign[line]):
            np.add.at(expected, (child, english[line]), p[j])
            expected_null[child] += 1 - p[j].sum()
    found = np.zeros((9, 9))
    found[children, to_foreign.columns] = counts
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(null, expected_null, rtol=1e-4, atol=1e-5)
    assert moved.sum() == pytest.approx(counts.sum(), rel=1e-4)
    assert likelihood < 0
    assert (factor > 0).all()


def test_agreement_counts_are_products_of_both_posteriors():
    english, foreign = random_bitext(seed=3)
    settings = AlignerSettings(iterations=1, agreement_iterations=0, null_prior=0.1, prune_below=0.0)
    found = alignment_counts(english, foreign, 9, 9, settings).counts.toarray()
    # the same by hand: one EM iteration of each direction, then the product of posteriors
    forward, f_prior, f_null = _one_iteration(english, foreign)
    backward, b_prior, b_null = _one_iteration(foreign, english)
    expected = np.zeros((9, 9))
    for line in range(len(english)):
        p = posterior(foreign[line], english[line], forward, f_prior, (0.1, f_null))
        q = posterior(english[line], foreign[line], backward, b_prior, (0.1, b_null))
        for j, f in enumerate(foreign[line]):
            for i, e in enumerate(english[line]):
                expected[f, e] += p[j, i] * q[i, j]
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-4)


def _one_iteration(parents: TokenSequences, children: TokenSequences) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One variational EM step from a uniform table, written independently: (parent, child) table, prior, null."""
    prior = np.exp(-4.0 * np.abs(np.arange(-64, 65) / 64)).astype(np.float32)
    uniform, null = np.full((9, 9), 1 / 9), np.full(9, 1 / 9)
    counts, null_counts = np.zeros((9, 9)), np.zeros(9)
    moved, possible = np.zeros(kernels.BUCKETS), np.zeros(kernels.BUCKETS)
    together = np.zeros((9, 9), bool)
    for line in range(len(parents)):
        p = posterior(children[line], parents[line], uniform, prior, (0.1, null))
        n, m = p.shape
        for j, c in enumerate(children[line]):
            null_counts[c] += 1 - p[j].sum()
            for i, e in enumerate(parents[line]):
                counts[e, c] += p[j, i]
                together[e, c] = True
                moved[bucket(i, m, j, n)] += p[j, i]
                possible[bucket(i, m, j, n)] += 1 / m
    alpha = AlignerSettings().alpha
    total = counts.sum(1) + alpha * together.sum(1)
    table = np.where(together, np.exp(digamma(counts + alpha) - digamma(total)[:, None]), 0)
    weight = (moved + 1) / (possible + 1)
    return table, (weight / weight.max()).astype(np.float32), (null_counts + 1e-6) / (null_counts + 1e-6).sum()


def test_exp_digamma_against_scipy():
    for x in np.geomspace(1e-3, 1e6, 200):
        assert kernels.exp_digamma(x) == pytest.approx(np.exp(digamma(x)), rel=1e-6, abs=1e-300)


def test_plain_em_never_lowers_the_likelihood():
    english, foreign = random_bitext(n=200, types=30, seed=5)
    direction, _, _ = _both_directions(english, foreign, 30, 30, 4.0)
    history = []
    for _ in range(8):
        counts, null, _, likelihood, _ = direction.expect(0.1)
        history.append(likelihood)
        totals = np.bincount(direction.columns, counts, 30)
        direction.probability = (counts / totals[direction.columns]).astype(np.float32)
        direction.null_probability = null / null.sum()
    assert history[-1] > history[0] + 100
    assert (np.diff(history) > -1e-3).all()


def test_cipher_language_is_recovered():
    lines = tiny.english_lines(2000, seed=2)
    number = {word: k for k, word in enumerate(tiny.words())}
    random = np.random.default_rng(0)
    secret = random.permutation(len(number))
    english, foreign = [], []
    for line in lines:
        ids = [number[word] for word in line.split()]
        moved = sorted(range(len(ids)), key=lambda k: k + random.uniform(0, 1.5))  # local reordering
        kept = [k for k in moved if random.random() > 0.1] or moved[:1]  # dropped words
        english.append(ids)
        foreign.append([int(secret[ids[k]]) for k in kept])
    counts = alignment_counts(
        TokenSequences.from_lists(english), TokenSequences.from_lists(foreign), len(number), len(number)
    ).counts
    best = np.asarray(counts.argmax(axis=1)).ravel()
    truth = np.argsort(secret)
    frequency = np.bincount([w for line in foreign for w in line], minlength=len(number))
    assert frequency[best == truth].sum() / frequency.sum() > 0.99


def test_the_aligner_leaves_torch_its_threads():
    english, foreign = random_bitext()
    before = torch.get_num_threads()
    alignment_counts(english, foreign, 9, 9)
    assert torch.get_num_threads() == before


def test_result_does_not_depend_on_the_number_of_threads():
    english, foreign = random_bitext(n=300, types=50, seed=7)
    before = numba.get_num_threads()
    results = []
    try:
        for threads in (1, min(2, numba.config.NUMBA_NUM_THREADS)):
            numba.set_num_threads(threads)
            results.append(alignment_counts(english, foreign, 50, 50).counts)
    finally:
        numba.set_num_threads(before)
    assert results[0].data.tobytes() == results[1].data.tobytes()
    assert (results[0].indices == results[1].indices).all()


@pytest.mark.parametrize(
    ("english", "foreign"),
    [
        (sequences([]), sequences([])),
        (sequences([], [1]), sequences([1], [])),
        (sequences([0]), sequences([0])),
        (sequences(list(range(9)) * 120), sequences([3])),
        (sequences(*[[1, 2, 3]] * 50), sequences(*[[4, 5, 6]] * 50)),
    ],
    ids=["empty", "empty sides", "one word", "thousand words", "identical lines"],
)
def test_odd_bitexts(english: TokenSequences, foreign: TokenSequences):
    counts = alignment_counts(english, foreign, 9, 9).counts
    assert counts.shape == (9, 9)
    assert np.isfinite(counts.data).all()
    assert (counts.data >= 0).all()


def test_pruning_drops_only_cells_without_links():
    english, foreign = random_bitext(n=200, types=40, seed=11)
    full = alignment_counts(english, foreign, 40, 40, AlignerSettings(prune_below=0.0)).counts
    pruned = alignment_counts(english, foreign, 40, 40, AlignerSettings(prune_below=1e-3)).counts
    assert pruned.nnz < full.nnz
    np.testing.assert_allclose(pruned.sum(), full.sum(), rtol=0.02)


def test_the_recipe_and_the_aligner_have_the_same_defaults():
    settings = vars(AlignerSettings())
    recipe = AlignmentRecipe().model_dump()
    shared = settings.keys() & recipe.keys()
    assert shared == {"iterations", "agreement_iterations", "alpha", "null_prior"}
    assert {name: settings[name] for name in shared} == {name: recipe[name] for name in shared}
