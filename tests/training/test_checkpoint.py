from __future__ import annotations

import hashlib
import json
import logging
import random
import shutil
from pathlib import Path

import pytest
import torch

import toy
from lingraft.errors import RunError
from lingraft.training import checkpoint as module
from lingraft.training.checkpoint import load_checkpoint, restore_training, save_checkpoint, training_tensors
from toy import KillError, ToyObjective, same


def saved(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write(folder: Path, *steps: int, kept: int = 2) -> None:
    for step in steps:
        save_checkpoint(folder, step, {"a": torch.full((3,), float(step))}, {"x": step}, kept)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_what_was_saved_comes_back(tmp_path: Path):
    parameter = torch.nn.Parameter(torch.randn(3, 2))
    frozen = torch.nn.Parameter(torch.randn(4))
    optimizer = torch.optim.AdamW([parameter, frozen], fused=True)
    parameter.square().sum().backward()
    optimizer.step()
    named = {"a.b.c": parameter, "d": frozen}
    save_checkpoint(tmp_path, 4, training_tensors(named, optimizer), {"x": [0.1, 1e-300]})
    drawn = torch.rand(5)

    others = {"a.b.c": torch.nn.Parameter(torch.zeros(3, 2)), "d": torch.nn.Parameter(torch.zeros(4))}
    new = torch.optim.AdamW(others.values(), fused=True)
    loaded = load_checkpoint(tmp_path)
    assert loaded is not None
    assert (loaded.step, loaded.state) == (4, {"x": [0.1, 1e-300]})
    restore_training(loaded.tensors, others, new)
    assert same({name: value.detach() for name, value in named.items()}, others)
    assert same(optimizer.state[parameter], new.state[others["a.b.c"]])
    assert others["d"] not in new.state
    assert torch.equal(torch.rand(5), drawn)


def test_moments_of_parameters_that_had_none_yet_are_gone_after_going_back(tmp_path: Path):
    parameter = torch.nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.AdamW([parameter], fused=True)
    tensors = {name: value.clone() for name, value in training_tensors({"p": parameter}, optimizer).items()}
    parameter.sum().backward()
    optimizer.step()
    restore_training(tensors, {"p": parameter}, optimizer)
    assert not optimizer.state
    assert not parameter.any()


def test_training_on_does_not_reach_into_the_file(tmp_path: Path):
    parameter = torch.nn.Parameter(torch.randn(300))
    optimizer = torch.optim.AdamW([parameter], fused=True)
    parameter.square().sum().backward()
    optimizer.step()
    save_checkpoint(tmp_path, 1, training_tensors({"p": parameter}, optimizer), {})
    loaded = load_checkpoint(tmp_path)
    assert loaded is not None
    restore_training(loaded.tensors, {"p": parameter}, optimizer)
    optimizer.step()
    assert load_checkpoint(tmp_path) is not None


def test_without_a_checkpoint_there_is_none(tmp_path: Path):
    assert load_checkpoint(tmp_path / "none") is None


def test_the_manifest_has_the_digest_of_every_file(tmp_path: Path):
    write(tmp_path, 7)
    folder = tmp_path / "step-000000007"
    digests = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert {*digests, "manifest.json"} == {path.name for path in folder.iterdir()}
    for name, value in digests.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == value


@pytest.mark.parametrize("kept", [1, 2, 3])
def test_the_newest_stay(tmp_path: Path, kept: int):
    write(tmp_path, 1, 2, 10, 100, kept=kept)
    assert saved(tmp_path) == [f"step-{step:09d}" for step in (1, 2, 10, 100)[-kept:]]


@pytest.mark.parametrize("damage", [truncate, flip, Path.unlink])
@pytest.mark.parametrize("name", ["tensors.safetensors", "state.json", "manifest.json"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before_it(
    tmp_path: Path, name: str, damage, caplog: pytest.LogCaptureFixture
):
    write(tmp_path, 1, 2)
    damage(tmp_path / "step-000000002" / name)
    with caplog.at_level(logging.WARNING, "lingraft"):
        loaded = load_checkpoint(tmp_path)
    assert loaded is not None
    assert loaded.step == loaded.state["x"] == 1
    assert "step-000000002' is damaged" in caplog.text
    assert name in caplog.text
    assert saved(tmp_path) == ["step-000000001"]


def test_if_all_are_damaged_the_run_says_which(tmp_path: Path):
    write(tmp_path, 1, 2)
    truncate(tmp_path / "step-000000001" / "state.json")
    shutil.rmtree(tmp_path / "step-000000002")
    (tmp_path / "step-000000002").mkdir()
    with pytest.raises(RunError, match=r"step-000000002: manifest.json is missing; step-000000001: state.json is not"):
        load_checkpoint(tmp_path)
    assert len(saved(tmp_path)) == 2


def test_what_a_kill_left_half_written_is_removed(tmp_path: Path):
    write(tmp_path, 1)
    half = tmp_path / ".aside-123-step-000000002"
    half.mkdir()
    (half / "tensors.safetensors").write_bytes(b"half")
    assert load_checkpoint(tmp_path).step == 1
    assert saved(tmp_path) == ["step-000000001"]


def train(folder: Path, objective: ToyObjective, on_step=None, **changes) -> tuple[dict, dict]:
    torch.manual_seed(5)  # as in every process that starts anew
    report = toy.trainer(objective, folder, **changes).run(on_step)
    return objective.weights(), {name: value for name, value in report.items() if "seconds" not in name}


def without_seconds(report: dict) -> dict:
    history = [{name: value for name, value in entry.items() if name != "seconds"} for entry in report["history"]]
    return report | {"history": history}


def test_killed_at_twenty_random_points_is_uninterrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Kills in front of a forward pass, in the meter's line, and between any two operations of a checkpoint."""
    chance = random.Random(11)
    # dropout draws from torch's random state, so this holds the random states too
    whole, expected = train(tmp_path / "whole", ToyObjective(dropout=0.2), steps=50)

    broken = tmp_path / "broken"
    calls = {"left": 10**9}

    def maybe(*_: object) -> None:
        calls["left"] -= 1
        if calls["left"] <= 0:
            raise KillError

    for name in ("save_file", "file_digest", "_flush", "remove"):
        original = getattr(module, name)

        def dangerous(*arguments, original=original, **named):
            maybe()
            result = original(*arguments, **named)
            maybe()
            return result

        monkeypatch.setattr(module, name, dangerous)
    # every other run saves rarely, so that it dies between checkpoints too
    for kill in range(20):
        calls["left"] = chance.randint(1, 50)
        with pytest.raises(KillError):
            train(
                broken, ToyObjective(dropout=0.2, before=maybe), maybe, steps=50,
                checkpoint_seconds=3600.0 if kill % 2 else 0.0,
            )  # fmt: skip
    calls["left"] = 10**9
    resumed, report = train(broken, ToyObjective(dropout=0.2), steps=50)
    assert same(whole, resumed)
    assert without_seconds(report) == without_seconds(expected)
    assert saved(broken) == saved(tmp_path / "whole")
