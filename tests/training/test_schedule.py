from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import toy
from lingraft.training.schedule import Pace, Plan, layout, steps_in, usable
from toy import KillError, TickingClock, ToyObjective, same


def test_the_plan_names_the_stage_of_every_step():
    plan = Plan(embeddings_from=2, all_from=5, planned=7)
    assert [plan.stage(k) for k in range(7)] == ["head"] * 2 + ["embeddings"] * 3 + ["all"] * 2


def test_rates_rise_and_fall_linearly():
    objective = ToyObjective()
    optimizer = objective.groups().optimizer(toy.schedule())
    plan = Plan(0, 40, 100)
    rates = {"embeddings": [], "all": []}
    for step in range(100):
        plan.set_rates(optimizer, step, 0.1)
        for group in optimizer.param_groups:
            rates[group["part"]].append(group["lr"] / group["peak"])
    assert rates["embeddings"][:10] == pytest.approx([(k + 1) / 10 * (1 - k / 100) for k in range(10)])
    assert rates["embeddings"][10:] == pytest.approx([1 - k / 100 for k in range(10, 100)])
    body = rates["all"][::2]  # its matrices and its vectors
    assert body[40:50] == pytest.approx([(k - 39) / 10 * (1 - k / 100) for k in range(40, 50)])
    assert body[50:] == pytest.approx([1 - k / 100 for k in range(50, 100)])


@given(
    st.integers(1, 500), st.floats(0, 1), st.integers(0, 20),
    st.lists(st.tuples(st.floats(0, 1), st.floats(0.1, 4.0)), max_size=6),
)  # fmt: skip
def test_however_often_the_end_moves_positions_never_jump(steps: int, share: float, head: int, looks):
    """looks: where in the rest of the run, and how much more or less time is left than the plan needs."""
    plan = layout(toy.schedule(embeddings_share=share, head_steps=head), head > 0, steps)
    cost = {"embeddings": 1.0, "all": 2.0}
    step = 0
    for where, factor in sorted(looks):
        step += int(where * (plan.steps - step))
        if step >= plan.steps:
            break
        before = plan.position(step)
        need = max(0.0, plan.all_from - before) + 2 * (plan.planned - max(plan.all_from, before))
        plan.fit(step, factor * need, cost)
        assert plan.position(step) == pytest.approx(before, abs=1e-9)
        if plan.steps > plan.embeddings_from + 1 and before >= plan.embeddings_from:
            assert abs(plan.steps - step - factor * (plan.planned - before)) <= 1
    assert plan.steps > plan.embeddings_from or not plan.embeddings_from
    if plan.steps > step:
        assert plan.position(plan.steps) == pytest.approx(plan.planned)
        positions = [plan.position(k) for k in range(step, plan.steps)]
        assert all(0 <= a < b for a, b in pairwise(positions))


def test_a_run_that_knows_its_steps_stands_where_it_counts():
    plan = Plan(3, 50, 997)
    assert [plan.position(step) for step in range(998)] == list(range(998))


def test_steps_for_a_time():
    schedule = toy.schedule(embeddings_share=0.25, head_steps=10)
    assert steps_in(schedule, 100.0, {"embeddings": 1.0, "all": 2.0}) == int(100 / 1.75)
    assert steps_in(schedule, 100.0, {"head": 1.0, "embeddings": 1.0, "all": 2.0}) == 10 + int(90 / 1.75)
    assert steps_in(schedule, 20.0, {"head": 1.0, "embeddings": 1.0, "all": 2.0}) == 5 + int(15 / 1.75)
    assert steps_in(toy.schedule(embeddings_share=1.0), 0.1, {"embeddings": 1.0}) == 1


def test_the_pace_takes_over_what_steps_really_took():
    pace = Pace({"embeddings": 1.0, "all": 2.0}, since=5.0)
    for _ in range(4):
        pace.count("all")
    pace.correct(17.0)
    assert pace.cost == {"embeddings": 1.5, "all": 3.0}
    pace.correct(40.0)  # no step since
    assert (pace.cost["all"], pace.since) == (3.0, 40.0)


def test_the_reserve_is_for_what_cannot_be_seen():
    assert usable(toy.schedule(checkpoint_seconds=30.0), 1000.0, 0.0, 5.0) == pytest.approx(1000 - 5 - 0.08 * 30)
    assert usable(toy.schedule(checkpoint_seconds=30.0), 10.0, 0.0) == pytest.approx(9.2)


class Machine:
    """A clock that moves on in every forward pass, at a pace that may change."""

    def __init__(self, pace) -> None:
        self.clock = TickingClock()
        self.began = self.clock.now
        self.pace = pace

    def before(self, step: int, *_: int) -> None:
        self.clock.now += self.pace(self.clock.now - self.began)

    def objective(self) -> ToyObjective:
        return ToyObjective(batch_size=2, before=self.before)


@pytest.fixture
def unwritten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints cost nothing: only the clock above counts."""
    monkeypatch.setattr("lingraft.training.loop.save_checkpoint", lambda *_: None)


PACES = {
    "steady": lambda _: 1.0,
    "soon twice as fast": lambda now: 1.0 if now < 20 else 0.5,
    "late twice as fast": lambda now: 1.0 if now < 300 else 0.5,
    "soon half as fast": lambda now: 1.0 if now < 20 else 2.0,
    "late half as fast": lambda now: 1.0 if now < 500 else 2.0,
    "to and fro": lambda now: 0.6 if int(now / 40) % 2 else 1.2,
}


@pytest.mark.parametrize("pace", PACES)
def test_a_budget_is_used_and_kept(tmp_path: Path, pace: str, unwritten: None):
    machine = Machine(PACES[pace])
    trainer = toy.trainer(
        machine.objective(), tmp_path, clock=machine.clock, seconds=600.0, checkpoint_seconds=10.0, embeddings_share=0.3
    )
    rates: list[list[float]] = []

    def on_line(_) -> None:
        rates.append([group["lr"] / group["peak"] for group in trainer._optimizer.param_groups])

    report = trainer.run(on_line)
    assert 0.97 * 600 < machine.clock.now - machine.began <= 600
    assert report["history"][-1]["step"] == report["steps"] == sum(report_stage(report))
    # a line is a hundredth of the run or a tenth of the warm-up, or twice that where it goes twice as fast
    for series in zip(*rates, strict=True):
        assert max(abs(a - b) for a, b in pairwise(series)) < 0.25
        assert series[-1] < 0.02
    # the encoder joins after about the same share of the run, however its steps turned out
    assert report["embedding_steps"] / report["steps"] == pytest.approx(0.3, abs=0.15)


@pytest.mark.parametrize(("pace", "samples"), [(1.0, 4), (5.0, 2), (20.0, 1)])
def test_slow_steps_are_timed_few_times(tmp_path: Path, pace: float, samples: int, unwritten: None):
    machine = Machine(lambda _: pace)
    trainer = toy.trainer(
        machine.objective(), tmp_path, clock=machine.clock, seconds=600.0, checkpoint_seconds=30.0, embeddings_share=0.0
    )
    report = trainer.run()
    assert report["planning_seconds"] == pytest.approx((1 + samples) * pace)
    assert report["seconds"] <= 600
    assert report["steps"] >= 0.93 * (600 / pace - 1 - samples)


def report_stage(report: dict) -> tuple[int, int]:
    return report["embedding_steps"], report["steps"] - report["embedding_steps"]


def test_a_machine_that_stalls_near_the_end_stops_at_the_budget(tmp_path: Path, unwritten: None):
    machine = Machine(lambda now: 0.5 if now < 590 else 4.0)
    trainer = toy.trainer(machine.objective(), tmp_path, clock=machine.clock, seconds=600.0, checkpoint_seconds=30.0)
    trainer.run()
    assert machine.clock.now - machine.began <= 604


def test_a_budget_that_was_killed_ends_as_it_would_have(tmp_path: Path):
    """Same weights and steps: every change of the plan is in a checkpoint, and time goes on from there."""

    def run(folder: Path, machine: Machine, kill_at: float | None = None) -> tuple[dict, dict]:
        objective = machine.objective()
        inner = objective.before

        def before(step: int, *rest: int) -> None:
            if kill_at is not None and machine.clock.now - machine.began > kill_at:
                raise KillError
            inner(step, *rest)

        objective.before = before
        report = toy.trainer(objective, folder, clock=machine.clock, seconds=60.0, checkpoint_seconds=5.0).run()
        return objective.weights(), report

    def fresh() -> Machine:
        return Machine(lambda now: 0.5 if now < 25 else 0.2)

    whole, expected = run(tmp_path / "whole", fresh())
    for kill_at in (12.0, 33.0):
        machine = fresh()
        with pytest.raises(KillError):
            run(tmp_path / f"killed{kill_at}", machine, kill_at)
        # the clock of the run goes on where its newest checkpoint was, and so does the machine's pace
        from lingraft.training.checkpoint import load_checkpoint

        spent = load_checkpoint(tmp_path / f"killed{kill_at}").state["seconds"]
        again = fresh()
        again.clock.now = again.began + spent
        resumed, report = run(tmp_path / f"killed{kill_at}", again)
        assert report["steps"] == expected["steps"]
        assert same(whole, resumed)


def test_timing_moves_neither_weights_nor_the_optimizer(tmp_path: Path):
    objective = ToyObjective()
    trainer = toy.trainer(objective, tmp_path, seconds=5.0)
    before = objective.weights()
    trainer._planned()
    assert same(before, objective.weights())
    assert not trainer._optimizer.state


def test_tokens_set_the_number_of_steps(tmp_path: Path):
    report = toy.trainer(ToyObjective(), tmp_path, tokens=1000, embeddings_share=0.5).run()
    assert report["steps"] == -(-1000 // 12)
    assert report["tokens"] >= 1000 - 8
    assert torch.is_grad_enabled()


def test_rates_can_fall_with_the_square_root_of_the_step():
    optimizer = ToyObjective().groups().optimizer(toy.schedule())
    plan = Plan(0, 0, 1000)
    rates = []
    for step in range(1000):
        plan.set_rates(optimizer, step, 0.01, "inverse_sqrt")
        rates.append(optimizer.param_groups[0]["lr"] / optimizer.param_groups[0]["peak"])
    assert rates[:10] == pytest.approx([(k + 1) / 10 for k in range(10)])
    assert rates[10:] == pytest.approx([(10 / (k + 1)) ** 0.5 for k in range(10, 1000)])
