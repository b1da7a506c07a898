"""Rows as mixtures: against the dense product, whatever the blocks, types and threads."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from lingraft.surgery import mixing
from lingraft.surgery.mixing import mix


def random_table(random: np.random.Generator, rows: int, columns: int) -> sparse.csr_matrix:
    """Rows that sum to 1, about a third of them empty."""
    dense = random.exponential(size=(rows, columns)) * (random.random((rows, columns)) < 0.3)
    dense[random.random(rows) < 0.3] = 0
    dense /= np.maximum(dense.sum(1, keepdims=True), 1e-12)
    return sparse.csr_matrix(dense, dtype=np.float32)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 150), st.integers(0, 5), st.integers(0, 2**32 - 1))
def test_known_rows_are_the_dense_product(rows: int, columns: int, width: int, padding: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    table = random_table(random, rows, columns)
    known = np.asarray(table.sum(1)).ravel() > 0
    source = torch.from_numpy(random.normal(size=(columns + padding, width)).astype(np.float32))
    made = mix(source, table, known, np.random.default_rng(0))
    assert (made.dtype, made.shape) == (torch.float32, (rows, width))
    expected = table.toarray().astype(np.float64) @ source[:columns].double().numpy()
    np.testing.assert_array_equal(made.numpy()[known], expected[known].astype(np.float32).reshape(-1, width))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_rows_are_copied_to_the_last_bit(dtype: torch.dtype) -> None:
    source = torch.randn(50, 70).to(dtype)
    order = np.random.default_rng(0).permutation(50)
    table = sparse.csr_matrix((np.ones(50, np.float32), (np.arange(50), order)), shape=(50, 50))
    made = mix(source, table, np.ones(50, bool), np.random.default_rng(0))
    assert torch.equal(made, source[order])


def test_neither_blocks_of_unknown_rows_nor_threads_change_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(3)
    table, source = random_table(random, 30, 20), torch.randn(20, 200)
    known = np.asarray(table.sum(1)).ravel() > 0
    first = mix(source, table, known, np.random.default_rng(7))
    monkeypatch.setattr(mixing, "usable_cores", lambda: 5)
    assert torch.equal(mix(source, table, known, np.random.default_rng(7)), first)
    nothing = mix(source, table, np.zeros(30, bool), np.random.default_rng(7))
    assert torch.equal(nothing[~known], first[~known])
    assert not torch.isclose(nothing, first)[known].all(1).any()


@pytest.mark.parametrize(("centre", "spread"), [(None, None), (0.0, 0.25), (None, 0.0)])
def test_what_is_drawn_has_the_mean_and_spread_asked_for(centre: float | None, spread: float | None) -> None:
    source = torch.randn(300, 90) * torch.linspace(0.1, 3, 90) + torch.linspace(-2, 2, 90)
    empty = sparse.csr_matrix((20_000, 300), dtype=np.float32)
    made = mix(source, empty, np.zeros(20_000, bool), np.random.default_rng(0), centre, spread)
    mean = source.mean(0) if centre is None else torch.full((90,), centre)
    wide = source.std(0, correction=0) if spread is None else torch.full((90,), spread)
    assert ((made.mean(0) - mean).abs() <= 6 * wide / 20_000**0.5 + 1e-5).all()
    assert ((made.std(0, correction=0) - wide).abs() <= 6 * wide / 40_000**0.5 + 1e-5).all()


@pytest.mark.parametrize("balance", [0.25, 0.5, 1.0])
def test_a_balanced_mixture_has_the_norm_between_its_own_and_the_sources(balance: float) -> None:
    random = np.random.default_rng(4)
    source = torch.from_numpy(random.normal(size=(20, 70)) + 0.3)
    dense = random_table(random, 40, 20).toarray()
    dense[0] = np.arange(20) == 7  # a copy
    dense[:, 19] = 0
    table = sparse.csr_matrix(dense)
    source[19] *= 1000  # which the table does not draw on
    known = np.diff(table.indptr) > 0
    made = mix(source, table, known, np.random.default_rng(0), balance=balance)
    assert torch.equal(made[0], source[7])
    mixtures = np.flatnonzero(np.diff(table.indptr) > 1)
    assert mixtures.size > 10
    plain = table.toarray().astype(np.float64) @ source.numpy()
    goal = source[:19].norm(dim=1).mean().item()
    for row in mixtures:
        length = float(np.linalg.norm(plain[row]))
        expected = plain[row] * (goal / length) ** balance
        np.testing.assert_allclose(made[row].numpy(), expected, rtol=1e-6)
    drawn = mix(source, table, known, np.random.default_rng(0))[~torch.from_numpy(known)]
    assert torch.equal(made[~torch.from_numpy(known)], drawn)


def test_balance_changes_no_bias_and_no_row_of_zeros() -> None:
    table = sparse.csr_matrix(np.array([[0.5, 0.5], [0.25, 0.75]], np.float32))
    bias = mix(torch.tensor([1.0, 3.0]), table, np.ones(2, bool), np.random.default_rng(0), balance=0.5)
    assert bias.tolist() == [2.0, 2.5]
    zeros = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    made = mix(zeros, table, np.ones(2, bool), np.random.default_rng(0), balance=1.0)
    assert made.tolist() == [[0.0, 0.0], [-1.0, 0.0]]


def test_a_bias_is_mixed_and_never_drawn() -> None:
    table = sparse.csr_matrix(np.array([[0.5, 0.5, 0], [0, 0, 0]], np.float32))
    made = mix(torch.tensor([1.0, 2.0, 6.0, 99.0]), table, np.array([True, False]), np.random.default_rng(0))
    assert made.tolist() == [1.5, 3.0]


def test_it_may_be_called_in_inference_mode() -> None:
    with torch.inference_mode():
        source = torch.randn(4, 3)
        made = mix(source, sparse.identity(4, format="csr"), np.ones(4, bool), np.random.default_rng(0))
        assert torch.equal(made, source)
    assert not made.is_inference()
