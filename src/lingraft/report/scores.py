"""The scores' part of the report: the untouched model, the graft and the trained model side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

STATES = ("untouched", "grafted", "trained")

Values = dict[str, dict[str, tuple[float, float, float]]]


def retrieval_of(scores: Mapping[str, Any]) -> Values:
    """Retrieval in percent, with its 95 % interval, by direction and state of the model."""
    found: Values = {}
    for way, name in (("en_to_xx", "from English"), ("xx_to_en", "to English")):
        for state in STATES:
            score = scores.get(state, {}).get("retrieval")
            if score:
                low, high = score.get("intervals", {}).get(way, (score[way], score[way]))
                found.setdefault(name, {})[state] = (100 * score[way], 100 * low, 100 * high)
    return found


def bits_of(scores: Mapping[str, Any], tag: str) -> Values:
    """Bits per byte of held-out text by language and state of the model."""
    found: Values = {}
    for side, name in (("lm_xx", tag), ("lm_en", "English")):
        for state in STATES:
            score = scores.get(state, {}).get(side)
            if score:
                bits = float(score["bits_per_byte"])
                found.setdefault(name, {})[state] = (bits, bits, bits)
    return found


def score_table(scores: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each state of the model; what was not measured is None."""
    rows = []
    for state in STATES:
        own = scores.get(state)
        if own:
            retrieval = own.get("retrieval")
            rows.append(
                {
                    "state": state,
                    "retrieval": retrieval,
                    "bits": own.get("lm_xx", {}).get("bits_per_byte"),
                    "english_bits": own.get("lm_en", {}).get("bits_per_byte"),
                }
            )
    return rows
