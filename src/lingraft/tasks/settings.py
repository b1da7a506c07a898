"""Hyperparameters of fine-tuning, one object for all tasks."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..described import setting
from ..errors import RecipeError


@dataclass(frozen=True)
class FinetuneSettings:
    """How a task model is trained in English. RecipeError for a value that is impossible."""

    epochs: float = setting(2.0, "passes", "over the training examples; a fraction is allowed")
    batch_size: int = setting(32, "examples", "of a step")
    learning_rate: float = setting(
        5e-5, "", "peak rate of the encoder; it rises linearly over the warm-up and falls linearly to zero"
    )
    head_learning_rate: float = setting(5e-4, "", "peak rate of what the task adds, likewise")
    warmup_share: float = setting(0.06, "share of the steps", "in which rates rise")
    weight_decay: float = setting(0.01, "a unit of the rate", "decay of matrices; vectors have none")
    train_embeddings: bool = setting(
        False,
        "",
        "trains the English word embeddings too, which a new vocabulary then no longer fits exactly; they are frozen "
        "by default, as in Tran (2020)",
    )
    frozen_layers: int = setting(
        0, "layers", "so many of the encoder's lowest layers stay as they are, and then the embeddings do too"
    )
    embedding_noise: float = setting(
        0.0,
        "share of the entries' standard deviation",
        "normal noise added to word embeddings in training; it prepares the model for embeddings that are only nearly "
        "right",
    )
    evaluations: int = setting(
        4, "times", "the dev set is scored, evenly spread, the last at the end; the best state is kept"
    )
    average: int = setting(
        0, "evaluations", "instead of the best state, the mean of the parameters at the last so many; 0 keeps the best"
    )
    precision: str = setting("auto", "", "`float32`, `bf16`, or `auto`: bf16 where it is faster")
    seed: int = setting(0, "", "of order, dropout and fresh weights")

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
