"""Options that belong to a language: FILE where a run has one new language, LANG=FILE where it has several."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from ..corpus import split_bitext
from ..errors import CorpusError, RecipeError
from ..recipe import read_languages, set_key


def languages_of(values: dict[str, Any], settings: Sequence[str]) -> tuple[str, ...]:
    """The languages of a recipe that is not validated yet, with the --set options; none where they are no tags."""
    values = copy.deepcopy(values)
    for assignment in settings:
        set_key(values, assignment)
    try:
        return read_languages(values.get("language"))
    except ValueError:  # told when the recipe is validated
        return ()


def by_language(option: str, given: Sequence[str], languages: Sequence[str], *, once: bool = False) -> Any:
    """What a recipe holds of an option's values: None for none, a list for one language, a mapping for several.

    once: a language has one value at most, and it stands without a list. RecipeError for a value without a language
    where there are several, with another language, or one too many.
    """
    if not given or not languages:
        return None
    found: dict[str, list[str]] = {}
    for value in given:
        language, name = _parted(option, value, languages)
        found.setdefault(language, []).append(name)
    for language, names in found.items():
        if once and len(names) > 1:
            of = f" for {language}" if len(languages) > 1 else ""
            raise RecipeError(f"{option} is given {len(names)} times{of} ({', '.join(names)}); give it once.")
    shown = {language: names[0] if once else names for language, names in found.items()}
    return shown if len(languages) > 1 else shown[languages[0]]


def _parted(option: str, value: str, languages: Sequence[str]) -> tuple[str, str]:
    """Language and file of an option's value. A file that has this name is never taken apart."""
    prefix, equals, name = value.partition("=")
    named = _tag(prefix) if equals else ""
    if named in languages and name and not _exists(value):
        return named, name
    if len(languages) == 1:
        return languages[0], value
    listed = ", ".join(languages)
    form = f"write {option} LANG={'FOLDER' if option == '--tokenizer' else 'FILE'} with one of these, for example"
    if named in languages and not name:
        raise RecipeError(f"{option} '{value}' names no file behind '{prefix}='.")
    if equals and named not in languages:
        raise RecipeError(
            f"{option} '{value}': '{prefix}' is none of the run's languages ({listed}); {form} "
            f"{option} {languages[0]}={name or 'FILE'}."
        )
    raise RecipeError(
        f"{option} '{value}' names no language, and the run has several ({listed}); {form} "
        f"{option} {languages[0]}={value}."
    )


def _tag(text: str) -> str:
    """A language tag in its standard form; empty for what is none."""
    try:
        tags = read_languages(text)
    except ValueError:
        return ""
    return tags[0] if len(tags) == 1 else ""


def _exists(value: str) -> bool:
    """Whether there is such a file, or both of a bitext given as two."""
    try:
        return all(path.exists() for path in split_bitext(value))
    except (CorpusError, OSError):  # three files, or a name too long for one
        return False
