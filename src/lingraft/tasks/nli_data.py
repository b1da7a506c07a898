"""Sentence pairs for natural language inference, out of every form in which XNLI and its relatives are handed on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..corpus import clean, is_hub, read_lines
from ..corpus.hub import load_hub, split_hub_name
from ..errors import CorpusError

Array = np.ndarray[Any, Any]

#: the classes; label k of `NliData` stands for LABELS[k]
LABELS = ("entailment", "neutral", "contradiction")

#: how the labels are written, in lower case: in full, by the initial (ANLI) and as in the translated MNLI of XNLI
_CLASSES = {name: k for k, label in enumerate(LABELS) for name in (label, label[0])} | {"contradictory": 2}

#: what the columns are called, in lower case; of several that are there the first one counts
_COLUMNS = {
    "premise": ("premise", "sentence1", "context"),  # most often, MNLI's, ANLI's
    "hypothesis": ("hypothesis", "hypo", "sentence2"),  # most often, that of the translated MNLI, MNLI's
    "label": ("gold_label", "label"),
    "language": ("language",),
}

_WORDS = "entailment, neutral or contradiction"


@dataclass(frozen=True)
class NliData:
    """Sentence pairs and their classes.

    premises, hypotheses: clean text (`lingraft.corpus.clean`), none of it empty. labels: int64 (pairs,), places in
    `LABELS`, or None where they were not asked for. source: where it was read from. unlabelled: rows skipped because
    their annotators did not agree (``-``, and -1 or nothing in a hub data set). other_languages: rows skipped because
    they are in another language than the one asked for.
    """

    premises: list[str]
    hypotheses: list[str]
    labels: Array | None
    source: str
    unlabelled: int = 0
    other_languages: int = 0

    def __len__(self) -> int:
        return len(self.premises)


class _Row(NamedTuple):
    """One row as it was found. place: its line or number, for messages. names: of the classes, if label is a number."""

    place: str
    premise: Any
    hypothesis: Any
    label: Any
    language: str | None
    names: Sequence[str] | None = None


def read_nli(name: str, language: str | None = None, *, labelled: bool = True) -> NliData:
    """Reads sentence pairs from a TSV with header, a jsonl file or ``hf:DATASET[:CONFIG[:SPLIT]]``.

    Columns (keys in jsonl) are found by name, in any order: ``premise``, ``hypothesis`` and ``label``, or MNLI's and
    XNLI's ``sentence1``, ``sentence2`` and ``gold_label``; others are ignored. Quotes have no meaning in a TSV. Labels
    may be of any case; a file's numbers are refused, because data sets number the classes differently, while a hub
    data set names its numbers. language: the rows to take of a file in several languages (the original XNLI files) or
    of XNLI's hub configuration ``all_languages``. labelled: False leaves labels alone and keeps every row.

    Raises CorpusError with file and line for missing columns, rows with too few or too many fields, empty sentences,
    unknown labels and broken JSON, and when no row is left; MissingExtraError for ``hf:`` without the datasets library.
    """
    rows = _hub_rows(name, labelled) if is_hub(name) else _file_rows(Path(name), labelled)
    premises: list[str] = []
    hypotheses: list[str] = []
    labels: list[int] = []
    languages: dict[str, None] = {}
    skipped, others = 0, 0
    for row in rows:
        where = f"'{name}': {row.place}"
        if row.language is not None:
            languages.setdefault(row.language)
            if language is None and len(languages) > 1:
                continue  # refused below, with all languages there are
            if language is not None and row.language.lower() != language.lower():
                others += 1
                continue
        elif language is not None and not isinstance(row.premise, Mapping):
            raise CorpusError(f"'{name}' does not say which language a row is in, so '{language}' cannot be picked.")
        if labelled:
            label = _label(row, where)
            if label is None:
                skipped += 1
                continue
            labels.append(label)
        premises.append(_sentence(row.premise, "premise", where, language))
        hypotheses.append(_sentence(row.hypothesis, "hypothesis", where, language))
    if language is None and len(languages) > 1:
        raise CorpusError(f"'{name}' is in several languages ({', '.join(sorted(languages))}); name one of them.")
    if not premises:
        why = f"all {skipped:,} rows are without a gold label" if skipped else "it has no rows"
        if others:
            why = f"none of its rows is in '{language}'; its languages are {', '.join(sorted(languages))}"
        raise CorpusError(f"No sentence pair is left of '{name}': {why}.")
    classes = np.asarray(labels, np.int64) if labelled else None
    return NliData(premises, hypotheses, classes, name, skipped, others)


def _label(row: _Row, where: str) -> int | None:
    """The class of a row, None if it has none."""
    given = row.label
    if isinstance(given, int) and not isinstance(given, bool) and row.names is not None:
        if given == -1:
            return None
        if not 0 <= given < len(row.names):
            raise CorpusError(f"{where} has the label {given}, and there are {len(row.names)} classes.")
        given = row.names[given]
    if given is None:
        return None
    text = str(given).strip().lower()
    if text == "-":
        return None
    if text in _CLASSES:
        return _CLASSES[text]
    if re.fullmatch(r"[-+]?\d+(\.\d*)?", text):
        raise CorpusError(
            f"{where} has the number {text} as label, and data sets number the classes differently; "
            f"write the labels as words: {_WORDS}."
        )
    raise CorpusError(f"{where} has the label {_short(given)}; {_WORDS} was expected.")


def _sentence(value: Any, what: str, where: str, language: str | None) -> str:
    """Clean text out of a field, or out of the translations of a row of ``all_languages``."""
    if isinstance(value, Mapping):
        if "translation" in value and "language" in value:
            value = dict(zip(value["language"], value["translation"], strict=True))
        if language not in value:
            asked = "name one of them" if language is None else f"'{language}' is not among them"
            raise CorpusError(f"{where} has the {what} in several languages ({', '.join(sorted(value))}); {asked}.")
        value = value[language]
    if not isinstance(value, str):
        raise CorpusError(f"{where} has {_short(value)} as {what}; text was expected.")
    text = clean(value)
    if not text:
        raise CorpusError(f"{where} has an empty {what}.")
    return text


def _short(value: Any) -> str:
    """The beginning of a value, for a message."""
    text = f"'{value}'" if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 40 else text[:36] + "...'"


@lru_cache(maxsize=256)
def _found(names: tuple[str, ...]) -> Mapping[str, int]:
    """Where each column is among the names."""
    known = {name.strip().lower(): k for k, name in reversed(list(enumerate(names)))}
    spelled = {role: [name for name in spellings if name in known] for role, spellings in _COLUMNS.items()}
    return {role: known[present[0]] for role, present in spelled.items() if present}


def _places(names: tuple[str, ...], labelled: bool, where: str) -> Mapping[str, int]:
    """Where each column is among the names; CorpusError if one is missing."""
    places = _found(names)
    wanted = ("premise", "hypothesis", "label") if labelled else ("premise", "hypothesis")
    missing = [" or ".join(_COLUMNS[role]) for role in wanted if role not in places]
    if missing:
        found = ", ".join(name[:40] for name in names[:30]) or "nothing"
        raise CorpusError(f"{where} lacks {'; '.join(missing)}. Found: {found}.")
    return places


def _file_rows(path: Path, labelled: bool) -> Iterator[_Row]:
    lines = ((number, line) for number, line in enumerate(read_lines(path), 1) if line.strip())
    first = next(lines, None)
    if first is None:
        raise CorpusError(f"No sentence pair is left of '{path}': it has no rows.")
    if first[1].lstrip().startswith(("{", "[")):
        yield _json_row(path, *first, labelled)
        for number, line in lines:
            yield _json_row(path, number, line, labelled)
    else:
        yield from _tsv_rows(path, first[1].split("\t"), lines, labelled)


def _tsv_rows(path: Path, header: list[str], lines: Iterator[tuple[int, str]], labelled: bool) -> Iterator[_Row]:
    places = _places(tuple(header), labelled, f"The header of '{path}' (columns are separated by tabs)")
    premise, hypothesis = places["premise"], places["hypothesis"]
    label, language = places.get("label"), places.get("language")
    for number, line in lines:
        fields = line.split("\t")
        if len(fields) != len(header) and (len(fields) < len(header) or any(fields[len(header) :])):
            raise CorpusError(
                f"'{path}': line {number} has {len(fields)} field{'s' if len(fields) > 1 else ''}, and the header "
                f"names {len(header)}; fields are separated by tabs."
            )
        yield _Row(
            f"line {number}",
            fields[premise],
            fields[hypothesis],
            None if label is None else fields[label],
            None if language is None else fields[language].strip(),
        )


def _json_row(path: Path, number: int, line: str, labelled: bool) -> _Row:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError) as error:
        reason = f"{error.msg} at character {error.pos + 1}" if isinstance(error, json.JSONDecodeError) else str(error)
        raise CorpusError(f"'{path}': line {number} is no JSON ({reason}); one object a line was expected.") from None
    if not isinstance(entry, dict):
        kind = "a list" if isinstance(entry, list) else _short(entry)
        raise CorpusError(f"'{path}': line {number} is {kind}; one JSON object a line was expected.")
    places = _places(tuple(entry), labelled, f"'{path}': line {number}")
    values = list(entry.values())
    language = values[places["language"]] if "language" in places else None
    return _Row(
        f"line {number}",
        values[places["premise"]],
        values[places["hypothesis"]],
        values[places["label"]] if "label" in places else None,
        None if language is None else str(language).strip(),
    )


def _hub_rows(name: str, labelled: bool) -> Iterator[_Row]:
    """The rows of a data set of the Hugging Face hub, or of a local folder that the datasets library can read."""
    dataset, (config, split) = split_hub_name(name, "hf:DATASET[:CONFIG[:SPLIT]]")
    data = load_hub(name, dataset, config, split)
    columns = tuple(data.column_names)
    places = _places(columns, labelled, f"'{name}'")
    found = {role: columns[place] for role, place in places.items()}
    names = getattr(data.features[found["label"]], "names", None) if "label" in found else None
    for number, row in enumerate(data, 1):
        language = row[found["language"]] if "language" in found else None
        label = row[found["label"]] if "label" in found else None
        yield _Row(f"row {number}", row[found["premise"]], row[found["hypothesis"]], label, language, names)
