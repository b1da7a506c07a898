"""The command line: it parses, calls and shows, and knows nothing else.

Results go to standard output (with ``--json`` one JSON object), progress and messages to standard error.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from . import __version__
from .errors import LingraftError, RecipeError

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Graft a new language onto a pretrained English language model.",
)  # fmt: skip
evaluate_app = typer.Typer(no_args_is_help=True, help="Score a model.")
app.add_typer(evaluate_app, name="evaluate")

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
TextOption = Annotated[
    list[str], typer.Option("--text", help="Text of the new language, a sentence or paragraph a line.")
]

_err = Console(stderr=True, highlight=False)


class _Display:
    """A progress bar a stage on a terminal, with the time it took and the time to go.

    Elsewhere a line when a stage ends and now and then in between.
    """

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._last = time.monotonic()

    def __enter__(self) -> _Display:
        if not self._quiet and _err.is_terminal:
            columns = (
                TextColumn("{task.description:<11}"),
                BarColumn(24),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
            )
            self._bars = Progress(*columns, console=_err)
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
            _err.print(f"{stage:<11} {100 * share:3.0f} %  {escape(note)}", soft_wrap=True)


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")


def _print_table(title: str, rows: list[tuple[str, str]]) -> None:
    table = Table(title=escape(title), show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for what, value in rows:
        table.add_row(escape(what), escape(value))
    Console(highlight=False).print(table)


def _show_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"lingraft {__version__}\n")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True)] = False,
) -> None:
    """Graft a new language onto a pretrained English language model."""


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", help="Where the run goes.")] = Path("lingraft-demo"),
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """The whole way on what the installation carries: an English sentence encoder learns French, offline."""
    from .demo import run_demo
    from .report import score_rows

    with _Display(quiet) as display:
        result, neighbours = run_demo(out, display, seed)
    if as_json:
        _print_json(result.run | {"neighbours": [vars(neighbour) for neighbour in neighbours]})
        return
    _print_table("all-MiniLM-L6-v2 to French, 200 held-out sentences", score_rows(result.scores))
    _print_table(
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


@app.command()
def transfer(
    model: Annotated[str | None, typer.Argument(help="A model folder or a Hugging Face id.")] = None,
    to: Annotated[str | None, typer.Option("--to", help="BCP 47 tag of the new language: fr, zh, zh-Hant.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The run's folder.")] = None,
    bitext: BitextOption = [],  # noqa: B006
    text: TextOption = [],  # noqa: B006
    source_text: Annotated[list[str], typer.Option("--source-text", help="English text.")] = [],  # noqa: B006
    eval_bitext: Annotated[
        str | None, typer.Option("--eval-bitext", help="Held-out sentence pairs for the retrieval score.")
    ] = None,
    tokenizer: Annotated[
        str | None, typer.Option("--tokenizer", help="Use this tokenizer instead of training one.")
    ] = None,
    vocab_size: Annotated[int | None, typer.Option("--vocab-size", help="Tokens of the new vocabulary.")] = None,
    objective: Annotated[str | None, typer.Option("--objective", help="auto, mlm, distill, clm or none.")] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Train for so many steps.")] = None,
    tokens: Annotated[int | None, typer.Option("--tokens", help="Train on so many tokens.")] = None,
    budget: Annotated[str | None, typer.Option("--budget", help="Train for so long: 90m, 1h30m, 45s.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of everything random.", min=0)] = None,
    recipe: Annotated[Path | None, typer.Option("--recipe", help="A YAML recipe; options override its keys.")] = None,
    settings: Annotated[
        list[str], typer.Option("--set", help="KEY=VALUE of any recipe key, as in training.batch_size=32.")
    ] = [],  # noqa: B006
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """From an English model and text of a new language to a model of that language."""
    from .recipe import build_recipe, put, read_recipe_file, set_key

    if out is None:
        raise RecipeError("Where should the run go? Give --out DIR.")
    values: dict[str, Any] = read_recipe_file(recipe) if recipe else {}
    for key, value in {
        "source": model,
        "language": to,
        "evidence.bitext": bitext or None,
        "corpus.text": text or None,
        "corpus.source_text": source_text or None,
        "evaluation.bitext": eval_bitext,
        "vocabulary.tokenizer": tokenizer,
        "vocabulary.size": vocab_size,
        "training.objective": objective,
        "training.steps": steps,
        "training.tokens": tokens,
        "training.budget": budget,
        "seed": seed,
    }.items():
        if value is not None:
            put(values, key, value)
    for assignment in settings:
        set_key(values, assignment)
    if "source" not in values or "language" not in values:
        raise RecipeError("A transfer needs a model and a language: lingraft transfer MODEL --to LANG --out DIR.")
    checked = build_recipe(values)
    from .transfer import run_recipe

    with _Display(quiet) as display:
        result = run_recipe(checked, out, display)
    _show_run(result.run, out, as_json)


def _show_run(run: dict[str, Any], out: Path, as_json: bool) -> None:
    from .report import summary_rows

    if as_json:
        _print_json(run)
    else:
        _print_table(f"lingraft transfer, {out}", summary_rows(run))


@app.command()
def resume(
    directory: Annotated[Path, typer.Argument(help="The folder of a run that was stopped.")],
    seed: NoSeed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Go on where a killed run stopped, to the same result."""
    from .transfer import resume as go_on

    with _Display(quiet) as display:
        result = go_on(directory, display)
    _show_run(result.run, directory, as_json)


@app.command()
def tokenizer(
    model: Model,
    out: Out,
    text: TextOption,
    vocab_size: Annotated[int | None, typer.Option("--vocab-size", help="Tokens in all.")] = None,
    seed: NoSeed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a tokenizer of the same kind as a model's on text of the new language."""
    from .corpus import Counts, clean_text, read_lines
    from .surgery import load_tokenizer, resolve_model, save_tokenizer
    from .vocabulary import tokenizer_hash, train_tokenizer

    _refuse_existing(out)
    counts = Counts()
    lines = [line for name in text for line in clean_text(read_lines(Path(name)), 1_000_000, counts)]
    trained = train_tokenizer(load_tokenizer(resolve_model(model)), lines, vocab_size)
    save_tokenizer(trained, out)
    _done(as_json, quiet, {"size": len(trained), "hash": tokenizer_hash(trained), "lines": counts.kept}, out)


@app.command()
def table(
    model: Model,
    tokenizer: Tokenizer,
    out: Out,
    bitext: BitextOption,
    seed: NoSeed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make the translation table p(English token | new token) of a bitext."""
    from .corpus import Counts, clean_pairs, read_bitext
    from .evidence import bitext_counts, build_table
    from .surgery import load_tokenizer, resolve_model

    _refuse_existing(out)
    counts = Counts()
    pairs = [pair for name in bitext for pair in clean_pairs(read_bitext(name, counts), 2000, counts)]
    _refuse_nothing(pairs, "sentence pair", ", ".join(bitext))
    source, target = load_tokenizer(resolve_model(model)), load_tokenizer(tokenizer)
    with _Display(quiet) as display:
        links, too_long = bitext_counts(
            pairs, source, target,
            on_progress=lambda done, note: display("alignment", done, note),
        )  # fmt: skip
        made = build_table(source, target, links)
    out.parent.mkdir(parents=True, exist_ok=True)
    made.save(out)
    _done(
        as_json,
        quiet,
        {"rows": made.matrix.shape[0], "pairs": counts.kept, "too_long": too_long, "shares": made.shares()},
        out,
    )


TokenisedBitext = Annotated[str, typer.Argument(help="Tokenised: a two-column TSV, English first, or EN_FILE,XX_FILE.")]
Threads = Annotated[
    int | None, typer.Option("--threads", help="By default one for each core; the result is the same.", min=1)
]
KeepCase = Annotated[bool, typer.Option("--keep-case", help="Tell words apart that differ in case alone.")]
Characters = Annotated[
    bool,
    typer.Option("--characters", help="Take words of scripts without spaces (Han, kana, Thai, ...) into characters."),
]


@app.command()
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
    from .evidence.alignment.files import align_file

    _refuse_existing(out)
    if save_model:
        _refuse_existing(save_model, "--save-model")
    with _Display(quiet) as display:
        result = align_file(
            bitext, out, method=method, symmetrization=symmetrize, threshold=threshold, soft=soft,
            iterations=iterations, lexicon=lexicon, model=model, save_model=save_model, characters=characters,
            lowercase=not keep_case, threads=threads, on_progress=lambda done, note: display("align", done, note),
        )  # fmt: skip
    _done(as_json, quiet, result, out)


@app.command("score-alignment")
def score_alignment(
    hypothesis: Annotated[Path, typer.Argument(help="Links to be judged, one line a sentence pair.")],
    gold: Annotated[Path, typer.Argument(help="Gold links: i-j sure, i?j possible.")],
    seed: NoSeed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Precision, recall and alignment error rate of links against a gold standard."""
    from .evidence.alignment import score_alignment as score

    _score(score(hypothesis, gold).as_dict(), as_json)


@app.command()
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
    from .evidence.alignment.files import lexicon_file

    _refuse_existing(out)
    with _Display(quiet) as display:
        result = lexicon_file(
            bitext, out, min_count=min_count, min_probability=min_probability, characters=characters,
            lowercase=not keep_case, threads=threads, on_progress=lambda done, note: display("align", done, note),
        )  # fmt: skip
    _done(as_json, quiet, result, out)


@app.command()
def init(
    model: Model,
    tokenizer: Tokenizer,
    table: Annotated[Path, typer.Option("--table", help="A table made by lingraft table for these two.")],
    out: Out,
    method: Annotated[str, typer.Option("--method", help="lingraft, mean or random.")] = "lingraft",
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write the model under the new vocabulary, without any training."""
    from .cache import replacing
    from .evidence import TranslationTable
    from .surgery import METHODS, graft, load_model, load_tokenizer, save_model, self_check

    if method not in METHODS:
        raise RecipeError(f"--method is one of {', '.join(METHODS)}; given: '{method}'.")
    _refuse_existing(out)
    grafted = graft(load_model(model), load_tokenizer(tokenizer), TranslationTable.load(table), method, seed)
    with replacing(out) as aside:
        save_model(grafted, aside)
        checked = self_check(grafted, aside, [])
    _done(as_json, quiet, {"rows": len(grafted.tokenizer), "method": method, "self_check": checked}, out)


@evaluate_app.command()
def retrieval(
    model: Annotated[str, typer.Option("--model", help="The new language's model.")],
    data: Annotated[str, typer.Option("--data", help="Sentence pairs, English first.")],
    source_model: Annotated[
        str | None, typer.Option("--source-model", help="The English model; without it the one model does both.")
    ] = None,
    seed: NoSeed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Does each sentence lie nearest to its own translation among all of the test?"""
    from .corpus import Counts, clean_pairs, read_bitext
    from .surgery import load_model
    from .tasks import evaluate_retrieval

    counts = Counts()
    pairs = list(clean_pairs(read_bitext(data, counts), 10_000, counts))
    _refuse_nothing(pairs, "sentence pair", data)
    target = load_model(model)
    source = load_model(source_model) if source_model else target
    _score(evaluate_retrieval(source, target, pairs), as_json)


@evaluate_app.command()
def lm(
    model: Annotated[str, typer.Option("--model", help="A masked or causal language model.")],
    data: Annotated[Path, typer.Option("--data", help="Held-out text.")],
    seed: NoSeed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Loss and bits per byte on held-out text."""
    from .corpus import Counts, clean_text, read_lines
    from .surgery import load_model
    from .tasks import evaluate_lm

    lines = list(clean_text(read_lines(data), 1_000_000, Counts()))
    _refuse_nothing(lines, "line", data)
    _score(evaluate_lm(load_model(model, head=True), lines), as_json)


def _score(result: dict[str, Any], as_json: bool) -> None:
    if as_json:
        _print_json(result)
    else:
        shown = [(name, f"{value:.4f}" if isinstance(value, float) else str(value)) for name, value in result.items()]
        _print_table("score", shown)


def _refuse_nothing(read: Sequence[Any], what: str, names: object) -> None:
    from .errors import CorpusError

    if not read:
        raise CorpusError(f"No {what} is left of '{names}': all are empty or too long.")


def _refuse_existing(out: Path, option: str = "--out") -> None:
    from .errors import OutputError

    if out.exists():
        raise OutputError(f"'{out}' is there already; give another {option} or remove it first.")


def _done(as_json: bool, quiet: bool, result: dict[str, Any], out: Path) -> None:
    if as_json:
        _print_json(result | {"out": str(out)})
    elif not quiet:
        for name, what in (
            ("malformed", "malformed lines were left without links"),
            ("too_long", "pairs that are too long were left without links"),
            ("unused_entries", "entries of the lexicon were not used: several words on a side or characters on both"),
        ):
            if result.get(name):
                _err.print(f"{result[name]:,} {what}.", soft_wrap=True)
        _err.print(f"Written to {escape(str(out))}.", soft_wrap=True)


def _quieten_libraries() -> None:
    """This process is ours: what the libraries below tell their own users is not for the users of this command."""
    import os

    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)


def main() -> NoReturn:
    """Entry point of the ``lingraft`` command."""
    _quieten_libraries()
    try:
        app(prog_name="lingraft")
    except LingraftError as error:
        _err.print(f"lingraft: {escape(str(error))}", soft_wrap=True)
        sys.exit(error.exit_status)
    except OSError as error:
        where = f"'{error.filename}': " if error.filename else ""
        _err.print(f"lingraft: {escape(where + (error.strerror or str(error)))}.", soft_wrap=True)
        sys.exit(1)
    sys.exit(0)
