"""Lines that occur again and again."""

from __future__ import annotations

from .findings import Finding, percent
from .sampling import Sample

#: share of repeated lines from which on it is told, and from which on next to nothing is left
WARNING, ERROR = 0.1, 0.9

_FEWEST = 50


def duplicate_findings(
    sample: Sample[str] | Sample[tuple[str, str]], what: str, language: str | None, statistics: dict[str, float]
) -> list[Finding]:
    """What is repeated among the lines, or pairs, that were read; they are compared clean, as a run sees them."""
    share = sample.repeats / max(1, sample.filled)
    statistics["duplicates"] = share
    if share < WARNING or sample.filled < _FEWEST:
        return []
    left = sample.filled - sample.repeats
    return [
        Finding(
            "duplicates", "error" if share >= ERROR else "warning",
            f"{percent(share)} of the {what} that were read occur before: {sample.repeats:,} of {sample.filled:,}, "
            f"{left:,} are different",
            "Leave out the repetitions; they outweigh everything else and end up in what is held out: "
            "awk '!seen[$0]++' FILE > UNIQUE.",
            language, sample.shown, {"share": share, "threshold": WARNING},
        )
    ]  # fmt: skip
