"""What is wrong or weak before anything is spent: doctor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .common import Display, Json, Quiet, print_json
from .options import RunOptions, run_options

if TYPE_CHECKING:
    from ..doctor import Diagnosis
    from ..doctor.findings import Estimates

_STYLES = {"error": "bold red", "warning": "yellow", "info": "cyan"}


@run_options
def doctor(
    options: RunOptions,
    probe: Annotated[
        bool, typer.Option("--probe/--no-probe", help="Time some steps of the training, to say how long it will take.")
    ] = True,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Look at what a transfer would be given: what is wrong or weak, how long it will take, in how much memory.

    It takes the options of transfer and writes nothing. The exit status is 2 where the run would be worthless.
    """
    checked = options.checked("lingraft doctor MODEL --to LANG")
    from ..doctor import examine
    from ..settling import unused_lexicons

    with Display(quiet) as display:
        result = examine(checked, options.out, display, probe=probe)
    if as_json:
        print_json(result.as_dict())
    else:
        _show(result, unused_lexicons(checked))
    if result.worthless:
        raise typer.Exit(2)


def _show(result: Diagnosis, notes: Sequence[str]) -> None:
    """Findings, estimates, notes and the verdict on standard output."""
    console = Console(highlight=False)
    if result.findings:
        table = Table(box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False, show_header=False)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        several = len({finding.language for finding in result.findings}) > 1
        for finding in result.findings:
            style = _STYLES[finding.severity]
            where = [part for part in (finding.language if several else None, finding.where) if part]
            place = f"{', '.join(where)}: " if where else ""
            table.add_row(
                f"[{style}]{finding.severity}[/]",
                f"[bold]{escape(finding.code)}[/]  {escape(place + finding.found)}.\n→ {escape(finding.advice)}",
            )
        console.print(table)
    if result.estimates:
        _show_estimates(result.estimates, console)
    for name, told in result.sampled.items():
        if not told["whole"] or told["examined"] < told["read"]:
            total = f" of about {told['estimated_total']:,}" if told["estimated_total"] and not told["whole"] else ""
            text = (
                f"{name}: {told['read']:,} lines{total} were read, {told['examined']:,} of them looked at more closely."
            )
            console.print(escape(text), soft_wrap=True)
    for note in notes:
        console.print(escape(f"{note[0].upper()}{note[1:]}."), soft_wrap=True)
    errors, warnings = len(result.of("error")), len(result.of("warning"))
    if errors:
        verdict = (
            f"[bold red]This run would be worthless[/]: {_number(errors, 'error')}, {_number(warnings, 'warning')}."
        )
    elif warnings:
        verdict = f"[yellow]This run would work, but not as well as it could[/]: {_number(warnings, 'warning')}."
    else:
        verdict = "[green]Nothing is wrong with what is given.[/]"
    console.print(f"{verdict} The doctor took {result.seconds:.0f} s.", soft_wrap=True)


def _number(count: int, what: object) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def _show_estimates(estimates: Estimates, console: Console) -> None:
    table = Table(title="What the run will take here, about", title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    for stage, seconds in estimates.seconds.items():
        table.add_row(escape(stage), _duration(seconds))
    if estimates.steps:
        steps = ", ".join(f"{seconds:.2g} s" for seconds in estimates.step_seconds.values())
        table.add_row("steps of training", f"{estimates.steps:,} of {steps}")
    if estimates.peak_memory_bytes:
        table.add_row("peak memory", f"{estimates.peak_memory_bytes / 1e9:.1f} GB")
    if estimates.device_memory_bytes:
        table.add_row("peak memory of the card", f"{estimates.device_memory_bytes / 1e9:.1f} GB")
    table.add_row("disk, at most", f"{estimates.disk_bytes / 1e9:.1f} GB")
    console.print(table)
    for note in estimates.notes:
        console.print(escape(note), soft_wrap=True)


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes, hours = seconds / 60, seconds / 3600
    return f"{minutes:.0f} min" if minutes < 100 else f"{hours:.1f} h"
