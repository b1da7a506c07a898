"""Everything a run depends on, as one validated object that reads from and writes to YAML.

A run has one new language or several. What belongs to a language (its sentence pairs, text, tokenizer) stands in the
recipe as it is where there is one, and as a mapping from the language's tag where there are several.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import langcodes
import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from .errors import RecipeError
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
_FORMS = ("of one language", "by language")


def _form(given: Any) -> str:
    return _FORMS[isinstance(given, Mapping)]


def _standard_keys(given: Any) -> Any:
    if isinstance(given, Mapping) and all(isinstance(tag, str) for tag in given):
        return {_language(tag): value for tag, value in given.items()}
    return given


#: files of one language, or of several by its tag
Files = Annotated[
    Annotated[tuple[str, ...], Tag(_FORMS[0])] | Annotated[dict[str, tuple[str, ...]], Tag(_FORMS[1])],
    Discriminator(_form),
    BeforeValidator(_standard_keys),
]
#: a file or folder of one language, or of several by its tag
Place = Annotated[
    Annotated[str | None, Tag(_FORMS[0])] | Annotated[dict[str, str], Tag(_FORMS[1])],
    Discriminator(_form),
    BeforeValidator(_standard_keys),
]


def each(given: T | Mapping[str, T], function: Callable[[T], T]) -> T | dict[str, T]:
    """The function applied to what is given, or to every value of a mapping by language."""
    if isinstance(given, Mapping):
        return {language: function(value) for language, value in given.items()}
    return function(given)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class CorpusRecipe(_Section):
    """What is read and what is dropped.

    text: files in the new language, or hub data sets (``hf:DATASET[:CONFIG[:SPLIT[:COLUMN]]]``); empty means the
    foreign side of the bitext. source_text: English text likewise; empty means the English side, with several languages
    that of all their bitexts. max_chars: longer lines (and pairs with a longer side) are dropped and counted.
    """

    text: Files = ()
    source_text: tuple[str, ...] = ()
    max_chars: Annotated[int, Field(ge=10)] = 2000


class VocabularyRecipe(_Section):
    """The new language's tokenizer.

    tokenizer: a folder or hub id to use as it is; without it one is trained on the text (of more than 256 MB, on lines
    at even distances). size: tokens wanted of each that is trained; without it 32,000 or what the text supports,
    whichever is smaller. min_count: a merge must be seen this often in training.
    """

    tokenizer: Place = None
    size: Annotated[int, Field(ge=16, le=1_000_000)] | None = None
    min_count: Annotated[int, Field(ge=1)] = 2

    @model_validator(mode="after")
    def _one_of(self) -> VocabularyRecipe:
        if isinstance(self.tokenizer, str) and self.size is not None:
            raise ValueError("size is for a tokenizer that is trained; with a given tokenizer leave it out")
        return self


class AlignmentRecipe(_Section):
    """The aligner, see `lingraft.AlignerSettings`.

    iterations: EM iterations of the hidden Markov model. alpha: Dirichlet concentration. null: probability that a token
    has no counterpart. prune_below: least product of posteriors of a link that is considered again. max_tokens:
    longer pairs are left out of the alignment and counted.
    """

    iterations: Annotated[int, Field(ge=0, le=100)] = FOR_TABLES.iterations
    alpha: Annotated[float, Field(ge=1e-9, le=10)] = FOR_TABLES.alpha
    null: Annotated[float, Field(ge=1e-6, le=0.999)] = FOR_TABLES.null
    prune_below: Annotated[float, Field(ge=0, lt=1)] = FOR_TABLES.prune_below
    max_tokens: Annotated[int, Field(ge=1, le=LONGEST)] = FOR_TABLES.max_tokens


class EvidenceRecipe(_Section):
    """Where the correspondence of tokens comes from; all that is given is put together.

    bitext: two-column TSV files (English first) or EN_FILE,XX_FILE. lexicon: dictionaries as TSV files (English first,
    then perhaps probabilities and a count), or ``builtin`` for the one that comes with the package; where nothing at
    all is given, that one is taken. vectors: word vectors of both languages, EN_FILE,XX_FILE (.vec, .bin), or
    ``train`` to train them on the text of both languages. min_count: a token with fewer expected links than this gets
    no row from the bitext.
    """

    bitext: Files = ()
    lexicon: Files = ()
    vectors: Place = None
    min_count: Annotated[float, Field(ge=0)] = 0.001
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


class TrainingRecipe(_Section):
    """Training after the graft.

    objective: ``auto`` takes what fits the source model (mlm, clm, or distill for a sentence encoder), ``none`` leaves
    the graft as it is. steps, tokens, budget: at most one of them says how long; without any it is 2,000 steps.
    budget: wall-clock time, as in 90m. batch_size: sentences (distill) or sequences of sequence_length tokens (mlm,
    clm) of a step, of each new language and as many of English (with distill: as many of the English sides of each
    bitext). embeddings_share: share of the steps that train the new embeddings alone.
    learning_rate, embedding_learning_rate: peaks for the encoder and for the vocabulary-sized parts. warmup_share:
    share of the steps with a rising rate. decay: how rates fall, linearly to zero or, behind the warm-up, with the
    square root of the step. clip: largest norm of the gradient of all parameters, scaled down to it. weight_decay: on
    the encoder's matrices. mask_rate: share of masked tokens
    (mlm). mask_scheme: what stands at a masked position, in percent: 80-10-10 the mask token, a random one, the token
    itself; 90-10 the mask token, the token itself. documents: apart lets a token see its own line of the text alone,
    not all of the packed sequence (mlm, clm). translation_weight: of translation language modelling on the bitext, an
    addition to mlm; 0 leaves it out. token_weight: of pulling every foreign token to where the English model has the
    tokens it corresponds to (distill); 0 leaves it out. contrast, temperature: weight and temperature of telling the
    right English sentence from the others of the batch (distill). head_steps: steps that warm up a fresh head (mlm)
    before anything else. precision: bf16 and fp16 mean autocast; auto takes bf16 where the processor has it and fp16 on
    a CUDA card that has no bf16. micro_batch: of a batch, so many sentences or sequences are run at a time; without it
    all, and on a CPU (mlm, clm) so many as have 4,096 tokens. checkpoint_activations: less memory for more time.
    checkpoint_seconds: at least this time between two checkpoints. checkpoints_kept: the newest so many stay.
    evaluations: how often the held-out text is scored while mlm or clm train, evenly spread, the last time at the end
    (it is scored once before, too); that time is none of the budget's. max_rollbacks: how often a run goes back behind
    a loss that explodes or is no number before it gives up. track: where the meter's lines go besides the screen.
    parallel: with several processes (torchrun), auto and ddp give each the whole model; fsdp divides parameters and
    optimizer between them.
    """

    objective: Objective = "auto"
    steps: Annotated[int, Field(ge=1)] | None = None
    tokens: Annotated[int, Field(ge=1)] | None = None
    budget: str | None = None
    batch_size: Annotated[int, Field(ge=1)] | None = None
    sequence_length: Annotated[int, Field(ge=8)] = 128
    embeddings_share: Annotated[float, Field(ge=0, le=1)] | None = None
    learning_rate: Annotated[float, Field(gt=0, le=1)] | None = None
    embedding_learning_rate: Annotated[float, Field(gt=0, le=1)] | None = None
    warmup_share: Annotated[float, Field(ge=0, le=1)] = 0.05
    decay: Literal["linear", "inverse_sqrt"] = "linear"
    clip: Annotated[float, Field(gt=0)] = 1.0
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.01
    mask_rate: Annotated[float, Field(gt=0, lt=1)] = 0.15
    mask_scheme: Literal["80-10-10", "90-10"] = "80-10-10"
    documents: Literal["joined", "apart"] = "joined"
    translation_weight: Annotated[float, Field(ge=0)] = 0.0
    token_weight: Annotated[float, Field(ge=0)] = 0.0
    contrast: Annotated[float, Field(ge=0)] = 1.0
    temperature: Annotated[float, Field(gt=0)] = 0.05
    head_steps: Annotated[int, Field(ge=0)] = 200
    precision: Literal["auto", "float32", "bf16", "fp16"] = "auto"
    micro_batch: Annotated[int, Field(ge=1)] | None = None
    checkpoint_activations: bool = False
    checkpoint_seconds: Annotated[float, Field(ge=0)] = 30.0
    checkpoints_kept: Annotated[int, Field(ge=1)] = 2
    evaluations: Annotated[int, Field(ge=1)] = 1
    max_rollbacks: Annotated[int, Field(ge=0)] = 3
    track: tuple[Literal["jsonl", "tensorboard", "wandb"], ...] = ()
    parallel: Literal["auto", "ddp", "fsdp"] = "auto"

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


class EvaluationRecipe(_Section):
    """bitext: held-out sentence pairs of a language, English first, for the retrieval score."""

    bitext: Place = None


@dataclass(frozen=True)
class Given:
    """What a recipe gives of one new language.

    source_text: English text that belongs to this language's run alone; empty where several languages share it.
    """

    bitext: tuple[str, ...]
    lexicon: tuple[str, ...]
    vectors: str | None
    text: tuple[str, ...]
    source_text: tuple[str, ...]
    eval_bitext: str | None
    tokenizer: str | None


class Recipe(_Section):
    """One run: from which model, to which language or languages, with what, and how.

    source: a model folder or a hub id. allow_pickle: its weights may be a pickle; no code in it is run, and what is
    written is safetensors. language: BCP 47 tag of the new language, or a list of several. seed: of everything random.
    With several languages ``evidence.bitext``, ``evidence.lexicon``, ``evidence.vectors``, ``corpus.text``,
    ``evaluation.bitext`` and ``vocabulary.tokenizer`` are mappings by language; ``corpus.source_text`` and all others
    are common to them.
    """

    source: str
    allow_pickle: bool = False
    language: str | tuple[str, ...]
    corpus: CorpusRecipe = CorpusRecipe()
    vocabulary: VocabularyRecipe = VocabularyRecipe()
    evidence: EvidenceRecipe = EvidenceRecipe()
    training: TrainingRecipe = TrainingRecipe()
    evaluation: EvaluationRecipe = EvaluationRecipe()
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    @field_validator("language", mode="before")
    @classmethod
    def _tags(cls, value: Any) -> str | tuple[str, ...]:
        languages = read_languages(value)
        return languages[0] if len(languages) == 1 else languages

    @property
    def languages(self) -> tuple[str, ...]:
        """All new languages."""
        return read_languages(self.language)

    @property
    def several(self) -> bool:
        """Whether the run has more than one new language."""
        return len(self.languages) > 1

    def _by_language(self) -> dict[str, Any]:
        """The keys that may hold a mapping by language."""
        return {
            "evidence.bitext": self.evidence.bitext, "evidence.lexicon": self.evidence.lexicon,
            "evidence.vectors": self.evidence.vectors, "corpus.text": self.corpus.text,
            "evaluation.bitext": self.evaluation.bitext, "vocabulary.tokenizer": self.vocabulary.tokenizer,
        }  # fmt: skip

    @model_validator(mode="after")
    def _known_languages(self) -> Recipe:
        listed = ", ".join(self.languages)
        for key, given in self._by_language().items():
            if isinstance(given, Mapping):
                strange = [tag for tag in given if tag not in self.languages]
                if strange:
                    raise ValueError(
                        f"'{key}' is given for {', '.join(strange)}, and the run's languages are {listed}; name one of "
                        "these, or add the language to them"
                    )
            elif given and self.several:
                raise ValueError(
                    f"'{key}' is given without a language, and the run has several ({listed}); say which language it "
                    f"belongs to, as in {key}: {{{self.languages[0]}: ...}}, or LANG=FILE on the command line"
                )
        given = self.vocabulary.tokenizer
        if self.vocabulary.size is not None and isinstance(given, Mapping) and len(given) == len(self.languages):
            raise ValueError("size is for a tokenizer that is trained; with given tokenizers leave it out")
        return self

    def given(self, language: str) -> Given:
        """What the recipe gives of one of its languages."""

        def of(value: T | Mapping[str, T], otherwise: T) -> T:
            return value.get(language, otherwise) if isinstance(value, Mapping) else value

        return Given(
            bitext=of(self.evidence.bitext, ()), lexicon=of(self.evidence.lexicon, ()),
            vectors=of(self.evidence.vectors, None), text=of(self.corpus.text, ()),
            source_text=() if self.several else self.corpus.source_text, eval_bitext=of(self.evaluation.bitext, None),
            tokenizer=of(self.vocabulary.tokenizer, None),
        )  # fmt: skip

    def with_given(self, changes: Mapping[str, Any]) -> Recipe:
        """The recipe with other values of the keys that belong to a language, unchecked; see `_by_language`."""
        sections: dict[str, dict[str, Any]] = {}
        for key, value in (self._by_language() | dict(changes)).items():
            section, _, name = key.partition(".")
            sections.setdefault(section, {})[name] = value
        return self.model_copy(
            update={section: getattr(self, section).model_copy(update=values) for section, values in sections.items()}
        )

    def to_yaml(self) -> str:
        """The whole recipe, defaults included."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def build_recipe(values: Mapping[str, Any]) -> Recipe:
    """Validates a nested mapping; RecipeError names the key, what was given and what is allowed.

    Mappings by language become what they hold where there is one language, so that a run has one recipe.
    """
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        raise RecipeError(_explain(error)) from None
    if recipe.several:
        return recipe
    given = recipe.given(recipe.languages[0])
    return recipe.with_given(
        {
            "evidence.bitext": given.bitext, "evidence.lexicon": given.lexicon, "evidence.vectors": given.vectors,
            "corpus.text": given.text, "evaluation.bitext": given.eval_bitext,
            "vocabulary.tokenizer": given.tokenizer,
        }
    )  # fmt: skip


def _explain(error: ValidationError) -> str:
    problems = []
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"] if part not in _FORMS) or "recipe"
        if item["type"] == "extra_forbidden":
            problems.append(f"unknown key '{key}'; known there are {', '.join(_known_keys(item['loc']))}")
        elif item["type"] == "missing":
            problems.append(f"'{key}' is missing")
        else:
            reason = item["msg"].removeprefix("Value error, ").removeprefix("Input ")
            given = item["input"]
            told = isinstance(given, Mapping) or (item["type"] == "value_error" and repr(given) in reason)
            shown = "" if told else f" (given: {given!r})"
            # what concerns several keys names them itself
            problems.append(f"'{key}': {reason}{shown}" if item["loc"] else f"{reason}{shown}")
    return "Recipe: " + "; ".join(problems) + "."


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    section: type[BaseModel] = Recipe
    for part in location[:-1]:
        inner = section.model_fields[str(part)].annotation
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            break
        section = inner
    return list(section.model_fields)


def read_recipe_file(path: Path) -> dict[str, Any]:
    """The mapping in a recipe file, not validated yet, so that command-line options can be laid over it."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecipeError(f"Recipe file '{path}' does not exist.") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"Recipe file '{path}' cannot be read: {' '.join(str(error).split())}.") from None
    if not isinstance(values, dict):
        raise RecipeError(f"Recipe file '{path}' holds no mapping of keys to values.")
    return values


def set_key(values: dict[str, Any], assignment: str) -> None:
    """Applies ``section.key=value`` (the value is read as YAML) to a nested mapping, in place."""
    put(values, *read_setting(assignment))


def read_setting(assignment: str) -> tuple[str, Any]:
    """Key and value of ``section.key=value``, the value read as YAML."""
    key, equals, raw = assignment.partition("=")
    if not equals or not key.strip():
        raise RecipeError(f"--set takes KEY=VALUE, for example training.batch_size=64; given: '{assignment}'.")
    try:
        value = yaml.safe_load(raw)
    except yaml.YAMLError:
        raise RecipeError(f"--set {key}: '{raw}' is no YAML value.") from None
    return key.strip(), value


def put(values: dict[str, Any], key: str, value: Any) -> None:
    """Sets a dotted key in a nested mapping, making the sections on the way."""
    *sections, last = key.split(".")
    for name in sections:
        inner = values.setdefault(name, {})
        if not isinstance(inner, dict):
            raise RecipeError(f"Recipe: '{key}' cannot be set, '{name}' is not a section.")
        values = inner
    values[last] = value
