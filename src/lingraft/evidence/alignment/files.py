"""`lingraft align` and `lingraft lexicon`: from files to files."""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...cache import replacing
from ...errors import CorpusError, OutputError, RecipeError
from .aligner import SOFT_THRESHOLD, THRESHOLD, BitextAligner
from .em import Progress
from .lexicon import read_lexicon, write_lexicon
from .model import AlignmentModel
from .settings import AlignerSettings
from .symmetrize import check_choice
from .text import EncodedBitext, format_links, read_tokenised
from .words import Vocabulary


def align_file(
    bitext: str,
    out: Path,
    *,
    method: str | None = None,
    symmetrization: str = "posterior",
    threshold: float | None = None,
    soft: bool = False,
    iterations: int | None = None,
    lexicon: Path | None = None,
    model: Path | None = None,
    save_model: Path | None = None,
    characters: bool = False,
    lowercase: bool = True,
    threads: int | None = None,
    on_progress: Progress | None = None,
) -> dict[str, Any]:
    """Aligns a bitext file and writes one line of links a pair, block by block; returns counts for the terminal.

    The arguments are those of the command; what is None is the default, or that of ``model``. The file is written aside
    and renamed, so that it is either whole or not there.
    """
    chosen = (SOFT_THRESHOLD if soft else THRESHOLD) if threshold is None else threshold
    check_choice(symmetrization, chosen, "value of --symmetrize", "--threshold")
    if soft and symmetrization != "posterior":
        raise RecipeError(f"--soft writes posteriors, there is nothing to symmetrize; leave out '{symmetrization}'.")
    if threshold is not None and symmetrization != "posterior":
        raise RecipeError(f"--threshold is for posteriors; with --symmetrize {symmetrization} leave it out.")
    _check_place(out)
    if save_model:
        _check_place(save_model)
        if save_model.resolve() == out.resolve():
            raise RecipeError(f"--out and --save-model are both '{out}'; give each a file of its own.")
    known = AlignmentModel.load(model) if model else None
    settings = known.settings if known else AlignerSettings()
    settings = replace(
        settings,
        method=settings.method if method is None else method,
        iterations=settings.iterations if iterations is None else iterations,
    )
    if iterations is not None and settings.method == "ibm2":
        raise RecipeError("--iterations are those of the hmm, the method ibm2 has none; leave one of the two out.")
    if known:
        if (known.lowercase and not lowercase) or (characters and not known.characters):
            option = "--characters" if characters and not known.characters else "--keep-case"
            raise RecipeError(
                f"The model '{model}' was trained without {option}; leave it out, or train another model."
            )
        lowercase, characters = known.lowercase, known.characters
    words = (known.english_words, known.foreign_words) if known else None
    entries = read_lexicon(lexicon) if lexicon else None
    encoded = _read(bitext, lowercase, characters, words)
    links = 0
    with ExitStack() as stack:
        aside = stack.enter_context(replacing(out))
        try:
            # before the work, so that a place that cannot be written to is known at once
            stream = stack.enter_context(aside.open("wb"))
        except OSError as error:
            raise OutputError(f"'{out}' cannot be written: {error.strerror}.") from None
        aligner = stack.enter_context(
            BitextAligner(
                encoded, settings, model=known, lexicon=entries, lowercase=lowercase, characters=characters,
                threads=threads, on_progress=on_progress,
            )
        )  # fmt: skip
        for (block,) in aligner.links((symmetrization, chosen)):
            links += int(block.pair_offsets[-1])
            posterior = block.posterior if soft else None
            stream.write(format_links(block.pair_offsets, block.english, block.foreign, posterior))
        stream.close()
        if save_model:
            aligner.model().save(save_model)
        return {
            "pairs": len(encoded.english),
            "links": links,
            "malformed": encoded.malformed,
            "too_long": aligner.too_long,
            "log_likelihood": [list(map(float, both)) for both in aligner.log_likelihood],
            **({"unused_entries": aligner.unused_entries} if lexicon else {}),
        }


def lexicon_file(
    bitext: str,
    out: Path,
    *,
    min_count: float,
    min_probability: float,
    characters: bool = False,
    lowercase: bool = True,
    threads: int | None = None,
    on_progress: Progress | None = None,
) -> dict[str, Any]:
    """Aligns a bitext file and writes its lexicon; returns counts for the terminal."""
    if not 0 <= min_count < math.inf:
        raise RecipeError(f"--min-count is at least 0; given: {min_count}.")
    if not 0 <= min_probability <= 1:
        raise RecipeError(f"--min-probability lies between 0 and 1; given: {min_probability}.")
    _check_place(out)
    encoded = _read(bitext, lowercase, characters)
    with BitextAligner(
        encoded, lowercase=lowercase, characters=characters, threads=threads, on_progress=on_progress
    ) as aligner:
        made = aligner.lexicon(min_count, min_probability)
        write_lexicon(made, out)
        return {
            "pairs": len(encoded.english),
            "entries": len(made),
            "malformed": encoded.malformed,
            "too_long": aligner.too_long,
        }


def _check_place(path: Path) -> None:
    """Asked before hours of work, not behind them."""
    if not path.parent.is_dir():
        raise OutputError(f"'{path}' cannot be written: there is no folder '{path.parent}'. Make it first.")


def _read(
    bitext: str, lowercase: bool, characters: bool, extend: tuple[Vocabulary, Vocabulary] | None = None
) -> EncodedBitext:
    encoded = read_tokenised(bitext, lowercase=lowercase, characters=characters, extend=extend)
    if not ((encoded.english.lengths > 0) & (encoded.foreign.lengths > 0)).any():
        raise CorpusError(f"'{bitext}' holds no pair with words on both sides, so there is nothing to align.")
    return encoded
