"""A run's folder, as the report reads it: numbers, recipe, tables, tokenizers, and what is left of its cache."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from ..errors import LingraftError, OutputError, in_one_line
from ..evidence import TranslationTable
from ..recipe import Recipe, build_recipe, read_recipe_file
from ..surgery import load_tokenizer

#: frequencies are counted on at most so many lines of running text, taken at even distances
_LINES = 20_000

#: sentence pairs among which examples are looked for
_PAIRS = 5_000


@dataclass(frozen=True)
class RunFolder:
    """A finished run. numbers: what run.json holds."""

    path: Path
    numbers: dict[str, Any]
    recipe: Recipe

    @property
    def languages(self) -> tuple[str, ...]:
        """The tags of the new languages."""
        return self.recipe.languages

    @cached_property
    def source_tokenizer(self) -> PreTrainedTokenizerBase:
        """The English tokenizer."""
        return load_tokenizer(self.path / "source")

    def of(self, language: str) -> LanguageFolder:
        """What the folder holds of one language."""
        several = self.recipe.several
        own = {
            key: self.numbers.get(key, {}).get(language, {}) if several else self.numbers.get(key, {})
            for key in ("corpus", "vocabulary", "table", "graft", "scores")
        }
        return LanguageFolder(self, language, self.path / language if several else self.path, own)


@dataclass(frozen=True)
class LanguageFolder:
    """One new language of a run. numbers: its part of run.json, by key."""

    run: RunFolder
    language: str
    path: Path
    numbers: dict[str, dict[str, Any]] = field(default_factory=dict)

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The new language's tokenizer."""
        return load_tokenizer(self.path / "target")

    @cached_property
    def table(self) -> TranslationTable:
        """The translation table; TableError where it is damaged or of other tokenizers."""
        table = TranslationTable.load(self.path / "table.npz")
        table.check_tokenizers(self.run.source_tokenizer, self.tokenizer)
        return table

    @cached_property
    def _corpus(self) -> Path | None:
        """The newest folder with the clean text of the language; None where the cache was deleted."""
        stem = f"corpus-{self.language}-" if self.run.recipe.several else "corpus-"
        names = [path for path in (self.run.path / ".cache").glob(f"{stem}*") if path.is_dir()]
        return max(names, key=lambda path: path.stat().st_mtime, default=None)

    def _lines(self, name: str, limit: int) -> list[str]:
        path = self._corpus / name if self._corpus else None
        if path is None or not path.is_file():
            return []
        with path.open(encoding="utf-8") as stream:
            number = sum(1 for _ in stream)
        with path.open(encoding="utf-8") as stream:
            return [line.rstrip("\n") for line in islice(stream, 0, None, max(1, -(-number // limit)))]

    @cached_property
    def text(self) -> list[str]:
        """Lines of the new language's running text; none without the cache."""
        return self._lines("text.xx", _LINES) or self._lines("bitext.xx", _LINES)

    @cached_property
    def pairs(self) -> list[tuple[str, str]]:
        """Sentence pairs, English first: those the run learned of, else those held out; none without the cache."""
        for stem in ("bitext", "eval"):
            english, foreign = self._lines(f"{stem}.en", _PAIRS), self._lines(f"{stem}.xx", _PAIRS)
            if english:
                return list(zip(english, foreign, strict=True))
        return []


def open_run(directory: str | Path) -> RunFolder:
    """Reads the folder of a finished run; OutputError where there is none."""
    path = Path(directory)
    if not path.is_dir():
        raise OutputError(f"'{path}' is no folder; the --out folder of a finished lingraft transfer was expected.")
    if not (path / "recipe.yaml").is_file():
        raise OutputError(f"'{path}' holds no run: there is no recipe.yaml in it. Give the --out folder of a transfer.")
    try:
        numbers = json.loads((path / "run.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise OutputError(
            f"The run in '{path}' is not finished: it has no run.json yet. Go on with it: lingraft resume {path}"
        ) from None
    except ValueError as error:
        raise OutputError(
            f"'{path / 'run.json'}' is damaged ({error}). Make it again: lingraft resume {path}"
        ) from None
    recipe = build_recipe(read_recipe_file(path / "recipe.yaml"))
    run = RunFolder(path, numbers if isinstance(numbers, dict) else {}, recipe)
    missing = [name for name in ("corpus", "vocabulary", "table", "scores", "source") if name not in run.numbers]
    if missing:
        raise OutputError(
            f"'{path / 'run.json'}' is of no finished run: '{missing[0]}' is not in it. Go on with it: "
            f"lingraft resume {path}"
        )
    for folder in (run.of(language).path for language in run.languages):
        for name in ("table.npz", "target"):
            if not (folder / name).exists():
                raise OutputError(f"'{folder}' has no {name}. Make it again: lingraft resume {path}")
    if not (path / "source").is_dir():
        raise OutputError(f"'{path}' has no source, the English model. Make it again: lingraft resume {path}")
    return run


def readable_reason(error: Exception) -> str:
    """Why something was left out, in one line."""
    if isinstance(error, LingraftError):
        return str(error)
    return in_one_line(error)
