"""Docstrings of this project say what parameters are in running text ("seed: of everything random. out: ...").

For the site each becomes an entry of a list, and what is returned and raised a paragraph of its own.
"""

from __future__ import annotations

import contextlib
import inspect
import re
from typing import Any

from sphinx.application import Sphinx

_OUTCOME = re.compile(r"(?<=[.)\]])\s+(?=(?:Returns?|Raises?|Gives) )")


def _names(documented: Any) -> set[str]:
    """Of the parameters of a function, or the fields of a class."""
    names = set(getattr(documented, "__annotations__", ())) | set(getattr(documented, "model_fields", ()))
    with contextlib.suppress(TypeError, ValueError):  # a class may have no signature
        names |= set(inspect.signature(documented).parameters)
    return names


def split(text: str, names: set[str]) -> list[str]:
    """A paragraph as lines of reStructuredText."""
    word = "|".join(sorted(map(re.escape, names), key=len, reverse=True)) or "$^"
    start = re.compile(rf"(?:^|(?<=[.;)]) )((?:{word})(?:(?:, | and )(?:{word}))*): ")
    found = list(start.finditer(text))
    lines = [text[: found[0].start()].strip() if found else text, ""]
    for place, this in enumerate(found):
        following = found[place + 1] if place + 1 < len(found) else None
        said = text[this.end() : following.start() if following else len(text)].strip()
        said, *outcomes = _OUTCOME.split(said, maxsplit=1) if following is None else [said]
        lines += [" ".join(f"``{name}``" for name in re.split(r", | and ", this[1])), f"    {said}"]
        lines += ["", *outcomes, ""] if outcomes else []
    return [*lines, ""]


def _process(_app: Sphinx, _what: str, _name: str, documented: Any, _options: Any, lines: list[str]) -> None:
    names = _names(documented)
    paragraphs: list[list[str]] = [[]]
    for line in lines:
        if line.strip():
            paragraphs[-1].append(line)
        elif paragraphs[-1]:
            paragraphs.append([])
    made: list[str] = []
    for paragraph in paragraphs:
        plain = paragraph and not paragraph[0].startswith((" ", "-", "*", ">", ".."))
        made += split(" ".join(part.strip() for part in paragraph), names) if plain else [*paragraph, ""]
    lines[:] = made


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", _process)
    return {"parallel_read_safe": True}
