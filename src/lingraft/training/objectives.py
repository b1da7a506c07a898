"""What the training loop needs of an objective, and several objectives as one.

An objective owns the data of both languages and the two models, whose bodies are one and the same set of parameters
(`lingraft.surgery.share_body`), and turns (seed, step) into a loss with its gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from .timing import Stopwatch


class Objective(Protocol):
    """What the training loop needs of an objective. waiting: runs while a batch is being made, for the meter."""

    waiting: Stopwatch

    @property
    def module(self) -> nn.Module:
        """Holds the source and the target model; every parameter that trains is inside."""
        ...

    def loss(self, step: int, both: bool, part: int = 0, parts: int = 1) -> tuple[Tensor, dict[str, Tensor]]:
        """The share of a step's loss that one of ``parts`` micro-batches contributes, and detached losses by name.

        Both are scaled so that their sum over the parts is the mean over the step's whole batch, however many parts
        there are. both: the English side takes part too; without it only the new vocabulary is being trained.
        """
        ...

    def tokens(self, step: int, both: bool) -> int:
        """Tokens the step runs through the encoder, padding not counted."""
        ...

    def flop_per_token(self, both: bool) -> float:
        """Useful floating-point operations a token, forwards and backwards; 0 where they are not known."""
        ...


class Together:
    """The weighted sum of objectives over the same two models."""

    def __init__(self, weighted: Sequence[tuple[float, Objective]]) -> None:
        self._weighted = list(weighted)
        self.module: nn.Module = self._weighted[0][1].module
        self.waiting = Stopwatch()
        for _, objective in self._weighted:
            objective.waiting = self.waiting

    def loss(self, step: int, both: bool, part: int = 0, parts: int = 1) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Objective`; the losses are named as those of the parts, without the weights."""
        shares = [(weight, *objective.loss(step, both, part, parts)) for weight, objective in self._weighted]
        total = torch.stack([weight * loss for weight, loss, _ in shares]).sum()
        return total, {name: value for _, _, losses in shares for name, value in losses.items()}

    def tokens(self, step: int, both: bool) -> int:
        """See `Objective`."""
        return sum(objective.tokens(step, both) for _, objective in self._weighted)

    def flop_per_token(self, both: bool) -> float:
        """See `Objective`; by the tokens of the first step."""
        tokens = [objective.tokens(0, both) for _, objective in self._weighted]
        operations = [objective.flop_per_token(both) for _, objective in self._weighted]
        return sum(n * each for n, each in zip(tokens, operations, strict=True)) / max(1, sum(tokens))
