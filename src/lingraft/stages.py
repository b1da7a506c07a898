"""The stages of a run, each a function of what came before and of its part of the recipe, each with its cache key."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from .cache import StageCache, digest
from .evidence import Provenance, TranslationTable, bitext_counts, build_table, encode
from .evidence.alignment import AlignerSettings
from .processes import processes
from .recipe import ONLY, TrainingRecipe
from .surgery import (
    LanguageModel,
    graft,
    load_model,
    load_tokenizer,
    save_model,
    save_tokenizer,
    self_check,
    with_masked_lm_head,
)
from .tasks import embed_sentences, evaluate_lm, retrieval_scores
from .texts import Corpus, Inputs, TrainingText, make_shards, tokenizer_key
from .training import Progress, Tracking, distillation_trainer, language_model_trainer
from .vocabulary import special_ids, tokenizer_hash, train_tokenizer

Update = Callable[[float, str], None]

#: keys of the training that change no weight
_WITHOUT_EFFECT = {"checkpoint_seconds", "checkpoints_kept", "max_rollbacks", "parallel", "track"}

#: lines of text that statistics and self-checks look at
_SAMPLE = 2000

#: of more text than this a vocabulary is trained on a sample
_VOCABULARY_BYTES = 1 << 28


@dataclass(frozen=True)
class Vocabulary:
    """The target tokenizer and what run.json says of it."""

    tokenizer: PreTrainedTokenizerBase
    key: list[Any]
    report: dict[str, Any]


def make_vocabulary(cache: StageCache, inputs: Inputs, source: LanguageModel, corpus: Corpus) -> Vocabulary:
    """Trains the target tokenizer on the foreign text, or takes the one that was given."""
    recipe, given = inputs.recipe.vocabulary, inputs.given
    if given.tokenizer:
        tokenizer = load_tokenizer(given.tokenizer)
        key: list[Any] = ["given", tokenizer_key(tokenizer)]
    else:
        key = [inputs.corpus_key, tokenizer_key(source.tokenizer), recipe.size, recipe.min_count]

        def make(folder: Path) -> None:
            lines = corpus.sample("xx", _VOCABULARY_BYTES)
            if given.text:  # the bitext's words need tokens too: their rows have the best evidence
                lines = lines + [pair[1] for pair in corpus.pairs]
            save_tokenizer(train_tokenizer(source.tokenizer, lines, recipe.size, recipe.min_count), folder)

        tokenizer = load_tokenizer(cache.stage("vocabulary", key, make))
    sample = encode(tokenizer, corpus.head("xx", _SAMPLE))
    unknown = special_ids(tokenizer).get("unk", -1)
    report = {
        "size": len(tokenizer),
        "hash": tokenizer_hash(tokenizer),
        "special_ids": special_ids(tokenizer),
        "tokens_per_line": float(sample.ids.size / max(1, len(sample))),
        "unknown_share": float((sample.ids == unknown).mean()) if sample.ids.size else 0.0,
    }
    return Vocabulary(tokenizer, key, report)


@dataclass(frozen=True)
class Table:
    """The translation table on disk and what run.json says of it."""

    path: Path
    key: list[Any]
    report: dict[str, Any]


def make_table(
    cache: StageCache, inputs: Inputs, source: LanguageModel, vocabulary: Vocabulary, corpus: Corpus, update: Update
) -> Table:
    """Aligns the bitext on subwords and makes the translation table of it and of the other evidence."""
    recipe = inputs.recipe.evidence
    key = [inputs.corpus_key, vocabulary.key, tokenizer_key(source.tokenizer), recipe.min_count,
           recipe.alignment.model_dump()]  # fmt: skip

    def make(folder: Path) -> None:
        counts, overlong = bitext_counts(
            corpus.pairs, source.tokenizer, vocabulary.tokenizer, AlignerSettings(**recipe.alignment.model_dump()),
            lambda done, note: update(0.9 * done, note),
        )  # fmt: skip
        table = build_table(source.tokenizer, vocabulary.tokenizer, counts, recipe.min_count)
        table.save(folder / "table.npz")
        sample = encode(vocabulary.tokenizer, corpus.head("xx", _SAMPLE)).ids
        rows = table.provenance[sample]
        report = {
            "shares": table.shares(),
            "text_coverage": float((rows != Provenance.fallback).mean()) if sample.size else 0.0,
            "entries": int(table.matrix.nnz),
            "pairs_too_long": overlong,
        }
        (folder / "report.json").write_text(json.dumps(report), encoding="utf-8")

    folder = cache.stage("table", key, make)
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return Table(folder / "table.npz", key, report)


def describe_table(report: dict[str, Any]) -> str:
    """One line for the progress display."""
    return f"evidence for {100 * report['text_coverage']:.1f} % of the running text"


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


def _sample_texts(corpus: Corpus) -> list[str]:
    return corpus.head("xx", 3) + corpus.head("en", 3)


def make_graft(
    cache: StageCache, inputs: Inputs, source: LanguageModel, vocabulary: Vocabulary, table: Table, corpus: Corpus
) -> Graft:
    """Writes the grafted model, before any training."""
    key = [table.key, inputs.model_digest, inputs.recipe.seed]

    def make(folder: Path) -> None:
        loaded = TranslationTable.load(table.path)
        target = graft(source, vocabulary.tokenizer, loaded, "lingraft", inputs.recipe.seed)
        save_model(target, folder / "target")
        report = self_check(target, folder / "target", _sample_texts(corpus))
        (folder / "report.json").write_text(json.dumps(report), encoding="utf-8")

    folder = cache.stage("graft", key, make)
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return Graft(folder / "target", key, report)


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
            report = _distill(source, targets, training, seed, languages, checkpoints, on_step)
        else:
            report = _train_on_text(source, targets, training, seed, languages, text, fresh, checkpoints, on_step)
        if not together.leads:
            return
        report["self_check"] = _save_trained(source, targets, training, languages, folder)
        (folder / "report.json").write_text(json.dumps(report), encoding="utf-8")

    with Tracking(training.track if together.leads else (), tracks, training.model_dump(mode="json")) as tracking:
        folder = together.stage(cache, "trained", key, make)
    made = {name: target_folder(folder, name) / "target" for name in languages}
    source = source_folder if _english_unchanged(training) else folder / "source"
    if not together.leads:
        return Trained(made, source, key, {})
    shutil.rmtree(checkpoints, ignore_errors=True)
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return Trained(made, source, key, report)


def _distill(
    source: LanguageModel, targets: dict[str, LanguageModel], training: TrainingRecipe, seed: int,
    languages: Mapping[str, Prepared], checkpoints: Path, on_step: Callable[[Progress], None],
) -> dict[str, Any]:  # fmt: skip
    """Trains with objective ``distill``, in place."""
    tables = {
        name: TranslationTable.load(prepared.table.path)
        for name, prepared in languages.items()
        if training.token_weight
    }
    pairs = {name: prepared.corpus.pairs for name, prepared in languages.items()}
    return distillation_trainer(source, targets, pairs, training, seed, checkpoints, tables).run(on_step)


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
    if not _english_unchanged(training):
        save_model(source, folder / "source")
        texts = _sample_texts(next(iter(languages.values())).corpus)
        checks["source"] = self_check(source, folder / "source", texts)
    return checks


def _english_unchanged(training: TrainingRecipe) -> bool:
    """Whether the objective leaves every byte of the English model as it is."""
    return training.objective == "distill" and training.embeddings_share == 1


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
