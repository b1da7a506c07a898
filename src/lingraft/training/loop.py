"""The training loop. What is learned is the objective's business; when and how fast is `schedule`'s.

A step is a function of the weights and of its number: batches and masks come from (seed, step). The loop enqueues steps
and never waits for the device, but for the meter's line and before a checkpoint. There it reads all losses since the
last time; if one is bad (`guard`), the run goes back to its newest checkpoint and leaves that step out. So whatever
is in a checkpoint has been looked at, and everything that was decided on the way is in it too: a run that was killed
ends with the weights it would have had.
"""

from __future__ import annotations

import json
import logging
import math
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..cache import write_aside
from ..errors import StoppedError
from .checkpoint import load_checkpoint, read_tensors, restore_training, save_checkpoint, training_tensors
from .guard import Bad, Guard, read_losses
from .memory import memory_kept
from .meter import Meter, Progress
from .objectives import Objective
from .parallel import MemoryRanOutError, OneProcess
from .precision import Precision
from .schedule import Groups, Pace, Plan, Schedule, Stage, layout, steps_for_tokens, steps_in, usable
from .stopping import StopSignals
from .timing import Clock, RunClock
from .update import NOT_FINITE, Update

#: what is measured on the way, JSON-able
Measure = Callable[[], dict[str, Any]]

#: steps that were enqueued and not looked at yet, with their losses on the device
Pending = list[tuple[int, dict[str, Tensor]]]

_log = logging.getLogger("lingraft")

#: writing checkpoints takes at most one part in so many of the time
_WRITING = 20

#: share of a budget behind which no further step is timed before the first one that counts; what one sample got wrong
#: is put right on the way
_PLANNING = 0.02

#: beside the checkpoints: the micro-batch to go on with after memory ran out in one of several processes
_MICRO_BATCH = "micro-batch.json"


@dataclass
class State:
    """All of a run that is no tensor. step: how many are done. seconds: trained so far, ``planning`` of them to plan.

    flop: useful floating-point operations, by the objective's count; 0 where that is not known.
    stage_steps: by stage. history: the meter's losses. sums: of each loss since its last line, and how many they are.
    measured: what `Trainer.run` was asked to measure, with step and seconds.
    """

    plan: Plan
    pace: Pace
    micro_batch: int
    out_of_memory: int = 0
    guard: Guard = field(default_factory=Guard)
    step: int = 0
    seconds: float = 0.0
    planning: float = 0.0
    tokens: int = 0
    flop: float = 0.0
    stage_steps: dict[str, int] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    sums: dict[str, list[float]] = field(default_factory=dict)
    measured: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def from_json(cls, saved: dict[str, Any]) -> State:
        """The inverse of `dataclasses.asdict`."""
        parts = {"plan": Plan(**saved["plan"]), "pace": Pace(**saved["pace"]), "guard": Guard(**saved["guard"])}
        return cls(**{**saved, **parts})

    def told(self) -> dict[str, Any]:
        """What run.json says of a training that has come to its end, and of each of its replicas."""
        return {
            "steps": self.plan.steps, "tokens": self.tokens, "seconds": self.seconds, "micro_batch": self.micro_batch,
            "out_of_memory": self.out_of_memory, "rollbacks": self.guard.rollbacks,
            "skipped_steps": [step + 1 for step in self.guard.skipped], "updates_not_finite": self.guard.unapplied,
        }  # fmt: skip


class Trainer:
    """Runs an objective over a schedule. folder: of the checkpoints. clock: seconds from any beginning.

    groups: parameters by what rate they have. precision: of matrix products. device: where objective and parameters
    are. parallel: shares the work out between processes, which all run this; the objective must be attached to it.
    """

    def __init__(
        self, objective: Objective, groups: Groups, schedule: Schedule, precision: Precision, device: torch.device,
        folder: Path, clock: Clock = time.perf_counter, parallel: OneProcess | None = None,
    ) -> None:  # fmt: skip
        if parallel is None:
            parallel = OneProcess()
            parallel.attach(objective)
        self._parallel = parallel
        self._objective = objective
        self._groups = groups
        self._schedule = schedule
        self._precision = precision
        self._device = device
        self._folder = folder
        self._clock = clock
        self._parameters = groups.everything()
        self._renew(schedule.micro_batch)

    @property
    def parameters(self) -> dict[str, Tensor]:
        """All that is trained, tensors of any shape, by the names that checkpoints have behind ``parameter.``."""
        return self._parameters

    def _renew(self, micro_batch: int | None) -> None:
        """A fresh optimizer, and what steps it."""
        self._optimizer = self._groups.optimizer(self._schedule)
        self._update = Update(
            self._objective, self._optimizer, self._precision, self._device, self._schedule.batch_size, micro_batch,
            self._schedule.clip, self._parallel,
        )  # fmt: skip

    def run(self, on_step: Callable[[Progress], None] | None = None, measure: Measure | None = None) -> dict[str, Any]:
        """Trains to the end, from the newest checkpoint where there is one; returns what run.json says of it.

        on_step: called with every line of the meter. measure: called once the head is warm (at the very start where
        there is no fresh head) and before anything else trains, then as often as the schedule says, the last time at
        the end. It may change nothing, its time is none of the budget's, and what it gives is under ``measured``.
        RunError if the loss stays bad or memory is too small; StoppedError, with everything saved, after SIGTERM or
        SIGINT.
        """
        meter = Meter(self._objective, self._device, self._precision, self._parallel.processes.size)
        with StopSignals() as signals, memory_kept(self._device):
            try:
                state = self._restored() or self._planned()
                state = self._train(state, meter, signals, on_step, measure)
            except MemoryRanOutError as error:
                self._folder.mkdir(parents=True, exist_ok=True)
                write_aside(self._folder / _MICRO_BATCH, json.dumps(error.micro_batch))
                raise
            # everything is saved by now, and a signal that came since the last step counts
            self._parallel.decide(signals.received, False)
        self._groups.only("all")
        plan = state.plan
        asked = self._parallel.asked
        if asked is not None:
            done = f"step {state.step:,} of {plan.steps:,}"
            raise StoppedError(f"Stopped by {signal.Signals(asked).name} after {done}, with everything saved.", asked)
        self._parallel.publish()
        if measure and self._parallel.leads:
            state.measured.append(_point(state.step, state.seconds, measure))
        return {
            **state.told(), "head_steps": plan.embeddings_from,
            "embedding_steps": state.stage_steps.get("embeddings", 0),
            "flop": state.flop or None, "planning_seconds": state.planning,
            "machine_peak_flops": meter.peak, "history": state.history, "measured": state.measured,
        }  # fmt: skip

    def _train(
        self, state: State, meter: Meter, signals: StopSignals, on_step: Callable[[Progress], None] | None,
        measure: Measure | None,
    ) -> State:  # fmt: skip
        schedule, clock, parallel = self._schedule, RunClock(state.seconds, self._clock), self._parallel
        stage: Stage | None = None
        pending: Pending = []
        saved, writing = clock(), 0.0
        meter.restart(saved)
        parallel.decide(signals.received, False)
        while state.step < state.plan.steps and parallel.asked is None:
            if measure and not state.measured and state.step == state.plan.embeddings_from:
                self._measure(state, clock, measure)
            if state.plan.stage(state.step) != stage:
                stage = state.plan.stage(state.step)
                self._begin(stage)
            self._step(state, stage, pending, meter)

            late = schedule.seconds is not None and clock() >= schedule.seconds
            due = clock() - saved >= max(schedule.checkpoint_seconds, _WRITING * writing)
            saving = parallel.decide(signals.received, due or late)
            measuring = measure and state.plan.due(state.step, len(state.measured), schedule.evaluations)
            if not saving and not measuring and state.step % state.plan.interval and state.step < state.plan.steps:
                continue
            bad = self._look(state, pending)
            if bad is not None:
                state, stage = self._rolled_back(state, bad), None
                state.pace.since = clock()
                meter.restart(clock())
                continue
            if saving and schedule.seconds is not None:
                state.pace.correct(clock())
                left = usable(schedule, schedule.seconds - clock(), clock() - saved, writing)
                state.plan.fit(state.step, left, state.pace.cost)
                state.plan, state.pace = parallel.agree((state.plan, state.pace))
            last = state.step == state.plan.steps
            if last or state.step % state.plan.interval == 0:
                line = meter.line(state.step, state.plan, stage, _means(state), self._rate(stage), clock())
                state.history.append(line.entry())
                state.sums = {}
                if on_step:
                    on_step(line)
            if measure and measuring and not last:
                self._measure(state, clock, measure)
            if saving or last:
                state.seconds = before = clock()
                self._save(state)
                saved = clock()
                writing = saved - before if schedule.checkpoint_seconds else 0.0
        return state

    def _begin(self, stage: Stage) -> None:
        """Has the parameters of a stage train, and no others."""
        self._groups.only(stage)
        self._parallel.new_stage()

    def _measure(self, state: State, clock: RunClock, measure: Measure) -> None:
        """Has the leader measure the models as they are now, while the others and the clock wait."""
        with clock.stopped():  # the budget is for training
            self._parallel.publish()
            if self._parallel.leads:
                state.measured.append(_point(state.step, clock(), measure))
            state.measured = self._parallel.agree(state.measured)
            self._parallel.withdraw()

    def _step(self, state: State, stage: Stage, pending: Pending, meter: Meter) -> None:
        """Enqueues the next step, unless the guard has it left out."""
        state.plan.set_rates(self._optimizer, state.step, self._schedule.warmup_share, self._schedule.decay)
        if state.step not in state.guard.skipped:
            both = stage != "embeddings"
            pending.append((state.step, self._update(state.step, both)))
            tokens = self._objective.tokens(state.step, both)
            state.tokens += tokens
            flop = self._objective.flop(state.step, both)
            state.flop += flop
            meter.count(tokens, flop)
            state.pace.count(stage)
        state.stage_steps[stage] = state.stage_steps.get(stage, 0) + 1
        state.step += 1

    def _rate(self, stage: Stage) -> float:
        """The learning rate of the parameters a stage is named after."""
        return next((float(group["lr"]) for group in self._optimizer.param_groups if group["part"] == stage), 0.0)

    def _look(self, state: State, pending: Pending) -> Bad | None:
        """Waits for the device and takes in the losses of the steps since the last time; gives the first bad one."""
        readings = self._parallel.total(read_losses(pending))
        pending.clear()
        bad = state.guard.judge(readings)
        for _, losses in readings:
            for name, value in losses.items():
                before, steps = state.sums.get(name, (0.0, 0))
                state.sums[name] = [before + value, steps + 1]
        return bad

    def _rolled_back(self, state: State, bad: Bad) -> State:
        """The run as it was at its newest checkpoint, with the bad step to be left out."""
        state.guard.skip(bad, self._schedule.max_rollbacks)
        restored = self._restored()
        if restored is None:
            raise ValueError("a run has a checkpoint before its first step")
        restored.guard.skipped, restored.guard.rollbacks = state.guard.skipped, state.guard.rollbacks
        _log.warning("%s: going back to step %d, and without that batch from there.", bad, restored.step)
        return restored

    def _save(self, state: State) -> None:
        state.micro_batch, state.out_of_memory = self._update.micro_batch, self._update.out_of_memory
        tensors = training_tensors(self._parameters, self._optimizer, self._parallel.whole)
        if self._update.loss_scale:
            tensors |= self._update.loss_scale.tensors()
        if self._parallel.leads:
            save_checkpoint(self._folder, state.step, tensors, asdict(state), self._schedule.checkpoints_kept)

    def _restored(self) -> State | None:
        """The state of the newest checkpoint, its tensors put back; None without one."""
        checkpoint = load_checkpoint(self._folder) if self._parallel.leads else None
        found = self._parallel.agree((checkpoint.step, checkpoint.state) if checkpoint else None)
        if found is None:
            return None
        step, saved = found
        tensors = checkpoint.tensors if checkpoint else read_tensors(self._folder, step)
        restore_training(tensors, self._parameters, self._optimizer, self._parallel.share)
        if self._update.loss_scale:
            self._update.loss_scale.restore(tensors)
        state = State.from_json(saved)
        smaller = self._noted()
        if smaller is not None and smaller < state.micro_batch:
            state.micro_batch, state.out_of_memory = smaller, state.out_of_memory + 1
        self._update.micro_batch, self._update.out_of_memory = state.micro_batch, state.out_of_memory
        return state

    def _noted(self) -> int | None:
        """The micro-batch to go on with after memory ran out in one of several processes."""
        note = self._folder / _MICRO_BATCH
        noted = note.is_file() and self._parallel.leads
        return self._parallel.agree(int(json.loads(note.read_text(encoding="utf-8"))) if noted else None)

    def _planned(self) -> State:
        """The state in front of the first step, saved."""
        schedule, began = self._schedule, self._clock()
        cost: dict[str, float] = {}
        smaller = self._noted()
        if smaller is not None and smaller < self._update.micro_batch:
            self._update.micro_batch = smaller
            self._update.out_of_memory += 1
        if schedule.steps is not None:
            steps = schedule.steps
        elif schedule.tokens is not None:
            steps = steps_for_tokens(schedule, self._objective)
        elif schedule.seconds is not None:
            cost = self._timed(at_most=_PLANNING * schedule.seconds)
            left = usable(schedule, schedule.seconds - (self._clock() - began), 0.0)
            steps = steps_in(schedule, left, cost)
        else:
            raise ValueError("a schedule needs steps, tokens or seconds")
        planning = self._clock() - began
        plan = layout(schedule, bool(self._groups.head), steps)
        state = State(plan, Pace(cost, since=planning), self._update.micro_batch, seconds=planning, planning=planning)
        state = self._parallel.agree(state)
        self._save(state)
        return state

    def rehearsed(self, samples: int = 2) -> tuple[dict[str, float], dict[str, int]]:
        """What a run would take: seconds per step of each stage, measured, and the number of its steps.

        No parameter moves and nothing is written. With a time budget the steps are those that fit.
        """
        schedule = self._schedule
        with memory_kept(self._device):
            cost = self._timed(samples)
        steps = schedule.steps
        if steps is None and schedule.tokens is not None:
            steps = steps_for_tokens(schedule, self._objective)
        if steps is None:
            steps = steps_in(schedule, schedule.seconds or 0.0, cost)
        plan = layout(schedule, bool(self._groups.head), steps)
        number = {
            "head": plan.embeddings_from, "embeddings": plan.all_from - plan.embeddings_from,
            "all": plan.planned - plan.all_from,
        }  # fmt: skip
        return cost, {stage: number[stage] for stage in cost}

    def _timed(self, samples: int = 4, at_most: float = math.inf) -> dict[str, float]:
        """Seconds per step of each stage the run has, measured with a rate of zero, so that no parameter moves.

        at_most: seconds a stage; behind them no further sample is taken. One is, whatever it takes.
        """
        share = self._schedule.embeddings_share
        has: dict[Stage, bool] = {"head": bool(self._groups.head), "embeddings": share > 0, "all": share < 1}
        cost = {}
        for stage in (stage for stage, there in has.items() if there):
            self._begin(stage)
            before = self._clock()
            for sample in range(samples + 1):
                if sample == 1:  # the first step of a kind is slower than the others
                    began = self._clock()
                read_losses([(sample, self._update(sample, stage != "embeddings"))])
                if sample and self._parallel.agree(self._clock() - before > at_most):
                    break
            cost[stage] = (self._clock() - began) / sample
        self._renew(self._update.micro_batch)
        return {str(stage): seconds for stage, seconds in cost.items()}


def _point(step: int, seconds: float, measure: Measure) -> dict[str, Any]:
    return {"step": step, "seconds": round(seconds, 3), **measure()}


def _means(state: State) -> dict[str, float]:
    return {name: total / steps for name, (total, steps) in state.sums.items() if name != NOT_FINITE}
