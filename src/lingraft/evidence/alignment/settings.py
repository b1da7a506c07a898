"""What the aligner can be told."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from ...errors import RecipeError

#: how links are found: by the hidden Markov model, or by its first stage alone (word translation and relative position)
METHODS = ("hmm", "ibm2")


@dataclass(frozen=True)
class AlignerSettings:
    """Hyperparameters of the aligner; the defaults were chosen on one language pair (docs/results.md).

    method: "hmm", or "ibm2" for the first stage alone, faster and less accurate. iterations: EM iterations of the
    hidden Markov model. alpha: Dirichlet concentration of p(child | parent) for each child type. null: prior
    probability that a token has no counterpart. prune_below: links whose product of posteriors is smaller after the
    first stage, or after the first of the iterations, are not considered again. leave_one_out: judge a link by the
    counts without its own contribution; False is plain EM. max_tokens: pairs with a longer side are left unaligned.
    block_tokens: sentence pairs are worked on in blocks of about so many tokens, both sides together, which bounds the
    memory; what does not fit waits in a temporary folder.

    Raises RecipeError for an impossible value.
    """

    method: str = "hmm"
    iterations: int = 4
    alpha: float = 0.001
    null: float = 0.1
    prune_below: float = 0.002
    leave_one_out: bool = True
    max_tokens: int = 1_000
    block_tokens: int = 5 << 19

    def __post_init__(self) -> None:
        wanted = {
            "method": (self.method in METHODS, f"one of {', '.join(METHODS)}"),
            "iterations": (0 <= self.iterations <= 100, "between 0 and 100"),
            "alpha": (0 < self.alpha <= 10, "above 0 and at most 10"),
            "null": (0 < self.null < 1, "above 0 and below 1"),
            "prune_below": (0 <= self.prune_below < 1, "at least 0 and below 1"),
            "max_tokens": (1 <= self.max_tokens < 1 << 16, "between 1 and 65,535"),
            "block_tokens": (self.block_tokens >= 1, "at least 1"),
        }
        for name, (fits, expected) in wanted.items():
            if not fits:
                raise RecipeError(f"The aligner's {name} is {getattr(self, name)!r}; it must be {expected}.")

    def as_dict(self) -> dict[str, object]:
        """For files."""
        return asdict(self)
