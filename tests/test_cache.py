from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lingraft.cache import StageCache, digest, file_digest, folder_digest, publish, replacing, write_aside

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def writing(content, calls=None):
    def make(folder):
        if calls is not None:
            calls.append(folder)
        (folder / "result.txt").write_text(content, encoding="utf-8")

    return make


@given(st.dictionaries(st.text(max_size=5), json_values, max_size=5))
def test_the_order_of_keys_does_not_matter(value):
    turned = dict(reversed(value.items()))
    assert digest(value) == digest(turned)
    assert digest([{"inner": value}]) == digest([{"inner": turned}])


@given(json_values, json_values)
def test_different_values_have_different_digests(one, other):
    assert (digest(one) == digest(other)) == (json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True))


def test_a_digest_is_sha256_of_the_content(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    assert file_digest(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    path.write_bytes(b"a" * 1_000_000 + b"b" * 1_000_000)
    assert file_digest(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_digest_of_a_folder_is_of_names_and_contents_without_hidden_files(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "inner" / "weights").write_text("w")
    before = folder_digest(tmp_path)
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "file").write_text("x")
    (tmp_path / "inner" / ".git").write_text("x")
    assert folder_digest(tmp_path) == before
    (tmp_path / "inner" / "weights").rename(tmp_path / "inner" / "other")
    renamed = folder_digest(tmp_path)
    (tmp_path / "inner" / "other").write_text("changed")
    assert len({before, renamed, folder_digest(tmp_path)}) == 3


def test_a_stage_is_made_once(tmp_path):
    calls = []
    first = StageCache(tmp_path)
    folder = first.stage("table", {"a": 1}, writing("made", calls))
    again = first.stage("table", {"a": 1}, writing("made anew", calls))
    later = StageCache(tmp_path)
    assert folder == again == later.stage("table", {"a": 1}, writing("made anew", calls))
    assert len(calls) == 1
    assert (folder / "result.txt").read_text() == "made"
    assert (first.reused, later.reused) == (["table"], ["table"])
    assert later.seconds == {"table": first.seconds["table"]}
    assert later.cpu_seconds == {"table": first.cpu_seconds["table"]}


def test_a_stage_of_an_earlier_version_does_not_say_its_processor_time(tmp_path):
    folder = StageCache(tmp_path).stage("table", 1, writing("made"))
    (folder / "stage.json").write_text('{"seconds": 2.0}', encoding="utf-8")
    cache = StageCache(tmp_path)
    cache.stage("table", 1, writing("made anew"))
    assert (cache.seconds, cache.cpu_seconds) == ({"table": 2.0}, {})


def test_another_key_or_name_is_another_stage(tmp_path):
    cache = StageCache(tmp_path)
    folders = {cache.stage(name, key, writing(name)) for name in ("table", "graft") for key in (1, 2)}
    assert len(folders) == 4
    assert all((folder / "result.txt").read_text() == folder.name.partition("-")[0] for folder in folders)


def test_a_stage_is_made_aside(tmp_path):
    cache = StageCache(tmp_path)
    calls = []
    final = cache.stage("table", 1, writing("made", calls))
    assert final == cache.path("table", 1)
    assert calls[0] != final
    assert calls[0].parent == final.parent
    assert names(tmp_path) == [final.name]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failed_stage_leaves_nothing_and_can_be_made_again(tmp_path, error):
    cache = StageCache(tmp_path)

    def fail(folder):
        (folder / "half").write_text("half")
        raise error

    with pytest.raises(error):
        cache.stage("table", 1, fail)
    assert names(tmp_path) == []
    assert "table" not in cache.seconds
    folder = cache.stage("table", 1, writing("made"))
    assert names(folder) == ["result.txt", "stage.json"]


def test_leftovers_of_a_killed_run_are_removed(tmp_path):
    (tmp_path / ".aside-1-table" / "deep").mkdir(parents=True)
    (tmp_path / ".aside-1-table" / "deep" / "half").write_text("half")
    (tmp_path / ".aside-1-request.sha256").write_text("half")
    (tmp_path / "checkpoints-1").mkdir()
    StageCache(tmp_path)
    assert names(tmp_path) == ["checkpoints-1"]


def test_a_value_is_computed_once(tmp_path):
    results = iter([{"score": 0.5, "n": 3}, {"score": 1.0}])
    assert StageCache(tmp_path).value("scores", 1, lambda: next(results)) == {"score": 0.5, "n": 3}
    assert StageCache(tmp_path).value("scores", 1, lambda: next(results)) == {"score": 0.5, "n": 3}


@pytest.mark.parametrize("error", [None, RuntimeError, KeyboardInterrupt])
def test_what_replaces_a_file_is_there_only_when_it_is_whole(tmp_path, error):
    path = tmp_path / "links"
    path.write_text("old")
    with suppress(RuntimeError, KeyboardInterrupt), replacing(path) as aside:
        assert aside.parent == tmp_path
        aside.write_text("new")
        assert path.read_text() == "old"
        if error:
            raise error
    assert path.read_text() == ("old" if error else "new")
    assert names(tmp_path) == ["links"]


def test_what_a_killed_process_of_the_same_number_left_is_no_part_of_it(tmp_path):
    path = tmp_path / "model"
    with replacing(path) as aside:
        aside.mkdir()
    path.rename(aside)
    (aside / "half").write_text("half")
    with replacing(path) as again:
        assert again == aside
        again.mkdir()
        (again / "weights").write_text("new")
    assert (names(tmp_path), names(path)) == (["model"], ["weights"])


def test_a_text_file_is_written_whole(tmp_path):
    path = tmp_path / "run.json"
    write_aside(path, "one")
    write_aside(path, "zwölf")
    assert path.read_text(encoding="utf-8") == "zwölf"
    assert names(tmp_path) == ["run.json"]


def test_a_text_that_cannot_be_written_leaves_the_old_one(tmp_path):
    path = tmp_path / "run.json"
    write_aside(path, "one")
    with pytest.raises(UnicodeEncodeError):
        write_aside(path, "half \ud800")
    assert path.read_text() == "one"


def test_publishing_replaces_the_folder_that_is_there(tmp_path):
    made, final = tmp_path / "made", tmp_path / "target"
    (made / "1_Pooling").mkdir(parents=True)
    (made / "1_Pooling" / "config.json").write_text("{}")
    for name in ("weights", "stage.json", ".hidden"):
        (made / name).write_text("new")
    final.mkdir()
    (final / "old").write_text("old")
    publish(made, final)
    assert names(final) == ["1_Pooling", "weights"]
    assert names(final / "1_Pooling") == ["config.json"]
    assert names(tmp_path) == ["made", "target"]
    assert names(made) == [".hidden", "1_Pooling", "stage.json", "weights"]


def test_publishing_replaces_the_file_that_is_there(tmp_path):
    (tmp_path / "made.npz").write_bytes(b"new")
    (tmp_path / "table.npz").write_bytes(b"old")
    publish(tmp_path / "made.npz", tmp_path / "table.npz")
    assert (tmp_path / "table.npz").read_bytes() == b"new"
    assert names(tmp_path) == ["made.npz", "table.npz"]


def test_publishing_a_folder_that_is_not_there_keeps_the_old_one(tmp_path):
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "weights").write_text("old")
    with pytest.raises(FileNotFoundError):
        publish(tmp_path / "gone", tmp_path / "target")
    assert (tmp_path / "target" / "weights").read_text() == "old"


@pytest.mark.skipif(os.name == "nt", reason="rights are of another kind there")
def test_what_was_written_for_its_owner_alone_gets_the_rights_of_its_folder(tmp_path):
    with replacing(tmp_path / "made") as aside:
        (aside / "inner").mkdir(parents=True)
        for name, rights in (("closed", 0o600), ("tool", 0o700)):
            (aside / "inner" / name).touch()
            (aside / "inner" / name).chmod(rights)
    wanted = (tmp_path / "made").stat().st_mode & 0o666
    found = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "made" / "inner").iterdir()}
    assert found == {"closed": wanted, "tool": 0o700}
