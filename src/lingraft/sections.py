"""The sections of a recipe, key by key, and what their values may be."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

import langcodes
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Tag,
    field_validator,
    model_validator,
)

from .described import key
from .evidence.alignment.settings import FOR_TABLES, LONGEST

Objective = Literal["auto", "mlm", "distill", "clm", "none"]

_BUDGET = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?")


def budget_seconds(budget: str) -> float:
    """Seconds of a time budget such as ``90m``, ``1h30m`` or ``45s``; ValueError if it is none or zero."""
    match = _BUDGET.fullmatch(budget.strip())
    parts = match.groups(default="0") if match else ("0",) * 3
    seconds = sum(float(part) * unit for part, unit in zip(parts, (3600, 60, 1), strict=True))
    if seconds <= 0:
        raise ValueError(f"'{budget}' is no time budget; write it like 90m, 1h30m or 45s")
    return seconds


def _language(tag: str) -> str:
    """A tag in its standard form."""
    if not langcodes.tag_is_valid(tag):
        raise ValueError(f"'{tag}' is no BCP 47 language tag; write it like fr, zh or zh-Hant")
    return langcodes.standardize_tag(tag)


def read_languages(given: Any) -> tuple[str, ...]:
    """The tags of a recipe's ``language``, a tag or several of them as a list or with commas between.

    Raises ValueError for what is no tag, for one that occurs twice and, among several, for ``en``.
    """
    listed = isinstance(given, Sequence) and bool(given) and all(isinstance(tag, str) for tag in given)
    if not isinstance(given, str) and not listed:
        raise ValueError("a language tag or a list of them was expected, like fr or [fr, hi]")
    tags = given.split(",") if isinstance(given, str) else given
    languages = tuple(_language(tag.strip()) for tag in tags)
    twice = next((tag for tag in languages if languages.count(tag) > 1), None)
    if twice is not None:
        raise ValueError(f"'{twice}' is given twice; give every language once")
    if len(languages) > 1 and "en" in languages:
        raise ValueError("'en' is the source model's language; leave it out, it trains along with all others")
    return languages


T = TypeVar("T")

#: what the new language is called in the names of losses and scores where a run has one; several go by their tags
ONLY = "xx"

#: in place of word vectors: train them on the text of both languages
TRAIN = "train"

#: the two forms of what belongs to a language, which pydantic puts into the places of errors
FORMS = ("of one language", "by language")


def _form(given: Any) -> str:
    return FORMS[isinstance(given, Mapping)]


def _standard_keys(given: Any) -> Any:
    if isinstance(given, Mapping) and all(isinstance(tag, str) for tag in given):
        return {_language(tag): value for tag, value in given.items()}
    return given


#: files of one language, or of several by its tag
Files = Annotated[
    Annotated[tuple[str, ...], Tag(FORMS[0])] | Annotated[dict[str, tuple[str, ...]], Tag(FORMS[1])],
    Discriminator(_form),
    BeforeValidator(_standard_keys),
]
#: a file or folder of one language, or of several by its tag
Place = Annotated[
    Annotated[str | None, Tag(FORMS[0])] | Annotated[dict[str, str], Tag(FORMS[1])],
    Discriminator(_form),
    BeforeValidator(_standard_keys),
]


def each(given: T | Mapping[str, T], function: Callable[[T], T]) -> T | dict[str, T]:
    """The function applied to what is given, or to every value of a mapping by language."""
    if isinstance(given, Mapping):
        return {language: function(value) for language, value in given.items()}
    return function(given)


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class CorpusRecipe(Section):
    """What is read and what is dropped."""

    text: Files = key(
        (),
        "files",
        "text in the new language, a sentence or paragraph a line, or data sets of the hub "
        "(`hf:DATASET[:CONFIG[:SPLIT[:COLUMN]]]`); empty means the foreign side of the bitext",
    )
    source_text: tuple[str, ...] = key(
        (),
        "files",
        "English text likewise; empty means the English side of the bitext, with several languages that of all bitexts",
    )
    max_chars: int = key(
        2000, "characters", "longer lines, and pairs with a longer side, are dropped and counted", ge=10
    )


class VocabularyRecipe(Section):
    """The new language's tokenizer."""

    tokenizer: Place = key(
        None,
        "folder or hub id",
        "a tokenizer to use as it is; without one it is trained on the text (of more than 256 MB, on lines at even "
        "distances)",
    )
    size: int | None = key(
        None, "tokens",
        "tokens wanted of each tokenizer that is trained; without it 32,000 or what the text supports, whichever is "
        "smaller, and numbers and words that it shares with a WordPiece vocabulary",
        ge=16, le=1_000_000,
    )  # fmt: skip
    min_count: int = key(
        2, "occurrences", "a merge, or a word of a unigram model, must be seen this often in training", ge=1
    )
    unigram: bool = key(
        True,
        "",
        "beside a model with WordPiece tokens, text that does not show its words gets the tokens of a unigram model: "
        "of several characters or syllables (Chinese, Thai, Vietnamese), or of words without their clitics (Arabic)",
    )

    @model_validator(mode="after")
    def _one_of(self) -> VocabularyRecipe:
        if isinstance(self.tokenizer, str) and self.size is not None:
            raise ValueError("size is for a tokenizer that is trained; with a given tokenizer leave it out")
        return self


class AlignmentRecipe(Section):
    """The aligner, see `lingraft.AlignerSettings`."""

    iterations: int = key(
        FOR_TABLES.iterations, "iterations", "of expectation maximisation of the hidden Markov model", ge=0, le=100
    )
    alpha: float = key(
        FOR_TABLES.alpha, "links", "concentration of the Dirichlet prior on word translations", ge=1e-9, le=10
    )
    null: float = key(
        FOR_TABLES.null, "probability", "that a token has no counterpart, before anything is seen", ge=1e-6, le=0.999
    )
    prune_below: float = key(
        FOR_TABLES.prune_below, "probability", "least product of posteriors of a link that is considered again",
        ge=0, lt=1,
    )  # fmt: skip
    max_tokens: int = key(
        FOR_TABLES.max_tokens, "tokens", "longer pairs are left out of the alignment and counted", ge=1, le=LONGEST
    )


class EvidenceRecipe(Section):
    """Where the correspondence of tokens comes from; all that is given is put together."""

    bitext: Files = key((), "files", "sentence pairs: two-column TSV files, English first, or EN_FILE,XX_FILE")
    lexicon: Files = key(
        (),
        "files",
        "dictionaries: TSV files, English first, then perhaps p(English | foreign), p(foreign | English) and a count; "
        "`builtin` is the one that comes with the package, which is taken where nothing at all is given",
    )
    vectors: Place = key(
        None,
        "two files",
        "word vectors of both languages, EN_FILE,XX_FILE (`.vec`, `.bin`); `train` trains them on the text of both "
        "languages",
    )
    min_count: float = key(0.001, "expected links", "a token with fewer of them gets no row from the bitext", ge=0)
    alignment: AlignmentRecipe = AlignmentRecipe()

    @field_validator("vectors")
    @classmethod
    def _two_files(cls, given: str | dict[str, str] | None) -> str | dict[str, str] | None:
        for value in given.values() if isinstance(given, dict) else [given]:
            if value is not None and value != TRAIN and len(value.split(",")) != 2:
                raise ValueError(
                    f"vectors are two files, EN_FILE,XX_FILE, or '{TRAIN}' to train them on the text; '{value}' is "
                    "neither"
                )
        return given


class TrainingRecipe(Section):
    """Training after the graft. At most one of steps, tokens and budget says how long; without any, 2,000 steps."""

    objective: Objective = key(
        "auto",
        "",
        "`mlm` and `clm` continue pretraining on both languages, `distill` pulls sentences to where the English model "
        "has their translations; `auto` takes what fits the source model; `none` leaves the graft as it is",
    )
    steps: int | None = key(None, "steps", "how long, in steps of the optimizer", ge=1)
    tokens: int | None = key(None, "tokens", "how long, in tokens of all languages together", ge=1)
    budget: str | None = key(None, "time, as in `90m`, `1h30m`, `45s`", "how long, by the clock")
    batch_size: int | None = key(
        None, "sentences or sequences a step",
        "sentences (`distill`) or sequences (`mlm`, `clm`) of each new language, and as many of English (with "
        "`distill` as many of the English sides of each bitext); without it 64 (`distill`), 16 (`mlm`), 8 (`clm`)",
        ge=1,
    )  # fmt: skip
    sequence_length: int = key(128, "tokens", "length of a packed sequence (`mlm`, `clm`)", ge=8)
    encoder: Literal["shared", "own"] | None = key(
        None,
        "",
        "`shared`: one encoder for English and the new language; `own`: the new language trains a copy (`distill` "
        "alone), and English stays byte for byte what it was; without it `own` (`distill`), `shared` (`mlm`, `clm`)",
    )
    embeddings_share: float | None = key(
        None, "share of the steps",
        "in which the new embeddings train alone, at the beginning; without it 0 (`distill` with `encoder: own`), 1 "
        "(`distill` with a shared one: it never trains), 0.3 (`mlm`, `clm`)",
        ge=0, le=1,
    )  # fmt: skip
    learning_rate: float | None = key(
        None, "",
        "peak rate of the encoder; without it 1e-4 (`distill` with `encoder: own`, `mlm`), 2e-5 (`distill` with a "
        "shared one), 5e-5 (`clm`)",
        gt=0, le=1,
    )  # fmt: skip
    embedding_learning_rate: float | None = key(
        None, "",
        "peak rate of the vocabulary-sized parts; without it 3e-3 (`distill`), 1e-3 (`mlm`), 5e-4 (`clm`)", gt=0, le=1
    )  # fmt: skip
    warmup_share: float = key(0.05, "share of the steps", "in which rates rise, linearly", ge=0, le=1)
    decay: Literal["linear", "inverse_sqrt"] = key(
        "linear", "", "how rates fall: linearly to zero or, behind the warm-up, with the square root of the step"
    )
    clip: float = key(1.0, "norm", "largest norm of the gradient of all parameters, scaled down to it", gt=0)
    weight_decay: float = key(0.01, "a unit of the rate", "decay of the encoder's matrices", ge=0, le=1)
    mask_rate: float = key(0.15, "share of the tokens", "that is masked (`mlm`)", gt=0, lt=1)
    mask_scheme: Literal["80-10-10", "90-10"] = key(
        "80-10-10",
        "percent",
        "what stands at a masked position: the mask token, a random one, the token itself; or the mask token, the "
        "token itself",
    )
    documents: Literal["joined", "apart"] = key(
        "joined",
        "",
        "`apart` lets a token see its own line of the text alone, not all of the packed sequence (`mlm`, `clm`)",
    )
    translation_weight: float = key(
        0.0, "weight", "of translation language modelling on the bitext, an addition to `mlm`; 0 leaves it out", ge=0
    )
    token_weight: float = key(
        0.0, "weight",
        "of pulling every foreign token to where the English model has the tokens it corresponds to (`distill`); 0 "
        "leaves it out",
        ge=0,
    )  # fmt: skip
    contrast: float = key(1.0, "weight", "of telling the right English sentence from others (`distill`)", ge=0)
    negatives: int = key(
        8192, "sentences",
        "English ones of the steps before that the right one is told from, too (`distill`), whose embeddings are "
        "there already",
        ge=0,
    )  # fmt: skip
    temperature: float = key(0.05, "cosine", "temperature of that choice (`distill`)", gt=0)
    subword_regularization: float | None = key(
        None, "probability",
        "that a token of the new language is replaced by two that spell the same, anew in every step, so that pieces "
        "of words are learnt, too (`distill`); without it 0.1, and 0 leaves it out",
        ge=0, lt=1,
    )  # fmt: skip
    head_steps: int = key(200, "steps", "that warm up a fresh head (`mlm`) before anything else", ge=0)
    precision: Literal["auto", "float32", "bf16", "fp16"] = key(
        "auto",
        "",
        "arithmetic; bf16 and fp16 mean autocast, `auto` takes bf16 where the processor has it and fp16 on a CUDA card "
        "that has no bf16",
    )
    micro_batch: int | None = key(
        None, "sentences or sequences",
        "so many of a batch are run at a time; without it all, and on a CPU so many as have 4,096 tokens",
        ge=1,
    )  # fmt: skip
    checkpoint_activations: bool = key(
        False, "", "computes activations again in the backward pass: less memory for more time"
    )
    checkpoint_seconds: float = key(30.0, "seconds", "at least this time lies between two checkpoints", ge=0)
    checkpoints_kept: int = key(2, "checkpoints", "the newest so many stay", ge=1)
    evaluations: int = key(
        1, "times",
        "how often held-out text is scored while `mlm` or `clm` train, evenly spread, the last time at the end (it is "
        "scored once before, too); that time is none of the budget's",
        ge=1,
    )  # fmt: skip
    max_rollbacks: int = key(
        3, "times", "a run goes back behind a loss that explodes or is no number before it gives up", ge=0
    )
    track: tuple[Literal["jsonl", "tensorboard", "wandb"], ...] = key(
        (), "", "where the meter's lines go besides the screen"
    )
    parallel: Literal["auto", "ddp", "fsdp"] = key(
        "auto",
        "",
        "of several processes (torchrun), `auto` and `ddp` give each the whole model; `fsdp` divides parameters and "
        "optimizer between them",
    )
    replicas: int = key(
        1, "times",
        "it trains at once, each time in an order of its own and in a process of its own, and the mean of their "
        "weights is the model (`distill`); for as many cores of a CPU, which each have a share of the threads",
        ge=1,
    )  # fmt: skip

    @property
    def leaves_english(self) -> bool:
        """Whether training by this, resolved, leaves every byte of the English model as it is."""
        if self.objective == "distill":
            return self.encoder == "own" or self.embeddings_share == 1
        return self.objective == "none"

    @field_validator("budget")
    @classmethod
    def _budget(cls, value: str | None) -> str | None:
        if value is not None:
            budget_seconds(value)
        return value

    @model_validator(mode="after")
    def _one_length(self) -> TrainingRecipe:
        given = [name for name in ("steps", "tokens", "budget") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are given; only one of steps, tokens and budget can say how long")
        return self


class EvaluationRecipe(Section):
    """What is scored at the end."""

    bitext: Place = key(None, "file", "held-out sentence pairs, English first, for the retrieval score")
