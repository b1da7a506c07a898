"""Hub data sets as text: what is read of them, by a stand-in for the datasets library and by the library itself."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from lingraft.corpus import absolute_hub, check_text, hub_fingerprint, is_hub, read_text
from lingraft.errors import CorpusError, MissingExtraError

Rows = list[dict[str, Any]]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str | None, str], Rows]:
    """A stand-in for the datasets library: fill it with (data set, configuration, split) -> rows."""
    sets: dict[tuple[str, str | None, str], Rows] = {}

    def splits(name: str, config: str | None) -> list[str]:
        found = [key[2] for key in sets if key[:2] == (name, config)]
        if not found:
            raise FileNotFoundError(f"Couldn't find '{name}'\nat all")
        return found

    def load(name: str, config: str | None, split: str, streaming: bool) -> Iterator[dict[str, Any]]:
        assert streaming
        return iter(sets[name, config, split])

    def builder(name: str, config: str | None) -> Any:
        splits(name, config)
        return SimpleNamespace(hash=f"commit of {name}" if "/" in name else None)

    stub = SimpleNamespace(get_dataset_split_names=splits, load_dataset=load, load_dataset_builder=builder)
    monkeypatch.setitem(sys.modules, "datasets", stub)
    return sets


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("hf:org/text:fr:train:text", ["un", "deux", "", "trois"]),
        ("hf:org/text:fr:train", ["un", "deux", "", "trois"]),
        ("hf:org/text:fr", ["un", "deux", "", "trois"]),
        ("hf:org/text:fr::title", ["a", "b", ""]),
        ("hf:one", ["only"]),
    ],
)
def test_the_lines_of_a_column(hub, name: str, lines: list[str]):
    hub["org/text", "fr", "train"] = [
        {"title": "a", "text": "un\ndeux"}, {"title": "b", "text": None}, {"title": "", "text": "trois"},
    ]  # fmt: skip
    hub["one", None, "test"] = [{"content": "only"}]
    check_text(name)
    assert is_hub(name)
    assert list(read_text(name)) == lines


def test_rows_are_taken_one_by_one(hub):
    def rows() -> Iterator[dict[str, Any]]:
        yield {"text": "one"}
        yield {"text": "two"}
        raise ConnectionError("the line is cut\nand more")

    hub["set", None, "train"] = rows()
    lines = read_text("hf:set")
    assert [next(lines), next(lines)] == ["one", "two"]
    with pytest.raises(CorpusError, match=r"'hf:set' could not be read after row 2 \(ConnectionError: the line is cut"):
        next(lines)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("hf:", r"names no hub data set; hf:DATASET\[:CONFIG\[:SPLIT\[:COLUMN\]\]\] was expected"),
        ("hf:a:b:c:d:e", "names no hub data set"),
        ("hf:gone", r"could not be read as a hub data set \(FileNotFoundError: Couldn't find 'gone'\)"),
        ("hf:set", "has the splits test, train; name one"),
        ("hf:set::dev", "has the splits test, train; 'dev' is not among them"),
    ],
)
def test_what_is_refused_before_anything_is_read(hub, name: str, says: str):
    hub["set", None, "test"] = hub["set", None, "train"] = [{"text": "a"}]
    for refuse in (check_text, lambda name: list(read_text(name))):
        with pytest.raises(CorpusError, match=says) as caught:
            refuse(name)
        assert f"'{name}'" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "rows", "says"),
    [
        ("hf:set", [], "has no rows"),
        ("hf:set", [{"a": "x", "b": "y"}], r"has no column 'text'; it has a, b. Name one of them"),
        ("hf:set:::c", [{"a": "x"}], "has no column 'c'; it has a"),
        ("hf:set", [{"text": "x"}, {"text": ["y"]}], "row 2 has list in 'text'; text was expected"),
    ],
)
def test_rows_that_are_no_text_are_refused(hub, name: str, rows: Rows, says: str):
    hub["set", None, "train"] = rows
    with pytest.raises(CorpusError, match=says) as caught:
        list(read_text(name))
    assert f"'{name}'" in str(caught.value)


def test_the_state_of_a_data_set(hub):
    hub["org/text", "fr", "train"] = hub["plain", None, "train"] = [{"text": "a"}]
    assert hub_fingerprint("hf:org/text:fr:train:text") == "commit of org/text"
    assert hub_fingerprint("hf:plain") is None
    with pytest.raises(CorpusError, match="'hf:gone' could not be read"):
        hub_fingerprint("hf:gone")


def test_a_local_folder_is_named_from_anywhere(tmp_path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "set").mkdir()
    monkeypatch.chdir(tmp_path)
    assert absolute_hub("hf:set") == absolute_hub("hf:./set") == f"hf:{tmp_path / 'set'}"
    assert absolute_hub("hf:set:fr::text") == f"hf:{tmp_path / 'set'}:fr::text"
    for name in ("hf:org/set", "hf:other:fr", "hf:"):
        assert absolute_hub(name) == name


def test_without_the_datasets_library_the_pip_line_is_shown(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    for refuse in (check_text, hub_fingerprint, lambda name: list(read_text(name))):
        with pytest.raises(MissingExtraError, match=r"'hf:set' needs .* pip install 'lingraft\[hub\]'"):
            refuse("hf:set")


@pytest.mark.filterwarnings("default")
def test_the_datasets_library_itself(tmp_path, monkeypatch: pytest.MonkeyPatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "set"
    folder.mkdir()
    lines = [f"línea {k}" for k in range(100)]
    datasets.Dataset.from_dict({"text": lines, "id": list(range(100))}).to_parquet(str(folder / "train.parquet"))
    name = f"hf:{folder}"
    check_text(name)
    assert list(read_text(name)) == lines
    assert list(read_text(f"{name}:default:train:text")) == lines
    assert not list((tmp_path / "cache").glob("**/*.arrow"))
    first = hub_fingerprint(name)
    assert first is not None
    assert hub_fingerprint(name) == first
    with pytest.raises(CorpusError, match="row 1 has int in 'id'"):
        list(read_text(f"{name}:::id"))
    datasets.Dataset.from_dict({"text": lines[:7]}).to_parquet(str(folder / "train.parquet"))
    assert hub_fingerprint(name) != first
    for wrong, says in ((":default:dev", "has the splits train; 'dev' is not among them"), (":::x", "no column 'x'")):
        with pytest.raises(CorpusError, match=says):
            list(read_text(name + wrong))
    (tmp_path / "lines").mkdir()
    (tmp_path / "lines" / "some.txt").write_text("eins\nzwei\n", encoding="utf-8")
    assert list(read_text(f"hf:{tmp_path / 'lines'}")) == ["eins", "zwei"]
