"""The vocabulary's part of the report: how finely text is cut, and in which scripts the tokens are written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .translations import Translations
from .written import script_shares

#: from so many characters between two spaces on, white space divides no words
_SPACELESS = 12

#: shares of scripts below this are left out
_SMALLEST = 0.0005

#: (name in run.json, what people read)
_TEXTS = (
    ("target", "new tokenizer, new language"),
    ("source", "English tokenizer, new language"),
    ("english", "English tokenizer, English"),
)


def fertility_rows(fertility: Mapping[str, Mapping[str, int]]) -> list[dict[str, Any]]:
    """For each tokenizer and text: tokens a word (None where words are not divided by spaces), a character, a byte."""
    rows = []
    for key, name in _TEXTS:
        counts = fertility.get(key)
        if counts and counts["tokens"]:
            spaced = counts["characters"] < _SPACELESS * counts["words"]
            rows.append(
                {
                    "name": name,
                    "words": counts["tokens"] / counts["words"] if spaced and counts["words"] else None,
                    "characters": counts["characters"] / counts["tokens"],
                    "bytes": counts["bytes"] / counts["tokens"],
                    "unknown": counts["unknown"] / counts["tokens"],
                }
            )
    return rows


def parity(fertility: Mapping[str, Mapping[str, int]]) -> float | None:
    """Tokens of the new language over those of English for the same sentences; None where none are known."""
    ours, theirs = (fertility.get(f"pairs_{side}", {}).get("tokens") for side in ("target", "english"))
    return ours / theirs if ours and theirs else None


def script_rows(translations: Translations) -> list[tuple[str, float, float | None]]:
    """(script, share of the vocabulary's tokens, share of the running text's or None), the largest first."""
    tokens = [int(token) for token in translations.by_frequency]
    texts = [translations.target[token] for token in tokens]
    shares = script_shares(texts, [1] * len(texts))
    running = script_shares(texts, [int(translations.counts[token]) for token in tokens])
    rows = [(name, share, running.get(name, 0.0) if running else None) for name, share in shares.items()]
    return [row for row in rows if max(row[1], row[2] or 0.0) >= _SMALLEST]
