"""The stages of a run, each a function of what came before and of its part of the recipe, each with its cache key."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .cache import StageCache, digest, folder_digest
from .corpus import HeldOut
from .correspondence import Table, Update, Vocabulary
from .evidence import TranslationTable
from .processes import processes
from .recipe import ONLY, TrainingRecipe
from .surgery import (
    LanguageModel,
    check_folder,
    copy_without_pickles,
    expected_of,
    graft,
    has_pickles,
    load_model,
    load_to_graft,
    load_tokenizer,
    norm_bounds,
    save_model,
    self_check,
    with_masked_lm_head,
)
from .surgery.initialisers import CALIBRATION_BYTES
from .tasks import embed_sentences, evaluate_lm, retrieval_scores
from .texts import Corpus, Inputs, TrainingText, make_shards
from .training import (
    Progress,
    Tracking,
    Trainer,
    calibrate_output,
    distillation_trainer,
    language_model_trainer,
    threads_shared,
)
from .training.replicas import Alongside, Job, average, finished, replica_seed

#: goes up when the same table makes another graft, so that a run folder's old one is not taken for it
_GRAFTED_AS = 2

#: keys of the training that change no weight
_WITHOUT_EFFECT = {"checkpoint_seconds", "checkpoints_kept", "max_rollbacks", "parallel", "track"}


@dataclass(frozen=True)
class Graft:
    """The grafted model of a language as a folder, and what run.json says of it."""

    folder: Path
    key: list[Any]
    report: dict[str, Any]


@dataclass(frozen=True)
class Prepared:
    """A new language up to its graft, with the cache of its stages."""

    cache: StageCache
    inputs: Inputs
    corpus: Corpus
    table: Table
    graft: Graft


@dataclass(frozen=True)
class Trained:
    """The models after training as folders, and what run.json says of them. targets: by language, as `Prepared` are."""

    targets: dict[str, Path]
    source: Path
    key: list[Any]
    report: dict[str, Any]


def target_folder(folder: Path, name: str) -> Path:
    """Where in a folder the results of a language lie: in the folder itself where it is the only one."""
    return folder if name == ONLY else folder / name


def make_source(cache: StageCache, folder: Path) -> Path:
    """The source model's folder or, where its weights are pickles, a copy with safetensors, which all stages read."""
    if not has_pickles(folder):
        return folder

    def make(copy: Path) -> None:
        copy_without_pickles(folder, copy / "model")

    return cache.stage("source", folder_digest(folder), make) / "model"


def _sample_texts(corpus: Corpus) -> list[str]:
    return corpus.head("xx", 3) + corpus.head("en", 3)


def make_graft(cache: StageCache, inputs: Inputs, vocabulary: Vocabulary, table: Table, corpus: Corpus) -> Graft:
    """Writes the grafted model, before any training.

    No more than one set of weights is needed at a time: the graft takes over those of the source, and what is written
    is checked against what is remembered of the graft.
    """
    key = [_GRAFTED_AS, table.key, inputs.model_digest, inputs.recipe.seed]

    def make(folder: Path) -> None:
        loaded = TranslationTable.load(table.path)
        source = load_to_graft(inputs.source_folder)
        bounds = norm_bounds(source)
        target = graft(source, vocabulary.tokenizer, loaded, "lingraft", inputs.recipe.seed, take_over=True)
        del source
        calibration = calibrate_output(target, _calibration_text(inputs, corpus)) if target.has_head else None
        save_model(target, folder / "target")
        expected = expected_of(target, _sample_texts(corpus))
        del target
        report = check_folder(expected, folder / "target", bounds)
        if calibration:
            report["calibration"] = asdict(calibration)
        (folder / "report.json").write_text(json.dumps(report), encoding="utf-8")

    folder = cache.stage("graft", key, make)
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return Graft(folder / "target", key, report)


def _calibration_text(inputs: Inputs, corpus: Corpus) -> list[str]:
    """Running text of the new language, without what a language model is measured on later; no word lists."""
    if not (inputs.given.text or inputs.given.bitext):
        return []
    held_out = HeldOut(corpus.text("xx"))
    return [line for line in corpus.sample("xx", CALIBRATION_BYTES) if line not in held_out]


def _language_models(
    source_folder: Path, languages: Mapping[str, Prepared], objective: str
) -> tuple[LanguageModel, dict[str, LanguageModel], bool]:
    """Source and targets ready to be trained, and whether their head is a fresh one."""
    source = load_model(source_folder)
    targets = {name: load_model(prepared.graft.folder) for name, prepared in languages.items()}
    if objective != "mlm" or source.has_head:
        return source, targets, False

    def headed(model: LanguageModel) -> LanguageModel:
        return model.with_model(with_masked_lm_head(model.model))

    return headed(source), {name: headed(target) for name, target in targets.items()}, True


def _training_key(training: TrainingRecipe, languages: Mapping[str, Prepared], english: Corpus) -> list[Any]:
    settings = training.model_dump(exclude=_WITHOUT_EFFECT)
    if list(languages) == [ONLY]:
        return [languages[ONLY].graft.key, settings]
    return [[[name, prepared.graft.key] for name, prepared in languages.items()], english.key, settings]


def _make_texts(
    cache: StageCache, source_folder: Path, training: TrainingRecipe, languages: Mapping[str, Prepared],
    english: Corpus, update: Update,
) -> dict[str, TrainingText]:  # fmt: skip
    """The shards of all languages, English last."""
    causal = training.objective == "clm"
    text = {
        name: make_shards(
            cache, prepared.corpus, "xx", load_tokenizer(prepared.graft.folder), update, causal=causal, name=name
        )
        for name, prepared in languages.items()
    }
    return text | {"en": make_shards(cache, english, "en", load_tokenizer(source_folder), update, causal=causal)}


def make_training(
    cache: StageCache, source_folder: Path, training: TrainingRecipe, seed: int, languages: Mapping[str, Prepared],
    english: Corpus, update: Update, tracks: Path,
) -> Trained:  # fmt: skip
    """Trains from the grafts of all languages, under one body.

    Interrupted, it goes on from its newest checkpoint. tracks: the trackers' folder. english: holds the English text.
    All processes of a run come here together; what the others return is of no use.
    """
    objective, together = training.objective, processes()
    key = _training_key(training, languages, english)
    checkpoints = cache.path("checkpoints", key)
    text: dict[str, TrainingText] = {}
    if objective != "distill":
        with together.leader_first():
            text = _make_texts(cache, source_folder, training, languages, english, update)

    def on_step(progress: Progress) -> None:
        update(progress.step / progress.steps, str(progress))
        tracking.log(progress)

    def make(folder: Path) -> None:
        source, targets, fresh = _language_models(source_folder, languages, objective)
        if objective == "distill":
            report = _distill(source_folder, source, targets, training, seed, languages, checkpoints, on_step)
        else:
            report = _train_on_text(source, targets, training, seed, languages, text, fresh, checkpoints, on_step)
        if not together.leads:
            return
        report["self_check"] = _save_trained(source, targets, training, languages, folder)
        (folder / "report.json").write_text(json.dumps(report), encoding="utf-8")

    with Tracking(training.track if together.leads else (), tracks, training.model_dump(mode="json")) as tracking:
        folder = together.stage(cache, "trained", key, make)
    made = {name: target_folder(folder, name) / "target" for name in languages}
    source = source_folder if training.leaves_english else folder / "source"
    if not together.leads:
        return Trained(made, source, key, {})
    shutil.rmtree(checkpoints, ignore_errors=True)
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return Trained(made, source, key, report)


def _distill(
    source_folder: Path, source: LanguageModel, targets: dict[str, LanguageModel], training: TrainingRecipe, seed: int,
    languages: Mapping[str, Prepared], checkpoints: Path, on_step: Callable[[Progress], None],
) -> dict[str, Any]:  # fmt: skip
    """Trains with objective ``distill``, in place: this process one of the recipe's replicas, others the others."""
    trainer = _distillation(source, targets, training, seed, languages, checkpoints)
    if training.replicas == 1:
        return trainer.run(on_step)
    folders = {number: checkpoints / f"replica-{number + 1}" for number in range(1, training.replicas)}
    with threads_shared(training.replicas) as threads:
        jobs = [
            Job(train_replica, (number, source_folder, training, seed, languages, folder), folder / "log.txt")
            for number, folder in folders.items()
            if not finished(folder)
        ]  # fmt: skip
        with Alongside(jobs, threads) as others:

            def on_own_step(progress: Progress) -> None:
                others.check()
                on_step(progress)

            report = trainer.run(on_own_step)
            others.wait()
    theirs = average(trainer.parameters, list(folders.values()))
    return report | {"replicas": [{name: report[name] for name in theirs[0]}, *theirs]}


def train_replica(
    number: int, source_folder: Path, training: TrainingRecipe, seed: int, languages: Mapping[str, Prepared],
    checkpoints: Path,
) -> None:  # fmt: skip
    """Trains one of the replicas behind the first, counted from 0; what it comes to is its last checkpoint."""
    source, targets, _ = _language_models(source_folder, languages, "distill")
    _distillation(source, targets, training, replica_seed(seed, number), languages, checkpoints).run()


def _distillation(
    source: LanguageModel, targets: dict[str, LanguageModel], training: TrainingRecipe, seed: int,
    languages: Mapping[str, Prepared], checkpoints: Path,
) -> Trainer:  # fmt: skip
    """The trainer of objective ``distill``, in place."""
    tables = {
        name: TranslationTable.load(prepared.table.path)
        for name, prepared in languages.items()
        if training.token_weight
    }
    pairs = {name: prepared.corpus.pairs for name, prepared in languages.items()}
    return distillation_trainer(source, targets, pairs, training, seed, checkpoints, tables)


def _train_on_text(
    source: LanguageModel, targets: dict[str, LanguageModel], training: TrainingRecipe, seed: int,
    languages: Mapping[str, Prepared], text: Mapping[str, TrainingText], fresh_head: bool, checkpoints: Path,
    on_step: Callable[[Progress], None],
) -> dict[str, Any]:  # fmt: skip
    """Trains with objective ``mlm`` or ``clm``, in place, and measures all languages before and after."""
    pairs = {name: prepared.corpus.pairs for name, prepared in languages.items() if training.translation_weight}
    streams = {name: text[name].stream for name in targets}
    trainer = language_model_trainer(
        source, targets, text["en"].stream, streams, training, seed, checkpoints, fresh_head, pairs
    )

    def measure() -> dict[str, Any]:
        models = targets | {"en": source}
        return {f"lm_{name}": evaluate_lm(models[name], text[name].held_out, training.sequence_length) for name in text}

    report = trainer.run(on_step, measure)
    if not processes().leads:
        return report
    report["lm"] = {"before": _scores(report["measured"][0]), "after": _scores(report["measured"][-1])}
    report["text"] = {name: made.report for name, made in text.items()}
    return report


def _scores(measured: Mapping[str, Any]) -> dict[str, Any]:
    """What was measured, without when."""
    return {name: score for name, score in measured.items() if name not in ("step", "seconds")}


def _save_trained(
    source: LanguageModel, targets: Mapping[str, LanguageModel], training: TrainingRecipe,
    languages: Mapping[str, Prepared], folder: Path,
) -> dict[str, Any]:  # fmt: skip
    """Writes the models that training moved, reads them back, and gives what that check says."""
    for model in (source, *targets.values()):
        model.model.to(torch.device("cpu"))  # type: ignore[arg-type]
        for module in model.pooling:
            module.cpu()
    checks: dict[str, Any] = {}
    for name, target in targets.items():
        place = target_folder(folder, name) / "target"
        save_model(target, place)
        check = self_check(target, place, _sample_texts(languages[name].corpus))
        checks["target" if name == ONLY else name] = check
    if not training.leaves_english:
        save_model(source, folder / "source")
        texts = _sample_texts(next(iter(languages.values())).corpus)
        checks["source"] = self_check(source, folder / "source", texts)
    return checks


def make_scores(name: str, prepared: Prepared, trained: Trained | None, update: Update) -> dict[str, Any]:
    """Scores of the untouched English model, of a language's graft and of its trained model, on its held-out pairs."""
    source_folder, corpus, grafted = prepared.inputs.source_folder, prepared.corpus, prepared.graft.folder

    def make() -> dict[str, Any]:
        scores: dict[str, Any] = {}
        pairs = corpus.evaluation
        english = [pair[0] for pair in pairs] or corpus.distinct("en", 500)

        @lru_cache
        def embedded(folder: Path) -> np.ndarray[Any, Any]:
            return embed_sentences(load_model(folder), english)

        states = {"untouched": (source_folder, source_folder), "grafted": (source_folder, grafted)}
        if trained:
            states["trained"] = (trained.source, trained.targets[name])
        for number, (state, (source, target)) in enumerate(states.items() if pairs else ()):
            update(number / len(states), state)
            foreign = embed_sentences(load_model(target), [pair[1] for pair in pairs])
            scores[state] = {"retrieval": retrieval_scores(embedded(source), foreign)}
        if trained:
            same = (embedded(source_folder) * embedded(trained.source)).sum(1)
            scores["english_cosine"] = float(np.mean(same))
            for state, when in (("grafted", "before"), ("trained", "after")):
                measured = trained.report.get("lm", {}).get(when, {})
                scores.setdefault(state, {}).update(
                    {f"lm_{side}": measured[f"lm_{key}"] for side, key in ((ONLY, name), ("en", "en")) if measured}
                )
        return scores

    key = [trained.key if trained else prepared.graft.key, digest(corpus.key)]
    return prepared.cache.value("scores", key, make)
