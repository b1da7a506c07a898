"""The meter: what a run does, in one line a step interval."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch

from ..machine import device_memory_mb, matrix_rate
from .objectives import Objective
from .precision import DTYPES, Precision
from .schedule import Plan, Stage


@dataclass(frozen=True)
class Progress:
    """One line of the meter, about the steps since the line before.

    tokens_per_second: of all languages together. seconds_to_go: as far as that can be told now. losses: their means, by
    name. learning_rate: of what the stage is named after (in ``all``: of the encoder). seconds: trained so far.
    waiting_share: of the time, spent on making batches. peak_share: useful FLOP over what this machine's matrix
    products reach, or None. memory_mb: the most so far, on the device, or None where the system does not tell.
    """

    step: int
    steps: int
    stage: Stage
    losses: dict[str, float]
    learning_rate: float
    tokens_per_second: float
    seconds: float
    seconds_to_go: float
    waiting_share: float
    peak_share: float | None = None
    memory_mb: int | None = None

    def __str__(self) -> str:
        parts = [f"{self.stage} {self.step:,}/{self.steps:,}"]
        parts += [f"{name} {value:.3f}" for name, value in self.losses.items()]
        parts += [f"lr {self.learning_rate:.2e}", f"{self.tokens_per_second:,.0f} tok/s"]
        if self.peak_share is not None:
            parts.append(f"{100 * self.peak_share:.1f} % of peak")
        parts.append(f"data {100 * self.waiting_share:.1f} %")
        if self.memory_mb is not None:
            parts.append(f"{self.memory_mb:,} MB")
        return "  ".join([*parts, f"{timedelta(seconds=round(self.seconds_to_go))} to go"])

    def entry(self) -> dict[str, Any]:
        """What run.json keeps of it."""
        kept = {"step": self.step, "stage": self.stage, "seconds": round(self.seconds, 3)}
        return kept | {"learning_rate": self.learning_rate} | self.losses

    def values(self) -> dict[str, float]:
        """All numbers that are known, by name, without the step's."""
        numbers = {name: value for name, value in vars(self).items() if name not in ("step", "stage", "losses")}
        return self.losses | {name: value for name, value in numbers.items() if value is not None}


class Meter:
    """Counts between two lines.

    peak: what this machine's matrix products reach, FLOP/s, measured at once in about a second; None where the
    objective's own FLOP are not known. devices: as many such machines are at work.
    """

    def __init__(self, objective: Objective, device: torch.device, precision: Precision, devices: int = 1) -> None:
        self._device = device
        self._objective = objective
        self._devices = devices
        self.peak = matrix_rate(device, DTYPES[precision]) if objective.flop(0, True) else None
        self.restart(0.0)

    def restart(self, seconds: float) -> None:
        """Begins a new interval, the clock being at so many seconds."""
        self._since = seconds
        self._steps = self._tokens = 0
        self._flop = 0.0
        self._waited = self._objective.waiting.seconds

    def count(self, tokens: int, flop: float) -> None:
        """Takes in a step."""
        self._steps += 1
        self._tokens += tokens
        self._flop += flop

    def line(self, step: int, plan: Plan, stage: Stage, losses: dict[str, float], rate: float, now: float) -> Progress:
        """The line after ``step``, the clock being at ``now``; the next interval begins."""
        seconds = max(1e-9, now - self._since)
        progress = Progress(
            step, plan.steps, stage, losses, rate, self._tokens / seconds, now,
            seconds_to_go=(plan.steps - step) * seconds / max(1, self._steps),
            peak_share=self._flop / seconds / (self.peak * self._devices) if self.peak else None,
            waiting_share=(self._objective.waiting.seconds - self._waited) / seconds,
            memory_mb=device_memory_mb(self._device),
        )  # fmt: skip
        self.restart(now)
        return progress
