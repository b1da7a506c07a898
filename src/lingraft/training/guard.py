"""Whether the training still goes well: losses that are no number or explode, gradients that cannot be used."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

import torch
from torch import Tensor

from ..errors import RunError
from .update import NOT_FINITE

#: losses a median is taken over, and how many of them there must be before anything can be said to explode
_WINDOW = 100
_ENOUGH = 20

#: the standard deviation of a normal distribution over its median absolute deviation
_DEVIATION = 1.4826

#: no smaller loss is said to explode, however near zero the ones before it were
_HARMLESS = 0.1

#: so many updates in a row without a finite gradient end a run; fp16's scale has then been halved to below one
_HOPELESS = 20


def read_losses(pending: Sequence[tuple[int, Mapping[str, Tensor]]]) -> list[tuple[int, dict[str, float]]]:
    """The same as numbers. The one place in training that waits for the device, and it does so once."""
    values = [value.detach().float().reshape(()) for _, losses in pending for value in losses.values()]
    numbers = iter(torch.stack(values).tolist() if values else ())
    return [(step, {name: next(numbers) for name in losses}) for step, losses in pending]


@dataclass(frozen=True)
class Bad:
    """The first step whose loss cannot be gone on from. step: counted from 0."""

    step: int
    name: str
    value: float
    limit: float

    def __str__(self) -> str:
        usual = f", where up to {self.limit:.4g} is usual" if math.isfinite(self.value) else ""
        return f"{self.name} was {self.value:.4g} at step {self.step + 1}{usual}"


@dataclass
class Guard:
    """Judges every step's losses, some steps later.

    A loss is bad if it is no finite number, or if it explodes: if it is above ``2 * exp(median + 6 * spread)`` of the
    logarithms of the up to 100 losses of its name before it, the spread being 1.4826 times their median absolute
    deviation. Logarithms, because near zero losses differ by factors. Nothing is said to explode before there are 20,
    or below 0.1. What is named ``cosine...`` only has to be a finite number. The judgement of a step depends on the
    steps before it and not on when it was passed, so a run that was killed comes to the same.

    recent: those losses. skipped: steps, from 0, whose batch is left out. rollbacks: how often the run went back.
    unapplied, unapplied_in_a_row: updates left out because their gradient was not finite.
    """

    recent: dict[str, list[float]] = field(default_factory=dict)
    skipped: list[int] = field(default_factory=list)
    rollbacks: int = 0
    unapplied: int = 0
    unapplied_in_a_row: int = 0

    def limit(self, name: str) -> float:
        """The largest loss that is not bad."""
        recent = [math.log(max(value, 1e-9)) for value in self.recent.get(name, [])]
        if len(recent) < _ENOUGH or name.startswith("cosine"):
            return math.inf
        middle = median(recent)
        spread = _DEVIATION * median(abs(value - middle) for value in recent)
        return max(_HARMLESS, 2 * math.exp(min(middle + 6 * spread, 700.0)))

    def judge(self, readings: Iterable[tuple[int, Mapping[str, float]]]) -> Bad | None:
        """The first bad step among the next ones, or None if all are good.

        RunError after 20 updates in a row whose gradients were not finite although their losses were.
        """
        for step, losses in readings:
            judged = {name: value for name, value in losses.items() if name != NOT_FINITE}
            for name, value in judged.items():
                limit = self.limit(name)
                if not (math.isfinite(value) and value <= limit):
                    return Bad(step, name, value, limit)
            for name, value in judged.items():
                self.recent[name] = [*self.recent.get(name, [])[-_WINDOW + 1 :], value]
            unapplied = losses.get(NOT_FINITE, 0.0) > 0
            self.unapplied += unapplied
            self.unapplied_in_a_row = self.unapplied_in_a_row + 1 if unapplied else 0
            if self.unapplied_in_a_row >= _HOPELESS:
                raise RunError(
                    f"The gradient was not finite in {_HOPELESS} steps in a row, the last of them step {step + 1}, "
                    "although the loss was. Set training.precision=float32, or lower the learning rates."
                )
        return None

    def skip(self, bad: Bad, max_rollbacks: int) -> None:
        """Leaves a bad step out of the run from now on; RunError if that has been done often enough."""
        if self.rollbacks >= max_rollbacks:
            before = ", ".join(str(step + 1) for step in self.skipped)
            told = f" Before that, step {before} had been left out for the same reason." if before else ""
            raise RunError(
                f"The training has failed: {bad}.{told} Lower training.learning_rate and "
                "training.embedding_learning_rate, or look for lines in the text that are not language."
            )
        self.rollbacks += 1
        self.skipped = sorted({*self.skipped, bad.step})
