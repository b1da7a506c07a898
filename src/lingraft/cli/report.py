"""The report of a finished run, made again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from .common import ERR, Json, NoSeed, Quiet, print_json


def report(
    directory: Annotated[Path, typer.Argument(help="The folder of a finished run.")],
    seed: NoSeed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make report.html of a finished run again, of its folder alone."""
    from ..report import report as make

    made = make(directory)
    if as_json:
        print_json({"path": str(made.path), "bytes": made.bytes, "warnings": made.warnings})
    elif not quiet:
        for warning in made.warnings:
            ERR.print(escape(warning), soft_wrap=True)
        ERR.print(f"Written to {escape(str(made.path))}, {made.bytes / 1e6:.1f} MB.", soft_wrap=True)
