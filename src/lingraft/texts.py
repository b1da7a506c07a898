"""The text of a run on disk: what is read and cleaned, and its tokens."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal

from transformers import PreTrainedTokenizerBase

from .cache import StageCache, digest, file_digest, folder_digest
from .corpus import (
    Counts,
    HeldOut,
    TokenStream,
    check_readable,
    check_text,
    clean_pairs,
    clean_text,
    hub_fingerprint,
    is_hub,
    open_shards,
    read_bitext,
    read_text,
    split_bitext,
    write_shards,
)
from .errors import CorpusError
from .evidence import lexicon_files, lexicon_text, read_lexicons
from .recipe import TRAIN, Given, Recipe
from .training import text_marks
from .vocabulary import plain_backend, special_ids, tokenizer_hash

#: English, and the new language of a corpus
Language = Literal["en", "xx"]

#: part of every key: raised when a stage gives something else for the same inputs
_VERSION = 3

_UPDATE_LINES = 100_000


def input_texts(recipe: Recipe, language: str) -> list[str]:
    """Every text file and hub data set a recipe names for a language, without English text that several share.

    Where neither text nor bitext is named, the lexicons are the text.

    CorpusError for the first that cannot be read.
    """
    given = recipe.given(language)
    bitexts = [*given.bitext, *([given.eval_bitext] if given.eval_bitext else [])]
    files = [path for name in bitexts for path in split_bitext(name)]
    for path in files:
        check_readable(path)
    names = [*given.text, *given.source_text]
    for name in names:
        check_text(name)
    words = [] if given.bitext or given.text else lexicon_files(given.lexicon, language)
    return [*map(str, files), *names, *map(str, words)]


def evidence_files(recipe: Recipe, language: str) -> list[str]:
    """Every file with a lexicon or with word vectors that a recipe names for a language.

    CorpusError for the first that cannot be read.
    """
    given = recipe.given(language)
    files = lexicon_files(given.lexicon, language)
    if given.vectors and given.vectors != TRAIN:
        files += split_bitext(given.vectors)
    for path in files:
        check_readable(path)
    return [str(path) for path in files]


def shared_texts(recipe: Recipe) -> list[str]:
    """The English text that several languages share; none where there is one. CorpusError as for `input_texts`."""
    names = list(recipe.corpus.source_text) if recipe.several else []
    for name in names:
        check_text(name)
    return names


def text_digest(name: str) -> str:
    """A hash of a text file's bytes, or of all that is known of the state of a hub data set."""
    return digest([name, hub_fingerprint(name)]) if is_hub(name) else file_digest(Path(name))


@dataclass(frozen=True)
class Inputs:
    """What a language starts from: the recipe, the source model's folder, and the digest of every file.

    files: texts of this language, with the English text where it is the only one. evidence: lexicons and vectors.
    """

    recipe: Recipe
    source_folder: Path
    files: dict[str, str]
    language: str
    evidence: dict[str, str] = field(default_factory=dict)

    @cached_property
    def given(self) -> Given:
        """What the recipe gives of the language."""
        return self.recipe.given(self.language)

    @cached_property
    def model_digest(self) -> str:
        """Content hash of the source model's folder."""
        return folder_digest(self.source_folder)

    @property
    def corpus_key(self) -> list[Any]:
        """Key of the corpus stage; other keys build on it."""
        given = self.given
        return [
            _VERSION, [[Path(name).name, value] for name, value in self.files.items()],
            self.recipe.corpus.max_chars, len(given.bitext), len(given.text),
            len(given.source_text), given.eval_bitext is not None,
        ]  # fmt: skip


@dataclass(frozen=True)
class Corpus:
    """The folder of the corpus stage. key: its key, on which others build."""

    folder: Path
    key: list[Any] = field(default_factory=list)

    def __reduce__(self) -> tuple[type[Corpus], tuple[Path, list[Any]]]:
        return Corpus, (self.folder, self.key)  # not what has been read of it

    def _lines(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text(encoding="utf-8").split("\n")[:-1] if path.is_file() else []

    @cached_property
    def pairs(self) -> list[tuple[str, str]]:
        """Sentence pairs, English first."""
        return list(zip(self._lines("bitext.en"), self._lines("bitext.xx"), strict=True))

    @cached_property
    def evaluation(self) -> list[tuple[str, str]]:
        """Held-out sentence pairs, or none."""
        return list(zip(self._lines("eval.en"), self._lines("eval.xx"), strict=True))

    def _text(self, side: Language) -> Path | None:
        paths = (self.folder / f"{stem}.{side}" for stem in ("text", "bitext"))
        return next((path for path in paths if path.is_file()), None)

    def text(self, side: Language) -> Iterator[str]:
        """Running text of a language, line by line: the text given, else the bitext's side, else nothing."""
        path = self._text(side)
        if path is not None:
            with path.open(encoding="utf-8") as stream:
                for line in stream:
                    yield line[:-1]

    def head(self, side: Language, lines: int) -> list[str]:
        """The first lines of a language's running text."""
        return list(islice(self.text(side), lines))

    def distinct(self, side: Language, lines: int) -> list[str]:
        """The first different lines of a language's running text."""
        found: dict[str, None] = {}
        for line in self.text(side):
            if len(found) == lines:
                break
            found.setdefault(line)
        return list(found)

    def sample(self, side: Language, at_most_bytes: int) -> list[str]:
        """Running text of a language: all of it, or lines at even distances of about so many UTF-8 bytes."""
        path = self._text(side)
        share = min(1.0, at_most_bytes / max(1, path.stat().st_size)) if path else 1.0
        return [line for k, line in enumerate(self.text(side)) if int((k + 1) * share) > int(k * share)]


def make_corpus(cache: StageCache, inputs: Inputs) -> tuple[Corpus, dict[str, Any]]:
    """Reads, cleans and counts all text of a language."""
    given = inputs.given
    limit = inputs.recipe.corpus.max_chars

    def bitext(folder: Path, names: Sequence[str], stem: str) -> Counts:
        counts = Counts()
        with (
            (folder / f"{stem}.en").open("w", encoding="utf-8") as en,
            (folder / f"{stem}.xx").open("w", encoding="utf-8") as xx,
        ):
            raw = chain.from_iterable(read_bitext(name, counts) for name in names)
            for english, foreign in clean_pairs(raw, limit, counts):
                en.write(english + "\n")
                xx.write(foreign + "\n")
        if not counts.kept:
            raise CorpusError(
                f"No sentence pair is left of {', '.join(names)}: {counts.read:,} read, {counts.empty:,} with an empty "
                f"side, {counts.overlong:,} longer than {limit:,} characters."
            )
        return counts

    def make(folder: Path) -> None:
        counts = {}
        if given.bitext:
            counts["bitext"] = bitext(folder, given.bitext, "bitext").as_dict()
        if given.text:
            counts["text"] = _clean(folder / "text.xx", given.text, limit).as_dict()
        elif given.lexicon and not given.bitext:
            lines = lexicon_text(read_lexicons(given.lexicon, inputs.language))
            (folder / "text.xx").write_text("".join(line + "\n" for line in lines), encoding="utf-8")
            counts["words"] = {"lines": len(lines)}
        if given.source_text:
            counts["source_text"] = _clean(folder / "text.en", given.source_text, limit).as_dict()
        if given.eval_bitext:
            counts["eval_bitext"] = bitext(folder, [given.eval_bitext], "eval").as_dict()
        (folder / "counts.json").write_text(json.dumps(counts), encoding="utf-8")

    folder = cache.stage("corpus", inputs.corpus_key, make)
    return Corpus(folder, inputs.corpus_key), json.loads((folder / "counts.json").read_text(encoding="utf-8"))


def _clean(out: Path, names: Sequence[str], limit: int) -> Counts:
    """Writes the lines of some texts; CorpusError if none is left."""
    counts = Counts()
    with out.open("w", encoding="utf-8") as stream:
        for line in clean_text(chain.from_iterable(map(read_text, names)), limit, counts):
            stream.write(line + "\n")
    if not counts.kept:
        raise CorpusError(f"No line is left of {', '.join(names)}: {counts.read:,} read, {counts.empty:,} empty.")
    return counts


def make_english(
    cache: StageCache, recipe: Recipe, files: dict[str, str], corpora: Sequence[Corpus]
) -> tuple[Corpus, dict[str, Any]]:
    """The English text that several languages share: the one given, else the English sides of all their bitexts.

    files: digests of the English text files by name.
    """
    names = recipe.corpus.source_text
    hashes = [[Path(name).name, files[name]] for name in names]
    key = [_VERSION, recipe.corpus.max_chars, hashes or [corpus.key for corpus in corpora]]

    def make(folder: Path) -> None:
        counts = {}
        if names:
            counts["source_text"] = _clean(folder / "text.en", names, recipe.corpus.max_chars).as_dict()
        else:
            with (folder / "text.en").open("w", encoding="utf-8") as out:
                for corpus in corpora:
                    out.writelines(line + "\n" for line in corpus.text("en"))
        (folder / "counts.json").write_text(json.dumps(counts), encoding="utf-8")

    folder = cache.of("en").stage("corpus", key, make)
    return Corpus(folder, key), json.loads((folder / "counts.json").read_text(encoding="utf-8"))


def describe_corpus(counts: dict[str, Any]) -> str:
    """One line for the progress display."""
    if "words" in counts:
        return "no text is given: the vocabulary is learnt from the words of the lexicon"
    if "bitext" not in counts:
        return f"{counts['text']['kept']:,} lines" if "text" in counts else ""
    bitext = counts["bitext"]
    note = f"{bitext['kept']:,} pairs"
    if bitext["malformed"]:
        lines = ", ".join(str(line) for line in bitext["malformed_lines"][:3])
        note += f", {bitext['malformed']:,} malformed lines skipped (line {lines})"
    return note


def tokenizer_key(tokenizer: PreTrainedTokenizerBase) -> list[Any]:
    """All of a tokenizer that other stages depend on; its hash alone does not know the roles."""
    template = getattr(tokenizer, "chat_template", None)
    return [tokenizer_hash(tokenizer), special_ids(tokenizer), tokenizer.model_max_length, template]


@dataclass(frozen=True)
class TrainingText:
    """The folder of a stage of shards: one language's text for language modelling."""

    folder: Path

    @cached_property
    def stream(self) -> TokenStream:
        """The tokens that are trained on."""
        return open_shards(self.folder)

    @cached_property
    def held_out(self) -> list[str]:
        """The lines that are not, in the order of the text."""
        lines: list[str] = json.loads((self.folder / "held-out.json").read_text(encoding="utf-8"))
        return lines

    @property
    def report(self) -> dict[str, int]:
        """For run.json."""
        return {"lines": self.stream.lines, "tokens": self.stream.size, "held_out": len(self.held_out)}


def make_shards(
    cache: StageCache, corpus: Corpus, side: Language, tokenizer: PreTrainedTokenizerBase,
    update: Callable[[float, str], None], *, causal: bool, name: str | None = None,
) -> TrainingText:  # fmt: skip
    """Splits a language's text by content into training and held-out lines and tokenises the former.

    The text is read twice from disk and is never in memory. name: of the language, where it is not that of the side.
    """
    _, separator = text_marks(tokenizer, causal=causal)

    def make(folder: Path) -> None:
        held_out = HeldOut(corpus.text(side))
        seen: dict[str, None] = {}

        def training() -> Iterator[str]:
            for number, line in enumerate(corpus.text(side)):
                if number % _UPDATE_LINES == 0:
                    update(0.0, f"tokenising {name or side}: {number:,} lines")
                if line in held_out:
                    seen.setdefault(line)
                else:
                    yield line

        write_shards(folder, training(), plain_backend(tokenizer), separator)
        (folder / "held-out.json").write_text(json.dumps(list(seen)), encoding="utf-8")

    key = [corpus.key, side, tokenizer_key(tokenizer), separator]
    return TrainingText(cache.stage(f"shards-{name or side}", key, make))
