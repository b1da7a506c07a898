"""What the aligner can be told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from ...described import setting
from ...errors import RecipeError

#: how links are found: by the hidden Markov model, or by its first stage alone (word translation and relative position)
METHODS = ("hmm", "ibm2")

#: the most tokens of a sentence; memory for one goes with the square of its length
LONGEST = 8_192


@dataclass(frozen=True)
class AlignerSettings:
    """Hyperparameters of the aligner; the defaults were chosen on one language pair (docs/results.md).

    Raises RecipeError for an impossible value.
    """

    method: str = setting("hmm", "", "`hmm`, or `ibm2` for the first stage alone, faster and less accurate")
    iterations: int = setting(4, "iterations", "of expectation maximisation of the hidden Markov model")
    alpha: float = setting(0.001, "links", "Dirichlet concentration of p(child | parent) for each child type")
    null: float = setting(0.1, "probability", "that a token has no counterpart, before anything is seen")
    prune_below: float = setting(
        0.002,
        "probability",
        "links whose product of posteriors is smaller after the first stage, or after the first of the iterations, are "
        "not considered again",
    )
    leave_one_out: bool = setting(
        True, "", "judges a link by the counts without its own contribution; false is plain expectation maximisation"
    )
    max_tokens: int = setting(1_000, "tokens", "pairs with a longer side are left unaligned")
    block_tokens: int = setting(
        5 << 19,
        "tokens",
        "sentence pairs are worked on in blocks of about so many, both sides together, which bounds the memory; what "
        "does not fit waits in a temporary folder",
    )

    def __post_init__(self) -> None:
        wanted: dict[str, tuple[Any, Callable[[Any], bool], str]] = {
            "method": (str, lambda method: method in METHODS, f"one of {', '.join(METHODS)}"),
            "iterations": (int, lambda n: 0 <= n <= 100, "a whole number between 0 and 100"),
            "alpha": ((int, float), lambda x: 1e-9 <= x <= 10, "a number from 1e-9 to 10"),
            "null": ((int, float), lambda x: 1e-6 <= x <= 0.999, "a number from 0.000001 to 0.999"),
            "prune_below": ((int, float), lambda x: 0 <= x < 1, "a number from 0 up and below 1"),
            "leave_one_out": (bool, lambda _: True, "True or False"),
            "max_tokens": (int, lambda n: 1 <= n <= LONGEST, f"a whole number between 1 and {LONGEST:,}"),
            "block_tokens": (int, lambda n: 1 <= n <= 1 << 28, f"a whole number between 1 and {1 << 28:,}"),
        }
        for name, (kind, fits, expected) in wanted.items():
            value = getattr(self, name)
            # from Python and from a model's file anything can come
            if not isinstance(value, kind) or not fits(value):
                raise RecipeError(f"The aligner's {name} is {value!r}; it must be {expected}.")

    def as_dict(self) -> dict[str, object]:
        """For files."""
        return asdict(self)


#: for translation tables rare links are kept longer and fewer words are taken for untranslated: retrieval after the
#: graft gains by both
FOR_TABLES = AlignerSettings(null=0.03, prune_below=0.0003)
