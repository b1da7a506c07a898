"""What a run will take, measured: real steps of the real model on the run's batches, and the rates of all else.

The probe grafts the vocabulary onto the model with whatever rows, since time and memory do not depend on what is in
them, and has the run's own trainer time a few steps of every stage at a learning rate of zero. What comes before is
timed on the sample and taken times as much as there is more text.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from ..evidence import TranslationTable, build_table, encode
from ..machine import available_memory, device_memory_mb, peak_memory_mb
from ..recipe import ONLY, Recipe
from ..surgery import LanguageModel, graft, with_masked_lm_head
from ..tasks import embed_sentences, evaluate_lm
from ..training import (
    Trainer,
    default_device,
    distillation_trainer,
    language_model_trainer,
    text_stream,
    threads_shared,
)
from .findings import Estimates, Finding

#: sentence pairs and lines that a probe's batches are drawn from
_PAIRS, _LINES = 4000, 4000
#: a run measures retrieval and similarity on this many sentences, bits per byte on as many lines at most
_SCORED, _HELD_OUT = 500, 500
#: bytes that the aligner has in memory for a token of the bitext, both sides counted
_ALIGNER_BYTES = 80
#: bytes in memory of a byte of the bitext, as Python's strings
_TEXT_COPIES = 2.5
#: what a longer run has beyond a probe's peak: longer batches, scores, memory in pieces (docs/results.md)
_RESERVE = 1.2

#: what a run may take before somebody should be warned
_LONG = 7 * 24 * 3600


@dataclass
class LanguageCost:
    """What is known of a language before the probe: its samples, and how long their preparation took.

    seconds: by stage, for the whole text, None where its size is unknown. pairs, text: samples. tokenizer: of the new
    language. bitext_bytes, bitext_tokens, text_tokens: of the whole text.
    """

    tokenizer: PreTrainedTokenizerBase
    pairs: list[tuple[str, str]]
    text: list[str]
    seconds: dict[str, float | None] = field(default_factory=dict)
    bitext_bytes: float = 0.0
    bitext_tokens: float = 0.0
    text_tokens: float = 0.0
    evaluation_pairs: int = 0


def estimate(
    source: LanguageModel, recipe: Recipe, languages: Mapping[str, LanguageCost], english: list[str]
) -> tuple[Estimates, list[Finding]]:
    """Probes the training of a settled recipe and adds everything up. source: is used up.

    english: a sample of the English text.
    """
    seconds: dict[str, float] = {}
    notes: list[str] = []
    for cost in languages.values():
        for stage, value in cost.seconds.items():
            if value is None:
                notes.append(f"{stage}: the text's size is unknown, so its time is left out")
            else:
                seconds[stage] = seconds.get(stage, 0.0) + value
    names = {language: language if recipe.several else ONLY for language in languages}
    model_bytes = sum(p.numel() * p.element_size() for p in source.model.parameters())
    began = time.perf_counter()
    targets: dict[str, LanguageModel] = {}
    tables: dict[str, TranslationTable] = {}
    for language, cost in languages.items():
        table = tables[names[language]] = build_table(
            source.tokenizer, cost.tokenizer, copy_shared=source.kind == "causal"
        )
        targets[names[language]] = graft(source, cost.tokenizer, table, "lingraft", recipe.seed)
    # a graft is written, read back and compared as well
    seconds["graft"] = 2.0 * (time.perf_counter() - began)
    step_seconds: dict[str, float] = {}
    steps: dict[str, int] = {}
    objective, replicas = recipe.training.objective, recipe.training.replicas
    if objective != "none":
        with tempfile.TemporaryDirectory(prefix="lingraft-doctor-") as folder:
            trainer = _trainer(source, targets, tables, recipe, languages, names, english, Path(folder))
            with threads_shared(replicas) as threads:
                step_seconds, steps = trainer.rehearsed()
        # replicas that have not a thread each take turns
        turns = max(1.0, replicas * threads / torch.get_num_threads())
        step_seconds = {stage: turns * value for stage, value in step_seconds.items()}
        if recipe.training.budget:
            steps = {stage: max(1, round(number / turns)) for stage, number in steps.items()}
        trained = sum(step_seconds[stage] * number for stage, number in steps.items())
        seconds["training"] = trained
        if objective != "distill":
            texts = sum(cost.text_tokens for cost in languages.values())
            seconds["tokenising"] = _tokenising(languages) if texts else 0.0
    seconds["scores"] = _scoring(source, targets, languages, english, objective, recipe)
    peak = peak_memory_mb()
    device = default_device()
    card = device_memory_mb(device) if device.type == "cuda" else None
    # a run has all of the bitext in memory where this process has a sample of it
    bitext = max(cost.bitext_bytes * _TEXT_COPIES + cost.bitext_tokens * _ALIGNER_BYTES for cost in languages.values())
    memory = None if peak is None else int(_RESERVE * replicas * (peak * 1e6 + bitext))
    seconds = {stage: round(value, 2) for stage, value in seconds.items()}
    seconds["total"] = round(sum(seconds.values()), 2)
    text_bytes = sum(cost.bitext_bytes for cost in languages.values())
    # source and targets as results and, of every replica, in checkpoints of weights and two moments, the newest two and
    # one being written
    trained_bytes = model_bytes * (1 + len(targets))
    disk = int(2 * trained_bytes + (9 * replicas * trained_bytes if objective != "none" else 0) + 3 * text_bytes)
    made = Estimates(
        seconds, memory, None if card is None else int(replicas * card * 1e6), disk,
        {stage: round(value, 4) for stage, value in step_seconds.items()}, sum(steps.values()), tuple(notes),
    )  # fmt: skip
    return made, _findings(made, recipe)


def _trainer(
    source: LanguageModel, targets: dict[str, LanguageModel], tables: Mapping[str, TranslationTable], recipe: Recipe,
    languages: Mapping[str, LanguageCost], names: Mapping[str, str], english: list[str], folder: Path,
) -> Trainer:  # fmt: skip
    training = recipe.training.model_copy(update={"track": ()})
    pairs = {names[language]: cost.pairs[:_PAIRS] for language, cost in languages.items()}
    if training.objective == "distill":
        used = tables if training.token_weight else {}
        return distillation_trainer(source, targets, pairs, training, recipe.seed, folder, used)
    fresh = training.objective == "mlm" and not source.has_head
    if fresh:
        source = source.with_model(with_masked_lm_head(source.model))
        targets.update({name: one.with_model(with_masked_lm_head(one.model)) for name, one in targets.items()})
    texts = {
        names[language]: text_stream(
            targets[names[language]], encode(cost.tokenizer, _enough(cost.text, training.sequence_length))
        )
        for language, cost in languages.items()
    }
    of_english = text_stream(source, encode(source.tokenizer, _enough(english, training.sequence_length)))
    translated = pairs if training.translation_weight else {}
    return language_model_trainer(source, targets, of_english, texts, training, recipe.seed, folder, fresh, translated)


def _enough(lines: list[str], length: int) -> list[str]:
    """Some lines, repeated where they do not make a few sequences."""
    lines = lines[:_LINES]
    while lines and sum(map(len, lines)) < 20 * length:
        lines = lines * 2
    return lines


def _tokenising(languages: Mapping[str, LanguageCost]) -> float:
    """Seconds for all text of the new languages, and as much again for English."""
    total = 0.0
    for cost in languages.values():
        lines = cost.text[:_LINES]
        began = time.perf_counter()
        tokens = encode(cost.tokenizer, lines).ids.size
        total += (time.perf_counter() - began) * cost.text_tokens / max(1, tokens)
    return 2 * total


def _scoring(
    source: LanguageModel, targets: Mapping[str, LanguageModel], languages: Mapping[str, LanguageCost],
    english: list[str], objective: str, recipe: Recipe,
) -> float:  # fmt: skip
    """Seconds for retrieval, similarity and bits per byte, from a few sentences of each."""
    some = english[:64]
    if not some:
        return 0.0
    for part in (source.model, *source.pooling):
        part.to(default_device())
    embed_sentences(source, some[:8])  # the first call is slower than the others
    began = time.perf_counter()
    embed_sentences(source, some)
    a_sentence = (time.perf_counter() - began) / len(some)
    pairs = sum(cost.evaluation_pairs for cost in languages.values())
    # retrieval embeds both sides in two or three states; similarity the English sides before and after
    sentences = pairs * (6.0 if objective != "none" else 3.0)
    if objective != "none" and not pairs:
        sentences = 2.0 * _SCORED * len(languages)
    total = a_sentence * sentences
    if objective in ("mlm", "clm") and source.has_head:
        began = time.perf_counter()
        evaluate_lm(source, some[:32], recipe.training.sequence_length)
        a_line = (time.perf_counter() - began) / len(some[:32])
        total += a_line * _HELD_OUT * (1 + len(targets)) * (1 + recipe.training.evaluations)
    return total


def _findings(made: Estimates, recipe: Recipe) -> list[Finding]:
    """What is to be said of the estimates themselves."""
    found = []
    available = available_memory()
    if made.peak_memory_bytes and available and made.peak_memory_bytes > available:
        found.append(
            Finding(
                "memory", "error",
                f"the run needs about {made.peak_memory_bytes / 1e9:.1f} GB of memory, and there are "
                f"{available / 1e9:.1f} GB",
                "Set a smaller training.micro_batch or training.checkpoint_activations=true, give a part of the "
                "bitext, or take a larger machine.",
                numbers={"needed": made.peak_memory_bytes, "available": available},
            )
        )  # fmt: skip
    if made.seconds["total"] > _LONG and not recipe.training.budget:
        found.append(
            Finding(
                "long-run", "warning",
                f"the run will take about {made.seconds['total'] / 86400:.0f} days on this machine",
                "Give it fewer --steps or a --budget, a smaller model, or a machine with a graphics card.",
                numbers={"seconds": made.seconds["total"], "threshold": _LONG},
            )
        )  # fmt: skip
    return found


def probed(made: Estimates) -> str:
    """One line for the progress display."""
    return ", ".join(f"{stage} {value:.2f} s a step" for stage, value in made.step_seconds.items())
