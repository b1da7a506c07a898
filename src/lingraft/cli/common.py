"""What all commands share: options, progress, and how results are shown."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from ..errors import CorpusError

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output, and nothing else there.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of everything random; 0 unless given.", min=0)]
NoSeed = Annotated[int, typer.Option("--seed", help="Taken as by every command; without effect here.", min=0)]
Model = Annotated[str, typer.Argument(help="A model folder or a Hugging Face id.")]
Tokenizer = Annotated[str, typer.Argument(help="The new language's tokenizer.")]
Out = Annotated[Path, typer.Option("--out", help="Where the result goes.")]
BitextOption = Annotated[
    list[str], typer.Option("--bitext", help="Sentence pairs: a two-column TSV, English first, or EN_FILE,XX_FILE.")
]
LexiconOption = Annotated[
    list[str],
    typer.Option(
        "--lexicon",
        help="Word translations: a TSV of English, foreign and perhaps p(English | foreign), p(foreign | English) and "
        "a count; or builtin for the lexicon that comes with the package.",
    ),
]
VectorsOption = Annotated[
    list[str],
    typer.Option(
        "--vectors",
        help="Word vectors of both languages, EN_FILE,XX_FILE (.vec or .bin); or train, to train them on the text.",
    ),
]
TextOption = Annotated[
    list[str],
    typer.Option("--text", help="Text of the new language, a sentence or paragraph a line: a file or hf:DATASET."),
]
VectorPairOption = Annotated[
    str | None,
    typer.Option("--vectors", help="Word vectors EN_FILE,XX_FILE: .vec, plain or compressed, or fastText .bin."),
]
ToOption = Annotated[str | None, typer.Option("--to", help="The new language, for --lexicon builtin.")]
TableOption = Annotated[
    Path | None, typer.Option("--table", help="A table made by lingraft table for these two: for lingraft.")
]

AllowPickle = Annotated[
    bool, typer.Option("--allow-pickle", help="Read weights that are a pickle (.bin) too; no code in it is run.")
]

ERR = Console(stderr=True, highlight=False)


class Display:
    """A progress bar a stage on a terminal, with the time it took and the time to go.

    Elsewhere a line when a stage ends and now and then in between.
    """

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._last = time.monotonic()

    def __enter__(self) -> Display:
        if not self._quiet and ERR.is_terminal:
            columns = (
                TextColumn("{task.description:<11}"),
                BarColumn(24),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
            )
            self._bars = Progress(*columns, console=ERR)
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars:
            self._bars.stop()

    def __call__(self, stage: str, share: float, note: str) -> None:
        if self._bars:
            if stage not in self._tasks:
                self._tasks[stage] = self._bars.add_task(stage, total=1.0, note="")
            self._bars.update(self._tasks[stage], completed=share, note=escape(note))
        elif not self._quiet and (share >= 1 or (note and time.monotonic() - self._last > 10)):
            self._last = time.monotonic()
            ERR.print(f"{stage:<11} {100 * share:3.0f} %  {escape(note)}", soft_wrap=True)


def print_json(value: Any) -> None:
    """One JSON object on standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")


def print_table(title: str, rows: list[tuple[str, str]]) -> None:
    """(what, value) lines on standard output."""
    table = Table(title=escape(title), show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for what, value in rows:
        table.add_row(escape(what), escape(value))
    Console(highlight=False).print(table)


#: scores that are no shares of anything
_NO_SHARES = ("loss", "bits_per_byte")


def _score_text(name: str, value: Any, interval: Sequence[float] | None) -> str:
    """A score as people read it: shares in percent, with the 95 % interval where there is one."""
    if interval is not None:
        unit, scale, places = ("", 1.0, 4) if name in _NO_SHARES else (" %", 100.0, 1)
        low, high = (f"{scale * end:.{places}f}" for end in interval)
        return f"{scale * value:.{places}f}{unit} (95 % interval {low} to {high})"
    if name == "shortened":
        return f"{value:,} examples, cut to the model's length"
    if name == "seeds":
        return "; ".join(f"{score} " + ", ".join(f"{each:.4f}" for each in values) for score, values in value.items())
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def print_scores(title: str, scores: Mapping[str, Any]) -> None:
    """A table of scores on standard output, each with its interval where ``intervals`` has one."""
    intervals = scores.get("intervals", {})
    shown = {name: value for name, value in scores.items() if name != "intervals"}
    print_table(title, [(name, _score_text(name, value, intervals.get(name))) for name, value in shown.items()])


def show_score(result: dict[str, Any], as_json: bool) -> None:
    """The result of an evaluation."""
    if as_json:
        print_json(result)
    else:
        print_scores("score", result)


def refuse_nothing(read: Sequence[Any], what: str, names: object) -> None:
    """CorpusError if nothing was read."""
    if not read:
        raise CorpusError(f"No {what} is left of '{names}': all are empty or too long.")


def done(as_json: bool, quiet: bool, result: dict[str, Any], out: Path) -> None:
    """Says that the result was written, and what was left out."""
    if as_json:
        print_json(result | {"out": str(out)})
    elif not quiet:
        for name, what in (
            ("malformed", "malformed lines were left without links"),
            ("too_long", "pairs that are too long were left without links"),
            ("unused_entries", "entries of the lexicon were not used: several words on a side or characters on both"),
        ):
            if result.get(name):
                ERR.print(f"{result[name]:,} {what}.", soft_wrap=True)
        ERR.print(f"Written to {escape(str(out))}.", soft_wrap=True)
