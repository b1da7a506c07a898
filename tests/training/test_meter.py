from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch

import toy
from lingraft.machine import device_memory_mb, matrix_rate, peak_memory_mb
from lingraft.training import meter as module
from lingraft.training.meter import Progress
from lingraft.training.timing import RunClock, Stopwatch
from toy import TickingClock, ToyObjective

CPU = torch.device("cpu")


def lines(folder: Path, objective: ToyObjective, clock: TickingClock | None = None, **changes) -> list[Progress]:
    seen: list[Progress] = []
    toy.trainer(objective, folder, clock=clock, **changes).run(seen.append)
    return seen


def test_a_line_holds_the_means_since_the_line_before(tmp_path: Path):
    seen: dict[str, list[float]] = {"loss_xx": [], "loss_en": []}

    class Seen(ToyObjective):
        def loss(self, *arguments):
            loss, losses = super().loss(*arguments)
            for name, value in losses.items():
                seen[name].append(value.item())
            return loss, losses

    keys = {"steps": 900, "checkpoint_seconds": 3600.0, "embeddings_share": 0.5}
    some = lines(tmp_path, Seen(), **keys)
    assert [line.step for line in some] == list(range(9, 901, 9))
    assert [line.losses["loss_xx"] for line in some] == pytest.approx(np.reshape(seen["loss_xx"], (100, 9)).mean(1))
    assert [line.losses["loss_en"] for line in some[50:]] == pytest.approx(np.reshape(seen["loss_en"], (50, 9)).mean(1))
    assert "loss_en" not in some[49].losses


def test_checkpoints_in_between_change_no_mean(tmp_path: Path):
    keys = {"steps": 250, "embeddings_share": 0.0}
    clock = TickingClock()

    def tick(*_: int) -> None:
        clock.now += 1

    rare = lines(tmp_path / "rare", ToyObjective(), checkpoint_seconds=3600.0, **keys)
    often = lines(tmp_path / "often", ToyObjective(before=tick), clock, checkpoint_seconds=7.0, **keys)
    assert [line.losses for line in rare] == [line.losses for line in often]


def test_rates_and_shares_are_those_of_a_clock_that_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "matrix_rate", lambda *_: 1000.0)
    clock = TickingClock()

    class Timed(ToyObjective):
        def loss(self, *arguments):
            with self.waiting:
                clock.now += 0.5
            clock.now += 1.5
            return super().loss(*arguments)

        def flop(self, step: int, both: bool) -> float:
            return self.tokens(step, both) * (30.0 if both else 10.0)

    objective = Timed()
    objective.waiting = Stopwatch(clock=clock)
    seen = lines(tmp_path, objective, clock, steps=20, embeddings_share=0.5, checkpoint_seconds=3600.0)
    assert {line.tokens_per_second for line in seen[:10]} == {4.0}
    assert {line.tokens_per_second for line in seen[10:]} == {8.0}
    assert {line.waiting_share for line in seen} == {0.25}
    assert [line.peak_share for line in seen[:10]] == pytest.approx([4 * 10 / 1000] * 10)
    assert [line.peak_share for line in seen[10:]] == pytest.approx([8 * 30 / 1000] * 10)
    assert [line.seconds for line in seen] == [2.0 * (k + 1) for k in range(20)]
    assert [line.seconds_to_go for line in seen] == [2.0 * (19 - k) for k in range(20)]
    assert all(line.memory_mb and line.memory_mb > 50 for line in seen)
    assert seen[4].learning_rate == pytest.approx(2e-2 * (1 - 4 / 20))
    assert seen[14].learning_rate == pytest.approx(1e-2 * (1 - 14 / 20))


def test_what_is_not_known_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "matrix_rate", lambda *_: pytest.fail("the machine was measured for nothing"))
    line = lines(tmp_path, ToyObjective(), steps=3)[-1]
    assert line.peak_share is None
    assert "peak" not in str(line)
    assert "peak_share" not in line.values()


def test_the_line_is_one_line():
    losses = {"loss_xx": 2.5, "loss_en": 1.25}
    line = Progress(1200, 120_000, "all", losses, 9.9e-5, 20_480.4, 60.0, 5940.4, 0.012, 0.554, 6100)
    assert str(line) == (
        "all 1,200/120,000  loss_xx 2.500  loss_en 1.250  lr 9.90e-05  20,480 tok/s  55.4 % of peak  data 1.2 %  "
        "6,100 MB  1:39:00 to go"
    )
    assert line.entry() == {
        "step": 1200, "stage": "all", "seconds": 60.0, "learning_rate": 9.9e-5, "loss_xx": 2.5, "loss_en": 1.25,
    }  # fmt: skip
    assert line.values().keys() == {
        "loss_xx", "loss_en", "steps", "learning_rate", "tokens_per_second", "seconds", "seconds_to_go", "peak_share",
        "waiting_share", "memory_mb",
    }  # fmt: skip


def test_the_machines_peak_is_a_rate_of_products():
    began = time.perf_counter()
    rate = matrix_rate(CPU, torch.float32, 0.2)
    assert time.perf_counter() - began < 2
    square = torch.randn(512, 512)
    began = time.perf_counter()
    for _ in range(4):
        square @ square
    once = 4 * 2 * 512**3 / (time.perf_counter() - began)
    assert rate > 0.3 * once
    assert rate < 1e15


def test_measuring_the_machine_leaves_the_random_state_alone():
    before = torch.get_rng_state()
    matrix_rate(CPU, torch.float32, 0.0)
    assert torch.equal(before, torch.get_rng_state())


def test_memory_is_that_of_this_process():
    mb = peak_memory_mb()
    assert mb is not None
    assert device_memory_mb(CPU) >= mb
    assert 50 < mb < 1_000_000


def test_a_clock_that_is_stopped_stands_still():
    ticking = TickingClock()
    clock = RunClock(7.0, ticking)
    ticking.now += 2
    with clock.stopped():
        ticking.now += 50
    ticking.now += 1
    assert clock() == 10.0
