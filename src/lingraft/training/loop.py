"""The training loop: stages, schedule, time budget, checkpoints. What is learned is the objective's business.

Stages in order: ``head`` (a fresh head alone, where there is one), ``embeddings`` (the new vocabulary alone, the rest
frozen), ``all``. The learning rate of each group of parameters rises linearly, then falls linearly to zero at the last
step. With a time budget the number of steps is set by timing a few steps of every stage first, and only ever lowered
afterwards; every decision is in the checkpoint, so a run that was killed ends with the weights it would have had.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ..errors import RunError
from .checkpoint import load_checkpoint, save_checkpoint
from .objectives import Objective
from .precision import Precision, autocast

Stage = Literal["head", "embeddings", "all"]

#: share of a time budget that is planned for; the rest pays for checkpoints and slow moments
_PLANNED_SHARE = 0.92


@dataclass(frozen=True)
class Schedule:
    """How long and how fast; learning rates are peaks, shares are of the steps of the stage or run they speak of."""

    steps: int | None
    tokens: int | None
    seconds: float | None
    head_steps: int
    embeddings_share: float
    warmup_share: float
    learning_rate: float
    embedding_learning_rate: float
    head_learning_rate: float
    weight_decay: float
    checkpoint_seconds: float


@dataclass
class Groups:
    """Named parameters by when and how fast they train. body: the shared encoder. head: a fresh head, or empty."""

    new_vocabulary: dict[str, Tensor]
    english_vocabulary: dict[str, Tensor]
    body: dict[str, Tensor]
    head: dict[str, Tensor] = field(default_factory=dict)

    def of(self, stage: Stage) -> dict[str, Tensor]:
        """The parameters that train in a stage."""
        if stage == "head":
            return self.head
        if stage == "embeddings":
            return self.new_vocabulary | self.head
        return self.everything()

    def everything(self) -> dict[str, Tensor]:
        """All parameters, each once."""
        return self.new_vocabulary | self.english_vocabulary | self.body | self.head


@dataclass
class Plan:
    """First steps of the stages ``embeddings`` and ``all``, and the number of steps in all."""

    embeddings_from: int
    all_from: int
    steps: int

    def stage(self, step: int) -> Stage:
        """The stage a step belongs to."""
        return "head" if step < self.embeddings_from else "embeddings" if step < self.all_from else "all"


@dataclass(frozen=True)
class Progress:
    """One line of the meter; see `Trainer.run`."""

    step: int
    steps: int
    stage: Stage
    losses: dict[str, float]
    tokens_per_second: float
    seconds: float


class Trainer:
    """Runs an objective over a schedule; everything random is the objective's and depends on the step alone."""

    def __init__(
        self, objective: Objective, groups: Groups, schedule: Schedule, precision: Precision, device: torch.device,
        folder: Path,
    ) -> None:  # fmt: skip
        self._objective = objective
        self._groups = groups
        self._schedule = schedule
        self._precision = precision
        self._device = device
        self._folder = folder
        self._parameters = groups.everything()
        self._optimizer = self._new_optimizer()

    def _new_optimizer(self) -> torch.optim.AdamW:
        s = self._schedule
        vocabulary = [*self._groups.new_vocabulary.values(), *self._groups.english_vocabulary.values()]
        matrices = [p for p in self._groups.body.values() if p.ndim > 1]
        vectors = [p for p in self._groups.body.values() if p.ndim < 2]
        wanted: list[dict[str, Any]] = [
            {"params": vocabulary, "peak": s.embedding_learning_rate, "weight_decay": 0.0},
            {"params": matrices, "peak": s.learning_rate, "weight_decay": s.weight_decay},
            {"params": vectors, "peak": s.learning_rate, "weight_decay": 0.0},
            {"params": list(self._groups.head.values()), "peak": s.head_learning_rate, "weight_decay": 0.0},
        ]
        return torch.optim.AdamW([group for group in wanted if group["params"]], lr=0.0, betas=(0.9, 0.98), fused=True)

    def _plan(self, steps: int) -> Plan:
        head = min(self._schedule.head_steps, steps // 4) if self._groups.head else 0
        return Plan(head, head + math.ceil(self._schedule.embeddings_share * (steps - head)), steps)

    def _only(self, stage: Stage) -> None:
        """Gradients for the stage's parameters alone."""
        training = {id(p) for p in self._groups.of(stage).values()}
        for parameter in self._parameters.values():
            parameter.requires_grad_(id(parameter) in training)

    def _set_rates(self, plan: Plan, step: int) -> None:
        """Linear rise over the warm-up of the run (for the body: of its own stage), linear fall to the end."""
        warmup = max(1, round(self._schedule.warmup_share * plan.steps))
        fall = (plan.steps - step) / plan.steps
        first = {id(p): plan.all_from for p in self._groups.body.values()}
        for group in self._optimizer.param_groups:
            began = first.get(id(group["params"][0]), 0)
            group["lr"] = group["peak"] * fall * min(1.0, (step - began + 1) / warmup)

    def _step(self, step: int, stage: Stage) -> dict[str, Tensor]:
        self._optimizer.zero_grad(set_to_none=True)
        with autocast(self._precision, self._device):
            loss, losses = self._objective.loss(step, both=stage != "embeddings")
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for p in self._groups.of(stage).values() if p.grad is not None], 1.0)
        self._optimizer.step()
        return losses

    def _seconds_per_step(self, stage: Stage, samples: int = 4) -> float:
        """Time of a step, measured with a rate of zero, so that no parameter moves."""
        self._only(stage)
        for group in self._optimizer.param_groups:
            group["lr"] = 0.0
        taken = []
        for sample in range(samples + 1):
            began = time.perf_counter()
            losses = self._step(sample, stage)
            float(sum(losses.values()))  # waits for the device
            taken.append(time.perf_counter() - began)
        return sum(taken[1:]) / samples

    def _planned_steps(self) -> int:
        s = self._schedule
        if s.steps is not None:
            return s.steps
        if s.tokens is not None:
            return self._steps_for_tokens(s.tokens)
        if s.seconds is None:
            raise ValueError("a schedule needs steps, tokens or seconds")
        began = time.perf_counter()
        stages: list[Stage] = [*(["head"] if self._groups.head else []), "embeddings", "all"]  # type: ignore[list-item]
        share = s.embeddings_share
        if share == 0:
            stages.remove("embeddings")
        if share == 1:
            stages.remove("all")
        cost = {stage: self._seconds_per_step(stage) for stage in stages}
        self._optimizer = self._new_optimizer()
        seconds = _PLANNED_SHARE * s.seconds - (time.perf_counter() - began)
        body = share * cost.get("embeddings", 0.0) + (1 - share) * cost.get("all", 0.0)
        head_seconds = min(s.head_steps * cost.get("head", 0.0), seconds / 4)
        head = int(head_seconds / cost["head"]) if "head" in cost else 0
        return max(1, head + int((seconds - head_seconds) / body))

    def _steps_for_tokens(self, tokens: int) -> int:
        """The fewest steps that run at least so many tokens, by the mean over the first steps of each stage."""
        per_step = {both: sum(self._objective.tokens(step, both) for step in range(50)) / 50 for both in (False, True)}
        share = self._schedule.embeddings_share
        return max(1, math.ceil(tokens / (share * per_step[False] + (1 - share) * per_step[True])))

    def run(
        self, on_step: Callable[[Progress], None] | None = None, after_head: Callable[[], None] | None = None
    ) -> dict[str, Any]:
        """Trains to the end, from the newest checkpoint where there is one; returns what run.json says of it.

        after_head: called once the head is warm (at the very start where there is no fresh head) and before anything
        else trains; again if the run is resumed from there.
        """
        state = load_checkpoint(self._folder, self._parameters, self._optimizer)
        if state is None:
            began = time.perf_counter()
            plan = self._plan(self._planned_steps())
            planning = time.perf_counter() - began
            state = {"step": 0, "seconds": planning, "planning": planning, "history": [], "tokens": 0}
            self._save(0, plan, state)
        else:
            plan = Plan(**state["plan"])
        step = int(state["step"])
        spent_before = float(state["seconds"])
        began = saved = time.perf_counter()
        stage: Stage | None = None
        writing = 0.0
        # the meter reads losses about a hundred times a run: each reading waits for the device
        interval = max(1, plan.steps // 100)
        sums: dict[str, float] = {}
        since, since_tokens = time.perf_counter(), int(state["tokens"])
        while step < plan.steps:
            if step == plan.embeddings_from and after_head:
                paused = time.perf_counter()
                after_head()
                began += time.perf_counter() - paused  # the budget is for training
            if plan.stage(step) != stage:
                stage = plan.stage(step)
                self._only(stage)
            self._set_rates(plan, step)
            losses = self._step(step, stage)
            state["tokens"] += self._objective.tokens(step, stage != "embeddings")
            step += 1
            now = time.perf_counter()
            seconds = spent_before + now - began
            due = now - saved >= max(self._schedule.checkpoint_seconds, writing)
            if due:  # before the meter, which reads the last step whichever it is
                self._shorten(plan, step, seconds, float(state["planning"]))
            if step % interval == 0 or step == plan.steps:
                sums = {name: float(value) for name, value in losses.items()}
                if not all(math.isfinite(value) for value in sums.values()):
                    raise RunError(f"The loss is no number at step {step} ({sums}). Lower the learning rates.")
                now = time.perf_counter()
                rate = (state["tokens"] - since_tokens) / max(1e-9, now - since)
                since, since_tokens = now, int(state["tokens"])
                state["history"].append({"step": step, "stage": stage, "seconds": round(seconds, 3), **sums})
                if on_step:
                    on_step(Progress(step, plan.steps, stage, sums, rate, seconds))
            if due or step == plan.steps:
                self._save(step, plan, {**state, "step": step, "seconds": seconds})
                saved = time.perf_counter()
                if self._schedule.checkpoint_seconds:  # writing takes at most a twentieth of the time
                    writing = 20 * (saved - now)
        for parameter in self._parameters.values():
            parameter.requires_grad_(True)
        return {
            "steps": plan.steps, "head_steps": plan.embeddings_from,
            "embedding_steps": min(plan.all_from, plan.steps) - plan.embeddings_from,
            "tokens": state["tokens"], "seconds": spent_before + time.perf_counter() - began,
            "history": state["history"],
        }  # fmt: skip

    def _shorten(self, plan: Plan, step: int, seconds: float, planning: float) -> None:
        """Fewer steps when the machine turned out slower than the timing said."""
        if self._schedule.seconds is None or step >= plan.steps:
            return
        left = max(0.0, self._schedule.seconds - seconds)
        affordable = step + int(step * left / max(seconds - planning, 1e-9))
        if affordable < plan.steps:
            # the head stage is never cut short: what is measured behind it is needed
            plan.steps = max(step, affordable, plan.embeddings_from + 1)
            plan.all_from = min(plan.all_from, plan.steps)

    def _save(self, step: int, plan: Plan, state: dict[str, Any]) -> None:
        save_checkpoint(self._folder, step, self._parameters, self._optimizer, {**state, "plan": vars(plan)})
