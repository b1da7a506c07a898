"""The whole way: demo, transfer, resume."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from ..errors import RecipeError
from .common import (
    AllowPickle,
    BitextOption,
    Display,
    Json,
    LexiconOption,
    NoSeed,
    Quiet,
    Seed,
    TextOption,
    VectorsOption,
    print_json,
    print_table,
)


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


def transfer(
    model: Annotated[str | None, typer.Argument(help="A model folder or a Hugging Face id.")] = None,
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            help="BCP 47 tag of the new language: fr, zh, zh-Hant. Of several with commas between (fr,hi); each "
            "--bitext, --lexicon, --vectors, --text, --tokenizer and --eval-bitext is then LANG=FILE.",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The run's folder.")] = None,
    bitext: BitextOption = [],  # noqa: B006
    lexicon: LexiconOption = [],  # noqa: B006
    vectors: VectorsOption = [],  # noqa: B006
    text: TextOption = [],  # noqa: B006
    source_text: Annotated[list[str], typer.Option("--source-text", help="English text, likewise.")] = [],  # noqa: B006
    eval_bitext: Annotated[
        list[str], typer.Option("--eval-bitext", help="Held-out sentence pairs for the retrieval score.")
    ] = [],  # noqa: B006
    tokenizer: Annotated[
        list[str], typer.Option("--tokenizer", help="Use this tokenizer instead of training one.")
    ] = [],  # noqa: B006
    vocab_size: Annotated[int | None, typer.Option("--vocab-size", help="Tokens of a new vocabulary.")] = None,
    objective: Annotated[str | None, typer.Option("--objective", help="auto, mlm, distill, clm or none.")] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Train for so many steps.")] = None,
    tokens: Annotated[int | None, typer.Option("--tokens", help="Train on so many tokens.")] = None,
    budget: Annotated[str | None, typer.Option("--budget", help="Train for so long: 90m, 1h30m, 45s.")] = None,
    track: Annotated[
        list[str], typer.Option("--track", help="Send the meter's lines to jsonl, tensorboard or wandb as well.")
    ] = [],  # noqa: B006
    allow_pickle: AllowPickle = False,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of everything random.", min=0)] = None,
    recipe: Annotated[Path | None, typer.Option("--recipe", help="A YAML recipe; options override its keys.")] = None,
    settings: Annotated[
        list[str], typer.Option("--set", help="KEY=VALUE of any recipe key, as in training.batch_size=32.")
    ] = [],  # noqa: B006
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """From an English model and text of a new language, or of several, to a model of each language."""
    from ..recipe import build_recipe, put, read_recipe_file, set_key
    from .languages import by_language, languages_of

    if out is None:
        raise RecipeError("Where should the run go? Give --out DIR.")
    values: dict[str, Any] = read_recipe_file(recipe) if recipe else {}
    if to is not None:
        values["language"] = to
    languages = languages_of(values, settings)
    for key, value in {
        "source": model,
        "allow_pickle": allow_pickle or None,
        "evidence.bitext": by_language("--bitext", bitext, languages),
        "evidence.lexicon": by_language("--lexicon", lexicon, languages),
        "evidence.vectors": by_language("--vectors", vectors, languages, once=True),
        "corpus.text": by_language("--text", text, languages),
        "corpus.source_text": source_text or None,
        "evaluation.bitext": by_language("--eval-bitext", eval_bitext, languages, once=True),
        "vocabulary.tokenizer": by_language("--tokenizer", tokenizer, languages, once=True),
        "vocabulary.size": vocab_size,
        "training.objective": objective,
        "training.steps": steps,
        "training.tokens": tokens,
        "training.budget": budget,
        "training.track": track or None,
        "seed": seed,
    }.items():
        if value is not None:
            put(values, key, value)
    for assignment in settings:
        set_key(values, assignment)
    if "source" not in values or "language" not in values:
        raise RecipeError("A transfer needs a model and a language: lingraft transfer MODEL --to LANG --out DIR.")
    checked = build_recipe(values)
    from ..transfer import run_recipe

    with Display(quiet) as display:
        result = run_recipe(checked, out, display)
    _show_run(result.run, out, as_json)


def _show_run(run: dict[str, Any], out: Path, as_json: bool) -> None:
    from ..report import summary_rows

    if as_json:
        print_json(run)
    else:
        print_table(f"lingraft transfer, {out}", summary_rows(run))


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
