"""A small objective for the training loop: two embedding tables and one body, a regression that can be learned."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lingraft.training.loop import Trainer
from lingraft.training.precision import Precision
from lingraft.training.schedule import Groups, Schedule
from lingraft.training.timing import Stopwatch

WORDS, WIDTH = 12, 6


class KillError(Exception):
    """Stands for a kill."""


class ToyObjective:
    """Words of a language to their square in a fixed space; ``dropout`` draws from torch's random state.

    limit: what `at_once` says at every step. before: called with (step, part, parts) in front of every forward pass.
    """

    def __init__(
        self, batch_size: int = 8, dropout: float = 0.0, before: Callable[[int, int, int], None] | None = None,
        spoil: Callable[[int, Tensor], Tensor] | None = None,
    ) -> None:  # fmt: skip
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.tables = nn.ModuleDict({"en": nn.Embedding(WORDS, WIDTH), "xx": nn.Embedding(WORDS, WIDTH)})
            self.body = nn.Sequential(nn.Linear(WIDTH, 16), nn.Tanh(), nn.Linear(16, WIDTH))
            self.goal = torch.randn(WORDS, WIDTH)
        self.module: nn.Module = nn.ModuleList([self.tables, self.body])
        self.waiting = Stopwatch()
        self.batch_size = batch_size
        self.dropout = dropout
        self.before = before
        self.spoil = spoil
        self.limit: int | None = None

    def loss(self, step: int, both: bool, part: int = 0, parts: int = 1) -> tuple[Tensor, dict[str, Tensor]]:
        if self.before:
            self.before(step, part, parts)
        total, losses = torch.zeros(()), {}
        for number, language in enumerate(("xx", "en") if both else ("xx",)):
            words = np.random.default_rng([step, number]).integers(0, WORDS, self.batch_size)
            mine = np.array_split(words, parts)[part]
            if not mine.size:
                continue
            ids = torch.from_numpy(mine)
            vectors = F.dropout(self.tables[language](ids), self.dropout, self.dropout > 0)
            loss = F.mse_loss(self.body(vectors), self.goal[ids]) * (mine.size / words.size)
            if self.spoil:
                loss = self.spoil(step, loss)
            losses[f"loss_{language}"] = loss.detach()
            total = total + loss
        return total, losses

    def at_once(self, step: int) -> int | None:
        return self.limit

    def tokens(self, step: int, both: bool) -> int:
        return self.batch_size * (2 if both else 1)

    def flop(self, step: int, both: bool) -> float:
        return 0.0

    def groups(self) -> Groups:
        tables = {name: dict(table.named_parameters()) for name, table in self.tables.items()}
        return Groups(tables["xx"], {"en": tables["en"]["weight"]}, dict(self.body.named_parameters()))

    def weights(self) -> dict[str, Tensor]:
        return {name: value.clone() for name, value in self.module.state_dict().items()}


def schedule(**changes: Any) -> Schedule:
    keys: dict[str, Any] = {
        "steps": 30, "tokens": None, "seconds": None, "head_steps": 0, "embeddings_share": 0.3, "warmup_share": 0.1,
        "learning_rate": 1e-2, "embedding_learning_rate": 2e-2, "head_learning_rate": 1e-2, "weight_decay": 0.01,
        "checkpoint_seconds": 0.0, "batch_size": 8,
    }  # fmt: skip
    if changes.get("tokens") or changes.get("seconds"):
        keys["steps"] = None
    return Schedule(**(keys | changes))


def trainer(
    objective: ToyObjective, folder: Path, precision: Precision = "float32", clock: Callable[[], float] | None = None,
    **changes: Any,
) -> Trainer:  # fmt: skip
    plan = schedule(**({"batch_size": objective.batch_size} | changes))
    named = {} if clock is None else {"clock": clock}
    return Trainer(objective, objective.groups(), plan, precision, torch.device("cpu"), folder, **named)


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class TickingClock:
    """Time that passes only when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now
