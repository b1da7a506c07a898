"""The kernels of the hidden Markov model against the enumeration of all alignments."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from enumeration import (
    Bitext,
    Sentence,
    all_candidates,
    enumerate_alignments,
    expect,
    forward_backward,
    from_layout,
    leaving,
    random_lines,
    step_by_step,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from lingraft.evidence.alignment import hmm
from lingraft.evidence.alignment.hmm import Direction


def random_sentence(n: int, m: int, density: float, seed: int, spread: float = 2.0) -> Sentence:
    """Probabilities between about exp(-2 spread) and exp(2 spread) of a middle."""
    random = np.random.default_rng(seed)
    probability = 0.1 * np.exp(spread * random.normal(size=(n, m))).clip(1e-4, 5)
    probability *= random.random((n, m)) < density
    jumps = {d: float(np.float32(np.exp(spread * random.normal()))) for d in range(-m, m + 1)}
    stay = float(np.float32(random.choice([0.02, 0.1, 0.6])))
    return Sentence(probability, stay * random.uniform(0.001, 0.3, n), jumps, stay)


sentences = st.builds(
    random_sentence,
    st.integers(1, 5),
    st.integers(1, 4),
    st.sampled_from([0.0, 0.2, 0.5, 1.0]),
    st.integers(0, 2**32),
)
CLOSE = {"rtol": 2e-4, "atol": 2e-5}


@settings(max_examples=80, deadline=None)
@given(sentences)
def test_posteriors_and_expected_jumps_are_those_of_all_alignments(sentence: Sentence):
    truth = enumerate_alignments(sentence)
    found, jumped, left = forward_backward(sentence)
    np.testing.assert_allclose(found.posterior, truth.posterior, **CLOSE)
    np.testing.assert_allclose(found.null, truth.null, **CLOSE)
    assert found.log_likelihood == pytest.approx(truth.log_likelihood, rel=1e-4, abs=1e-4)
    np.testing.assert_allclose(left, truth.left, **CLOSE)
    for distance, count in found.jumped.items():
        assert count == pytest.approx(truth.jumped.get(distance, 0.0), rel=2e-4, abs=2e-5)
    # every link is one jump, from a state that is thereby left
    assert jumped.sum() == pytest.approx(found.posterior.sum(), rel=1e-4, abs=1e-5)
    assert left.sum() == pytest.approx(found.posterior.sum(), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (5, 1), (3, 3)])
@pytest.mark.parametrize("density", [0.0, 1.0])
def test_edges_of_the_enumeration(shape: tuple[int, int], density: float):
    sentence = random_sentence(*shape, density, seed=3)
    truth, (found, _, _) = enumerate_alignments(sentence), forward_backward(sentence)
    np.testing.assert_allclose(found.posterior, truth.posterior, **CLOSE)
    np.testing.assert_allclose(found.null, truth.null, **CLOSE)
    if density == 0:
        np.testing.assert_array_equal(found.null, 1)
        assert found.log_likelihood == pytest.approx(np.log(sentence.null).sum(), rel=1e-5)


def test_posteriors_do_not_depend_on_whether_jumps_are_counted():
    sentence = random_sentence(5, 4, 0.7, seed=11)
    (counted, _, _), (other, jumped, left) = forward_backward(sentence), forward_backward(sentence, False)
    np.testing.assert_array_equal(counted.posterior, other.posterior)
    np.testing.assert_array_equal(counted.null, other.null)
    assert not jumped.any()
    assert not left.any()


def test_long_sentences():
    """32-bit sums of hundreds of tokens; the first children say nothing, the others allow few and distant parents."""
    random = np.random.default_rng(4)
    n, m = 400, 300
    probability = np.zeros((n, m))
    for j in range(50, n):
        probability[j, random.choice(m, 3, replace=False)] = 10.0 ** random.uniform(-9, 0, 3)
    jumps = {d: float(np.float32(np.exp(-0.3 * abs(d - 1)) + 1e-6)) for d in range(-m, m + 1)}
    sentence = Sentence(probability, np.full(n, 1e-9), jumps, 0.1)
    found, jumped, left = forward_backward(sentence)
    posterior, likelihood = step_by_step(sentence)
    np.testing.assert_allclose(found.posterior, posterior, rtol=5e-3, atol=1e-4)
    assert found.log_likelihood == pytest.approx(likelihood, rel=1e-4)
    assert found.posterior.min() >= 0
    np.testing.assert_allclose(found.posterior.sum(1) + found.null, 1, atol=1e-4)
    np.testing.assert_allclose([jumped.sum(), left.sum()], found.posterior.sum(), rtol=1e-4)


@settings(max_examples=20, deadline=None)
@given(sentences)
def test_the_two_references_agree(sentence: Sentence):
    truth = enumerate_alignments(sentence)
    posterior, likelihood = step_by_step(sentence)
    np.testing.assert_allclose(posterior, truth.posterior, rtol=1e-9)
    assert likelihood == pytest.approx(truth.log_likelihood)


@pytest.mark.parametrize("parents", [1, 2, 5, 30])
def test_normalisers_of_jumps(parents: int):
    """Weights that differ by many orders of magnitude, as they do where words never move."""
    random = np.random.default_rng(parents)
    for spread in (0, 1, 4, 12):
        for _ in range(10):
            weights = np.exp(-spread * np.abs(random.normal(size=2 * parents + 1))).clip(1e-11).astype(np.float32)
            weight = dict(zip(range(-parents, parents + 1), weights.tolist(), strict=True)) | {1: 1.0}
            expected = [0.75 / sum(weight[i - (state - 1)] for i in range(parents)) for state in range(parents + 1)]
            np.testing.assert_allclose(leaving(weight, parents, 0.25), expected, rtol=1e-3)


def test_normalisers_where_only_one_jump_is_likely():
    weight = {-1: 1e-9, 0: 1e-9, 1: 1.0}
    np.testing.assert_allclose(leaving(weight, 1, 0.1), [0.9, 0.9e9], rtol=1e-3)


def sentences_of(bitext: Bitext, direction: Direction, foreign: bool, alpha: float, null: float) -> Iterator[Sentence]:
    """The sentence pairs of one direction with the parameters the E-step should give them."""
    link, jumps = 0, from_layout(direction.jumps)
    for e, f in zip(bitext.english, bitext.foreign, strict=True):
        probability = np.zeros((len(f), len(e)))
        for (j, c), (i, p) in itertools.product(enumerate(f), enumerate(e)):
            if (c, p) in bitext.number:
                others = max(direction.counts[bitext.number[c, p]] - direction.own[link], 0)
                probability[j, i] = (others + alpha) * direction.inverse_totals[p if foreign else c]
                link += 1
        child = f if foreign else e
        yield Sentence(probability if foreign else probability.T, null * direction.null[child], jumps, null)


def random_direction(bitext: Bitext, longest: int, seed: int) -> Direction:
    random, centre = np.random.default_rng(seed), longest + hmm.MARGIN
    counts = random.gamma(1, 1, len(bitext.number)).astype(np.float32)
    links = bitext.candidates.cell
    # some links have contributed (almost) all there is
    own = (counts[links] * random.choice([0.0, 0.4, 1.0, 1.0001], links.size)).astype(np.float32)
    jumps = np.exp(random.normal(size=2 * centre + 1)).astype(np.float32)
    return Direction(
        counts, own, random.uniform(0.2, 1, bitext.types).astype(np.float32),
        random.dirichlet(np.ones(bitext.types)).astype(np.float32), jumps / jumps.max(),
    )  # fmt: skip


@pytest.mark.parametrize("agree", [False, True])
@pytest.mark.parametrize("density", [0.3, 1.0])
def test_e_step_of_both_directions(agree: bool, density: float):
    types, alpha, null = 4, 0.02, 0.15
    lines = random_lines(1, 12, types, 4), random_lines(2, 12, types, 4)
    bitext = all_candidates(*lines, types, density, seed=5)
    forward, backward = random_direction(bitext, 4, seed=6), random_direction(bitext, 4, seed=7)
    found = expect(bitext, forward, backward, alpha, null, agree)

    posterior, nulls, likelihood = ([], []), (np.zeros(types), np.zeros(types)), [0.0, 0.0]
    jumped, exposed = (np.zeros((2, forward.jumps.size)) for _ in range(2))
    centre = forward.jumps.size // 2
    for side, direction in enumerate((forward, backward)):
        for k, sentence in enumerate(sentences_of(bitext, direction, side == 0, alpha, null)):
            e, f = bitext.english[k], bitext.foreign[k]
            if not e or not f:
                continue
            truth = enumerate_alignments(sentence)
            dense = truth.posterior if side == 0 else truth.posterior.T
            posterior[side].extend(
                dense[j, i] for j, c in enumerate(f) for i, p in enumerate(e) if (c, p) in bitext.number
            )
            np.add.at(nulls[side], f if side == 0 else e, truth.null)
            likelihood[side] += truth.log_likelihood
            for distance in truth.jumped:
                jumped[side, centre - distance] += truth.jumped[distance]
                exposed[side, centre - distance] += truth.exposed[distance]
    if agree:
        products = np.multiply(*posterior)
        np.testing.assert_allclose(found.foreign, products, **CLOSE)
        np.testing.assert_allclose(
            found.sums, np.bincount(bitext.candidates.cell, products, len(bitext.number)), **CLOSE
        )
    else:
        np.testing.assert_allclose(found.foreign, posterior[0], **CLOSE)
        np.testing.assert_allclose(found.english, posterior[1], **CLOSE)
    # in a pair with an empty side nothing is expected, not even nulls
    np.testing.assert_allclose(found.foreign_null, nulls[0], **CLOSE)
    np.testing.assert_allclose(found.english_null, nulls[1], **CLOSE)
    np.testing.assert_allclose(found.log_likelihood, likelihood, rtol=1e-4)
    np.testing.assert_allclose(found.jumped, jumped, **CLOSE)
    np.testing.assert_allclose(np.cumsum(found.exposed, axis=1)[:, :-1], exposed, **CLOSE)
    np.testing.assert_allclose(found.exposed.sum(1), 0, atol=1e-9)
