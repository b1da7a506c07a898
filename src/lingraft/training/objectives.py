"""What the training loop needs of an objective, and several objectives as one.

An objective owns the data of English and of the new language, or of several, and a model of each, whose bodies are one
and the same set of parameters (`lingraft.surgery.share_body`), and turns (seed, step) into a loss with its gradient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn

from ..recipe import ONLY
from .timing import Stopwatch

T = TypeVar("T")


def by_language(given: T | Mapping[str, T]) -> dict[str, T]:
    """What belongs to each new language; what is no mapping belongs to the only one there is."""
    return dict(given) if isinstance(given, Mapping) else {ONLY: given}


def draws(number: int) -> int:
    """What a new language adds to the run's seed, so that each has random numbers of its own.

    English adds 1. So neither it nor the first new language draws others because of the languages behind them.
    """
    return number + 1 if number else 0


class Objective(Protocol):
    """What the training loop needs of an objective. waiting: runs while a batch is being made, for the meter."""

    waiting: Stopwatch

    @property
    def module(self) -> nn.Module:
        """Holds the English model and those of the new languages; every parameter that trains is inside."""
        ...

    def loss(self, step: int, both: bool, part: int = 0, parts: int = 1) -> tuple[Tensor, dict[str, Tensor]]:
        """The share of a step's loss that one of ``parts`` micro-batches contributes, and detached losses by name.

        Both are scaled so that their sum over the parts is the mean over the step's whole batch, however many parts
        there are. both: the English side takes part too; without it only the new vocabularies are being trained.
        """
        ...

    def at_once(self, step: int) -> int | None:
        """Examples of the step's batch that one forward pass should hold at most; None where it may hold them all."""
        ...

    def tokens(self, step: int, both: bool) -> int:
        """Tokens the step runs through the encoder, padding not counted."""
        ...

    def flop(self, step: int, both: bool) -> float:
        """Useful floating-point operations of the step, forwards and backwards; 0 where they are not known."""
        ...


class Together:
    """The weighted sum of objectives over models that have one body."""

    def __init__(self, weighted: Sequence[tuple[float, Objective]]) -> None:
        self._weighted = list(weighted)
        models = [model for _, objective in self._weighted for model in objective.module.children()]
        self.module: nn.Module = nn.ModuleList({id(model): model for model in models}.values())
        self.waiting = Stopwatch()
        for _, objective in self._weighted:
            objective.waiting = self.waiting

    def loss(self, step: int, both: bool, part: int = 0, parts: int = 1) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Objective`; the losses are named as those of the parts, without the weights, equal names added up."""
        shares = []
        for weight, objective in self._weighted:
            loss, losses = objective.loss(step, both, part, parts)
            if not loss.requires_grad:
                # a short batch leaves this part no example. Its parameters still need a gradient, if only of zeros, and
                # now: processes that share the parts, and the parameters, run through the models in one order
                loss, losses = 0.0 * objective.loss(step, both, 0, parts)[0], {}
            shares.append((weight, loss, losses))
        total = torch.stack([weight * loss for weight, loss, _ in shares]).sum()
        named: dict[str, Tensor] = {}
        for _, _, losses in shares:
            for name, value in losses.items():
                named[name] = named[name] + value if name in named else value
        return total, named

    def at_once(self, step: int) -> int | None:
        """See `Objective`."""
        limits = [objective.at_once(step) for _, objective in self._weighted]
        return min((limit for limit in limits if limit is not None), default=None)

    def tokens(self, step: int, both: bool) -> int:
        """See `Objective`."""
        return sum(objective.tokens(step, both) for _, objective in self._weighted)

    def flop(self, step: int, both: bool) -> float:
        """See `Objective`."""
        return sum(objective.flop(step, both) for _, objective in self._weighted)
