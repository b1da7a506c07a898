"""Trained models as files: what is written is read again, and a file that is anything else is refused."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tiny
from lingraft import AlignerSettings, AlignmentModel, align
from lingraft.errors import InputError, LingraftError

ARRAYS = (
    "about", "english_words", "english_offsets", "foreign_words", "foreign_offsets", "indptr", "columns", "counts",
    "foreign_null", "english_null", "foreign_jumps", "english_jumps",
)  # fmt: skip
#: tokens as Python can hand them over, with all that no file could hold between white space
tokens = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
sides = st.lists(tokens, max_size=5)


@pytest.fixture(scope="module")
def model() -> AlignmentModel:
    return align(tiny.cipher_pairs(40), settings=AlignerSettings(alpha=0.25, max_tokens=50), lowercase=False).model


@pytest.fixture(scope="module")
def saved(model: AlignmentModel, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("model") / "model.npz"
    model.save(path)
    return path.read_bytes()


@pytest.fixture
def refused(tmp_path: Path, saved: bytes) -> Callable[..., str]:
    """Loads a file that has to be refused and gives the message. What the file holds is bytes, or changed arrays."""

    def run(content: bytes | None = None, /, **arrays: Any) -> str:
        path = tmp_path / "damaged.npz"
        if content is None:
            path.write_bytes(saved)
            with np.load(path) as stored:
                changed = {**stored, **arrays}
            np.savez_compressed(path, **{name: array for name, array in changed.items() if array is not None})
        else:
            path.write_bytes(content)
        with pytest.raises(InputError) as caught:
            AlignmentModel.load(path)
        message = str(caught.value)
        assert message.startswith(f"'{path}' is ")
        assert message.endswith(".")
        assert "\n" not in message
        return message

    return run


@pytest.fixture
def stored(saved: bytes, tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "model.npz").write_bytes(saved)
    with np.load(tmp_path / "model.npz") as stored:
        return dict(stored)


def encoded(value: Any) -> np.ndarray:
    """JSON as the file holds it."""
    return np.frombuffer(json.dumps(value).encode(), np.uint8)


def assert_same(one: AlignmentModel, two: AlignmentModel) -> None:
    for side in ("english_words", "foreign_words"):
        assert getattr(one, side).words() == getattr(two, side).words()
    assert (one.settings, one.lowercase, one.characters) == (two.settings, two.lowercase, two.characters)
    for name in ("foreign_null", "english_null", "foreign_jumps", "english_jumps"):
        assert getattr(one.parameters, name).tobytes() == getattr(two.parameters, name).tobytes()
    for mine, other in zip(one.parameters.counts, two.parameters.counts, strict=True):
        assert mine.dtype == other.dtype
        assert mine.tobytes() == other.tobytes()


def test_what_is_saved_is_loaded(model, saved, tmp_path):
    path = tmp_path / "model.npz"
    path.write_bytes(saved)
    loaded = AlignmentModel.load(path)
    assert loaded.settings == AlignerSettings(alpha=0.25, max_tokens=50)
    assert (loaded.lowercase, loaded.characters) == (False, False)
    counts = model.parameters.counts
    kept = counts.values >= 1e-3
    assert loaded.parameters.counts.values.tobytes() == counts.values[kept].tobytes()
    assert loaded.parameters.counts.columns.tobytes() == counts.columns[kept].tobytes()
    assert loaded.parameters.counts.rows.tobytes() == counts.rows[kept].tobytes()
    again = tmp_path / "again.npz"
    loaded.save(again)
    assert again.read_bytes() == saved
    assert_same(AlignmentModel.load(str(again)), loaded)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pairs=st.lists(st.tuples(sides, sides), max_size=4), lowercase=st.booleans(), characters=st.booleans())
def test_any_words_survive(tmp_path, pairs, lowercase, characters):
    known = [(["word"], ["mot"]), *pairs]
    made = align(known, settings=AlignerSettings(iterations=1), lowercase=lowercase, characters=characters).model
    path = tmp_path / "model.npz"
    made.save(path)
    loaded = AlignmentModel.load(path)
    assert loaded.english_words.words() == made.english_words.words()
    assert loaded.foreign_words.words() == made.foreign_words.words()
    loaded.save(path)
    assert_same(AlignmentModel.load(path), loaded)
    assert [path.name for path in tmp_path.iterdir()] == ["model.npz"]


def test_a_model_takes_the_place_of_a_file_and_any_name(model, saved, tmp_path):
    path = tmp_path / "English to Français.model"
    path.write_text("old")
    model.save(str(path))
    assert path.read_bytes() == saved
    assert AlignmentModel.load(path).settings == model.settings


def test_a_model_that_cannot_be_written_leaves_nothing_and_what_was_there(model, tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError):
        model.save(tmp_path / "no" / "model.npz")
    assert list(tmp_path.iterdir()) == []
    path = tmp_path / "model.npz"
    path.write_text("old")

    def fail(stream, **_):
        stream.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", fail)
    with pytest.raises(OSError, match="No space left"):
        model.save(path)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_what_is_no_file_is_refused(tmp_path):
    for path in (tmp_path / "gone.npz", tmp_path):
        with pytest.raises(InputError, match="does not exist or is no file") as caught:
            AlignmentModel.load(path)
        assert f"'{path}'" in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"x", b"indptr\tcolumns\n", b"PK\x03\x04", b"PK\x05\x06" + bytes(18), pickle.dumps({"about": 1}),
        b"\x93NUMPY\x01\x00", bytes(1000),
    ],
    ids=["empty", "letter", "text", "zip start", "empty zip", "pickle", "npy start", "zeros"],
)  # fmt: skip
def test_a_file_of_something_else_is_refused(refused, content):
    assert "is not an alignment model that lingraft saved" in refused(content)


def test_other_files_of_numpy_are_refused(refused, tmp_path):
    np.save(tmp_path / "array.npy", np.arange(5))
    assert "is not an alignment model" in refused((tmp_path / "array.npy").read_bytes())
    np.savez(tmp_path / "other.npz", a=np.arange(5))
    assert "'about'" in refused((tmp_path / "other.npz").read_bytes())


@pytest.mark.parametrize("name", ARRAYS)
def test_a_file_that_lacks_something_is_refused(refused, name):
    assert f"'{name}'" in refused(**{name: None})


@pytest.mark.parametrize("name", ARRAYS)
def test_pickles_inside_are_not_opened(refused, tmp_path, name):
    class Evil:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "ran",)

    array = np.empty(3, object)
    array[:] = [Evil()] * 3
    message = refused(**{name: array})
    assert "is not an alignment model that lingraft saved" in message
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("share", [0.001, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.9999])
def test_a_truncated_file_is_refused(refused, saved, share):
    refused(saved[: int(share * len(saved))])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_flipped_byte_is_noticed_or_does_no_harm(tmp_path, saved, data):
    path = tmp_path / "model.npz"
    path.write_bytes(saved)
    expected = AlignmentModel.load(path)
    damaged = bytearray(saved)
    damaged[data.draw(st.integers(0, len(saved) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(damaged)
    with suppress(InputError):
        assert_same(AlignmentModel.load(path), expected)


@pytest.mark.parametrize("name", [name for name in ARRAYS if name != "about"])
@pytest.mark.parametrize("kind", ["complex128", "U7", "M8[s]"])
def test_arrays_of_no_numbers_are_refused(refused, stored, name, kind):
    refused(**{name: np.zeros(stored[name].shape, kind)})


@pytest.mark.parametrize("name", ["indptr", "columns", "counts", "foreign_null", "english_jumps"])
@pytest.mark.parametrize("kind", ["float64", "float16", "uint32", "int16", "bool", ">i8", ">i4", ">f4"])
def test_arrays_of_another_type_are_refused(refused, stored, name, kind):
    refused(**{name: stored[name].astype(kind)})


@pytest.mark.parametrize("name", [name for name in ARRAYS if name not in ("about", "english_words", "foreign_words")])
@pytest.mark.parametrize("shape", [(1, -1), (-1, 1)])
def test_arrays_of_another_shape_are_refused(refused, stored, name, shape):
    refused(**{name: stored[name].reshape(shape)})


@pytest.mark.parametrize("name", [name for name in ARRAYS if name != "about"])
@pytest.mark.parametrize("change", [lambda x: x[:-1], lambda x: x[:0], lambda x: x[0], lambda x: np.append(x, x[-1:])])
def test_arrays_of_another_length_are_refused(refused, stored, name, change):
    refused(**{name: change(stored[name])})


@pytest.mark.parametrize("wrong", [-1, 1 << 20, -(1 << 31)])
def test_ids_out_of_range_are_refused(refused, stored, wrong):
    columns = stored["columns"].copy()
    columns[-1] = wrong
    assert "words it does not have" in refused(columns=columns)
    columns[-1] = int(stored["columns"].max()) + 1 if wrong > 0 else wrong
    assert "damaged" in refused(columns=columns)


def test_rows_that_are_no_rows_are_refused(refused, stored):
    indptr = stored["indptr"]
    for wrong in (indptr[::-1], indptr + 1, indptr * 2, -indptr, np.append(indptr[1:], indptr[-1])):
        assert "do not fit" in refused(indptr=wrong.astype(np.int64))
    # differences that wrap around to positive numbers
    wrong = indptr.copy()
    wrong[1:5] = [1 << 62, -(1 << 63), -(1 << 62), 0]
    assert "do not fit" in refused(indptr=wrong)


def test_counts_that_are_not_in_order_are_refused(refused, stored):
    row = int(np.argmax(np.diff(stored["indptr"]) > 1))
    first = stored["indptr"][row]
    columns = stored["columns"].copy()
    columns[[first, first + 1]] = columns[[first + 1, first]]
    assert "not in order" in refused(columns=columns)
    columns[first] = columns[first + 1]
    assert "not in order" in refused(columns=columns)


@pytest.mark.parametrize("name", ["counts", "foreign_null", "english_null", "foreign_jumps", "english_jumps"])
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, -0.25])
def test_numbers_that_are_none_are_refused(refused, stored, name, wrong):
    array = stored[name].copy()
    array[array.size // 2] = wrong
    assert f"is damaged: {'its counts' if name == 'counts' else name}" in refused(**{name: array})


@pytest.mark.parametrize("name", ["foreign_null", "english_null", "foreign_jumps", "english_jumps"])
def test_a_distribution_of_nothing_is_refused(refused, stored, name):
    assert name in refused(**{name: np.zeros_like(stored[name])})


@pytest.mark.parametrize("name", ["foreign_jumps", "english_jumps"])
def test_a_jump_that_cannot_be_made_is_refused(refused, stored, name):
    array = stored[name].copy()
    array[array.size // 2] = 0
    assert name in refused(**{name: array})


def test_words_that_are_none_are_refused(refused, stored):
    blob, offsets = stored["english_words"].copy(), stored["english_offsets"]
    short = np.arange(offsets.size)
    assert "twice" in refused(english_words=np.full(short[-1], ord("a"), np.uint8), english_offsets=short)
    blob[0] = 0xFF
    assert "no UTF-8" in refused(english_words=blob)
    wrapped = offsets.copy()  # its differences wrap around to positive numbers
    wrapped[1:5] = [1 << 62, -(1 << 63), -(1 << 62), 0]
    for wrong in (offsets[::-1], offsets + 1, offsets - 1, offsets * 2, wrapped):
        assert "damaged" in refused(english_offsets=wrong)


@pytest.mark.parametrize(
    ("about", "reason"),
    [
        (b"", "JSON"), (b"{", "JSON"), (b"\xff", "Unicode"), (b"[]", "TypeError"), (b"5", "TypeError"),
        (b"{}", "'format'"), (b'{"format": 1}', "'settings'"),
    ],
)  # fmt: skip
def test_a_description_that_is_none_is_refused(refused, about, reason):
    assert reason in refused(about=np.frombuffer(about, np.uint8))


@pytest.mark.parametrize("number", [0, 2, "1", None])
def test_another_format_is_named(refused, stored, number):
    about = json.loads(stored["about"].tobytes())
    assert f"of format {number}; this version reads 1" in refused(about=encoded(about | {"format": number}))


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"settings": None}, "TypeError"), ({"settings": [1]}, "TypeError"), ({"settings": {"sauce": 1}}, "sauce"),
        ({"settings": {"iterations": "4"}}, "iterations"), ({"settings": {"iterations": 2.5}}, "iterations"),
        ({"settings": {"alpha": None}}, "alpha"), ({"settings": {"null": 2}}, "null"),
        ({"settings": {"method": {}}}, "method"), ({"settings": {"max_tokens": 0}}, "max_tokens"),
    ],
)  # fmt: skip
def test_settings_that_are_none_are_refused(refused, stored, changed, reason):
    about = json.loads(stored["about"].tobytes())
    assert reason in refused(about=encoded(about | changed))


def test_a_compressed_stream_that_is_none_is_refused(refused, saved, tmp_path):
    """The archive is whole, the checksums are not looked at before zlib has given up."""
    (tmp_path / "model.npz").write_bytes(saved)
    with zipfile.ZipFile(tmp_path / "model.npz") as archive:
        member = archive.getinfo("counts.npy")
    damaged = bytearray(saved)
    begin = member.header_offset + 30 + len(member.filename)
    damaged[begin + 25 : begin + 45] = b"\xff" * 20
    refused(bytes(damaged))


def test_every_refusal_is_one_that_can_be_caught():
    assert issubclass(InputError, LingraftError)
