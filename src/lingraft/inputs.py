"""Loaded objects as files: what a caller holds in memory is written into the run's folder, named by its content."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from .cache import file_digest, folder_digest
from .errors import CorpusError, ModelError
from .evidence.alignment import Lexicon, write_lexicon
from .recipe import Recipe, build_recipe, each, put
from .surgery import LanguageModel, from_transformers, save_model

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from .evidence.vectors import WordVectors

#: file names, or sentence pairs, English first
Bitext: TypeAlias = "str | Path | Sequence[str | Path] | Sequence[tuple[str, str]]"
#: file names (or ``builtin``), or word translations
Dictionary: TypeAlias = "str | Path | Sequence[str | Path] | Lexicon"
#: the files of English and of the new language, their word vectors, or ``train``
Vectors: TypeAlias = "str | tuple[str | Path, str | Path] | tuple[WordVectors, WordVectors]"
#: file names, or a list of lines wrapped in `Lines`
Text: TypeAlias = "str | Path | Sequence[str | Path] | Lines"


class Lines(list[str]):
    """Lines of text in memory, told apart from a list of file names."""


@dataclass(frozen=True)
class PersistedInputs:
    """Names that a recipe can hold, by language where they were given so."""

    model: str
    bitext: list[str] | dict[str, list[str]]
    lexicon: list[str] | dict[str, list[str]]
    vectors: str | dict[str, str] | None
    text: list[str] | dict[str, list[str]]
    source_text: list[str]
    eval_bitext: str | dict[str, str] | None


def persist_inputs(
    folder: Path,
    model: str | Path | LanguageModel | SentenceTransformer | tuple[PreTrainedModel, PreTrainedTokenizerBase],
    bitext: Bitext | Mapping[str, Bitext],
    lexicon: Dictionary | Mapping[str, Dictionary],
    vectors: Vectors | Mapping[str, Vectors] | None,
    text: Text | Mapping[str, Text],
    source_text: Text,
    eval_bitext: Bitext | Mapping[str, Bitext] | None,
) -> PersistedInputs:
    """Names for all inputs of a run, writing into ``folder`` those that are objects.

    bitext, lexicon, vectors, text, eval_bitext: of one language, or mappings by language.
    """

    def held_out(given: Bitext) -> str | None:
        evaluation = _bitext(folder, "eval", given)
        if len(evaluation) > 1:
            raise CorpusError(f"One bitext can be held out for evaluation; {len(evaluation)} were given.")
        return evaluation[0] if evaluation else None

    return PersistedInputs(
        _model(folder, model),
        _each(bitext, lambda given: _bitext(folder, "bitext", given)),
        _each(lexicon, lambda given: _lexicon(folder, given)),
        None if vectors is None else _each(vectors, lambda given: _vectors(folder, given)),
        _each(text, lambda given: _text(folder, "text", given)),
        _text(folder, "source-text", source_text),
        None if eval_bitext is None else _each(eval_bitext, held_out),
    )


#: of a run's arguments those that are no files, and the recipe keys they stand for
_KEYS = {
    "vocab_size": "vocabulary.size", "objective": "training.objective",
    "steps": "training.steps", "tokens": "training.tokens", "budget": "training.budget",
}  # fmt: skip


def recipe_of(folder: Path, arguments: Mapping[str, Any]) -> Recipe:
    """The recipe that the arguments of `lingraft.transfer` describe, ``out`` and ``on_progress`` left out.

    folder: where loaded objects are written. Raises InputError for what is wrong with them.
    """
    files = ("bitext", "lexicon", "vectors", "text", "source_text", "eval_bitext")
    persisted = persist_inputs(folder, arguments["model"], *(arguments[name] for name in files))
    values: dict[str, Any] = {"source": persisted.model, "language": arguments["to"], "seed": arguments["seed"]}
    tokenizer = arguments["tokenizer"]
    for key, value in {
        "corpus.text": persisted.text,
        "corpus.source_text": persisted.source_text,
        "evidence.bitext": persisted.bitext,
        "evidence.lexicon": persisted.lexicon,
        "evidence.vectors": persisted.vectors,
        "evaluation.bitext": persisted.eval_bitext,
        "vocabulary.tokenizer": each(tokenizer, str) if tokenizer else None,
        "allow_pickle": arguments["allow_pickle"] or None,
        "training.track": arguments["track"] or None,
        **{key: arguments[name] for name, key in _KEYS.items()},
        **(arguments["settings"] or {}),
    }.items():
        if value is not None:
            put(values, key, value)
    return build_recipe(values)


def _each(given: Any, persist: Callable[[Any], Any]) -> Any:
    """Names of what is given, or of every value of a mapping by language that is not empty."""
    if isinstance(given, Mapping):
        return {language: names for language, value in given.items() if (names := persist(value))}
    return persist(given)


def _write(folder: Path, stem: str, suffix: str, content: str) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}-{hashlib.sha256(content.encode()).hexdigest()[:12]}{suffix}"
    path.write_text(content, encoding="utf-8")
    return str(path)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _bitext(folder: Path, stem: str, given: Bitext) -> list[str]:
    if isinstance(given, str | Path):
        return [str(given)]
    entries: list[Any] = list(given)
    if all(isinstance(entry, str | Path) for entry in entries):
        return [str(entry) for entry in entries]
    if not all(isinstance(entry, Sequence) and len(entry) == 2 for entry in entries):
        raise CorpusError("A bitext in memory is a list of (English, foreign) pairs; some entries are not.")
    lines = [f"{_one_line(english)}\t{_one_line(foreign)}\n" for english, foreign in entries]
    return [_write(folder, stem, ".tsv", "".join(lines))]


def _lexicon(folder: Path, given: Dictionary) -> list[str]:
    if isinstance(given, str | Path):
        return [str(given)]
    if not isinstance(given, Lexicon):
        return [str(entry) for entry in given]

    def write(path: Path) -> None:
        write_lexicon(given, path)

    return [_by_content(folder, "lexicon", ".tsv", write)]


def _vectors(folder: Path, given: Vectors) -> str:
    if isinstance(given, str):
        return given
    names = []
    for language, one in zip(("en", "xx"), given, strict=True):
        if isinstance(one, str | Path):
            names.append(str(one))
        else:
            from .evidence.vectors import save_vectors

            names.append(_by_content(folder, f"vectors-{language}", ".npz", partial(save_vectors, one)))
    return ",".join(names)


def _by_content(folder: Path, stem: str, suffix: str, write: Callable[[Path], None]) -> str:
    """Writes a file that is named by what it holds."""
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder / f".aside-{stem}{suffix}"
    write(aside)
    final = folder / f"{stem}-{file_digest(aside)[:12]}{suffix}"
    aside.replace(final)
    return str(final)


def _text(folder: Path, stem: str, given: Text) -> list[str]:
    if isinstance(given, Lines):
        return [_write(folder, stem, ".txt", "".join(_one_line(line) + "\n" for line in given))]
    if isinstance(given, str | Path):
        return [str(given)]
    return [str(entry) for entry in given]


def _model(folder: Path, given: Any) -> str:
    if isinstance(given, str | Path):
        return str(given)
    aside = folder / ".aside-model"
    shutil.rmtree(aside, ignore_errors=True)
    if isinstance(given, LanguageModel):
        save_model(given, aside)
    elif isinstance(given, tuple) and len(given) == 2:
        save_model(from_transformers(*given), aside)
    elif hasattr(given, "save_pretrained") and hasattr(given, "encode"):
        aside.mkdir(parents=True)
        given.save_pretrained(str(aside), create_model_card=False)
    else:
        raise ModelError(
            f"A model is a folder, a hub id, a SentenceTransformer or a (model, tokenizer) pair; given: "
            f"{type(given).__name__}."
        )
    final = folder / f"model-{folder_digest(aside)[:12]}"
    if final.is_dir():
        shutil.rmtree(aside)
    else:
        aside.rename(final)
    return str(final)
