"""Evidence from the options of single steps; a transfer reads its own through the recipe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..corpus import Counts, clean_pairs, read_bitext, split_bitext
from ..errors import RecipeError
from .common import refuse_nothing

if TYPE_CHECKING:
    from ..evidence import Sources

#: longer pairs are dropped, as in a transfer
_MAX_CHARS = 2000


def read_sources(
    bitext: Sequence[str], lexicon: Sequence[str], vectors: str | None, to: str | None
) -> tuple[Sources, Counts]:
    """What the options name, read, and what became of the lines of the bitext.

    Raises RecipeError where nothing is given, or the built-in lexicon of no language.
    """
    from ..evidence import BUILTIN, Sources, read_lexicons
    from ..evidence.vectors import read_vectors

    if not bitext and not lexicon and not vectors:
        raise RecipeError("No evidence: give --bitext, --lexicon or --vectors, or several of them.")
    if BUILTIN in lexicon and to is None:
        raise RecipeError("--lexicon builtin needs the language: give it with --to, as in --to fr.")
    counts = Counts()
    pairs = [pair for name in bitext for pair in clean_pairs(read_bitext(name, counts), _MAX_CHARS, counts)]
    if bitext:
        refuse_nothing(pairs, "sentence pair", ", ".join(bitext))
    files = split_bitext(vectors) if vectors else ()
    if len(files) == 1:
        raise RecipeError(f"--vectors takes two files, EN_FILE,XX_FILE; given: '{vectors}'.")
    lexicons = {name: read_lexicons([name], to or "") for name in lexicon}
    return Sources(pairs, lexicons, (read_vectors(files[0]), read_vectors(files[1])) if files else None), counts
