"""The whole way: demo, transfer, resume."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from ..errors import RecipeError
from .common import Display, Json, NoSeed, Quiet, Seed, print_json, print_table
from .options import RunOptions, run_options


def demo(
    out: Annotated[Path, typer.Option("--out", help="Where the run goes.")] = Path("lingraft-demo"),
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """The whole way on what the installation carries: an English sentence encoder learns French, offline."""
    from ..demo import run_demo
    from ..report import score_rows

    with Display(quiet) as display:
        result, neighbours = run_demo(out, display, seed)
    if as_json:
        print_json(result.run | {"neighbours": [vars(neighbour) for neighbour in neighbours]})
        return
    print_table("all-MiniLM-L6-v2 to French, 200 held-out sentences", score_rows(result.scores))
    print_table(
        "French sentences and their nearest English ones, of 200",
        [
            (
                n.french,
                f"{n.nearest} ({n.cosine:.2f})" + ("" if n.nearest == n.translation else f" – not: {n.translation}"),
            )
            for n in neighbours
        ],
    )
    Console(highlight=False).print(
        f"The run is in {escape(str(out))}: the French model in target/, all numbers in run.json.", soft_wrap=True
    )


@run_options
def transfer(options: RunOptions, as_json: Json = False, quiet: Quiet = False) -> None:
    """From an English model and text of a new language, or of several, to a model of each language."""
    if options.out is None:
        raise RecipeError("Where should the run go? Give --out DIR.")
    checked = options.checked("lingraft transfer MODEL --to LANG --out DIR")
    from ..transfer import run_recipe

    with Display(quiet) as display:
        result = run_recipe(checked, options.out, display)
    _show_run(result.run, options.out, as_json)


def _show_run(run: dict[str, Any], out: Path, as_json: bool) -> None:
    from ..report import summary_rows

    if as_json:
        print_json(run)
    else:
        print_table(f"lingraft transfer, {out}", summary_rows(run))
        if (out / "report.html").is_file():
            Console(highlight=False).print(f"The report: {escape(str(out / 'report.html'))}", soft_wrap=True)


def resume(
    directory: Annotated[Path, typer.Argument(help="The folder of a run that was stopped.")],
    seed: NoSeed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Go on where a killed run stopped, to the same result."""
    from ..transfer import resume as go_on

    with Display(quiet) as display:
        result = go_on(directory, display)
    _show_run(result.run, directory, as_json)
