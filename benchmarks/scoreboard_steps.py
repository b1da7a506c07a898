"""Steps of the scoreboard that no command of lingraft does alone, each a process of its own.

    python benchmarks/scoreboard_steps.py score nli|parse --model TASK_MODEL [--to TARGET --source-model S] --data F...
    python benchmarks/scoreboard_steps.py score retrieval --model TARGET --source-model SOURCE --data EN,XX
    python benchmarks/scoreboard_steps.py score lm --model MODEL --data TEXT
    python benchmarks/scoreboard_steps.py train MODEL --start FOLDER --out OUT [options of lingraft transfer]
    python benchmarks/scoreboard_steps.py vectors MODEL --text F --out FILE
    python benchmarks/scoreboard_steps.py sample --text F --megabytes 8 --out FILE
    python benchmarks/scoreboard_steps.py head FILE --examples N --out FILE

``score`` gives what ``lingraft swap`` and ``lingraft evaluate`` give (the swap stays in memory), and besides it what
every sentence counts, so that intervals over several seeds and of differences can be made later. ``train`` is a
transfer that starts from a model made before in place of lingraft's graft: from another method's rows, or, with the
model's own tokenizer, from the untouched model. One JSON object on standard output.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab import Result, shortened

from lingraft.cache import folder_digest, replacing, write_aside
from lingraft.corpus import Counts as Cleaned
from lingraft.corpus import clean_pairs, clean_text, read_bitext, read_text, sample_lines
from lingraft.errors import LingraftError

if TYPE_CHECKING:
    from lingraft.surgery import LanguageModel
    from lingraft.tasks.intervals import Counts

# what needs torch is imported by the steps that do: cutting a file takes a second then, not ten


def with_counts(result: Result, counts: dict[str, Counts], **more: Any) -> Result:
    """A result with intervals over its sentences and, as text, the counts of each sentence."""
    from lingraft.tasks.intervals import bootstrap_interval

    intervals = {name: list(bootstrap_interval(each.hits, each.totals)) for name, each in counts.items()}
    written = {
        name: {"hits": " ".join(map(str, each.hits.astype(int))), "totals": " ".join(map(str, each.totals.astype(int)))}
        for name, each in counts.items()
    }
    return {**result, "intervals": intervals, **more, "counts": written}


def score_task(task: str, model: str, target: str | None, source: str | None, files: list[str]) -> dict[str, Result]:
    """Scores of a task model, or of it under a target's vocabulary, by file."""
    from lingraft.taskruns import on_device
    from lingraft.tasks.kinds import task_kind
    from lingraft.tasks.swap import swap
    from lingraft.training.precision import default_device, resolve_precision

    kind = task_kind(task)
    task_model, told = kind.load(model), {}
    if target is not None:
        swapped = swap(task_model, target, source=source)
        task_model, told = swapped.model, {"swap": swapped.report}
    on_device(task_model)
    precision = resolve_precision("auto", default_device())
    return {
        name: with_counts(*kind.evaluate(task_model, kind.read(name), precision="auto"), precision=precision, **told)
        for name in files
    }


def score_retrieval(target: LanguageModel, source: LanguageModel, pairs: list[tuple[str, str]]) -> Result:
    """Retrieval in both directions, and their mean."""
    import numpy as np

    from lingraft.tasks import embed_sentences
    from lingraft.tasks.intervals import Counts
    from lingraft.tasks.retrieval import nearest

    english, foreign = (embed_sentences(model, [pair[k] for pair in pairs]) for k, model in ((0, source), (1, target)))
    own, ones = np.arange(len(pairs)), np.ones(len(pairs), np.int64)
    to_foreign, to_english = nearest(english, foreign) == own, nearest(foreign, english) == own
    counts = {
        "en_to_xx": Counts(to_foreign, ones), "xx_to_en": Counts(to_english, ones),
        "mean": Counts(to_foreign.astype(int) + to_english, 2 * ones),
    }  # fmt: skip
    scores = {name: each.score for name, each in counts.items()}
    return with_counts({"task": "retrieval", **scores, "n": len(pairs)}, counts)


def fertility(model: LanguageModel, lines: list[str]) -> Result:
    """Tokens, words between spaces, characters and bytes of a text, and the share of unknown tokens."""
    ids = [model.tokenizer(line, add_special_tokens=False)["input_ids"] for line in lines]
    tokens = sum(map(len, ids))
    unknown = sum(each.count(model.tokenizer.unk_token_id) for each in ids)
    return {
        "tokens": tokens, "words": sum(len(line.split()) for line in lines), "characters": sum(map(len, lines)),
        "bytes": sum(len(line.encode()) for line in lines), "unknown_share": unknown / max(1, tokens),
    }  # fmt: skip


def score(arguments: argparse.Namespace) -> Result:
    """Scores by file, with memory."""
    from lingraft.machine import peak_memory_mb
    from lingraft.surgery import load_model
    from lingraft.taskruns import on_device
    from lingraft.tasks import evaluate_lm

    task, files = arguments.task, arguments.data
    if task in ("nli", "parse"):
        result: Result = score_task(task, arguments.model, arguments.to, arguments.source_model, files)
    elif task == "retrieval":
        target = on_device(load_model(arguments.model))
        source = on_device(load_model(arguments.source_model)) if arguments.source_model else target
        pairs = {name: list(clean_pairs(read_bitext(name, Cleaned()), 10_000, Cleaned())) for name in files}
        result = {
            name: score_retrieval(target, source, each) | {"text": fertility(target, [pair[1] for pair in each])}
            for name, each in pairs.items()
        }
    else:
        model = on_device(load_model(arguments.model, head=True))
        texts = {name: list(clean_text(read_text(name), 1_000_000, Cleaned())) for name in files}
        result = {name: evaluate_lm(model, lines) | {"text": fertility(model, lines)} for name, lines in texts.items()}
    return {"scores": result, "peak_memory_mb": peak_memory_mb()}


def train(arguments: argparse.Namespace) -> Result:
    """A transfer of one language from another start. Goes on where it was killed."""
    from lingraft.cli.options import RunOptions
    from lingraft.report import write_run
    from lingraft.run import Run
    from lingraft.settling import absolute, check_inputs, with_evidence

    class Started(Run):
        """Trains from a model made before, in place of the graft."""

        def _prepared(self, *given: Any) -> Any:
            languages, english = super()._prepared(*given)
            key = ["started", folder_digest(arguments.start)]
            grafts = {name: replace(made.graft, folder=arguments.start, key=[*made.graft.key, *key], report={})
                      for name, made in languages.items()}  # fmt: skip
            return {name: replace(made, graft=grafts[name]) for name, made in languages.items()}, english

    options = RunOptions(
        model=arguments.model, to=arguments.to, bitext=arguments.bitext, lexicon=arguments.lexicon, text=arguments.text,
        source_text=arguments.source_text, tokenizer=[arguments.tokenizer] if arguments.tokenizer else [],
        objective=arguments.objective, steps=arguments.steps, budget=arguments.budget, seed=arguments.seed,
        recipe=arguments.recipe, settings=arguments.set,
    )  # fmt: skip
    recipe = with_evidence(absolute(options.checked("lingraft transfer MODEL --to LANG")))
    check_inputs(recipe)
    run = Started(recipe, arguments.out, lambda stage, share, note: progress(stage, share, note))
    report = run.execute() | {"start": str(arguments.start)}
    write_run(arguments.out, report)
    return report


def progress(stage: str, share: float, note: str) -> None:
    """A line on standard error."""
    sys.stderr.write(f"{stage} {100 * share:.0f} % {note}\n")


def vectors(arguments: argparse.Namespace) -> Result:
    """Word vectors of a text, in lower case where the model writes so, as a .vec file."""
    from lingraft.evidence.vectors import train_vectors, write_vectors
    from lingraft.surgery import load_tokenizer
    from lingraft.vocabulary import lower_cases

    lines = clean_text(read_text(arguments.text), 1_000_000, Cleaned())
    made = train_vectors(lines, lowercase=lower_cases(load_tokenizer(arguments.model)))
    with replacing(arguments.out) as aside:
        write_vectors(made, aside)
    return {"words": len(made.words)}


def sample(arguments: argparse.Namespace) -> Result:
    """So many megabytes of a text, spread over all of it."""
    lines = list(sample_lines(clean_text(read_text(arguments.text), 1_000_000, Cleaned()), 1e6 * arguments.megabytes))
    write_aside(arguments.out, "".join(line + "\n" for line in lines))
    return {"lines": len(lines)}


def head(arguments: argparse.Namespace) -> Result:
    """The first examples of a training file."""
    with replacing(arguments.out) as aside:
        shortened(arguments.file, arguments.examples, aside)
    return {"examples": arguments.examples}


def main() -> int:
    """One step; its result on standard output, and an error of the input as a line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(required=True)
    scored = steps.add_parser("score")
    scored.add_argument("task", choices=("nli", "parse", "retrieval", "lm"))
    for name in ("--model", "--to", "--source-model"):
        scored.add_argument(name)
    scored.add_argument("--data", nargs="+", required=True)
    trained = steps.add_parser("train")
    trained.add_argument("model")
    for name in ("--start", "--out", "--recipe"):
        trained.add_argument(name, type=Path)
    for name in ("--to", "--tokenizer", "--objective", "--budget"):
        trained.add_argument(name)
    for name in ("--steps", "--seed"):
        trained.add_argument(name, type=int)
    for name in ("--bitext", "--lexicon", "--text", "--source-text", "--set"):
        trained.add_argument(name, action="append", default=[])
    vectored, sampled, headed = (steps.add_parser(name) for name in ("vectors", "sample", "head"))
    vectored.add_argument("model")
    for each in (vectored, sampled):
        each.add_argument("--text", required=True)
    sampled.add_argument("--megabytes", type=float, required=True)
    headed.add_argument("file", type=Path)
    headed.add_argument("--examples", type=int, required=True)
    for each in (vectored, sampled, headed):
        each.add_argument("--out", type=Path, required=True)
    for each, step in ((scored, score), (trained, train), (vectored, vectors), (sampled, sample), (headed, head)):
        each.set_defaults(step=step)
    arguments = parser.parse_args()
    try:
        print(json.dumps(arguments.step(arguments), ensure_ascii=False))
    except LingraftError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
