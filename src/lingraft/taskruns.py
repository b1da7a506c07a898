"""The tasks from files to files: fine-tune with several seeds, evaluate with intervals, and write down what was done.

OUT/                a task model, or with several seeds
OUT/seed-0, ...     one for every seed
OUT/run.json        how it was trained, and every score that was taken of it
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from .cache import file_digest, refuse_existing, replacing
from .errors import ModelError, RecipeError
from .report import environment, peak_memory_mb, write_run
from .surgery import LanguageModel, load_model
from .tasks.intervals import Counts, bootstrap_interval
from .tasks.kinds import TaskKind, task_kind
from .tasks.loop import FinetuneProgress, train_task
from .tasks.settings import FinetuneSettings
from .tasks.swap import swap
from .training.precision import default_device, resolve_precision

OnProgress = Callable[[str, float, str], None]


def seed_folders(folder: str | Path) -> list[str]:
    """The models of a task folder: its ``seed-N`` folders in the order of N, or the folder (or hub id) itself."""
    path = Path(folder)
    seeds = [entry for entry in path.glob("seed-*") if entry.name[5:].isdigit()] if path.is_dir() else []
    return [str(entry) for entry in sorted(seeds, key=lambda entry: int(entry.name[5:]))] or [str(folder)]


def task_settings(kind: TaskKind, given: Mapping[str, Any]) -> tuple[FinetuneSettings, dict[str, Any]]:
    """The settings of a fine-tuning and the task's own options, from texts or values by name.

    Names not given keep the task's defaults. RecipeError for an unknown name or a value of another type.
    """
    defaults = asdict(replace(FinetuneSettings(), **kind.defaults))
    known: dict[str, Any] = defaults | dict(kind.options)
    values = {name: _parsed(name, value, known) for name, value in given.items()}
    settings = replace(
        FinetuneSettings(**defaults), **{f.name: values[f.name] for f in fields(FinetuneSettings) if f.name in values}
    )
    return settings, {name: values.get(name, value) for name, value in kind.options.items()}


def seeded_settings(kind: TaskKind, given: Mapping[str, Any], seed: int) -> tuple[FinetuneSettings, dict[str, Any]]:
    """`task_settings` with a seed, which has an option of its own; RecipeError where it is among the others."""
    if "seed" in given:
        raise RecipeError("The seed is no setting to be set among others; give it as --seed.")
    return task_settings(kind, {**given, "seed": seed})


def _parsed(name: str, value: Any, known: Mapping[str, Any]) -> Any:
    if name not in known:
        raise RecipeError(f"'{name}' is no setting of this task; the settings are: {', '.join(sorted(known))}.")
    wanted = type(known[name])
    try:
        if wanted is bool and isinstance(value, str):
            return {"true": True, "false": False}[value.lower()]
        return wanted(value)
    except (ValueError, KeyError, TypeError):
        names = {bool: "true or false", int: "a whole number", float: "a number"}
        raise RecipeError(f"{name} is {names.get(wanted, 'a text')}; given: '{value}'.") from None


def finetune(
    task: str,
    model: str | Path,
    *,
    train: str | Path,
    dev: str | Path,
    out: str | Path,
    seed: int = 0,
    seeds: int = 1,
    oracle: str | Path | None = None,
    oracle_dev: str | Path | None = None,
    language: str | None = None,
    oracle_language: str | None = None,
    on_progress: OnProgress | None = None,
    settings: Mapping[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Fine-tunes an English encoder on English examples and writes the task model to a folder.

    task: nli, parse or tag. model: any encoder's folder or hub id, a sentence encoder's too. train, dev: files of the
    task. seeds: so many models, with seeds from ``seed`` on, each in a folder ``seed-N`` of ``out``. oracle: the new
    language's model, with whose vocabulary every evaluation also scores the examples of oracle_dev; the best such score
    is reported as an oracle and chooses nothing. language, oracle_language: the one to take of train and dev, and of
    oracle_dev, where a file is in several. settings, more: fields of `FinetuneSettings` and the task's own options.
    Returns the content of ``out/run.json``. on_progress: called with the stage, the share of it that is done (0 to 1)
    and a note for people. Raises RecipeError for options that do not fit each other, and what reading the model and the
    files raises.
    """
    kind = task_kind(task)
    final = Path(out)
    refuse_existing(final)
    if seeds < 1:
        raise RecipeError(f"--seeds is at least 1; given: {seeds}.")
    if (oracle is None) != (oracle_dev is None):
        raise RecipeError("--oracle and --oracle-dev go together: a model of the new language and its dev examples.")
    if oracle_language is not None and oracle_dev is None:
        raise RecipeError("--oracle-language is for --oracle-dev, and there is none.")
    first, options = seeded_settings(kind, {**(settings or {}), **more}, seed)
    examples, dev_examples = (_read(kind, name, language) for name in (train, dev))
    foreign = _read(kind, oracle_dev, oracle_language) if oracle_dev else None
    encoder = load_model(model)
    files = [str(name) for name in (train, dev, oracle_dev) if name]
    run: dict[str, Any] = {
        **environment(), "task": task, "model": str(model), "options": options, "language": language,
        "oracle_language": oracle_language, "inputs": digests(files), "runs": [],
    }  # fmt: skip
    with replacing(final) as aside:
        aside.mkdir(parents=True)
        target, source = (
            (on_device(load_model(name, head=True)) for name in (oracle, model)) if oracle else (None, None)
        )
        for number in range(seed, seed + seeds):
            chosen = replace(first, seed=number)
            task_model = kind.new(load_model(model) if number > seed else encoder, examples, chosen, options)
            watch = {}
            if target is not None:
                watch["oracle"] = _oracle(kind, task_model, target, source, foreign, chosen.precision)

            def show(progress: FinetuneProgress, name: str = f"seed {number}") -> None:
                if on_progress:
                    on_progress(name, progress.step / progress.steps, progress.note("examples", "dev"))

            training = kind.task(task_model, examples, dev_examples)
            left_out = getattr(training, "left_out", {})
            run["data"] = {
                part: {"n": len(read), **left_out.get(part, {})}
                for part, read in (("train", examples), ("dev", dev_examples))
            }
            report = train_task(training, chosen, show, watch)
            report |= report.pop("oracle", {})
            task_model.save(aside / f"seed-{number}" if seeds > 1 else aside)
            run["runs"].append(report)
        run["peak_memory_mb"] = peak_memory_mb()
        write_run(aside, run)
    return run


def _oracle(
    kind: TaskKind, task_model: Any, target: LanguageModel, source: LanguageModel | None, data: Any, precision: str
) -> Callable[[], dict[str, float]]:
    def scores() -> dict[str, float]:
        swapped = swap(task_model, target, source=source).model
        result, counts = kind.evaluate(swapped, data, precision=precision)
        return {name: float(result[name]) for name in counts}

    return scores


def _read(kind: TaskKind, name: str | Path, language: str | None) -> Any:
    if language is None:
        return kind.read(str(name))
    if not kind.in_languages:
        raise RecipeError("--language picks a language of nli's files in several; other tasks' files have one.")
    return kind.read(str(name), language=language)


def on_device(model: Any) -> Any:
    """A model of any class of ours, moved in place to the card where there is one."""
    for part in (getattr(model, "model", model), *getattr(model, "pooling", ())):
        part.to(default_device())
    return model


def evaluate(
    task: str, model: str | Path, data: str | Path, language: str | None = None, precision: str = "auto"
) -> dict[str, Any]:
    """Scores a task model, or the models of all seeds in a folder, on a file of examples.

    task: nli, parse or tag. model: the folder. data: the file. language: the one to take of a file in several, such as
    XNLI's own (nli). precision: ``float32``, ``bf16``, or ``auto`` for bf16 where the device has it in hardware.
    Returns the task's result: every score as the mean over seeds, with ``intervals`` (95 %, bootstrap over sentences
    and seeds), the ``precision`` and, for several seeds, the single scores under ``seeds``. It is added to the folder's
    run.json where there is one.
    """
    kind = task_kind(task)
    examples = _read(kind, data, language)
    result = combine(
        [kind.evaluate(on_device(kind.load(name)), examples, precision=precision) for name in seed_folders(model)]
    )
    result["precision"] = resolve_precision(precision, default_device())
    record_score(model, data, {"language": language, "precision": result["precision"]}, result)
    return result


def combine(evaluated: Sequence[tuple[dict[str, Any], dict[str, Counts]]]) -> dict[str, Any]:
    """One result of those of several seeds."""
    results, counts = zip(*evaluated, strict=True)
    combined: dict[str, Any] = dict(results[0])
    combined["intervals"] = {}
    for name in counts[0]:
        hits, totals = (np.stack([getattr(each[name], part) for each in counts]) for part in ("hits", "totals"))
        combined[name] = float(np.mean([result[name] for result in results]))
        combined["intervals"][name] = list(bootstrap_interval(hits, totals))
    if len(results) > 1:
        combined["seeds"] = {name: [result[name] for result in results] for name in counts[0]}
    return combined


def swap_folder(task_model: str | Path, target: str | Path, out: str | Path, **options: Any) -> dict[str, Any]:
    """Swaps every seed's model of a task folder; see `lingraft.swap`. Returns the content of ``out/run.json``."""
    final = Path(out)
    refuse_existing(final)
    names = seed_folders(task_model)
    run: dict[str, Any] = {**environment(), "task_model": str(task_model), "target": str(target), "swaps": []}
    with replacing(final) as aside:
        if len(names) > 1:
            aside.mkdir(parents=True)
        for name in names:
            place = aside / Path(name).name if len(names) > 1 else aside
            run["swaps"].append(swap(name, target, place, **options).report)
        write_run(aside, run)
    return run


def digests(names: Iterable[str]) -> dict[str, str | None]:
    """Of every file its digest; of what is no file, such as a hub data set, None."""
    return {name: file_digest(Path(name)) if Path(name).is_file() else None for name in names}


def record_score(model: str | Path, data: str | Path, options: Mapping[str, Any], score: dict[str, Any]) -> None:
    """Adds a score to the run.json of a model's folder; a folder without one is somebody else's and left as it is.

    options: how it was taken, those that are not None. A score of the same data and options takes the old one's place.
    """
    path = Path(model) / "run.json"
    if not path.is_file():
        return
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
        scores = run.setdefault("evaluations", [])
    except (ValueError, AttributeError):
        raise ModelError(f"'{path}' is not what lingraft wrote there; move it away to have scores recorded.") from None
    given = {name: value for name, value in options.items() if value is not None}
    entry = {"data": digests([str(data)]), "options": given, **score}
    scores[:] = [old for old in scores if any(old.get(name) != entry[name] for name in ("task", "data", "options"))]
    scores.append(entry)
    write_run(path.parent, run)
