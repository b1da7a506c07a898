"""Methods side by side: compare."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .common import (
    BitextOption,
    Display,
    Json,
    LexiconOption,
    Model,
    Quiet,
    Seed,
    TableOption,
    TextOption,
    Tokenizer,
    ToOption,
    VectorPairOption,
    print_json,
)

if TYPE_CHECKING:
    from ..comparison import Comparison, MethodResult


def compare(
    model: Model,
    tokenizer: Tokenizer,
    text: TextOption,
    bitext: BitextOption = [],  # noqa: B006
    vectors: VectorPairOption = None,
    lexicon: LexiconOption = [],  # noqa: B006
    table: TableOption = None,
    to: ToOption = None,
    source_text: Annotated[
        list[str], typer.Option("--source-text", help="English text; without it the bitext's English side.")
    ] = [],  # noqa: B006
    eval_bitext: Annotated[
        str | None, typer.Option("--eval-bitext", help="Held-out sentence pairs for the retrieval score.")
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option("--methods", help="With commas between; by default all whose inputs are given."),
    ] = None,
    probe_steps: Annotated[
        int, typer.Option("--probe-steps", help="Steps of the training that every method goes through.", min=0)
    ] = 50,
    seeds: Annotated[int, typer.Option("--seeds", help="So many probes of each, from --seed on.", min=1)] = 1,
    seed: Seed = 0,
    settings: Annotated[
        list[str], typer.Option("--set", help="KEY=VALUE of a training key, as in training.batch_size=8.")
    ] = [],  # noqa: B006
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make the rows of a new vocabulary in every known way and show what each is worth after a short training."""
    from ..comparison import compare as run
    from ..recipe import read_setting
    from ..surgery.initialisers.files import split_vectors

    with Display(quiet) as display:
        result = run(
            model, tokenizer, text=text, source_text=source_text, bitext=bitext,
            vectors=split_vectors(vectors) if vectors else None, lexicon=lexicon, table=table,
            eval_bitext=eval_bitext, to=to,
            methods=None if methods is None else [name.strip() for name in methods.split(",")],
            probe_steps=probe_steps, seeds=seeds, seed=seed, settings=dict(map(read_setting, settings)),
            on_progress=display,
        )  # fmt: skip
    if as_json:
        print_json(result.as_dict())
    else:
        _show(result)


def _show(result: Comparison) -> None:
    """The one table: a line a method."""
    number = len(result.seeds)
    title = f"{result.objective}, {result.steps} steps, " + (
        f"seed {result.seeds[0]}" if number == 1 else f"mean and standard deviation of {number} seeds"
    )
    table = Table(title=escape(title), title_justify="left", box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    headings = ["method", "bits per byte\nbefore", "after"]
    headings += ["en→xx\n%", "xx→en\n%"] if result.pairs else []
    for heading in [*headings, "seconds", "peak\nMB"]:
        table.add_column(heading, justify="left" if heading == "method" else "right", no_wrap=True)
    best = min(result.methods, key=lambda method: method.mean("after") or 0.0)
    for method in result.methods:
        table.add_row(*_cells(method, bool(result.pairs)), style="bold" if method is best else None)
    Console(highlight=False).print(table)


def _cells(method: MethodResult, with_retrieval: bool) -> list[str]:
    cells = [method.method, _spread(method.values("before"), "{:.3f}"), _spread(method.values("after"), "{:.3f}")]
    names: tuple[Literal["en_to_xx", "xx_to_en"], ...] = ("en_to_xx", "xx_to_en")
    if with_retrieval:
        cells += [_spread([100 * value for value in method.values(name) or ()], "{:.1f}") for name in names]
    memory = method.peak_memory_mb
    return [*cells, f"{method.seconds:.1f}", f"{memory:,}" if memory else ""]


def _spread(values: Sequence[float] | None, form: str) -> str:
    """The mean of some values, and their standard deviation where there are several."""
    if not values:
        return ""
    mean = form.format(fmean(values))
    return mean if len(values) == 1 else f"{mean}±{form.format(stdev(values))}"
