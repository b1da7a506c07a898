"""The stages of a run, each a function of what came before and of its part of the recipe, each with its cache key."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from .cache import StageCache, digest, write_aside
from .evidence import Provenance, TranslationTable, bitext_counts, build_table, encode
from .evidence.alignment import AlignerSettings
from .processes import processes
from .recipe import TrainingRecipe
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
from .texts import Corpus, Inputs, Language, TrainingText, make_shards, tokenizer_key
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
    recipe = inputs.recipe.vocabulary
    if recipe.tokenizer:
        tokenizer = load_tokenizer(recipe.tokenizer)
        key: list[Any] = ["given", tokenizer_key(tokenizer)]
    else:
        key = [inputs.corpus_key, tokenizer_key(source.tokenizer), recipe.size, recipe.min_count]

        def make(folder: Path) -> None:
            lines = corpus.sample("xx", _VOCABULARY_BYTES)
            if inputs.recipe.corpus.text:  # the bitext's words need tokens too: their rows have the best evidence
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
class Models:
    """Both models of a state of the run, as folders, and what run.json says of them."""

    target: Path
    source: Path
    key: list[Any]
    report: dict[str, Any]


def _sample_texts(corpus: Corpus) -> list[str]:
    return corpus.head("xx", 3) + corpus.head("en", 3)


def make_graft(
    cache: StageCache, inputs: Inputs, source: LanguageModel, vocabulary: Vocabulary, table: Table, corpus: Corpus
) -> Models:
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
    return Models(folder / "target", inputs.source_folder, key, report)


def _language_models(inputs: Inputs, grafted: Models, objective: str) -> tuple[LanguageModel, LanguageModel, bool]:
    """Source and target ready to be trained, and whether their head is a fresh one."""
    source, target = load_model(inputs.source_folder), load_model(grafted.target)
    if objective != "mlm" or source.has_head:
        return source, target, False
    return (
        source.with_model(with_masked_lm_head(source.model)),
        target.with_model(with_masked_lm_head(target.model)),
        True,
    )


def make_training(
    cache: StageCache, inputs: Inputs, training: TrainingRecipe, table: Table, grafted: Models, corpus: Corpus,
    update: Update, tracks: Path,
) -> Models:  # fmt: skip
    """Trains from the graft; interrupted, it goes on from its newest checkpoint. tracks: the trackers' folder."""
    objective, seed = training.objective, inputs.recipe.seed
    key = [grafted.key, training.model_dump(exclude=_WITHOUT_EFFECT)]
    checkpoints = cache.path("checkpoints", key)

    text: dict[Language, TrainingText] = {}
    together = processes()
    if objective != "distill":
        folders: dict[Language, Path] = {"xx": grafted.target, "en": inputs.source_folder}
        with together.leader_first():
            for side, folder in folders.items():
                tokenizer = load_tokenizer(folder)
                text[side] = make_shards(cache, inputs, corpus, side, tokenizer, update, causal=objective == "clm")

    def on_step(progress: Progress) -> None:
        update(progress.step / progress.steps, str(progress))
        tracking.log(progress)

    def make(folder: Path) -> None:
        source, target, fresh = _language_models(inputs, grafted, objective)
        before: dict[str, Any] = {}
        if objective == "distill":
            loaded = TranslationTable.load(table.path) if training.token_weight else None
            trainer = distillation_trainer(source, target, corpus.pairs, training, seed, checkpoints, loaded)
            report = trainer.run(on_step)
        else:
            english, foreign = text["en"], text["xx"]
            trainer = language_model_trainer(
                source, target, english.stream, foreign.stream, training, seed, checkpoints, fresh,
                corpus.pairs if training.translation_weight else (),
            )  # fmt: skip

            def measure() -> dict[str, Any]:
                return {
                    "lm_xx": evaluate_lm(target, foreign.held_out, training.sequence_length),
                    "lm_en": evaluate_lm(source, english.held_out, training.sequence_length),
                }

            warm = checkpoints / "after-head.json"

            def after_head() -> None:
                if not warm.is_file():
                    write_aside(warm, json.dumps(measure()))

            report = trainer.run(on_step, after_head)
            if not together.leads:
                return
            before = json.loads(warm.read_text(encoding="utf-8"))
            report["lm"] = {"before": before, "after": measure()}
            report["text"] = {side: made.report for side, made in text.items()}
        if not together.leads:
            return
        for model in (source, target):
            model.model.to(torch.device("cpu"))  # type: ignore[arg-type]
            for module in model.pooling:
                module.cpu()
        texts = _sample_texts(corpus)
        save_model(target, folder / "target")
        report["self_check"] = {"target": self_check(target, folder / "target", texts)}
        if not _english_unchanged(training):
            save_model(source, folder / "source")
            report["self_check"]["source"] = self_check(source, folder / "source", texts)
        (folder / "report.json").write_text(json.dumps(report), encoding="utf-8")

    with Tracking(training.track if together.leads else (), tracks, training.model_dump(mode="json")) as tracking:
        folder = together.stage(cache, "trained", key, make)
    if not together.leads:
        return grafted
    shutil.rmtree(checkpoints, ignore_errors=True)
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    source = inputs.source_folder if _english_unchanged(training) else folder / "source"
    return Models(folder / "target", source, key, report)


def _english_unchanged(training: TrainingRecipe) -> bool:
    """Whether the objective leaves every byte of the English model as it is."""
    return training.objective == "distill" and training.embeddings_share == 1


def make_scores(cache: StageCache, inputs: Inputs, grafted: Models, final: Models, update: Update) -> dict[str, Any]:
    """Scores of the untouched English model, of the graft and of the trained model, on the held-out pairs."""

    def make() -> dict[str, Any]:
        scores: dict[str, Any] = {}
        corpus = Corpus(cache.path("corpus", inputs.corpus_key))
        pairs = corpus.evaluation
        english = [pair[0] for pair in pairs] or corpus.distinct("en", 500)

        @lru_cache
        def embedded(folder: Path) -> np.ndarray[Any, Any]:
            return embed_sentences(load_model(folder), english)

        states = {
            "untouched": (inputs.source_folder, inputs.source_folder),
            "grafted": (grafted.source, grafted.target),
        }
        if final is not grafted:
            states["trained"] = (final.source, final.target)
        for number, (state, (source, target)) in enumerate(states.items() if pairs else ()):
            update(number / len(states), state)
            foreign = embed_sentences(load_model(target), [pair[1] for pair in pairs])
            scores[state] = {"retrieval": retrieval_scores(embedded(source), foreign)}
        if final is not grafted:
            same = (embedded(inputs.source_folder) * embedded(final.source)).sum(1)
            scores["english_cosine"] = float(np.mean(same))
            for state, when in (("grafted", "before"), ("trained", "after")):
                scores.setdefault(state, {}).update(final.report.get("lm", {}).get(when, {}))
        return scores

    return cache.value("scores", [final.key, digest(inputs.corpus_key)], make)
