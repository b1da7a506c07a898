from __future__ import annotations

import json
import logging
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import toy
from lingraft.errors import RunError
from lingraft.training import guard as module
from lingraft.training.checkpoint import save_checkpoint
from lingraft.training.guard import Guard, read_losses
from lingraft.training.update import NOT_FINITE
from toy import KillError, ToyObjective, same


def feed(guard: Guard, values: list[float], name: str = "loss_xx", first: int = 0):
    return guard.judge((first + k, {name: value}) for k, value in enumerate(values))


def noise(count: int, mean: float, spread: float, seed: int = 0) -> list[float]:
    return (mean + spread * np.random.default_rng(seed).standard_normal(count)).tolist()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_finite_number_is_bad_from_the_first_step_on(value: float):
    bad = feed(Guard(), [1.0, value])
    assert bad is not None
    assert (bad.step, bad.name) == (1, "loss_xx")


def test_the_limit_is_twice_what_is_usual():
    guard = Guard()
    values = noise(70, 4.0, 0.3)
    assert feed(guard, values) is None
    logarithms = np.log(values)
    spread = 1.4826 * np.median(np.abs(logarithms - np.median(logarithms)))
    limit = 2 * np.median(values) * np.exp(6 * spread)
    assert guard.limit("loss_xx") == pytest.approx(limit, rel=1e-3)
    assert 10 < limit < 15
    assert feed(guard, [limit * 1.01]) is not None
    assert feed(guard, [limit * 0.99]) is None


def test_only_the_last_hundred_count():
    guard = Guard()
    feed(guard, [1000.0] * 50)
    feed(guard, noise(100, 2.0, 0.1))
    assert guard.limit("loss_xx") < 6
    assert len(guard.recent["loss_xx"]) == 100


def test_the_first_steps_may_do_what_they_like():
    assert feed(Guard(), [2.0] * 19 + [1e6]) is None
    assert feed(Guard(), [2.0] * 20 + [1e6]) is not None


def test_a_language_that_comes_later_has_its_own_history():
    guard = Guard()
    feed(guard, [0.1] * 60)
    assert guard.judge([(60, {"loss_xx": 0.1, "loss_en": 9.0})]) is None


def test_a_cosine_may_rise_as_it_likes_but_has_to_be_a_number():
    assert feed(Guard(), [0.01] * 60 + [0.9], "cosine_xx") is None
    assert feed(Guard(), [0.01] * 60 + [math.nan], "cosine_xx") is not None


def test_losses_of_any_name_are_judged():
    assert feed(Guard(), [1.0] * 60 + [50.0], "tlm_xx") is not None


def test_a_loss_of_next_to_nothing_may_grow():
    assert feed(Guard(), [1e-6] * 40 + [0.09]) is None
    assert feed(Guard(), [0.0] * 40 + [0.11]) is not None


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 10), st.floats(0.001, 1.0))
def test_a_noisy_loss_that_falls_is_never_bad(seed: int, level: float, relative: float):
    random = np.random.default_rng(seed)
    curve = level * (0.2 + np.exp(-np.arange(300) / 50))
    values = curve * np.exp(relative * random.standard_normal(300))
    assert feed(Guard(), values.tolist()) is None


def test_judging_at_once_or_bit_by_bit_is_the_same():
    values = [*noise(90, 3.0, 0.2), 40.0, 3.0]
    at_once, bit_by_bit = Guard(), Guard()
    expected = feed(at_once, values)
    found = [feed(bit_by_bit, [value], first=k) for k, value in enumerate(values[:91])]
    assert found[-1] == expected
    assert found[:-1] == [None] * 90
    assert at_once == bit_by_bit


def test_the_guard_survives_json_to_the_last_bit():
    guard = Guard()
    feed(guard, noise(30, 1 / 3, 1e-7))
    assert Guard(**json.loads(json.dumps(vars(guard)))) == guard


def test_gradients_that_are_never_finite_end_the_run():
    guard = Guard()
    fine, left_out = {"loss_xx": 1.0, NOT_FINITE: 0.0}, {"loss_xx": 1.0, NOT_FINITE: 1.0}
    assert guard.judge(enumerate([left_out] * 19 + [fine] + [left_out] * 19)) is None
    assert guard.unapplied == 38
    with pytest.raises(RunError, match="20 steps in a row, the last of them step 40"):
        guard.judge([(39, left_out)])


def test_losses_are_read_in_their_order():
    pending = [(3, {"a": torch.tensor(1.5), "b": torch.tensor(2.0, dtype=torch.float64)}), (4, {}),
               (5, {"b": torch.tensor([7.0])})]  # fmt: skip
    assert read_losses(pending) == [(3, {"a": 1.5, "b": 2.0}), (4, {}), (5, {"b": 7.0})]
    assert read_losses([]) == []


class Spoil:
    """Spoils the loss of some steps, and counts how often they are run."""

    def __init__(self, *steps: int, factor: float = math.nan) -> None:
        self.steps = steps
        self.factor = factor
        self.runs = 0

    def __call__(self, step: int, loss: torch.Tensor) -> torch.Tensor:
        if step in self.steps:
            self.runs += 1
            return loss * self.factor
        return loss


def run(folder: Path, objective: ToyObjective, **changes) -> tuple[dict, dict]:
    report = toy.trainer(objective, folder, **changes).run()
    return objective.weights(), report


@pytest.mark.parametrize("factor", [math.nan, math.inf, 1e6])
@pytest.mark.parametrize("checkpoint_seconds", [0.0, 3600.0])
def test_a_bad_step_is_left_out(
    tmp_path: Path, factor: float, checkpoint_seconds: float, monkeypatch: pytest.MonkeyPatch
):
    """The same as a run that never had that step, wherever its checkpoints are, and whenever the losses are read."""
    spoil = Spoil(26, factor=factor)
    weights, report = run(
        tmp_path / "spoiled", ToyObjective(spoil=spoil), steps=40, embeddings_share=0.0,
        checkpoint_seconds=checkpoint_seconds,
    )  # fmt: skip
    assert spoil.runs == 2  # both languages, once
    assert (report["rollbacks"], report["skipped_steps"]) == (1, [27])
    without = ToyObjective()
    trainer = toy.trainer(without, tmp_path / "without", steps=40, embeddings_share=0.0)
    original = trainer._planned

    def planned():
        state = original()
        state.guard.skipped = [26]
        return state

    monkeypatch.setattr(trainer, "_planned", planned)
    expected = trainer.run()
    assert same(weights, without.weights())
    assert report["tokens"] == expected["tokens"] == 39 * 16
    assert len(report["history"]) == 40


def test_a_checkpoint_is_never_written_behind_a_bad_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    saved: list[int] = []

    def save(folder, step, tensors, *rest):
        assert all(tensor.isfinite().all() for tensor in tensors.values())
        saved.append(step)
        save_checkpoint(folder, step, tensors, *rest)

    monkeypatch.setattr("lingraft.training.loop.save_checkpoint", save)
    run(tmp_path, ToyObjective(spoil=Spoil(7, 8, factor=1e6)), steps=20)
    assert saved == list(range(21))
    run(tmp_path / "late", ToyObjective(spoil=Spoil(25, factor=math.inf)), steps=40)
    assert saved[21:] == list(range(41))


def test_several_bad_steps_and_a_kill_in_between(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    keys = {"steps": 40, "embeddings_share": 0.0}
    with caplog.at_level(logging.WARNING, "lingraft"):
        whole, expected = run(tmp_path / "whole", ToyObjective(spoil=Spoil(3, 11, 30)), **keys)
    assert "loss_xx was nan at step 12: going back to step 11" in caplog.text
    assert expected["skipped_steps"] == [4, 12, 31]
    for kill_at in (4, 11, 12, 35):

        def kill(step: int, *_: int, kill_at: int = kill_at) -> None:
            if step == kill_at:
                raise KillError

        with pytest.raises(KillError):
            run(tmp_path / "killed", ToyObjective(spoil=Spoil(3, 11, 30), before=kill), **keys)
    spoil = Spoil(3, 11, 30)
    resumed, report = run(tmp_path / "killed", ToyObjective(spoil=spoil), **keys)
    assert same(whole, resumed)
    assert report["skipped_steps"] == expected["skipped_steps"]
    assert spoil.runs == 0  # what was skipped before the kill is skipped after it


def test_after_a_few_times_the_run_stops_and_says_why(tmp_path: Path):
    with pytest.raises(RunError, match=r"loss_xx was nan at step 8\. Before that, step 5, 6, 7 had been") as caught:
        run(tmp_path, ToyObjective(spoil=Spoil(4, 5, 6, 7, 8)), steps=20)
    assert "training.learning_rate" in str(caught.value)
    with pytest.raises(RunError, match=r"at step 2\. Lower"):
        run(tmp_path / "none", ToyObjective(spoil=Spoil(1)), steps=20, max_rollbacks=0)


def test_an_explosion_names_what_is_usual(tmp_path: Path):
    with pytest.raises(RunError, match=r"loss_xx was .*e\+\d+ at step 31, where up to [\d.]+ is usual"):
        run(tmp_path, ToyObjective(spoil=Spoil(30, factor=1e6)), steps=40, max_rollbacks=0)


def test_a_gradient_that_is_not_finite_moves_nothing(tmp_path: Path):
    """The loss is finite and so is every weight after it; the run says that an update was left out."""

    class Hidden(torch.autograd.Function):
        @staticmethod
        def forward(_, loss):
            return loss.clone()

        @staticmethod
        def backward(_, gradient):
            return gradient * math.nan

    def spoil(step: int, loss: torch.Tensor) -> torch.Tensor:
        return Hidden.apply(loss) if step in (5, 9) else loss

    weights, report = run(tmp_path, ToyObjective(spoil=spoil), steps=20)
    assert report["updates_not_finite"] == 2
    assert report["rollbacks"] == 0
    assert all(value.isfinite().all() for value in weights.values())


def test_the_loop_waits_for_the_device_at_lines_and_checkpoints_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    reads = []
    monkeypatch.setattr(
        "lingraft.training.loop.read_losses", lambda pending: reads.append(len(pending)) or module.read_losses(pending)
    )
    run(tmp_path, ToyObjective(), steps=500, checkpoint_seconds=3600.0)
    assert reads == [5] * 100
