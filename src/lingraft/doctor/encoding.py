"""Damage to the characters of a text: mojibake and replacement characters."""

from __future__ import annotations

from collections.abc import Sequence

from ftfy import fix_encoding
from ftfy.badness import is_bad

from .findings import Finding, percent

#: share of lines with damage from which on it is told, and from which on the text is worthless
WARNING, ERROR = 0.01, 0.3

_LINES = 4000


def damaged_shares(lines: Sequence[str]) -> tuple[float, float]:
    """Shares of the lines that hold mojibake, and that hold a replacement character.

    Mojibake is UTF-8 that was read as Latin-1 or Windows-1252: ftfy, which knows what sequences of characters no text
    has, finds and can undo it.
    """
    some = [line for line in lines if line.strip()]
    some = some[:: max(1, len(some) // _LINES)]
    broken = sum(map(_is_mojibake, some))
    replaced = sum("\ufffd" in line for line in some)
    return broken / max(1, len(some)), replaced / max(1, len(some))


def _is_mojibake(line: str) -> bool:
    # is_bad is quick, but says so of some odd text that nothing can be undone in
    return is_bad(line) and fix_encoding(line) != line


def encoding_findings(
    lines: Sequence[str], language: str | None, where: str, statistics: dict[str, float]
) -> list[Finding]:
    """What is damaged in the raw lines of a text; puts what was measured into ``statistics``."""
    mojibake, replaced = damaged_shares(lines)
    statistics |= {"mojibake": mojibake, "replacement_characters": replaced}
    found = []
    if mojibake >= WARNING:
        example = next(filter(_is_mojibake, lines))
        found.append(
            Finding(
                "mojibake", "error" if mojibake >= ERROR else "warning",
                f"{percent(mojibake)} of the lines are UTF-8 that was once read as Latin-1 or Windows-1252: "
                f"'{example[:40]}' should be '{fix_encoding(example)[:40]}'",
                "Make the file again from its source, read as UTF-8; or undo it with the ftfy package, which is "
                "installed: ftfy FILE -o FIXED.",
                language, where, {"share": mojibake, "threshold": WARNING},
            )
        )  # fmt: skip
    if replaced >= WARNING:
        found.append(
            Finding(
                "replacement-characters", "error" if replaced >= ERROR else "warning",
                f"{percent(replaced)} of the lines hold the replacement character U+FFFD: characters were lost when "
                "the file was decoded",
                "What is lost cannot be brought back: make the file again from its source with the right encoding, or "
                "leave these lines out.",
                language, where, {"share": replaced, "threshold": WARNING},
            )
        )  # fmt: skip
    return found
