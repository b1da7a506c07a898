"""Everything a run depends on, as one validated object that reads from and writes to YAML.

A run has one new language or several. What belongs to a language (its sentence pairs, text, tokenizer) stands in the
recipe as it is where there is one, and as a mapping from the language's tag where there are several.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError, field_validator, model_validator

from .described import key
from .errors import RecipeError
from .sections import (
    FORMS,
    ONLY,
    TRAIN,
    AlignmentRecipe,
    CorpusRecipe,
    EvaluationRecipe,
    EvidenceRecipe,
    Section,
    TrainingRecipe,
    VocabularyRecipe,
    budget_seconds,
    each,
    read_languages,
)

__all__ = [
    "ONLY", "TRAIN", "AlignmentRecipe", "CorpusRecipe", "EvaluationRecipe", "EvidenceRecipe", "Given", "Recipe",
    "TrainingRecipe", "VocabularyRecipe", "budget_seconds", "build_recipe", "each", "put", "read_languages",
    "read_recipe_file", "read_setting", "set_key",
]  # fmt: skip

T = TypeVar("T")


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


class Recipe(Section):
    """One run: from which model, to which language or languages, with what, and how.

    With several languages ``evidence.bitext``, ``evidence.lexicon``, ``evidence.vectors``, ``corpus.text``,
    ``evaluation.bitext`` and ``vocabulary.tokenizer`` are mappings by language; ``corpus.source_text`` and all others
    are common to them.
    """

    source: str = key(..., "folder or hub id", "the English model")
    allow_pickle: bool = key(
        False, "", "reads weights that are a pickle, too; no code in it is run, and what is written is safetensors"
    )
    language: str | tuple[str, ...] = key(..., "BCP 47 tag", "the new language, or a list of several")
    corpus: CorpusRecipe = CorpusRecipe()
    vocabulary: VocabularyRecipe = VocabularyRecipe()
    evidence: EvidenceRecipe = EvidenceRecipe()
    training: TrainingRecipe = TrainingRecipe()
    evaluation: EvaluationRecipe = EvaluationRecipe()
    seed: int = key(0, "", "of everything random", ge=0, lt=2**32)

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
        for name, given in self._by_language().items():
            if isinstance(given, Mapping):
                strange = [tag for tag in given if tag not in self.languages]
                if strange:
                    raise ValueError(
                        f"'{name}' is given for {', '.join(strange)}, and the run's languages are {listed}; name one "
                        "of these, or add the language to them"
                    )
            elif given and self.several:
                raise ValueError(
                    f"'{name}' is given without a language, and the run has several ({listed}); say which language it "
                    f"belongs to, as in {name}: {{{self.languages[0]}: ...}}, or LANG=FILE on the command line"
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
        for dotted, value in (self._by_language() | dict(changes)).items():
            section, _, name = dotted.partition(".")
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
        key = ".".join(str(part) for part in item["loc"] if part not in FORMS) or "recipe"
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
