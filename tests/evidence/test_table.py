"""The translation table as an object and as a file: what is kept, and what is refused."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from transformers import PreTrainedTokenizerFast

import tiny
from lingraft.errors import TableError
from lingraft.evidence import Provenance, TranslationTable
from lingraft.vocabulary import tokenizer_hash

ROWS = np.array([[0.5, 0.5, 0], [0, 0, 0], [0, 1, 0], [0.25, 0.25, 0.5]], np.float32)


def table(rows: Any = ROWS, **changes: Any) -> TranslationTable:
    """A table of four target and three source tokens."""
    parts = {
        "provenance": np.array([Provenance[kind] for kind in ("bitext", "fallback", "special", "overlap")], np.uint8),
        "evidence": np.array([3.5, 0, 0, 0], np.float32),
        "source_hash": "a" * 64,
        "target_hash": "b" * 64,
    }
    return TranslationTable(sparse.csr_matrix(rows), **(parts | changes))


def assert_equal(one: TranslationTable, other: TranslationTable) -> None:
    """Every part of two tables is the same."""
    assert one.matrix.shape == other.matrix.shape
    assert one.matrix.dtype == other.matrix.dtype
    np.testing.assert_array_equal(one.matrix.toarray(), other.matrix.toarray())
    np.testing.assert_array_equal(one.provenance, other.provenance)
    np.testing.assert_array_equal(one.evidence, other.evidence)
    assert (one.source_hash, one.target_hash) == (other.source_hash, other.target_hash)


def saved(path: Path, **changes: Any) -> Path:
    """A file as of the table above, with some of its arrays replaced, or left out where None."""
    table().save(path)
    with np.load(path) as arrays:
        parts = dict(arrays) | changes
    np.savez(path, **{name: array for name, array in parts.items() if array is not None})
    return path


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a good file."""
    path = tmp_path_factory.mktemp("table") / "table.npz"
    table().save(path)
    return path.read_bytes()


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    table().save(tmp_path / "table.npz")
    loaded = TranslationTable.load(tmp_path / "table.npz")
    assert_equal(loaded, table())
    assert loaded.matrix.format == "csr"


@settings(max_examples=25)
@given(st.integers(0, 8), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_any_table_survives_saving(tmp_path_factory: pytest.TempPathFactory, n: int, width: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    rows = random.random((n, width)) * (random.random((n, width)) < 0.5)
    known = rows.sum(1) > 0
    rows[known] /= rows[known].sum(1, keepdims=True)
    provenance = np.where(known, random.integers(1, len(Provenance), n), Provenance.fallback).astype(np.uint8)
    made = table(rows.astype(np.float32), provenance=provenance, evidence=random.random(n).astype(np.float32))
    path = tmp_path_factory.mktemp("table") / "table.npz"
    made.save(path)
    assert_equal(TranslationTable.load(path), made)


def test_the_file_holds_no_pickle(tmp_path: Path) -> None:
    path = tmp_path / "table.npz"
    table().save(path)
    with np.load(path, allow_pickle=False) as arrays:
        assert all(arrays[name].dtype.kind in "iufU" for name in arrays.files)
    with zipfile.ZipFile(path) as archive:
        assert all(name.endswith(".npy") for name in archive.namelist())


def test_shares_count_target_tokens_by_provenance() -> None:
    assert table().shares() == {"fallback": 0.25, "bitext": 0.25, "overlap": 0.25, "special": 0.25}


@pytest.mark.parametrize("side", ["source", "target"])
def test_other_tokenizers_are_refused_naming_the_side(wordpiece: PreTrainedTokenizerFast, side: str) -> None:
    other = tiny.rebuilt(wordpiece, normalizer=None)
    made = table(source_hash=tokenizer_hash(wordpiece), target_hash=tokenizer_hash(wordpiece))
    made.check_tokenizers(wordpiece, wordpiece)
    given_tokenizers = (other, wordpiece) if side == "source" else (wordpiece, other)
    with pytest.raises(TableError, match=f"another {side} tokenizer") as refusal:
        made.check_tokenizers(*given_tokenizers)
    assert tokenizer_hash(other)[:12] in str(refusal.value)
    assert tokenizer_hash(wordpiece)[:12] in str(refusal.value)


def changed(row: int, column: int, value: float) -> np.ndarray[Any, Any]:
    """The rows with one entry replaced."""
    rows = ROWS.copy()
    rows[row, column] = value
    return rows


@pytest.mark.parametrize(
    "rows",
    [
        changed(0, 0, 0.4),
        changed(0, 0, 0.6),
        changed(0, 0, np.nan),
        changed(0, 0, np.inf),
        changed(1, 0, 1.0),  # of provenance fallback, so it must be empty
        changed(2, 1, 0.0),  # known, so it must not be
        np.array([[1.5, -0.5, 0], *ROWS[1:]], np.float32),
    ],
    ids=["less", "more", "nan", "inf", "fallback", "empty", "negative"],
)
def test_rows_that_are_no_distribution_are_refused(rows: np.ndarray[Any, Any]) -> None:
    with pytest.raises(TableError, match="do not sum to 1"):
        table(rows)


@pytest.mark.parametrize(
    "changes",
    [
        {"provenance": np.zeros(3, np.uint8)},
        {"provenance": np.zeros((4, 1), np.uint8)},
        {"evidence": np.zeros(5, np.float32)},
        {"provenance": np.array([1, 0, 6, 99], np.uint8)},
        {"provenance": np.array([1, 0, 6, -1], np.int8)},
        {"evidence": np.array([-1, 0, 0, 0], np.float32)},
        {"evidence": np.array([np.nan, 0, 0, 0], np.float32)},
    ],
)
def test_parts_that_do_not_fit_are_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(TableError):
        table(**changes)
    with pytest.raises(TableError):
        TranslationTable.load(saved(tmp_path / "table.npz", **changes))


class Harm:
    """Leaves a mark when it is read from a pickle."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return (exec, ("raise SystemExit('a pickle was run')",))


@pytest.mark.parametrize(
    "changes",
    [
        {"data": None},
        {"target_hash": None},
        {"format": np.array(2)},
        {"format": np.array("one")},
        {"shape": np.array([4, 2])},
        {"shape": np.array([5, 3])},
        {"shape": np.array([4, 3, 1])},
        {"shape": np.array([-4, 3])},
        {"indices": np.array([0, 1, 1, 0, 1, 7], np.int32)},
        {"indices": np.array([0, 1, 1, 0, 1, -1], np.int32)},
        {"indices": np.array([0, 1], np.int32)},
        {"indptr": np.array([0, 2, 2, 3], np.int64)},
        {"indptr": np.array([0, 3, 2, 3, 6], np.int64)},
        {"indptr": np.array([0, 2, 2, 3, 60], np.int64)},
        {"data": np.array([0.5, 0.5, 1, 0.25, 0.25, 0.4], np.float32)},
        {"data": np.array([0.5, 0.5, 1, 0.25, 0.25, np.nan], np.float32)},
        {"data": np.array(["a"] * 6)},
        {"data": np.array([Harm()] * 6, object)},
        {"provenance": np.array(["a"] * 4)},
        {"evidence": np.array([Harm()] * 4, object)},
    ],
    ids=lambda changes: "-".join(changes),
)
def test_wrong_arrays_are_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    path = saved(tmp_path / "table.npz", **changes)
    with pytest.raises(TableError):
        TranslationTable.load(path)


def write_array(path: Path) -> None:
    with path.open("wb") as stream:
        np.save(stream, ROWS)


def write_foreign_archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.npy", "no array")
        archive.writestr("readme.txt", "hello")


FOREIGN: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("p(house | maison) = 0.8\n"),
    "random": lambda path: path.write_bytes(np.random.default_rng(0).bytes(3000)),
    "zip": write_foreign_archive,
    "npy": write_array,
    "pickle": lambda path: path.write_bytes(pickle.dumps(Harm())),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_foreign_files_are_refused_by_name(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "table.npz"
    FOREIGN[kind](path)
    with pytest.raises(TableError, match=r"table\.npz' is no translation table"):
        TranslationTable.load(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.npz", tmp_path):
        with pytest.raises(TableError, match="does not exist"):
            TranslationTable.load(path)


def test_another_format_is_named(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="table format 7; this version reads 1"):
        TranslationTable.load(saved(tmp_path / "table.npz", format=np.array(7)))


def test_a_truncated_file_is_refused_wherever_it_ends(good: bytes, tmp_path: Path) -> None:
    path = tmp_path / "table.npz"
    for end in range(0, len(good), 37):
        path.write_bytes(good[:end])
        with pytest.raises(TableError):
            TranslationTable.load(path)


@settings(max_examples=300)
@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 255)), min_size=1, max_size=4))
def test_changed_bytes_are_noticed_or_without_effect(
    tmp_path_factory: pytest.TempPathFactory, good: bytes, changes: list[tuple[int, int]]
) -> None:
    damaged = bytearray(good)
    for place, difference in changes:
        damaged[place % len(good)] ^= difference
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    path.write_bytes(damaged)
    try:
        loaded = TranslationTable.load(path)
    except TableError:
        return
    assert_equal(loaded, table())
