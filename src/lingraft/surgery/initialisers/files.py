"""The inputs of initialisers as files, read as far as a method wants them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...corpus import (
    Counts,
    check_readable,
    check_text,
    clean_pairs,
    clean_text,
    read_bitext,
    read_text,
    sample_lines,
    split_bitext,
)
from ...errors import CorpusError, RecipeError, TableError
from ...evidence import BUILTIN, TranslationTable, lexicon_files, read_lexicons
from .interface import CALIBRATION_BYTES, InitialiserInputs, Input, Method, OnProgress, inputs_of

#: longer lines and pairs with a longer side are left out, as by default in a transfer
MAX_CHARS = 2000


@dataclass(frozen=True)
class InputFiles:
    """Names of files; None or empty for what there is not.

    table: a translation table. bitext: two-column TSV files (English first) or EN_FILE,XX_FILE. vectors: the files of
    the English and of the foreign word vectors. lexicon: bilingual dictionaries, or ``builtin`` for the package's own.
    text: files or hub data sets. language: BCP 47 tag, where the built-in lexicon is named.
    """

    table: str | None = None
    bitext: tuple[str, ...] = ()
    vectors: tuple[str, str] | None = None
    lexicon: tuple[str, ...] = ()
    text: tuple[str, ...] = ()
    language: str | None = None

    @property
    def given(self) -> frozenset[Input]:
        """The kinds of inputs that are there."""
        named: dict[Input, object] = {
            "table": self.table, "bitext": self.bitext, "vectors": self.vectors, "lexicon": self.lexicon,
            "text": self.text,
        }  # fmt: skip
        return frozenset(kind for kind, there in named.items() if there)

    def check(self) -> None:
        """Raises InputError for the first file that is not there or holds nothing that can be read."""
        if self.table and not Path(self.table).is_file():
            raise TableError(f"Table '{self.table}' does not exist.")
        for path in [path for name in self.bitext for path in split_bitext(name)]:
            check_readable(path)
        if BUILTIN in self.lexicon and self.language is None:
            raise RecipeError("--lexicon builtin needs the language: give it with --to, as in --to fr.")
        for path in (*map(Path, self.vectors or ()), *lexicon_files(self.lexicon, self.language or "")):
            check_readable(path)
        for name in self.text:
            check_text(name)

    def read(
        self, method: Method, seed: int = 0, on_progress: OnProgress | None = None, *, copy_shared: bool = False
    ) -> InitialiserInputs:
        """What a method works from; nothing else is read. Raises InputError. The rest is handed on."""
        from ...evidence.vectors import read_vectors

        wanted = inputs_of(method, self.given)
        values: dict[str, Any] = {"seed": seed, "on_progress": on_progress, "copy_shared": copy_shared}
        if "table" in wanted and self.table:
            values["table"] = TranslationTable.load(Path(self.table))
        if "bitext" in wanted:
            values["pairs"] = read_pairs(self.bitext)
        if "vectors" in wanted and self.vectors:
            for side, name in zip(("english_vectors", "foreign_vectors"), self.vectors, strict=True):
                values[side] = read_vectors(Path(name))
        if "lexicon" in wanted and self.lexicon:
            values["lexicon"] = read_lexicons(self.lexicon, self.language or "")
        if "text" in wanted:
            at_most = CALIBRATION_BYTES if method == "lingraft" else None
            values["text"] = read_lines_of(self.text, at_most)
        return InitialiserInputs(**values)

    def as_dict(self) -> dict[str, Any]:
        """For JSON; `from_dict` is the inverse."""
        return asdict(self)

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> InputFiles:
        """The inverse of `as_dict`, from JSON too."""
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in saved.items()
        }
        return cls(**values)


def read_pairs(names: Sequence[str]) -> list[tuple[str, str]]:
    """The clean sentence pairs of some bitexts, English first; CorpusError if none is left."""
    counts = Counts()
    pairs = [pair for name in names for pair in clean_pairs(read_bitext(name, counts), MAX_CHARS, counts)]
    if not pairs:
        raise CorpusError(f"No sentence pair is left of '{', '.join(names)}': all are empty or too long.")
    return pairs


def read_lines_of(names: Sequence[str], at_most_bytes: int | None = None) -> list[str]:
    """The clean lines of some texts, or a sample of so many UTF-8 bytes of them; CorpusError if none is left."""
    counts = Counts()
    found = (line for name in names for line in clean_text(read_text(name), MAX_CHARS, counts))
    lines = list(found) if at_most_bytes is None else list(sample_lines(found, at_most_bytes))
    if not lines:
        raise CorpusError(f"No line is left of '{', '.join(names)}': all are empty or too long.")
    return lines


def split_vectors(name: str) -> tuple[str, str]:
    """The two files that ``--vectors`` names; RecipeError if there are not two."""
    parts = tuple(part.strip() for part in name.split(","))
    if len(parts) != 2 or not all(parts):
        raise RecipeError(f"--vectors takes two files with a comma between, EN_VECTORS,XX_VECTORS; given: '{name}'.")
    return parts
