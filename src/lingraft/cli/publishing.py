"""Results for others: push."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from .common import Display, Json, NoSeed, Quiet, print_json, print_table


def push(
    directory: Annotated[Path, typer.Argument(help="The folder of a finished run, or of a model.")],
    repo: Annotated[str, typer.Option("--repo", help="OWNER/NAME on the Hugging Face hub, or NAME for your own.")],
    private: Annotated[
        bool, typer.Option("--private/--public", help="Who sees a repository that has to be made: you, or everybody.")
    ] = True,
    source: Annotated[bool, typer.Option("--source", help="Upload the run's English model, source/.")] = False,
    seed: NoSeed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Upload a model with its card to the Hugging Face hub: target/ of a run, or any model folder; private by default.

    Needs a login (hf auth login, or HF_TOKEN). Safetensors, JSON and text are uploaded, and a folder that holds
    anything else is refused. No other command uploads anything.
    """
    from ..push import push as upload

    with Display(quiet) as display:
        result = upload(directory, repo, private=private, source=source, on_progress=display)
    if as_json:
        print_json(asdict(result))
    elif not quiet:
        rows = [
            ("repository", f"{result.url} ({'private' if result.private else 'public'})"),
            ("commit", result.commit),
            ("files", f"{len(result.files):,}, {result.bytes / 1e6:,.1f} MB"),
        ]
        print_table("lingraft push", rows)
