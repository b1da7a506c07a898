"""The M-step of jumps, plain EM built from the E-step, and training against the enumeration of all alignments."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest
from enumeration import (
    Bitext,
    Floats,
    Lines,
    Sentence,
    all_candidates,
    by_distance,
    enumerate_alignments,
    expect,
    exponential,
    from_layout,
    random_lines,
)

from lingraft.corpus import TokenSequences
from lingraft.evidence.alignment import hmm
from lingraft.evidence.alignment.block import Csr
from lingraft.evidence.alignment.em import (
    EXACT_JUMPS,
    INITIAL_JUMP_SLOPE,
    JUMP_FLOOR,
    NULL_SMOOTHING,
    Parameters,
    Training,
    jump_weights,
)
from lingraft.evidence.alignment.hmm import Direction
from lingraft.evidence.alignment.settings import AlignerSettings

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
    # so many that no pseudo-observation counts
    new = jump_weights(1e9 * jumped, 1e9 * exposed)
    np.testing.assert_allclose(new[jumped > 0], scaled(truth)[jumped > 0], rtol=1e-5)


def test_jump_weights_are_found_from_a_wrong_start():
    random = np.random.default_rng(1)
    truth = {d: float(np.exp(random.normal())) for d in range(-9, 10)}
    contexts = [(state, m) for m in range(2, 9) for state in range(m + 1)]
    old = np.ones(19, np.float32)
    for _ in range(200):
        current = {9 - x: float(value) for x, value in enumerate(old)}
        jumped, exposed = choices(truth, current, contexts)
        old = jump_weights(1e5 * jumped, 1e5 * exposed)
    seen, expected = jumped > 0, scaled(truth)
    assert seen.sum() == 16
    np.testing.assert_allclose(old[seen] / old[9], expected[seen] / expected[9], rtol=1e-2)


def test_long_jumps_share_weights():
    random = np.random.default_rng(2)
    centre = 130
    jumped, exposed = random.random(2 * centre + 1) * 10, np.diff(random.random(2 * centre + 2) + 1, prepend=0.0)
    new = jump_weights(jumped, exposed)
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
    for exposures in (0.0, 1e3):
        new = jump_weights(np.array([0, 0, 50.0, 0, 0]), np.diff([0, *[exposures] * 5, 0]))
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
        found = expect(bitext, *directions, alpha=0.0, null=0.1)
        history.append(found.log_likelihood)
        for side, (posterior, null) in enumerate(
            ((found.foreign, found.foreign_null), (found.english, found.english_null))
        ):
            counts[side] = np.bincount(bitext.candidates.cell, posterior, len(cells))
            nulls[side] = null / null.sum()
            if update_jumps:
                weights[side] = jump_weights(found.jumped[side], found.exposed[side])
    return Fit((directions[0], directions[1]), np.array(history))


def rises(history: Floats, least: float) -> None:
    """Never lower than before, but for what 32-bit numbers lose, and in all at least so much higher."""
    assert np.isfinite(history).all()
    assert (np.diff(history, axis=0) >= -2e-6 * np.abs(history[:-1])).all()
    assert (history[-1] - history[0] > least).all()


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
def test_the_pseudo_observation_of_a_jump_does_not_lower_it_either(seed: int):
    """Few jumps, so that it weighs as much as it ever can."""
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
        used = [k for k in range(len(english)) if english[k] and foreign[k]]
        for side, k in itertools.product(range(2), used):
            e, f = english[k], foreign[k]
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
            likelihood[side] += truth.log_likelihood / sum(len((foreign, english)[side][x]) for x in used)
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
            jumps = [jump_weights(jumped[side], steps[side]) for side in range(2)]
    both = e_step()[0]
    final = {link: (f, e) for link, (f, e) in both.items()}
    return Estimate(final, summed({link: (f + e) / 2 for link, (f, e) in final.items()}, lines, types), history)


def summed(values: dict[tuple[int, int, int], float], lines: tuple[Lines, Lines], types: int) -> Floats:
    counts = np.zeros((types, types))
    for (k, j, i), value in values.items():
        counts[lines[1][k][j], lines[0][k][i]] += value
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
