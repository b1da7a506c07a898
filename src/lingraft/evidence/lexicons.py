"""Lexicons by the names a recipe holds: files, or ``builtin`` for the one that comes with the package."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .alignment.lexicon import Lexicon, joined_lexicons, read_lexicon
from .builtin import builtin_file, builtin_lexicon

#: in place of a file
BUILTIN = "builtin"

#: and its licence
BUILTIN_LICENCE = "CC BY-SA 4.0"


def lexicon_files(names: Sequence[str], language: str) -> list[Path]:
    """The files behind the names; RecipeError where the package has no lexicon of the language."""
    return [builtin_file(language) if name == BUILTIN else Path(name) for name in names]


def read_lexicons(names: Sequence[str], language: str) -> Lexicon:
    """All entries of one or more lexicons; CorpusError as for `read_lexicon`, RecipeError as for `lexicon_files`.

    names: files, or ``builtin`` for the package's own. language: the tag for which that one is.
    """
    return joined_lexicons([builtin_lexicon(language) if name == BUILTIN else read_lexicon(name) for name in names])
