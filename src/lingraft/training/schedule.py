"""When what trains, how fast, and for how long: stages, learning rates, and steps that fit a time budget.

Stages in order: ``head`` (a fresh head alone, where there is one), ``embeddings`` (the new vocabularies alone, the rest
frozen), ``all``. The learning rate of each group of parameters rises linearly, then falls linearly to zero at the last
step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from .objectives import Objective

Stage = Literal["head", "embeddings", "all"]

#: share of the time until the next look at the clock that is kept in reserve for slow moments
_RESERVE = 0.08

#: a meter line at least every so many steps, and about so many lines a run
_LONGEST_INTERVAL = 100
_LINES = 100


@dataclass(frozen=True)
class Schedule:
    """How long, how fast, and how safely; see `lingraft.recipe.TrainingRecipe` for the keys of the same names.

    Learning rates are peaks, shares are of the steps of the stage or run they speak of. seconds: the time budget.
    batch_size, micro_batch: sequences or sentences per language in a step and in one forward pass (None: all at once).
    evaluations: how often something is measured behind the head's warm-up, at even distances.
    """

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
    batch_size: int
    micro_batch: int | None = None
    checkpoints_kept: int = 2
    max_rollbacks: int = 3
    decay: str = "linear"
    clip: float = 1.0
    evaluations: int = 1


@dataclass
class Groups:
    """Named parameters by when and how fast they train.

    new_vocabulary: of all new languages. body: the shared encoder. head: a fresh head, or empty.
    """

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

    def only(self, stage: Stage) -> None:
        """Gradients for the stage's parameters alone."""
        training = {id(parameter) for parameter in self.of(stage).values()}
        for parameter in self.everything().values():
            parameter.requires_grad_(id(parameter) in training)

    def optimizer(self, schedule: Schedule) -> torch.optim.AdamW:
        """AdamW over all of them; each of its groups holds its peak rate and whether it is the body's."""
        matrices = [p for p in self.body.values() if p.ndim > 1]
        vectors = [p for p in self.body.values() if p.ndim < 2]
        vocabulary = [*self.new_vocabulary.values(), *self.english_vocabulary.values()]
        rate, decay = schedule.learning_rate, schedule.weight_decay
        wanted: list[dict[str, Any]] = [
            {"params": vocabulary, "peak": schedule.embedding_learning_rate, "weight_decay": 0.0, "part": "embeddings"},
            {"params": matrices, "peak": rate, "weight_decay": decay, "part": "all"},
            {"params": vectors, "peak": rate, "weight_decay": 0.0, "part": "all"},
            {"params": list(self.head.values()), "peak": schedule.head_learning_rate, "weight_decay": 0.0,
             "part": "head"},
        ]  # fmt: skip
        return torch.optim.AdamW([group for group in wanted if group["params"]], lr=0.0, betas=(0.9, 0.98), fused=True)


@dataclass
class Plan:
    """A run laid out from position 0 to ``planned``, and how its steps go along it.

    Stages and learning rates are functions of the position. A step moves it by one; with a time budget `fit` changes
    how far a step goes, from where the run is on, so that the end comes in time and no rate ever jumps. All of it is
    in every checkpoint. embeddings_from, all_from: where these stages begin. steps: the run's number of steps.
    """

    embeddings_from: int
    all_from: int
    planned: int
    steps: int = 0
    anchor_step: int = 0
    anchor_position: float = 0.0

    def __post_init__(self) -> None:
        self.steps = self.steps or self.planned

    @property
    def interval(self) -> int:
        """Steps between two lines of the meter; each line waits for the device."""
        return max(1, min(_LONGEST_INTERVAL, self.planned // _LINES))

    def position(self, step: int) -> float:
        """Where a step that is not behind the last `fit` stands."""
        pace = (self.planned - self.anchor_position) / max(1, self.steps - self.anchor_step)
        return self.anchor_position + (step - self.anchor_step) * pace

    def stage(self, step: int) -> Stage:
        """The stage a step belongs to."""
        position = self.position(step)
        return "head" if position < self.embeddings_from else "embeddings" if position < self.all_from else "all"

    def due(self, step: int, measured: int, evaluations: int) -> bool:
        """Whether the next evaluation is due: one behind the head's warm-up, then evenly spread ones, but not the last.

        measured: how many there were.
        """
        mark = self.embeddings_from + measured / evaluations * (self.planned - self.embeddings_from)
        return measured < evaluations and self.position(step) >= mark

    def set_rates(
        self, optimizer: torch.optim.Optimizer, step: int, warmup_share: float, decay: str = "linear"
    ) -> None:
        """Linear rise over the warm-up of the run (for the body: of its own stage), then the fall.

        decay: ``linear``, to zero at the end and from the first step on; ``inverse_sqrt``, with the square root of the
        position from the end of the warm-up on (Vaswani et al. 2017, section 5.3).
        """
        position = self.position(step)
        warmup = max(1, round(warmup_share * self.planned))
        if decay == "linear":
            fall = (self.planned - position) / self.planned
        else:
            fall = math.sqrt(warmup / max(warmup, position + 1))
        for group in optimizer.param_groups:
            began = self.all_from if group["part"] == "all" else 0
            group["lr"] = group["peak"] * fall * min(1.0, (position - began + 1) / warmup)

    def fit(self, step: int, seconds: float, cost: Mapping[str, float]) -> None:
        """Has the run end so many seconds after ``step``, given each stage's seconds per step.

        The head stage keeps its steps: it is short, and what is measured behind it is needed. The same holds for the
        first step after it.
        """
        here = self.position(step)
        if here < self.embeddings_from:
            return
        at_this_pace = cost.get("embeddings", 0.0) * max(0.0, self.all_from - here)
        at_this_pace += cost.get("all", 0.0) * (self.planned - max(here, self.all_from))
        left = int((self.planned - here) * max(0.0, seconds) / at_this_pace) if at_this_pace else 0
        self.anchor_step, self.anchor_position = step, here
        self.steps = max(step + left, self.embeddings_from + 1)


@dataclass
class Pace:
    """Seconds per step of each stage, as timed before the run and corrected by how long its steps took since.

    cost: these, empty without a time budget. expected: what the steps since the last correction should have taken.
    since: when that was, in seconds of the run.
    """

    cost: dict[str, float] = field(default_factory=dict)
    expected: float = 0.0
    since: float = 0.0

    def count(self, stage: Stage) -> None:
        """Takes in a step."""
        self.expected += self.cost.get(stage, 0.0)

    def correct(self, now: float) -> None:
        """Changes the cost of all stages as that of the steps since the last time has changed."""
        if self.expected:
            ratio = (now - self.since) / self.expected
            self.cost = {stage: seconds * ratio for stage, seconds in self.cost.items()}
        self.expected, self.since = 0.0, now


def layout(schedule: Schedule, fresh_head: bool, steps: int) -> Plan:
    """The plan of a run of so many steps."""
    head = min(schedule.head_steps, steps // 4) if fresh_head else 0
    return Plan(head, head + math.ceil(schedule.embeddings_share * (steps - head)), steps)


def steps_in(schedule: Schedule, seconds: float, cost: Mapping[str, float]) -> int:
    """Steps that fit into a time, given each stage's seconds per step (stages that the run does not have left out)."""
    share = schedule.embeddings_share
    later = share * cost.get("embeddings", 0.0) + (1 - share) * cost.get("all", 0.0)
    head_seconds = min(schedule.head_steps * cost.get("head", 0.0), seconds / 4)
    head = int(head_seconds / cost["head"]) if "head" in cost else 0
    return max(1, head + int((seconds - head_seconds) / later))


def steps_for_tokens(schedule: Schedule, objective: Objective) -> int:
    """The fewest steps that run at least ``schedule.tokens``, by the mean over the first steps of each stage."""
    per_step = {both: sum(objective.tokens(step, both) for step in range(50)) / 50 for both in (False, True)}
    share = schedule.embeddings_share
    return max(1, math.ceil((schedule.tokens or 0) / (share * per_step[False] + (1 - share) * per_step[True])))


def usable(schedule: Schedule, left: float, next_look: float, writing: float = 0.0) -> float:
    """Of the seconds that are left of a budget those to plan for.

    next_look: seconds until the clock can be looked at again. writing: seconds the last checkpoint will take.
    """
    return left - writing - _RESERVE * min(left, max(next_look, schedule.checkpoint_seconds))
