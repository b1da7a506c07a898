"""Uploads, to a stand-in of the hub: what arrives is what lies on the disk, and nothing goes out that should not."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import HfApi, constants

import lingraft
from hub import OWNER, TOKEN, stand_in
from lingraft.errors import ModelError, OutputError, RepositoryError, RunError

# of httpx to huggingface_hub 2.4, which calls it so for large files
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture
def hub(monkeypatch):
    """A stand-in for the hub, logged in, and no other way out."""
    with stand_in() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.address)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # whose service is not stood in for
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield hub
        huggingface_hub.close_session()


@pytest.fixture(scope="module")
def run(tmp_path_factory, sentence_model_folder, bitext_file):
    """A finished run of a sentence encoder whose folder has a card and hidden files."""
    folder = tmp_path_factory.mktemp("push")
    model = folder / "model"
    shutil.copytree(sentence_model_folder, model)
    (model / ".gitattributes").write_text("* text\n", encoding="utf-8")
    lingraft.transfer(model, to="fr", out=folder / "out", bitext=bitext_file, objective="none")
    return folder / "out"


def on_disk(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_what_arrives_is_what_lies_on_the_disk(hub, run):
    told = []
    result = lingraft.push(run, f"{OWNER}/french", on_progress=lambda *args: told.append(args))
    assert hub.repos[f"{OWNER}/french"]["files"] == on_disk(run / "target")
    assert "1_Pooling/config.json" in result.files
    assert "README.md" in result.files
    assert hub.repos[f"{OWNER}/french"]["private"] is True
    assert result.url == f"{hub.address}/{OWNER}/french"
    assert len(result.commit) == 40
    assert [share for _, share, _ in told] == [0.0, 1.0]


def test_the_command_says_where_it_is(hub, run, command):
    status, out, _ = command("push", run, "--repo", "english", "--source", "--public", "--json", "--quiet")
    assert status == 0
    told = json.loads(out)
    repo = hub.repos[f"{OWNER}/english"]
    assert told["url"] == f"{hub.address}/{OWNER}/english"
    assert told["private"] is repo["private"] is False
    assert repo["files"] == {n: c for n, c in on_disk(run / "source").items() if not n.startswith(".")}
    assert told["bytes"] == sum(map(len, repo["files"].values()))
    status, out, _ = command("push", run / "target", "--repo", "french")
    assert status == 0
    assert "private" in out


def test_a_second_push_takes_weights_out_that_are_no_more(hub, run):
    lingraft.push(run, "french")
    files = hub.repos[f"{OWNER}/french"]["files"]
    files |= {"model-00001-of-00002.safetensors": b"", "model.safetensors.index.json": b"{}", "notes.txt": b"mine"}
    lingraft.push(run, "french")
    assert set(files) == {*on_disk(run / "target"), "notes.txt"}


def test_a_repository_that_is_public_gets_nothing_by_default(hub, run):
    hub.repos[f"{OWNER}/open"] = {"private": False, "files": {}}
    with pytest.raises(RepositoryError, match=r"is public\. Say --public"):
        lingraft.push(run, f"{OWNER}/open")
    assert hub.repos[f"{OWNER}/open"]["files"] == {}
    lingraft.push(run, f"{OWNER}/open", private=False)
    assert hub.repos[f"{OWNER}/open"]["files"]


@pytest.mark.parametrize("name", ["pytorch_model.bin", "weights.pt", "modeling.py", "sub/optimizer.pkl", "tokenizer"])
def test_anything_that_is_no_model_is_refused_before_the_hub_is_asked(hub, run, tmp_path, name):
    folder = tmp_path / "model"
    shutil.copytree(run / "target", folder)
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"x")
    with pytest.raises(ModelError, match=f"not uploaded: {name}"):
        lingraft.push(folder, "french")
    assert hub.requests == []


def test_links_are_refused(hub, run, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(run / "target", folder)
    (folder / "notes.txt").symlink_to(tmp_path)
    with pytest.raises(ModelError, match=r"notes\.txt"):
        lingraft.push(folder, "french")
    assert hub.requests == []


def test_without_a_login_nothing_is_asked(hub, run, command, monkeypatch, tmp_path):
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.delenv("HUGGING_FACE_HUB_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    status, _, err = command("push", run, "--repo", "french")
    assert status == 2
    assert "hf auth login" in err
    assert hub.requests == []


def test_a_wrong_token_and_a_foreign_owner_are_errors_of_the_input(hub, run):
    with pytest.raises(RepositoryError, match="does not take your token"):
        lingraft.push(run, "french", api=HfApi(endpoint=hub.address, token="hf_other"))
    with pytest.raises(RepositoryError, match=r"may not write to 'elsewhere/french'.*rights"):
        lingraft.push(run, "elsewhere/french")
    with pytest.raises(RepositoryError, match="no name of a repository"):
        lingraft.push(run, "a/b/c")
    assert hub.repos == {}


def test_offline_is_said(hub, run, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(RepositoryError, match="HF_HUB_OFFLINE is set"):
        lingraft.push(run, f"{OWNER}/french")


def test_a_hub_that_cannot_be_reached_or_fails_is_an_error_of_the_run(hub, run, command, monkeypatch):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{nobody.getsockname()[1]}")
        status, _, err = command("push", run, "--repo", f"{OWNER}/french")
    assert status == 1
    assert "Is the network there?" in err
    assert "Traceback" not in err
    hub.broken = "/commit/"
    with pytest.raises(RunError, match="could not take the model"):
        lingraft.push(run, f"{OWNER}/french", api=HfApi(endpoint=hub.address))
    assert hub.repos[f"{OWNER}/french"]["files"] == {}


def test_only_finished_runs_and_model_folders_are_pushed(hub, run, tmp_path):
    with pytest.raises(ModelError, match="is no folder"):
        lingraft.push(tmp_path / "none", "french")
    with pytest.raises(ModelError, match="no model folder"):
        lingraft.push(tmp_path, "french")
    unfinished = tmp_path / "out"
    shutil.copytree(run, unfinished, ignore=shutil.ignore_patterns("run.json", ".cache"))
    with pytest.raises(OutputError, match="lingraft resume"):
        lingraft.push(unfinished, "french")
    shutil.copytree(run, tmp_path / "two", ignore=shutil.ignore_patterns(".cache", "target"))
    shutil.copytree(run / "target", tmp_path / "two" / "hi" / "target")
    with pytest.raises(ModelError, match=r"several languages.*two/hi"):
        lingraft.push(tmp_path / "two", "french")
    assert lingraft.push(tmp_path / "two" / "hi", "hindi").repo == f"{OWNER}/hindi"
    with pytest.raises(ModelError, match="no source/"):
        lingraft.push(run / "target", "french", source=True)
