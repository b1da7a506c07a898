"""Sparsemax, top-k and CSLS against independent formulas, and rows of weights that never need the whole matrix."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from entmax import sparsemax as entmax_sparsemax
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.special import softmax

from lingraft.errors import RecipeError
from lingraft.evidence.vectors import similarity, similarity_rows, sparsemax
from lingraft.evidence.vectors.similarity import nearest, neighbourhood, unit

ADVERSARIAL = {
    "ties": np.repeat(np.linspace(0, 0.9, 5), 200)[None],
    "constant": np.full((2, 700), 0.25),
    "zeros": np.zeros((1, 513)),
    "one": np.array([[3.0]]),
    "large": np.array([[1e300, 0, -1e300], [1e16, 1e16, 0]]),
    "close": 1 + np.arange(600)[None] * 1e-15,
    "steps": np.array([[1.0, 0.0], [0.5, -0.5], [0.5, 0.5]]),
}


def simplex_projection(row):
    """The projection by its definition: the threshold for which what is above it sums to 1, found by bisection."""
    row = np.asarray(row, np.float64) - np.max(row)
    excess = lambda tau: np.maximum(row - tau, 0).sum() - 1  # noqa: E731
    return np.maximum(row - brentq(excess, -1 - 1e-9, 1e-300, xtol=1e-15), 0)


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_sparsemax_of_adversarial_rows(name):
    found = sparsemax(ADVERSARIAL[name])
    for row, scores in zip(found, ADVERSARIAL[name], strict=True):
        np.testing.assert_allclose(row, simplex_projection(scores), atol=1e-12)
        assert row.sum() == pytest.approx(1, abs=1e-9)
        for value in np.unique(scores):
            assert np.ptp(row[scores == value]) == 0, "equal scores get equal shares"


@pytest.mark.parametrize("scale", [0.01, 0.1, 1, 30])
@pytest.mark.parametrize("columns", [1, 7, 256, 257, 3000])
def test_sparsemax_is_that_of_entmax(scale, columns):
    scores = np.random.default_rng(columns).normal(size=(20, columns)) * scale
    expected = entmax_sparsemax(torch.from_numpy(scores), dim=1).numpy()
    np.testing.assert_allclose(sparsemax(scores), expected, atol=1e-12)
    np.testing.assert_allclose(sparsemax(scores.astype(np.float32)), expected, atol=3e-6 * max(1, scale))
    assert sparsemax(scores.astype(np.float32)).dtype == np.float32


@given(st.lists(st.lists(st.integers(-8, 8), min_size=5, max_size=5), min_size=1, max_size=4), st.integers(1, 300))
def test_sparsemax_projects(rows, repeats):
    """With many repetitions too: then the support is larger than what a partition would have kept."""
    scores = np.repeat(np.array(rows) / 8, repeats, axis=1)
    for row, given_row in zip(sparsemax(scores), scores, strict=True):
        np.testing.assert_allclose(row, simplex_projection(given_row), atol=1e-12)


def test_scores_that_are_none_are_refused():
    for scores in (np.zeros(3), np.zeros((2, 0)), np.zeros((1, 3), np.int64)):
        with pytest.raises(ValueError, match="rows of floats"):
            sparsemax(scores)
    with pytest.raises(ValueError, match="finite"):
        sparsemax(np.array([[0.0, np.nan]]))


def direct_cosines(target, source):
    lengths = np.linalg.norm(target, axis=1)[:, None] * np.linalg.norm(source, axis=1)
    return target.astype(np.float64) @ source.astype(np.float64).T / lengths


def direct_csls(cosines, k):
    """2 cos(x, y) - r(x) - r(y), each r the mean cosine to the k nearest of the other side."""
    r_rows = np.sort(cosines, axis=1)[:, -k:].mean(1)
    r_columns = np.sort(cosines, axis=0)[-k:].mean(0)
    return 2 * cosines - r_rows[:, None] - r_columns


@pytest.fixture
def vectors():
    random = np.random.default_rng(3)
    return random.normal(size=(70, 12)).astype(np.float32), random.normal(size=(900, 12)).astype(np.float32)


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of two chunks of rows."""
    monkeypatch.setattr(similarity, "_CHUNK", 8)
    monkeypatch.setattr(similarity, "_BLOCK", 16 * 900)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("csls", [0, 10])
@pytest.mark.parametrize("temperature", [0.05, 1])
def test_rows_of_sparsemax(vectors, temperature, csls):
    scores = direct_cosines(*vectors)
    if csls:
        scores = direct_csls(scores, csls)
    rows = similarity_rows(*vectors, temperature=temperature, csls=csls)
    assert rows.dtype == np.float64
    assert rows.has_canonical_format
    expected = np.array([simplex_projection(row / temperature) for row in scores])
    np.testing.assert_allclose(rows.toarray(), expected, atol=1e-5)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("csls", [0, 10])
def test_rows_of_softmax(vectors, csls):
    scores = direct_cosines(*vectors)
    if csls:
        scores = direct_csls(scores, csls)
    rows = similarity_rows(*vectors, activation="softmax", neighbours=10, temperature=0.1, csls=csls)
    expected = np.zeros_like(scores)
    for row, weights in zip(scores, expected, strict=True):
        top = np.argsort(-row)[:10]
        weights[top] = softmax(row[top] / 0.1)
    np.testing.assert_allclose(rows.toarray(), expected, atol=1e-5)
    assert rows.has_sorted_indices


def test_zero_vectors_have_no_row_and_no_part(vectors):
    target, source = vectors
    target[[0, 5]], source[[3, 899]] = 0, 0
    kept = [k for k in range(900) if k not in (3, 899)]
    for options in ({}, {"activation": "softmax"}, {"csls": 5}):
        rows = similarity_rows(target, source, **options).toarray()
        assert not rows[[0, 5]].any()
        assert not rows[:, [3, 899]].any()
        np.testing.assert_allclose(np.delete(rows.sum(1), [0, 5]), 1, atol=1e-9)
        others = similarity_rows(np.delete(target, [0, 5], axis=0), source[kept], **options).toarray()
        np.testing.assert_allclose(np.delete(rows, [0, 5], axis=0)[:, kept], others, atol=1e-6)
    assert similarity_rows(target, 0 * source).nnz == 0
    assert similarity_rows(0 * target, source, csls=3).shape == (70, 900)


def test_fewer_source_vectors_than_neighbours():
    rows = similarity_rows(np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32)[:2], activation="softmax", csls=9)
    np.testing.assert_allclose(rows.sum(axis=1), 1)
    assert rows[2].toarray().tolist() == [[0.5, 0.5]]


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=40), st.integers(1, 40), st.integers(1, 40))
def test_the_largest_scores(row, count, repeats):
    scores = np.tile(np.array(row, np.float32), repeats)[None]
    count = min(count, scores.size)
    columns, values = similarity._largest(scores, 0, 1, count)
    expected = np.argsort(-scores[0], kind="stable")[:count]
    assert columns[0].tolist() == expected.tolist(), "ties by column"
    assert values[0].tolist() == scores[0][expected].tolist()


def test_neighbourhoods_and_nearest(vectors):
    queries, keys = map(unit, vectors)
    cosines = direct_cosines(queries, keys)
    np.testing.assert_allclose(neighbourhood(queries, keys, 7), np.sort(cosines, 1)[:, -7:].mean(1), atol=1e-6)
    found, scores = nearest(queries, keys)
    assert found.tolist() == cosines.argmax(1).tolist()
    np.testing.assert_allclose(scores, cosines.max(1), atol=1e-6)


def test_impossible_settings_are_refused(vectors):
    for options in (
        {"activation": "hardmax"}, {"temperature": 0}, {"temperature": np.nan}, {"neighbours": 0}, {"csls": -1},
    ):  # fmt: skip
        with pytest.raises(RecipeError):
            similarity_rows(*vectors, **options)
    with pytest.raises(ValueError, match="12 and of 5 dimensions"):
        similarity_rows(vectors[0], vectors[1][:, :5])
    with pytest.raises(ValueError, match="NaN"):
        similarity_rows(vectors[0] * np.nan, vectors[1])
