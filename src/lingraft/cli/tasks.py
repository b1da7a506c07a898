"""Task models: finetune, swap, evaluate, parse."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from ..cache import refuse_existing
from ..errors import RecipeError
from .common import (
    ERR,
    Display,
    Json,
    NoSeed,
    Out,
    Quiet,
    Seed,
    done,
    print_json,
    print_scores,
    refuse_nothing,
    show_score,
)


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
    from ..corpus import Counts, clean_pairs, read_bitext
    from ..surgery import load_model
    from ..taskruns import on_device, record_score
    from ..tasks import evaluate_retrieval

    counts = Counts()
    pairs = list(clean_pairs(read_bitext(data, counts), 10_000, counts))
    refuse_nothing(pairs, "sentence pair", data)
    target = on_device(load_model(model))
    source = on_device(load_model(source_model)) if source_model else target
    result = evaluate_retrieval(source, target, pairs)
    record_score(model, data, {"source_model": source_model}, result)
    show_score(result, as_json)


def lm(
    model: Annotated[str, typer.Option("--model", help="A masked or causal language model.")],
    data: Annotated[Path, typer.Option("--data", help="Held-out text.")],
    method: Annotated[
        str, typer.Option("--method", help="Of a masked model: fixed (some tokens hidden) or pll (each, one by one).")
    ] = "fixed",
    seed: NoSeed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Loss and bits per byte on held-out text."""
    from ..corpus import Counts, clean_text, read_lines
    from ..surgery import load_model
    from ..taskruns import on_device, record_score
    from ..tasks import evaluate_lm

    lines = list(clean_text(read_lines(data), 1_000_000, Counts()))
    refuse_nothing(lines, "line", data)
    result = evaluate_lm(on_device(load_model(model, head=True)), lines, method=method)  # type: ignore[arg-type]
    record_score(model, data, {"method": method}, result)
    show_score(result, as_json)


Precision = Annotated[str, typer.Option("--precision", help="float32, bf16, or auto: bf16 where it is faster.")]
TaskModel = Annotated[str, typer.Option("--model", help="A task model's folder, or one with the models of all seeds.")]


def finetune(
    task: Annotated[str, typer.Argument(help="nli, parse or tag.")],
    model: Annotated[str, typer.Option("--model", help="The English encoder: any model folder or Hugging Face id.")],
    train: Annotated[str, typer.Option("--train", help="English examples to train on.")],
    dev: Annotated[str, typer.Option("--dev", help="English examples to choose by.")],
    out: Out,
    epochs: Annotated[float | None, typer.Option("--epochs", help="Passes over the examples.")] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", help="Examples a step.")] = None,
    learning_rate: Annotated[float | None, typer.Option("--learning-rate", help="Peak, for the encoder.")] = None,
    train_embeddings: Annotated[
        bool | None, typer.Option("--train-embeddings", help="Train the word embeddings too; they are frozen else.")
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", help="So many models, from --seed on.", min=1)] = 1,
    oracle: Annotated[
        str | None, typer.Option("--oracle", help="The new language's model: also tell what choosing by it would give.")
    ] = None,
    oracle_dev: Annotated[str | None, typer.Option("--oracle-dev", help="Its dev examples.")] = None,
    language: Annotated[
        str | None, typer.Option("--language", help="nli: the language to take of --train and --dev.")
    ] = None,
    oracle_language: Annotated[
        str | None, typer.Option("--oracle-language", help="nli: the language to take of --oracle-dev.")
    ] = None,
    settings: Annotated[
        list[str], typer.Option("--set", help="KEY=VALUE of any other setting, as in embedding_noise=0.1.")
    ] = [],  # noqa: B006
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a task model on English examples: nli, parse or tag."""
    from .. import taskruns

    given: dict[str, Any] = {
        name: value for name, value in (
            ("epochs", epochs), ("batch_size", batch_size), ("learning_rate", learning_rate),
            ("train_embeddings", train_embeddings),
        ) if value is not None
    }  # fmt: skip
    with Display(quiet) as display:
        run = taskruns.finetune(
            task, model, train=train, dev=dev, out=out, seed=seed, seeds=seeds, oracle=oracle, oracle_dev=oracle_dev,
            language=language, oracle_language=oracle_language, on_progress=display,
            settings=given | _settings(settings),
        )  # fmt: skip
    if as_json:
        print_json(run | {"out": str(out)})
        return
    for number, report in enumerate(run["runs"], seed):
        scores = report["dev"] | {f"oracle {name}": value for name, value in report.get("oracle", {}).items()}
        print_scores(f"seed {number}, on dev", scores)
    done(as_json, quiet, {}, out)


def _settings(assignments: list[str]) -> dict[str, str]:
    """What --set gives, by name."""
    given = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise RecipeError(f"--set takes KEY=VALUE; given: '{assignment}'.")
        given[name.strip()] = value.strip()
    return given


def swap(
    task_model: Annotated[str, typer.Option("--task-model", help="A model that was fine-tuned in English.")],
    to: Annotated[str, typer.Option("--to", help="The new language's model: the target folder of a transfer.")],
    out: Out,
    source_model: Annotated[
        str | None, typer.Option("--source-model", help="The English model both come from, if not beside --to.")
    ] = None,
    table: Annotated[Path | None, typer.Option("--table", help="The translation table, if not beside --to.")] = None,
    carry_drift: Annotated[
        bool, typer.Option("--carry-drift", help="Move the new embeddings as fine-tuning moved the English ones.")
    ] = False,
    seed: NoSeed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Put the new language's vocabulary under a model that was fine-tuned in English, and what its encoder learnt."""
    from .. import taskruns

    run = taskruns.swap_folder(task_model, to, out, source=source_model, table=table, carry_drift=carry_drift)
    if not as_json:
        for note in dict.fromkeys(report["note"] for report in run["swaps"] if report["note"]):
            ERR.print(escape(note), soft_wrap=True)
        if not quiet and all(report["origin"] == "verified" for report in run["swaps"]):
            ERR.print(
                "The task model was fine-tuned from the English model of this language's run: its embeddings agree."
            )
        if not quiet and (moved := max(report["encoder"] or 0 for report in run["swaps"])):
            ERR.print(
                f"The new language has an encoder of its own: {moved} of the task model's parameters moved as training "
                "moved the English ones.", soft_wrap=True,
            )  # fmt: skip
    done(as_json, quiet, run, out)


def adapt(
    task: Annotated[str, typer.Argument(help="parse.")],
    model: Annotated[str, typer.Option("--model", help="The parser as swap put it into the language.")],
    teacher: Annotated[str, typer.Option("--teacher", help="The English parser it was made from.")],
    bitext: Annotated[str, typer.Option("--bitext", help="Sentence pairs, English first: a TSV, or EN_FILE,XX_FILE.")],
    language: Annotated[str, typer.Option("--language", help="The tag of the new language, such as hi.")],
    out: Out,
    sentences: Annotated[
        int, typer.Option("--sentences", help="Trees wanted; a tenth, 300 at most, is held out.")
    ] = 12_000,
    min_share: Annotated[float, typer.Option("--min-share", help="Of a sentence's words that must get a head.")] = 0.6,
    settings: Annotated[
        list[str],
        typer.Option(
            "--set",
            help="KEY=VALUE of a setting of fine-tuning. Here epochs=1, batch_size=8, learning_rate=1e-4, "
            "head_learning_rate=5e-4, train_embeddings=true unless told otherwise.",
        ),
    ] = [],  # noqa: B006
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Teach a swapped parser the new language's order of words, by English trees carried over a bitext's word links."""
    from .. import adaptation

    with Display(quiet) as display:
        run = adaptation.adapt(
            task, model, teacher=teacher, bitext=bitext, language=language, out=out, sentences=sentences,
            min_share=min_share, seed=seed, on_progress=display, settings=_settings(settings),
        )  # fmt: skip
    if as_json:
        print_json(run | {"out": str(out)})
        return
    for note in run["notes"]:
        ERR.print(escape(note), soft_wrap=True)
    for number, report in enumerate(run["runs"], seed):
        scores = {f"{name} before": value for name, value in report["before"].items()} | report["dev"]
        print_scores(f"seed {number}, on {report['held_out']} held-out trees", scores)
    done(as_json, quiet, {}, out)


def nli(
    model: TaskModel,
    data: Annotated[str, typer.Option("--data", help="Sentence pairs with labels: TSV, jsonl or hf:DATASET.")],
    language: Annotated[
        str | None, typer.Option("--language", help="The language to take of a file in several.")
    ] = None,
    precision: Precision = "auto",
    seed: NoSeed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Accuracy of natural language inference."""
    from .. import taskruns

    show_score(taskruns.evaluate("nli", model, data, language=language, precision=precision), as_json)


def evaluate_parse(
    model: TaskModel,
    data: Annotated[str, typer.Option("--data", help="A treebank in CoNLL-U.")],
    precision: Precision = "auto",
    seed: NoSeed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Attachment scores of a parser, with and without punctuation."""
    from .. import taskruns

    show_score(taskruns.evaluate("parse", model, data, precision=precision), as_json)


def parse(
    model: Annotated[str, typer.Argument(help="A parser's folder, as finetune parse or swap writes it.")],
    file: Annotated[Path, typer.Argument(help="CoNLL-U, or text, a sentence a line.")],
    out: Out,
    input_format: Annotated[
        str | None,
        typer.Option("--format", help="conllu, tokenised (words between spaces) or raw; else seen from the content."),
    ] = None,
    precision: Precision = "auto",
    seed: NoSeed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write the dependency trees of a file as CoNLL-U."""
    from ..taskruns import on_device
    from ..tasks.parsing import load_parser, parse_file

    refuse_existing(out)
    with Display(quiet) as display:
        result = parse_file(
            on_device(load_parser(model)), file, out, input_format,  # type: ignore[arg-type]
            precision=precision, on_progress=lambda done: display("parse", 0.0, f"{done:,} sentences"),
        )  # fmt: skip
    done(as_json, quiet, result, out)


def tag(
    model: TaskModel,
    data: Annotated[str, typer.Option("--data", help="Tagged words: CoNLL-U, or word and tag in columns.")],
    precision: Precision = "auto",
    seed: NoSeed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Accuracy of parts of speech, or F1 of named entities."""
    from .. import taskruns

    show_score(taskruns.evaluate("tag", model, data, precision=precision), as_json)
