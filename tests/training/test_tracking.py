from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

import lingraft
from lingraft.errors import MissingExtraError, RecipeError, RunError
from lingraft.training import tracking as module
from lingraft.training.meter import Progress
from lingraft.training.tracking import Tracking, check_trackers

accelerate = pytest.importorskip("accelerate")

LINE = Progress(1, 10, "all", {"loss_xx": 2.5}, 1e-3, 100.0, 1.0, 9.0, 0.01)


def read(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def track(folder: Path, steps: range, names: tuple[str, ...] = ("jsonl",)) -> None:
    with Tracking(names, folder, {"batch_size": 8}) as tracking:
        for step in steps:
            tracking.log(replace(LINE, step=step, losses={"loss_xx": 1 / step}))


def test_lines_are_json_objects(tmp_path: Path):
    track(tmp_path, range(1, 4))
    lines = read(tmp_path)
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert lines[2] == {"step": 3, **replace(LINE, losses={"loss_xx": 1 / 3}).values()}
    assert {"loss_xx", "learning_rate", "tokens_per_second", "memory_mb"} - set(lines[0]) == {"memory_mb"}


def test_a_resumed_run_goes_on_in_the_file_without_repeating_a_step(tmp_path: Path):
    track(tmp_path, range(1, 6))
    content = (tmp_path / "metrics.jsonl").read_bytes()
    track(tmp_path, range(3, 9))
    assert [line["step"] for line in read(tmp_path)] == list(range(1, 9))
    assert (tmp_path / "metrics.jsonl").read_bytes().startswith(content)


def test_steps_that_are_run_again_after_going_back_are_not_sent_again(tmp_path: Path):
    with Tracking(("jsonl",), tmp_path, {}) as tracking:
        for step in (1, 2, 3, 2, 3, 4):
            tracking.log(replace(LINE, step=step))
    assert [line["step"] for line in read(tmp_path)] == [1, 2, 3, 4]


def test_half_a_line_that_a_kill_left_is_cut_off(tmp_path: Path):
    track(tmp_path, range(1, 3))
    with (tmp_path / "metrics.jsonl").open("a", encoding="utf-8") as stream:
        stream.write('{"step": 3, "loss')
    track(tmp_path, range(3, 5))
    assert [line["step"] for line in read(tmp_path)] == [1, 2, 3, 4]


def test_without_trackers_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "accelerate.tracking", None)
    track(tmp_path / "none", range(1, 3), ())
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("missing", "name", "extra"),
    [("accelerate", "jsonl", "track"), ("tensorboard", "tensorboard", "track"), ("wandb", "wandb", "wandb")],
)
def test_a_missing_package_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, missing: str, name: str, extra: str
):
    monkeypatch.setattr(module, "find_spec", lambda package: None if package == missing else SimpleNamespace())
    with pytest.raises(MissingExtraError, match=rf"'{name}' .* pip install 'lingraft\[{extra}\]'"):
        check_trackers([name])
    check_trackers([])


def test_a_missing_package_is_told_of_before_anything_is_done(
    command, tmp_path: Path, model_folder: Path, bitext_file: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    options = ["--to", "fr", "--bitext", bitext_file, "--out", tmp_path / "out"]
    status, _, err = command("transfer", model_folder, *options, "--track", "tensorboard")
    assert status == 2
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_an_unknown_tracker_is_refused(tmp_path: Path, model_folder: Path, bitext_file: Path):
    with pytest.raises(RecipeError, match=r"training.track.*'jsonl', 'tensorboard' or 'wandb'"):
        lingraft.transfer(model_folder, to="fr", out=tmp_path / "out", bitext=bitext_file, track=["paper"])


def test_a_run_tracks_what_its_report_says(tmp_path: Path, model_folder: Path, bitext_file: Path):
    result = lingraft.transfer(
        model_folder, to="fr", out=tmp_path / "out", bitext=bitext_file, steps=4, track=["jsonl"],
        settings={"training.batch_size": 2, "training.sequence_length": 16},
    )  # fmt: skip
    lines = read(tmp_path / "out" / "track")
    history = result.run["training"]["history"]
    assert [line["step"] for line in lines] == [entry["step"] for entry in history] == [1, 2, 3, 4]
    assert [line["loss_xx"] for line in lines] == [entry["loss_xx"] for entry in history]


def test_tensorboard_reads_every_step_once(tmp_path: Path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    track(tmp_path, range(1, 6), ("tensorboard",))
    track(tmp_path, range(3, 9), ("tensorboard",))
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("loss_xx")] == list(range(1, 9))
    assert [line["step"] for line in read(tmp_path)] == list(range(1, 9))


def test_wandb_goes_on_in_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    begun, logged = [], []

    def init(**options):
        begun.append(options)
        return SimpleNamespace(log=lambda values, step: logged.append((step, values["loss_xx"])), finish=lambda: None)

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    monkeypatch.setattr(module, "find_spec", lambda _: SimpleNamespace())
    track(tmp_path, range(1, 4), ("wandb",))
    track(tmp_path, range(2, 6), ("wandb",))
    assert [step for step, _ in logged] == [1, 2, 3, 4, 5]
    assert begun[0] == begun[1]
    assert begun[0]["project"] == "lingraft"
    assert begun[0]["resume"] == "allow"
    assert begun[0]["config"] == {"batch_size": 8}
    assert len(begun[0]["id"]) == 32


def test_a_tracker_that_does_not_start_ends_the_run_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def init(**_):
        raise ValueError("no key was given")

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    monkeypatch.setattr(module, "find_spec", lambda _: SimpleNamespace())
    with pytest.raises(RunError, match="'wandb' does not start: no key was given"):
        track(tmp_path, range(1, 4), ("wandb",))
