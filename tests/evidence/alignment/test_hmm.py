"""The hidden Markov model against the enumeration of all alignments, and EM built from its E-step."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lingraft.corpus import TokenSequences
from lingraft.evidence.alignment import hmm
from lingraft.evidence.alignment.block import Csr, cut
from lingraft.evidence.alignment.em import (
    EXACT_JUMPS,
    INITIAL_JUMP_SLOPE,
    JUMP_FLOOR,
    NULL_SMOOTHING,
    Parameters,
    Training,
    jump_weights,
)
from lingraft.evidence.alignment.hmm import Candidates, Direction, Pairs
from lingraft.evidence.alignment.settings import AlignerSettings

Floats = np.ndarray
Lines = list[list[int]]


@dataclass
class Sentence:
    """One direction of one sentence pair.

    probability: (children, parents), p(child | parent), 0 where there is no candidate. null: (children,), probability
    of the child and of having no parent. jumps: weight of every jump, by distance. stay: prior of having no parent.
    """

    probability: Floats
    null: Floats
    jumps: dict[int, float]
    stay: float

    @property
    def shape(self) -> tuple[int, int]:
        return self.probability.shape  # type: ignore[return-value]

    def normaliser(self, state: int) -> float:
        return sum(self.jumps[i - (state - 1)] for i in range(self.shape[1]))


class Truth(NamedTuple):
    """Expectations; exposed: by distance, how often the jump was a choice, each time over the choice's normaliser."""

    posterior: Floats
    null: Floats
    log_likelihood: float
    jumped: dict[int, float]
    left: Floats
    exposed: dict[int, float]


def enumerate_alignments(sentence: Sentence) -> Truth:
    """Every alignment, one after the other: each child has no parent or one of its candidates."""
    n, m = sentence.shape
    choices = [[None, *np.flatnonzero(sentence.probability[j]).tolist()] for j in range(n)]
    normaliser = [sentence.normaliser(state) for state in range(m + 1)]
    posterior, null, left = np.zeros((n, m)), np.zeros(n), np.zeros(m + 1)
    jumped = dict.fromkeys(sentence.jumps, 0.0)
    total = 0.0
    for alignment in itertools.product(*choices):
        weight, state, moves = 1.0, 0, []
        for j, i in enumerate(alignment):
            if i is None:
                weight *= sentence.null[j]
                continue
            distance = i - (state - 1)
            weight *= (1 - sentence.stay) * sentence.jumps[distance] / normaliser[state] * sentence.probability[j, i]
            moves.append((state, distance))
            state = i + 1
        total += weight
        for j, i in enumerate(alignment):
            if i is None:
                null[j] += weight
            else:
                posterior[j, i] += weight
        for origin, distance in moves:
            left[origin] += weight
            jumped[distance] += weight
    left /= total
    exposed = dict.fromkeys(sentence.jumps, 0.0)
    for state, i in itertools.product(range(m + 1), range(m)):
        exposed[i - (state - 1)] += left[state] / normaliser[state]
    return Truth(
        posterior / total, null / total, float(np.log(total)), {d: c / total for d, c in jumped.items()}, left, exposed
    )


def by_distance(jumps: dict[int, float]) -> Floats:
    """The layout of the kernels: descending distance, with a margin at either end."""
    centre = max(jumps) + hmm.MARGIN
    return np.array([jumps.get(centre - x, 0.0) for x in range(2 * centre + 1)], np.float32)


def from_layout(row: Floats) -> dict[int, float]:
    return {row.size // 2 - x: float(value) for x, value in enumerate(row)}


def leaving(jumps: dict[int, float], parents: int, stay: float) -> Floats:
    """For every state the probability of having a parent over the normaliser of the jumps."""
    row, result = by_distance(jumps), np.zeros(parents + 1, np.float32)
    hmm.leaving(row, row.size // 2, np.float32(stay), result)
    return result


def forward_backward(sentence: Sentence, count_jumps: bool = True) -> tuple[Truth, Floats, Floats]:
    """Runs the kernel; the only place that knows its arguments. Also the raw jump counts and states left."""
    n, m = sentence.shape
    jumps = by_distance(sentence.jumps)
    centre = jumps.size // 2
    child, parent = np.nonzero(sentence.probability)
    rows = np.concatenate([[0], np.cumsum(np.bincount(child, minlength=n))]).astype(np.int64)
    leave = leaving(sentence.jumps, m, sentence.stay)
    null = sentence.null.astype(np.float32)
    longest = max(n, m) + 1
    posterior = np.zeros(parent.size, np.float32)
    jumped, left = np.zeros(jumps.size, np.float32), np.zeros(m + 1)
    likelihood = hmm.forward_backward(
        rows, parent.astype(np.int64), sentence.probability[child, parent].astype(np.float32), null, jumps, centre,
        leave, np.zeros((longest, longest), np.float32), np.zeros((4, longest), np.float32), posterior, jumped, left,
        count_jumps,
    )  # fmt: skip
    dense = np.zeros((n, m))
    dense[child, parent] = posterior
    return Truth(dense, null, likelihood, from_layout(jumped), left, {}), jumped, left


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


def step_by_step(sentence: Sentence) -> tuple[Floats, float]:
    """Posteriors and log-likelihood in 64 bits, by matrices from state to state."""
    n, m = sentence.shape
    start = np.arange(m + 1)[:, None]
    jump = np.vectorize(sentence.jumps.__getitem__)(np.arange(m)[None] - (start - 1))
    jump *= (1 - sentence.stay) / jump.sum(1, keepdims=True)
    forward, backward, likelihood = np.zeros((n + 1, m + 1)), np.ones((n + 1, m + 1)), 0.0
    forward[0, 0] = 1
    steps = []
    for j in range(n):
        steps.append(np.diag(np.full(m + 1, sentence.null[j])))
        steps[j][:, 1:] += jump * sentence.probability[j]
        forward[j + 1] = forward[j] @ steps[j]
        likelihood += np.log(forward[j + 1].sum())
        forward[j + 1] /= forward[j + 1].sum()
    posterior = np.zeros((n, m))
    for j in reversed(range(n)):
        here = forward[j][:, None] * jump * sentence.probability[j] * backward[j + 1, 1:]
        total = forward[j] @ steps[j] @ backward[j + 1]
        posterior[j] = here.sum(0) / total
        backward[j] = steps[j] @ backward[j + 1]
        backward[j] /= backward[j].max()
    return posterior, likelihood


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


# the E-step over a bitext


class Bitext(NamedTuple):
    """A small bitext, its candidates (all links whose cell is wanted) and the number of each cell."""

    english: Lines
    foreign: Lines
    pairs: Pairs
    candidates: Candidates
    number: dict[tuple[int, int], int]
    types: int


def all_candidates(english: Lines, foreign: Lines, types: int, density: float, seed: int) -> Bitext:
    """Every pair of types is a cell with probability ``density``, every link of such a cell a candidate."""
    random = np.random.default_rng(seed)
    number: dict[tuple[int, int], int] = {}
    for cell in itertools.product(range(types), range(types)):
        if random.random() < density:
            number[cell] = len(number)
    offsets, position, cell_of_link = [0], [], []
    for e, f in zip(english, foreign, strict=True):
        for c in f:
            for i, p in enumerate(e):
                if (c, p) in number:
                    position.append(i)
                    cell_of_link.append(number[c, p])
            offsets.append(len(position))
    (pairs,) = cut(TokenSequences.from_lists(english), TokenSequences.from_lists(foreign), 1 << 30)
    links = Candidates(np.array(offsets, np.int64), np.array(position, np.uint16), np.array(cell_of_link, np.int32))
    return Bitext(english, foreign, pairs, links, number, types)


class Expected(NamedTuple):
    """What `hmm.expect_chunk` gives; nulls are summed by type, jumps and exposures as they come."""

    foreign: Floats
    english: Floats
    foreign_null: Floats
    english_null: Floats
    jumped: Floats
    exposed: Floats
    log_likelihood: tuple[float, float]
    sums: Floats


def expect(
    bitext: Bitext, to_foreign: Direction, to_english: Direction, alpha: float, null: float, agree: bool = False
) -> Expected:
    """Runs the E-step in two chunks; the only place that knows its arguments."""
    pairs, links = bitext.pairs, bitext.candidates.position.size
    posterior, other = np.zeros(links, np.float32), np.zeros(0 if agree else links, np.float32)
    nulls = np.zeros(pairs.foreign.size, np.float32), np.zeros(pairs.english.size, np.float32)
    middle, last = len(bitext.english) // 2, len(bitext.english)
    parts = [
        hmm.expect_chunk(
            first, end, pairs, bitext.candidates, to_foreign, to_english, np.float32(alpha), np.float32(null), agree,
            True, posterior, other, *nulls,
        )
        for first, end in ((0, middle), (middle, last))
    ]  # fmt: skip
    jumped, exposed, f, e, sums = (sum(part[k] for part in parts) for k in range(5))
    return Expected(
        posterior, other, np.bincount(pairs.foreign, nulls[0], bitext.types),
        np.bincount(pairs.english, nulls[1], bitext.types), jumped, exposed, (f, e), sums,
    )  # fmt: skip


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


def random_lines(seed: int, pairs: int, types: int, longest: int, shortest: int = 0) -> Lines:
    random = np.random.default_rng(seed)
    return [random.integers(0, types, random.integers(shortest, longest + 1)).tolist() for _ in range(pairs)]


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


# jump weights


def choices(weights: dict[int, float], old: dict[int, float], contexts: list[tuple[int, int]]) -> tuple[Floats, Floats]:
    """Exact expectations: for each (state, parents) one choice under ``weights``, exposed under ``old``."""
    jumped, exposed = dict.fromkeys(weights, 0.0), dict.fromkeys(weights, 0.0)
    for state, parents in contexts:
        distances = [i - (state - 1) for i in range(parents)]
        for d in distances:
            jumped[d] += weights[d] / sum(weights[x] for x in distances)
            exposed[d] += 1 / sum(old[x] for x in distances)
    size = 2 * max(weights) + 1
    middle = size // 2
    steps = np.diff([0.0, *(exposed[middle - x] for x in range(size)), 0.0])
    return np.array([jumped[middle - x] for x in range(size)]), steps


def scaled(weights: dict[int, float]) -> Floats:
    middle = max(weights)
    row = np.array([weights[middle - x] for x in range(2 * middle + 1)])
    return (row / row.max()).astype(np.float32)


def bucket_of(distance: int) -> int:
    """Short jumps on their own, longer ones by half octaves beyond the last of them."""
    length = abs(distance)
    if length <= EXACT_JUMPS:
        return distance
    octaves = int(np.floor(2 * np.log2(length / EXACT_JUMPS)))
    return int(np.sign(distance)) * (EXACT_JUMPS + 1 + octaves)


def test_exact_expectations_give_the_jump_weights_back():
    random = np.random.default_rng(0)
    by_bucket = {b: float(np.exp(random.normal())) for b in range(-40, 41)}
    truth = {d: by_bucket[bucket_of(d)] for d in range(-62, 63)}
    contexts = [(state, m) for m in (1, 2, 3, 8, 20, 60) for state in range(m + 1)]
    truth = {d: weight / max(truth.values()) for d, weight in truth.items()}
    jumped, exposed = choices(truth, truth, contexts)
    new = jump_weights(1e3 * jumped, 1e3 * exposed, scaled(truth))
    np.testing.assert_allclose(new, scaled(truth), rtol=1e-5)


def test_jump_weights_are_found_from_a_wrong_start():
    random = np.random.default_rng(1)
    truth = {d: float(np.exp(random.normal())) for d in range(-9, 10)}
    contexts = [(state, m) for m in range(2, 9) for state in range(m + 1)]
    old = np.ones(19, np.float32)
    for _ in range(200):
        current = {9 - x: float(value) for x, value in enumerate(old)}
        jumped, exposed = choices(truth, current, contexts)
        old = jump_weights(1e5 * jumped, 1e5 * exposed, old)
    seen, expected = jumped > 0, scaled(truth)
    assert seen.sum() == 16
    np.testing.assert_allclose(old[seen] / old[9], expected[seen] / expected[9], rtol=1e-2)


def test_long_jumps_share_weights():
    random = np.random.default_rng(2)
    centre = 130
    jumped, exposed = random.random(2 * centre + 1) * 10, np.diff(random.random(2 * centre + 2) + 1, prepend=0.0)
    new = jump_weights(jumped, exposed, random.random(2 * centre + 1).astype(np.float32) + 0.1)
    assert new.dtype == np.float32
    assert new.max() == 1
    groups: dict[int, set[float]] = {}
    for x, weight in enumerate(new):
        groups.setdefault(bucket_of(centre - x), set()).add(float(weight))
    assert all(len(weights) == 1 for weights in groups.values())
    # 15 short ones, and (15, 21], (21, 29], (30, 42], … up to 130 in either direction
    assert len(groups) == 2 * (EXACT_JUMPS + 7) + 1
    assert len({float(weight) for weight in new}) == len(groups)


def test_a_jump_never_seen_keeps_a_weight():
    old = np.array([0.1, 0.2, 1.0, 0.4, 0.3], np.float32)
    for exposures in (0.0, 1e3):
        new = jump_weights(np.array([0, 0, 50.0, 0, 0]), np.diff([0, *[exposures] * 5, 0]), old)
        assert np.isfinite(new).all()
        assert (new > 0).all()
        assert new.argmax() == 2


# EM with nothing added to maximum likelihood


class Fit(NamedTuple):
    """Maximum-likelihood parameters of both directions, and the log-likelihood of each before every M-step."""

    directions: tuple[Direction, Direction]
    history: Floats


def plain_em(bitext: Bitext, jumps: Floats, iterations: int, update_jumps: bool, seed: int = 0) -> Fit:
    """Each direction on its own, from random counts; no smoothing, and no link is judged without itself."""
    random = np.random.default_rng(seed)
    cells = np.array(list(bitext.number))
    counts = [random.gamma(1, 1, len(cells)) for _ in range(2)]
    nulls = [np.full(bitext.types, 1 / bitext.types) for _ in range(2)]
    weights = [jumps, jumps]
    history = []
    for _ in range(iterations):
        directions = []
        for side in range(2):
            # the parent is the English type, the second of a cell, where foreign words are generated
            totals = np.bincount(cells[:, 1 - side], counts[side], bitext.types)
            inverse = (1 / np.maximum(totals, 1e-30)).astype(np.float32)
            own = np.zeros(bitext.candidates.position.size, np.float32)
            directions.append(
                Direction(counts[side].astype(np.float32), own, inverse, nulls[side].astype(np.float32), weights[side])
            )
        found = expect(bitext, *directions, alpha=0, null=0.1)
        history.append(found.log_likelihood)
        for side, (posterior, null) in enumerate(
            ((found.foreign, found.foreign_null), (found.english, found.english_null))
        ):
            counts[side] = np.bincount(bitext.candidates.cell, posterior, len(cells))
            nulls[side] = null / null.sum()
            if update_jumps:
                weights[side] = jump_weights(found.jumped[side], found.exposed[side], weights[side])
    return Fit((directions[0], directions[1]), np.array(history))


def rises(history: Floats, least: float) -> None:
    """Never lower than before, but for what 32-bit numbers lose, and in all at least so much higher."""
    assert np.isfinite(history).all()
    assert (np.diff(history, axis=0) >= -2e-6 * np.abs(history[:-1])).all()
    assert (history[-1] - history[0] > least).all()


def exponential(longest: int, slope: float = 0.1) -> Floats:
    """Weights as those the aligner starts with; all equal for a slope of 0."""
    centre = longest + hmm.MARGIN
    return np.exp(-slope * np.abs(centre - 1 - np.arange(2 * centre + 1))).astype(np.float32)


@pytest.mark.parametrize("update_jumps", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_plain_em_never_lowers_the_likelihood(update_jumps: bool, seed: int):
    english = random_lines(seed, 60, 12, 12)
    # something to learn: backwards, with other words, some dropped
    random = np.random.default_rng(seed)
    foreign = [[(7 * w + 3) % 12 for w in reversed(line) if random.random() < 0.8] for line in english]
    bitext = all_candidates(english, foreign, 12, [0.5, 1.0][seed % 2], seed)
    rises(plain_em(bitext, exponential(12), 15, update_jumps, seed).history, 20)


@pytest.mark.parametrize("seed", range(2))
def test_the_pseudo_observation_of_the_old_jump_weights_does_not_lower_it_either(seed: int):
    """Few jumps, so that it weighs much.

    To (count + old) / (exposure + 1) goes what also maximises old log J - J, whose maximum is at J = old: what the
    weights lose there by moving they must have won in the likelihood's bound.
    """
    english, foreign = random_lines(seed, 3, 4, 6, 2), random_lines(seed + 50, 3, 4, 6, 2)
    rises(plain_em(all_candidates(english, foreign, 4, 1.0, seed), exponential(6), 25, True, seed).history, 0.1)


def test_long_jumps_that_share_weights_do_not_lower_it_once_they_do():
    english = random_lines(3, 12, 6, 60, 30)
    foreign = [line[20:] + line[:20] for line in english]
    bitext = all_candidates(english, foreign, 6, 1.0, 3)
    rises(plain_em(bitext, exponential(60, 0.0), 10, True).history, 10)
    # the weights the aligner starts with are not shared, but nothing is lost here
    rises(plain_em(bitext, exponential(60), 10, True).history, 10)


def test_the_first_update_may_cost_where_long_jumps_had_different_weights():
    """The bound holds for weights that were shared before; later updates never cost."""
    lines = [list(range(41))] * 20, [[0, 30]] * 20
    bitext = all_candidates(*lines, 41, 1.0, 0)
    known = by_distance({d: 1.0 if d in (1, 30) else 1e-3 for d in range(-41, 42)})
    history = plain_em(bitext, known, 8, True).history
    without = plain_em(bitext, known, 8, False).history
    assert history[1, 0] < without[1, 0] - 1
    rises(history[1:], 1)


def test_plain_em_learns_the_order_of_words():
    """Foreign is English backwards: the step to the word before becomes the likeliest."""
    english = random_lines(5, 150, 20, 10, 4)
    bitext = all_candidates(english, [line[::-1] for line in english], 20, 1.0, 5)
    for direction in plain_em(bitext, exponential(10), 12, True).directions:
        jumps = from_layout(direction.jumps)
        short = {d: jumps[d] for d in range(-3, 4)}
        assert max(short, key=short.__getitem__) == -1
        assert jumps[1] < 0.1 * jumps[-1]


# EM as the aligner does it


class Estimate(NamedTuple):
    """Per link (pair, foreign position, English position) both posteriors; expected links; log-likelihoods a token."""

    links: dict[tuple[int, int, int], tuple[float, float]]
    counts: Floats
    history: list[tuple[float, float]]


def results(training: Training, foreign: Lines, types: int) -> Estimate:
    ((_, found),) = training.posteriors()
    tokens = [(k, j) for k, line in enumerate(foreign) for j in range(len(line))]
    token = np.repeat(np.arange(len(tokens)), np.diff(found.offsets))
    both = zip(found.foreign_posterior.tolist(), found.english_posterior.tolist(), strict=True)
    links = {(*tokens[t], i): p for t, i, p in zip(token, found.english.tolist(), both, strict=True)}
    expected, counts = training.expected_links(), np.zeros((types, types))
    counts[expected.rows, expected.columns] = expected.values
    return Estimate(links, counts, training.log_likelihood)


def by_enumeration(
    lines: tuple[Lines, Lines], types: int, candidates: dict[tuple[int, int, int], tuple[float, float]],
    chosen: AlignerSettings, prior: Floats, start: Parameters | None,
) -> Estimate:  # fmt: skip
    """Training from the candidates of the first stage on, every E-step by the enumeration of all alignments."""
    english, foreign = lines
    own = {link: f * e for link, (f, e) in candidates.items()}
    counts = summed(own, lines, types)
    longest = max(len(line) for line in english + foreign)
    centre = longest + hmm.MARGIN
    jumps = [np.exp(-INITIAL_JUMP_SLOPE * np.abs(centre - 1 - np.arange(2 * centre + 1))) + JUMP_FLOOR] * 2
    nulls = [np.full(types, 1 / types)] * 2
    if start:
        jumps, nulls = [start.foreign_jumps, start.english_jumps], [start.foreign_null, start.english_null]

    def e_step() -> tuple[dict[tuple[int, int, int], list[float]], list[Floats], Floats, Floats, list[float]]:
        both: dict[tuple[int, int, int], list[float]] = {link: [] for link in own}
        null = [np.zeros(types), np.zeros(types)]
        jumped, exposed = np.zeros((2, 2 * centre + 1)), np.zeros((2, 2 * centre + 1))
        likelihood = [0.0, 0.0]
        for side, k in itertools.product(range(2), range(len(english))):
            e, f = english[k], foreign[k]
            if not e or not f:
                continue
            totals = (counts + prior).sum(side) + chosen.alpha * types
            probability = np.zeros((len(f), len(e)))
            for line, j, i in own:
                if line == k:
                    itself = own[line, j, i] * chosen.leave_one_out
                    others = max(counts[f[j], e[i]] + prior[f[j], e[i]] - itself, 0)
                    probability[j, i] = (others + chosen.alpha) / totals[(e[i], f[j])[side]]
            child = (f, e)[side]
            weights = from_layout(jumps[side])
            truth = enumerate_alignments(
                Sentence((probability, probability.T)[side], chosen.null * nulls[side][child], weights, chosen.null)
            )
            for line, j, i in own:
                if line == k:
                    both[line, j, i].append((truth.posterior, truth.posterior.T)[side][j, i])
            np.add.at(null[side], child, truth.null)
            likelihood[side] += truth.log_likelihood / sum(map(len, (foreign, english)[side]))
            for distance in truth.jumped:
                jumped[side, centre - distance] += truth.jumped[distance]
                exposed[side, centre - distance] += truth.exposed[distance]
        return both, null, jumped, exposed, likelihood

    history = []
    for iteration in range(chosen.iterations):
        both, null, jumped, exposed, likelihood = e_step()
        history.append((likelihood[0], likelihood[1]))
        own = {link: f * e for link, (f, e) in both.items()}
        counts = summed(own, lines, types)
        if iteration == 0:
            own = {link: product for link, product in own.items() if product >= chosen.prune_below}
        if not start:
            nulls = [(mass + NULL_SMOOTHING) / (mass + NULL_SMOOTHING).sum() for mass in null]
            steps = np.diff(exposed, axis=1, prepend=0.0, append=0.0)
            jumps = [jump_weights(jumped[side], steps[side], jumps[side].astype(np.float32)) for side in range(2)]
    both = e_step()[0]
    final = {link: (f, e) for link, (f, e) in both.items()}
    return Estimate(final, summed({link: f * e for link, (f, e) in final.items()}, lines, types), history)


def summed(products: dict[tuple[int, int, int], float], lines: tuple[Lines, Lines], types: int) -> Floats:
    counts = np.zeros((types, types))
    for (k, j, i), product in products.items():
        counts[lines[1][k][j], lines[0][k][i]] += product
    return counts


@pytest.mark.parametrize("iterations", [0, 1, 3])
@pytest.mark.parametrize("leave_one_out", [False, True])
@pytest.mark.parametrize("known", ["nothing", "a lexicon", "parameters"])
def test_training_is_that_of_plain_python(iterations: int, leave_one_out: bool, known: str):
    types = 6
    lines = random_lines(21, 40, types, 4), random_lines(22, 40, types, 4)
    chosen = AlignerSettings(iterations=iterations, leave_one_out=leave_one_out, alpha=0.05, prune_below=0.02)
    texts = [TokenSequences.from_lists(side) for side in lines]
    random = np.random.default_rng(9)
    pseudo = (random.random((types, types)) < 0.2) * random.integers(1, 4, (types, types)).astype(np.float32)
    rows, columns = np.nonzero(pseudo)
    sparse = Csr(
        np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=types))]), columns.astype(np.int32),
        pseudo[rows, columns],
    )  # fmt: skip
    arguments: dict[str, Any] = {"threads": 1}
    start = None
    if known == "a lexicon":
        arguments["prior"] = sparse
    elif known == "parameters":
        jumps = exponential(max(len(line) for line in lines[0] + lines[1]), 0.7)
        nulls = [random.dirichlet(np.ones(types)).astype(np.float32) for _ in range(2)]
        start = arguments["start"] = Parameters(sparse, *nulls, jumps, jumps[::-1].copy())
    with Training(*texts, types, types, replace(chosen, method="ibm2"), **arguments) as first_stage:
        candidates = results(first_stage, lines[1], types).links
    with Training(*texts, types, types, chosen, **arguments) as training:
        found = results(training, lines[1], types)
    expected = by_enumeration(lines, types, candidates, chosen, pseudo * (known != "nothing"), start)
    assert len(candidates) > 80
    assert found.links.keys() == expected.links.keys()
    assert (len(found.links) < len(candidates)) == (iterations > 0)
    for link, both in expected.links.items():
        assert found.links[link] == pytest.approx(both, rel=2e-3, abs=2e-4)
    np.testing.assert_allclose(found.counts, expected.counts, rtol=2e-3, atol=5e-4)
    np.testing.assert_allclose(np.array(found.history), np.array(expected.history), rtol=1e-3)
