"""Word alignment: align, score-alignment, lexicon."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..cache import refuse_existing
from .common import Display, Json, NoSeed, Out, Quiet, done, show_score

TokenisedBitext = Annotated[str, typer.Argument(help="Tokenised: a two-column TSV, English first, or EN_FILE,XX_FILE.")]
Threads = Annotated[
    int | None, typer.Option("--threads", help="By default one for each core; the result is the same.", min=1)
]
KeepCase = Annotated[bool, typer.Option("--keep-case", help="Tell words apart that differ in case alone.")]
Characters = Annotated[
    bool,
    typer.Option("--characters", help="Take words of scripts without spaces (Han, kana, Thai, ...) into characters."),
]


def align(
    bitext: TokenisedBitext,
    out: Out,
    method: Annotated[
        str | None, typer.Option("--method", help="hmm (the default), or ibm2: faster, less accurate.")
    ] = None,
    symmetrize: Annotated[
        str,
        typer.Option(
            "--symmetrize",
            help="posterior, intersection, union, grow-diag, grow-diag-final or grow-diag-final-and.",
        ),
    ] = "posterior",
    threshold: Annotated[
        float | None,
        typer.Option("--threshold", help="Take links with at least this posterior; 0.2, with --soft 0.01."),
    ] = None,
    soft: Annotated[bool, typer.Option("--soft", help="Write i-j:posterior for every likely link.")] = False,
    iterations: Annotated[int | None, typer.Option("--iterations", help="EM iterations of the HMM; 4.")] = None,
    lexicon: Annotated[Path | None, typer.Option("--lexicon", help="Word translations to start from, a TSV.")] = None,
    model: Annotated[Path | None, typer.Option("--model", help="A model saved before, to go on from.")] = None,
    save_model: Annotated[Path | None, typer.Option("--save-model", help="Keep what was learned in this file.")] = None,
    characters: Characters = False,
    keep_case: KeepCase = False,
    threads: Threads = None,
    seed: NoSeed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Link the words of sentence pairs: one line a pair, `i-j` counted from 0, English first."""
    from ..evidence.alignment.files import align_file

    refuse_existing(out)
    if save_model:
        refuse_existing(save_model, "--save-model")
    with Display(quiet) as display:
        result = align_file(
            bitext, out, method=method, symmetrization=symmetrize, threshold=threshold, soft=soft,
            iterations=iterations, lexicon=lexicon, model=model, save_model=save_model, characters=characters,
            lowercase=not keep_case, threads=threads, on_progress=lambda done, note: display("align", done, note),
        )  # fmt: skip
    done(as_json, quiet, result, out)


def score_alignment(
    hypothesis: Annotated[Path, typer.Argument(help="Links to be judged, one line a sentence pair.")],
    gold: Annotated[Path, typer.Argument(help="Gold links: i-j sure, i?j possible.")],
    seed: NoSeed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Precision, recall and alignment error rate of links against a gold standard."""
    from ..evidence.alignment import score_alignment as score

    show_score(score(hypothesis, gold).as_dict(), as_json)


def lexicon(
    bitext: TokenisedBitext,
    out: Out,
    min_count: Annotated[float, typer.Option("--min-count", help="Least expected links of an entry.")] = 0.5,
    min_probability: Annotated[
        float, typer.Option("--min-probability", help="An entry needs this in one of the two directions.")
    ] = 0.01,
    characters: Characters = False,
    keep_case: KeepCase = False,
    threads: Threads = None,
    seed: NoSeed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a word lexicon: English, foreign, p(English | foreign), p(foreign | English), expected links."""
    from ..evidence.alignment.files import lexicon_file

    refuse_existing(out)
    with Display(quiet) as display:
        result = lexicon_file(
            bitext, out, min_count=min_count, min_probability=min_probability, characters=characters,
            lowercase=not keep_case, threads=threads, on_progress=lambda done, note: display("align", done, note),
        )  # fmt: skip
    done(as_json, quiet, result, out)
