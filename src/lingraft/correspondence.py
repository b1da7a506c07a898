"""The stages between a language's text and its graft: the vocabulary, and the translation table of all evidence."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from .cache import StageCache
from .corpus import split_bitext
from .evidence import Provenance, Sources, build_table, encode, read_lexicons
from .evidence.alignment import AlignerSettings
from .evidence.vectors import read_vectors, save_vectors, train_vectors
from .recipe import TRAIN
from .surgery import (
    LanguageModel,
    check_tokenizer_class,
    load_tokenizer,
    position_padding,
    save_tokenizer,
    train_target,
)
from .texts import Corpus, Inputs, Language, tokenizer_key
from .vocabulary import (
    lower_cases,
    special_ids,
    text_counts,
    tokenizer_hash,
    with_chat_template,
    with_padding_at,
)

Update = Callable[[float, str], None]

_log = logging.getLogger("lingraft")

#: lines of text that statistics look at
_SAMPLE = 2000

#: go up when the same text makes another tokenizer, or the same evidence another table, so that a run folder's old one
#: is not taken for it
_TRAINED_AS, _MADE_AS = 4, 3

#: of more text than this a vocabulary is trained on a sample
_VOCABULARY_BYTES = 1 << 28

#: word vectors are trained on at most so much text of a language, lines at even distances
_VECTOR_BYTES = 1 << 28

#: word vectors that translate a smaller share of the words held out than this say next to nothing of the others
WORTHLESS = 0.05

#: how the note about them begins
UNALIGNED = "the alignment of the word vectors is worthless"


@dataclass(frozen=True)
class Vocabulary:
    """The target tokenizer and what run.json says of it."""

    tokenizer: PreTrainedTokenizerBase
    key: list[Any]
    report: dict[str, Any]


def given_tokenizer(name: str, source: LanguageModel) -> PreTrainedTokenizerBase:
    """A tokenizer given in place of a trained one, as the source model can take it; ModelError if it cannot."""
    tokenizer = with_chat_template(load_tokenizer(name), source.tokenizer)
    padding = position_padding(source.model)
    if padding is not None:
        tokenizer = with_padding_at(tokenizer, padding)
    check_tokenizer_class(source.model, tokenizer)
    return tokenizer


def make_vocabulary(cache: StageCache, inputs: Inputs, source: LanguageModel, corpus: Corpus) -> Vocabulary:
    """Trains the target tokenizer on the foreign text, or takes the one that was given."""
    recipe, given = inputs.recipe.vocabulary, inputs.given
    if given.tokenizer:
        tokenizer = given_tokenizer(given.tokenizer, source)
        key: list[Any] = ["given", tokenizer_key(tokenizer)]
    else:
        key = [
            _TRAINED_AS,
            inputs.corpus_key,
            tokenizer_key(source.tokenizer),
            recipe.size,
            recipe.min_count,
            recipe.unigram,
        ]

        def make(folder: Path) -> None:
            lines = corpus.sample("xx", _VOCABULARY_BYTES)
            if given.text:  # the bitext's words need tokens too: their rows have the best evidence
                lines = lines + [pair[1] for pair in corpus.pairs]
            trained = train_target(
                source.model.config, source.tokenizer, lines, recipe.size, recipe.min_count, recipe.unigram
            )
            save_tokenizer(trained, folder)

        tokenizer = load_tokenizer(cache.stage("vocabulary", key, make))
    fertility = _fertility(source.tokenizer, tokenizer, corpus)
    sample = fertility.get("target", {"lines": 0, "tokens": 0, "unknown": 0})
    report = {
        "size": len(tokenizer),
        "hash": tokenizer_hash(tokenizer),
        "special_ids": special_ids(tokenizer),
        "tokens_per_line": sample["tokens"] / max(1, sample["lines"]),
        "unknown_share": sample["unknown"] / max(1, sample["tokens"]),
        "fertility": fertility,
    }
    return Vocabulary(tokenizer, key, report)


def _fertility(
    source: PreTrainedTokenizerBase, target: PreTrainedTokenizerBase, corpus: Corpus
) -> dict[str, dict[str, int]]:
    """`text_counts` of both tokenizers on the new language's text, and of the source's on English text.

    ``pairs_target`` and ``pairs_english`` are of the two sides of the same sentence pairs, each in its own vocabulary.
    """
    foreign, english, pairs = corpus.head("xx", _SAMPLE), corpus.head("en", _SAMPLE), corpus.pairs[:_SAMPLE]
    texts = {
        "target": (target, foreign),
        "source": (source, foreign),
        "english": (source, english),
        "pairs_target": (target, [pair[1] for pair in pairs]),
        "pairs_english": (source, [pair[0] for pair in pairs]),
    }
    return {name: text_counts(tokenizer, lines) for name, (tokenizer, lines) in texts.items() if lines}


@dataclass(frozen=True)
class Table:
    """The translation table on disk and what run.json says of it."""

    path: Path
    key: list[Any]
    report: dict[str, Any]


def make_table(
    cache: StageCache, inputs: Inputs, model: LanguageModel, vocabulary: Vocabulary, corpus: Corpus, english: Corpus,
    update: Update,
) -> Table:  # fmt: skip
    """Gathers the evidence of a language and makes its translation table of it. english: holds the English text."""
    recipe, given, source = inputs.recipe.evidence, inputs.given, model.tokenizer
    vectors = _vector_files(cache, inputs, source, vocabulary, corpus, english, update)
    trained = english.key if given.vectors == TRAIN else None
    key = [_MADE_AS, model.kind, inputs.corpus_key, vocabulary.key, tokenizer_key(source), recipe.min_count,
           recipe.alignment.model_dump(), list(inputs.evidence.values()), trained]  # fmt: skip

    def make(folder: Path) -> None:
        sources = Sources(
            pairs=corpus.pairs,
            lexicons={name: read_lexicons([name], inputs.language) for name in given.lexicon},
            vectors=(read_vectors(vectors[0]), read_vectors(vectors[1])) if vectors else None,
            settings=AlignerSettings(**recipe.alignment.model_dump()),
            min_count=recipe.min_count,
        )
        evidence, told = sources.gather(source, vocabulary.tokenizer, lambda done, note: update(0.9 * done, note))
        table = build_table(source, vocabulary.tokenizer, evidence, copy_shared=model.kind == "causal")
        table.save(folder / "table.npz")
        sample = encode(vocabulary.tokenizer, corpus.head("xx", _SAMPLE)).ids
        rows = table.provenance[sample]
        report = {
            "shares": table.shares(),
            "text_shares": table.shares(sample),
            "text_coverage": float((rows != Provenance.fallback).mean()) if sample.size else 0.0,
            "entries": int(table.matrix.nnz),
            **told,
        }
        (folder / "report.json").write_text(json.dumps(report), encoding="utf-8")

    folder = cache.stage("table", key, make)
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return Table(folder / "table.npz", key, report)


def _vector_files(
    cache: StageCache, inputs: Inputs, source: PreTrainedTokenizerBase, vocabulary: Vocabulary, corpus: Corpus,
    english: Corpus, update: Update,
) -> tuple[Path, Path] | None:  # fmt: skip
    """The files with word vectors of English and of the new language: those given, or trained on their text.

    Text is put in lower case where the language's tokenizer does that, so that no words are counted apart whose tokens
    are the same.
    """
    given = inputs.given.vectors
    if not given:
        return None
    if given != TRAIN:
        one, other = split_bitext(given)
        return one, other

    def trained(language: str, texts: Corpus, side: Language, tokenizer: PreTrainedTokenizerBase) -> Path:
        lowercase = lower_cases(tokenizer)

        def make(folder: Path) -> None:
            _log.info("No word vectors are given for '%s': they are trained on its text.", language)
            update(0.0, f"training word vectors of {language}")
            made = train_vectors(texts.sample(side, _VECTOR_BYTES), lowercase=lowercase)
            save_vectors(made, folder / "words.npz")

        return cache.of(language).stage("vectors", [texts.key, side, lowercase], make) / "words.npz"

    return trained("en", english, "en", source), trained(inputs.language, corpus, "xx", vocabulary.tokenizer)


def warn_of_vectors(report: dict[str, Any]) -> str | None:
    """What is to be said of a table whose word vectors did not come to lie in one space; None where they did."""
    told = report.get("vectors", {})
    precision = told.get("precision")
    if precision is None or precision >= WORTHLESS:
        return None
    if told["kind"] == "identical":
        remedy = "a dictionary (--lexicon) to align them on, or vectors trained on more text"
    else:
        remedy = "vectors trained on more text, or a dictionary (--lexicon) with more of their words"
    return f"{UNALIGNED}: of the words held out, {100 * precision:.1f} % lie nearest to a translation; give {remedy}"


def describe_table(report: dict[str, Any]) -> str:
    """One line for the progress display."""
    return f"evidence for {100 * report['text_coverage']:.1f} % of the running text"
