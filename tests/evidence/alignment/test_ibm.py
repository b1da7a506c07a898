"""The first stage and the candidates it finds, against the same in plain Python."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lingraft.corpus import TokenSequences
from lingraft.evidence.alignment import candidates, ibm
from lingraft.evidence.alignment.block import Csr
from lingraft.evidence.alignment.em import Training
from lingraft.evidence.alignment.settings import AlignerSettings

Lines = list[list[int]]

TYPES = 5
#: relative, of the posteriors that are kept
PRECISION = 0.03
sides = st.lists(st.integers(0, TYPES - 1), max_size=6)
bitexts = st.lists(st.tuples(sides, sides), max_size=6)
#: pseudo-counts for (foreign type, English type)
Prior = dict[tuple[int, int], float]
priors = st.dictionaries(
    st.tuples(st.integers(0, TYPES - 1), st.integers(0, TYPES - 1)), st.sampled_from([0.25, 1.0, 8.0]), max_size=8
)


def csr(entries: Prior, rows: int = TYPES) -> Csr:
    order = sorted(entries)
    lengths = np.bincount(np.array([row for row, _ in order], np.int64), minlength=rows)
    return Csr(
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        np.array([column for _, column in order], np.int32),
        np.array([entries[cell] for cell in order], np.float32),
    )


#: per link (pair, foreign position, English position) the posteriors of foreign given English and the reverse
Posteriors = dict[tuple[int, int, int], tuple[float, float]]


class FirstStage(NamedTuple):
    """Links, their sums between types, and both log-likelihoods a token, of foreign given English first.

    products: of both posteriors, by which links are counted in training. means: what is told as expected links.
    """

    links: Posteriors
    products: Csr
    means: Csr
    log_likelihood: tuple[float, float]


def first_stage(english: Lines, foreign: Lines, prior: Prior, **options: object) -> FirstStage:
    told: list[str] = []
    chosen = AlignerSettings(method="ibm2", **options)  # type: ignore[arg-type]
    with Training(
        TokenSequences.from_lists(english), TokenSequences.from_lists(foreign), TYPES, TYPES, chosen, prior=csr(prior),
        threads=1, on_progress=lambda _, message: told.append(message),
    ) as training:  # fmt: skip
        ((_, found),) = training.posteriors()
        products, means = training.learned().counts, training.expected_links()
    links: Posteriors = {}
    tokens = [(k, j) for k, line in enumerate(foreign) for j in range(len(line))]
    for token, (k, j) in enumerate(tokens):
        row = slice(found.offsets[token], found.offsets[token + 1])
        positions = found.english[row].tolist()
        assert positions == sorted(set(positions))
        both = zip(found.foreign_posterior[row].tolist(), found.english_posterior[row].tolist(), strict=True)
        links |= {(k, j, i): values for i, values in zip(positions, both, strict=True)}
    assert found.offsets[0] == 0
    assert found.offsets[-1] == found.english.size == len(links)
    f, e = map(float, re.findall(r"-?[\d.]+", told[-1]))
    return FirstStage(links, products, means, (f, e))


def position_prior(j: int, n: int, m: int) -> np.ndarray:
    """The documented prior of the m parents for child j of n, whose relative position is known to 1 / LEVELS."""
    level = (2 * j + 1) * ibm.LEVELS // (2 * n)
    weights = np.array([np.exp(-ibm.SLOPE * abs((i + 0.5) / m - (level + 0.5) / ibm.LEVELS)) for i in range(m)])
    return weights / weights.sum()


def one_direction(
    children: Lines, parents: Lines, prior: np.ndarray, alpha: float, null: float, leave_out: bool
) -> tuple[list[np.ndarray], float]:
    """Posteriors of every pair, shape (children, parents), and the log-likelihood of the children that have parents."""
    counts, totals = np.zeros((TYPES, TYPES)), np.zeros(TYPES)
    for child, parent in zip(children, parents, strict=True):
        for j, c in enumerate(child):
            for p, weight in zip(parent, position_prior(j, len(child), len(parent)) if parent else (), strict=True):
                counts[c, p] += weight
                totals[p] += weight
    totals += prior.sum(0) + alpha * TYPES
    posteriors, likelihood = [], 0.0
    for child, parent in zip(children, parents, strict=True):
        posterior = np.zeros((len(child), len(parent)))
        for j, c in enumerate(child if parent else []):
            weights = position_prior(j, len(child), len(parent))
            for i, p in enumerate(parent):
                others = counts[c, p] + prior[c, p] - leave_out * weights[i]
                posterior[j, i] = (1 - null) * weights[i] * (others + alpha) / totals[p]
            evidence = posterior[j].sum() + null / TYPES
            posterior[j] /= evidence
            likelihood += np.log(evidence)
        posteriors.append(posterior)
    return posteriors, likelihood


def both_directions(
    english: Lines, foreign: Lines, prior: Prior, alpha: float, null: float, leave_one_out: bool
) -> tuple[Posteriors, tuple[float, float]]:
    dense = np.zeros((TYPES, TYPES))
    for cell, count in prior.items():
        dense[cell] = count
    forward, f = one_direction(foreign, english, dense, alpha, null, leave_one_out)
    backward, b = one_direction(english, foreign, dense.T, alpha, null, leave_one_out)
    links = {
        (k, j, i): (forward[k][j, i], backward[k][i, j])
        for k in range(len(english))
        for j in range(len(foreign[k]))
        for i in range(len(english[k]))
    }
    return links, (f, b)


def check(
    english: Lines, foreign: Lines, prior: Prior, prune_below: float, alpha: float, null: float, leave_one_out: bool
) -> int:
    """Compares the first stage with plain Python; gives the number of links."""
    options = {"alpha": alpha, "null": null, "leave_one_out": leave_one_out}
    expected, likelihood = both_directions(english, foreign, prior, **options)  # type: ignore[arg-type]
    found, products, means, told = first_stage(english, foreign, prior, prune_below=prune_below, **options)
    for link, (forward, backward) in expected.items():
        # by how much the weakest of the conditions holds; near 1 rounding may decide
        margin = min(forward, backward) / ibm.FLOOR
        product = forward * backward / max(prune_below, 1e-9)
        if link not in found:
            assert margin < 1.001 or product < 1 + 2 * PRECISION
        else:
            assert margin > 0.999
            assert product > 1 - 2 * PRECISION
            # kept as square roots in a byte
            assert np.sqrt(found[link]) == pytest.approx(np.sqrt((forward, backward)), abs=0.51 / 255)
    assert found.keys() <= expected.keys()
    # cells are the pairs of types of the links
    cells = sorted({(foreign[k][j], english[k][i]) for k, j, i in found})
    for matrix, value in ((products, lambda f, e: f * e), (means, lambda f, e: (f + e) / 2)):
        sums = dict.fromkeys(cells, 0.0)
        for (k, j, i), both in found.items():
            sums[foreign[k][j], english[k][i]] += value(*both)
        assert list(zip(matrix.rows.tolist(), matrix.columns.tolist(), strict=True)) == cells
        np.testing.assert_allclose(matrix.values, list(sums.values()), rtol=1e-4)
    for side, (children, parents) in enumerate(((foreign, english), (english, foreign))):
        # a token without possible parents takes part in no choice
        tokens = max(1, sum(len(child) for child, parent in zip(children, parents, strict=True) if parent))
        assert told[side] == pytest.approx(likelihood[side] / tokens, abs=6e-4, rel=1e-4)
    return len(found)


@settings(max_examples=100, deadline=None)
@given(
    bitexts,
    priors,
    st.sampled_from([0.0, 0.002, 0.1]),
    st.sampled_from([0.01, 0.4]),
    st.sampled_from([0.05, 0.5]),
    st.booleans(),
)
def test_links_are_those_of_plain_python(
    bitext: list[tuple[list[int], list[int]]],
    prior: Prior,
    prune_below: float,
    alpha: float,
    null: float,
    leave_one_out: bool,
):
    english, foreign = ([pair[side] for pair in bitext] for side in (0, 1))
    check(english, foreign, prior, prune_below, alpha, null, leave_one_out)


@pytest.mark.parametrize("leave_one_out", [False, True])
def test_lists_that_have_to_grow(leave_one_out: bool):
    """Two types in long lines: thousands of links of one type, and more cells than the loops have room for at first."""
    english, foreign = np.random.default_rng(0).integers(0, 2, (2, 3, 37)).tolist()
    assert check(english, foreign, {}, 0.0, 0.01, 0.1, leave_one_out) > 2048


def test_many_lines():
    """Several to each piece of work, and probabilities whose product no number holds."""
    random = np.random.default_rng(1)
    english, foreign = ([random.integers(0, TYPES, random.integers(0, 8)).tolist() for _ in range(400)] for _ in "ef")
    assert check(english, foreign, {(1, 2): 50.0}, 0.002, 0.01, 0.1, True) > 1000


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 40), max_size=6))
def test_position_table(lengths: list[int]):
    table = ibm.tabulate(np.array([0, *lengths], np.int64))
    assert table.weight.dtype == np.float32
    assert table.weight.size == sum(set(lengths)) * ibm.LEVELS
    for m in range(table.start.size):
        if m not in lengths:
            assert table.start[m] == -1
            continue
        rows = table.weight[table.start[m] :][: m * ibm.LEVELS].reshape(ibm.LEVELS, m)
        np.testing.assert_allclose(rows.sum(1), 1, rtol=1e-5)
        for level in range(ibm.LEVELS):
            # child ``level`` of LEVELS children stands on exactly that level
            np.testing.assert_allclose(rows[level], position_prior(level, ibm.LEVELS, m), rtol=1e-5)


@settings(max_examples=60, deadline=None)
@given(priors, priors)
def test_union_places_and_look_up(some: Prior, others: Prior):
    one, other = csr(some), csr(others)
    pattern = candidates.union(one.indptr, one.columns, other.indptr, other.columns)
    expected = csr(dict.fromkeys(some | others, 0.0))
    np.testing.assert_array_equal(pattern[0], expected.indptr)
    np.testing.assert_array_equal(pattern[1], expected.columns)
    values = candidates.look_up(*pattern, *one)
    np.testing.assert_array_equal(values, [some.get(cell, 0.0) for cell in sorted(some | others)])
    every = sorted(some | others)
    np.testing.assert_array_equal(
        candidates.places(one.indptr, one.columns, *pattern), [every.index(cell) for cell in sorted(some)]
    )
    # cells of the second matrix that the first has not are passed over
    np.testing.assert_array_equal(
        candidates.look_up(one.indptr, one.columns, *other), [others.get(cell, 0.0) for cell in sorted(some)]
    )
