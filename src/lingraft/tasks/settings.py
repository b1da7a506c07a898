"""Hyperparameters of fine-tuning, one object for all tasks."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import RecipeError


@dataclass(frozen=True)
class FinetuneSettings:
    """How a task model is trained in English.

    epochs: passes over the training examples; a fraction is allowed. batch_size: examples a step.
    learning_rate: peak for the encoder; head_learning_rate: for what the task adds. Both rise linearly over
    warmup_share of the steps and fall linearly to zero. weight_decay: on matrices alone.
    train_embeddings: also the English word embeddings, which a new vocabulary then no longer fits exactly; they are
    frozen by default, as in Tran (2020). frozen_layers: so many of the encoder's lowest layers stay as they are (and
    then the embeddings do too). embedding_noise: standard deviation of the normal noise added to word embeddings in
    training, as a share of that of their entries; it prepares the model for embeddings that are only nearly right.
    evaluations: times the dev set is scored, evenly spread, the last at the end; the best state is kept.
    average: instead of the best state, the mean of the parameters at the last so many evaluations (0: the best).
    precision: float32, bf16 or auto. seed: of order, dropout and fresh weights.
    """

    epochs: float = 2.0
    batch_size: int = 32
    learning_rate: float = 5e-5
    head_learning_rate: float = 5e-4
    warmup_share: float = 0.06
    weight_decay: float = 0.01
    train_embeddings: bool = False
    frozen_layers: int = 0
    embedding_noise: float = 0.0
    evaluations: int = 4
    average: int = 0
    precision: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (
            ("batch_size", 1), ("evaluations", 1), ("frozen_layers", 0), ("average", 0), ("seed", 0),
            ("learning_rate", 0), ("head_learning_rate", 0), ("weight_decay", 0), ("embedding_noise", 0),
        ):  # fmt: skip
            if not least <= getattr(self, name) < math.inf:
                raise RecipeError(f"{_option(name)} is at least {least}; given: {getattr(self, name)}.")
        if not 0 < self.epochs < math.inf:
            raise RecipeError(f"--epochs is above 0; given: {self.epochs}.")
        if self.seed >= 1 << 63:
            raise RecipeError(f"--seed is below 2^63; given: {self.seed}.")
        if not 0 <= self.warmup_share < 1:
            raise RecipeError(f"--warmup-share is at least 0 and below 1; given: {self.warmup_share}.")
        if self.precision not in ("auto", "float32", "bf16"):
            raise RecipeError(f"--precision is auto, float32 or bf16; given: '{self.precision}'.")
        if self.average > self.evaluations:
            raise RecipeError(
                f"--average {self.average} asks for more states than there are evaluations ({self.evaluations}); "
                "raise --evaluations."
            )


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
