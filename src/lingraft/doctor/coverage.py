"""Whether the text carries the vocabulary, and whether there is evidence for it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from ..corpus import split_bitext
from ..correspondence import given_tokenizer
from ..errors import CorpusError
from ..evidence import check_direction, encode, lexicon_text, read_lexicons
from ..evidence.backoff import pieces_of
from ..evidence.spelling import spelling_evidence
from ..evidence.vectors import read_vectors
from ..recipe import TRAIN, Given, VocabularyRecipe
from ..surgery import LanguageModel, train_target
from ..vocabulary import all_special_ids
from .findings import Finding, percent
from .sampling import Sample

Array = np.ndarray[Any, Any]

#: share of the tokens of new text that rest on nothing much, from which on it is told and from which on nothing works
WARNING, ERROR = 0.2, 0.6
#: a text that supports fewer tokens than this has few of its language's words
FEW_TOKENS = 5000
#: share of the vocabulary's tokens without a row of their own from which on it is told
ENTRIES = 0.4
#: a token that the bitext has more rarely rests on not much
OFTEN = 5
#: word vectors that are trained know words that occur this often
_VECTOR_COUNT = 5
#: the share of the text that is taken for new
_NEW = 10


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer of the new language, and how it came about. free: whether its size is what the text supports."""

    tokenizer: PreTrainedTokenizerBase
    seconds: float
    free: bool


@dataclass(frozen=True)
class Material:
    """What there is of a language: its running text and the foreign side of its bitext, as they will be trained on."""

    text: Sequence[str]
    foreign: Sequence[str]
    findings: list[Finding] = field(default_factory=list)


def material_of(
    given: Given, language: str, text: Sample[str] | None, pairs: Sample[tuple[str, str]] | None
) -> Material:
    """The samples as lines of the new language; a lexicon's words where there is nothing else."""
    foreign = [foreign for english, foreign in pairs.lines if english.strip()] if pairs else []
    foreign = [line for line in foreign if line.strip()]
    if text:
        return Material([line for line in text.lines if line.strip()], foreign)
    if not foreign and given.lexicon:
        return Material(lexicon_text(read_lexicons(given.lexicon, language)), [])
    return Material(foreign, foreign)


def make_vocabulary(
    given: Given, recipe: VocabularyRecipe, source: LanguageModel, material: Material, whole: bool
) -> Vocabulary:
    """The tokenizer that was given, or one trained on the sample; CorpusError for a size that the text cannot support.

    whole: whether the sample is all of the text.
    """
    if given.tokenizer:
        return Vocabulary(given_tokenizer(given.tokenizer, source), 0.0, False)
    began = time.perf_counter()
    lines = list(material.text)
    if material.foreign is not material.text:
        lines += material.foreign
    train = partial(train_target, source.model.config, source.tokenizer, unigram=recipe.unigram)
    try:
        trained = train(lines, size=recipe.size, min_count=recipe.min_count)
    except CorpusError:
        if whole or recipe.size is None:
            raise
        # what a part of the text cannot support all of it may
        trained = train(lines, min_count=recipe.min_count)
    return Vocabulary(trained, time.perf_counter() - began, whole and recipe.size is None)


def coverage_findings(
    given: Given, language: str, model: LanguageModel, vocabulary: Vocabulary, material: Material, min_count: float,
    scale: float | None, statistics: dict[str, float],
) -> list[Finding]:  # fmt: skip
    """What part of new text will rest on what evidence; puts what was measured into ``statistics``.

    scale: how many times as large the bitext is as its sample, for how often a token occurs in it.
    """
    source, target = model.tokenizer, vocabulary.tokenizer
    size = len(target)
    text = encode(target, list(material.text))
    counts = np.bincount(text.ids, minlength=size)
    same = material.foreign is material.text
    new = _every(len(text), _NEW)
    # of the bitext what is new text cannot be learnt from
    in_bitext: Array
    if same:
        in_bitext = (counts - np.bincount(text.select(new).ids, minlength=size)) * (_NEW / (_NEW - 1))
    else:
        in_bitext = np.bincount(encode(target, list(material.foreign)).ids, minlength=size).astype(np.float64)
    in_bitext = in_bitext * (scale or 1.0) if given.bitext else np.zeros(size)
    known: dict[str, Array] = {"bitext": in_bitext >= max(min_count, 0.5)}
    solid = in_bitext >= OFTEN
    if given.lexicon:
        known["lexicon"] = _in_lexicons(given.lexicon, language, source, target)
        solid |= known["lexicon"]
    if given.vectors:
        known["vectors"] = _in_vectors(given.vectors, target, counts)
        solid |= known["vectors"]
    observed = np.logical_or.reduce(list(known.values()))
    overlap, composition = spelling_evidence(source, target)
    shared = overlap.known if model.kind == "causal" else overlap.strength >= 1
    known |= {"overlap": shared, "composition": composition.known, "backoff": pieces_of(target, observed)}
    solid |= known["overlap"]
    special = np.zeros(size, bool)
    special[list(all_special_ids(target))] = True
    running = np.bincount(text.select(new).ids, minlength=size) * ~special
    tokens = max(1, int(running.sum()))
    entries = max(1, int(np.count_nonzero(~special)))
    any_row = np.logical_or.reduce(list(known.values()))
    shares = {
        name: float(running[has].sum() / tokens) for name, has in known.items() if name != "bitext" or given.bitext
    }
    statistics |= {f"text_from_{name}": share for name, share in shares.items()}
    weak = float(running[~solid].sum() / tokens)
    without = float(np.count_nonzero(~special & ~any_row) / entries)
    total = float(text.ids.size * (scale or 1.0))
    unknown = float(running[target.unk_token_id] / tokens) if target.unk_token_id is not None else 0.0
    statistics |= {
        "vocabulary": size, "text_without_row": float(running[~any_row].sum() / tokens), "text_weak": weak,
        "vocabulary_without_row": without, "tokens_per_entry": total / size, "unknown": unknown,
    }  # fmt: skip
    evidence = ", ".join(f"{name} {percent(share)}" for name, share in shares.items())
    found = []
    if weak >= WARNING:
        found.append(
            Finding(
                "weak-coverage", "error" if weak >= ERROR else "warning",
                f"of the tokens of new text {percent(weak)} will rest on next to nothing: the bitext has them fewer "
                f"than {OFTEN} times and nothing else knows them (rows by evidence: {evidence})",
                "The corpus is too small for this vocabulary: give more sentence pairs or a dictionary (--lexicon)"
                + (", or a smaller --vocab-size." if not given.tokenizer else ", or leave --tokenizer out."),
                language, None, {"share": weak, "threshold": WARNING},
            )
        )  # fmt: skip
    if not given.tokenizer and (given.text or given.bitext) and size < FEW_TOKENS and vocabulary.free:
        found.append(
            Finding(
                "small-corpus", "warning",
                f"the text supports a vocabulary of {size:,} tokens, where 32,000 are usual: it has few of the words "
                "of the language",
                "Give more text (--text), which need not be translated, and more sentence pairs or a dictionary.",
                language, None, {"vocabulary": size, "threshold": FEW_TOKENS},
            )
        )  # fmt: skip
    if without >= ENTRIES:
        found.append(
            Finding(
                "uncovered-vocabulary", "warning",
                f"{percent(without)} of the {size:,} tokens of the vocabulary get no row of their own: nothing that is "
                "given knows them",
                "Give evidence of the same kind of text as the vocabulary was made from, or a smaller vocabulary.",
                language, None, {"share": without, "threshold": ENTRIES},
            )
        )  # fmt: skip
    if unknown >= 0.02:
        found.append(
            Finding(
                "unknown-tokens", "error" if unknown >= 0.3 else "warning",
                f"{percent(unknown)} of the tokens of new text are the unknown token",
                "The tokenizer lacks characters of the text: give one that was made for the language, or leave "
                "--tokenizer out.", language, None, {"share": unknown, "threshold": 0.02},
            )
        )  # fmt: skip
    return found


def _every(lines: int, step: int) -> Array:
    mask = np.zeros(lines, bool)
    mask[step // 2 :: step] = True
    if not mask.any():
        mask[:] = True
    return mask


def _in_lexicons(
    names: Sequence[str], language: str, source: PreTrainedTokenizerBase, target: PreTrainedTokenizerBase
) -> Array:
    """bool, shape (V_target,): which tokens the words of lexicons are made of.

    CorpusError for a lexicon that is the wrong way round.
    """
    known = np.zeros(len(target), bool)
    for name in names:
        lexicon = read_lexicons([name], language)
        check_direction(lexicon, source, f"Lexicon '{name}'")
        known[encode(target, list(dict.fromkeys(lexicon.foreign))).ids] = True
    return known


def _in_vectors(vectors: str, target: PreTrainedTokenizerBase, counts: Array) -> Array:
    """bool, shape (V_target,): of which tokens word vectors know something, about."""
    if vectors == TRAIN:
        result: Array = counts >= _VECTOR_COUNT
        return result
    foreign = read_vectors(Path(split_bitext(vectors)[1]), limit=100_000)
    known = np.zeros(counts.size, bool)
    known[encode(target, list(foreign.words)).ids] = True
    return known
