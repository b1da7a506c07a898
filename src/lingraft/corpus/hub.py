"""Data sets of the Hugging Face hub, or local folders that the datasets library can read, named ``hf:...``."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from ..errors import CorpusError, MissingExtraError, in_one_line
from .files import check_readable, read_lines

_FORM = "hf:DATASET[:CONFIG[:SPLIT[:COLUMN]]]"

#: the column that is read if none is named and there are several
_COLUMN = "text"


def is_hub(name: str | Path) -> bool:
    """Whether a name stands for a hub data set."""
    return str(name).startswith("hf:")


def absolute_hub(name: str) -> str:
    """The name of a data set; one that is a local folder with its absolute path."""
    dataset, colon, rest = name.removeprefix("hf:").partition(":")
    folder = Path(dataset).expanduser()
    return f"hf:{folder.absolute()}{colon}{rest}" if dataset and folder.is_dir() else name


def split_hub_name(name: str, form: str) -> tuple[str, list[str | None]]:
    """The data set and what else the name says, None where it is silent; CorpusError if it is not of that form."""
    dataset, *rest = name.removeprefix("hf:").split(":")
    most = form.count(":") - 1
    if not dataset or len(rest) > most:
        raise CorpusError(f"'{name}' names no hub data set; {form} was expected.")
    return dataset, [*(part or None for part in rest), *[None] * (most - len(rest))]


def load_hub(name: str, dataset: str, config: str | None, split: str | None, **options: Any) -> Any:
    """One split of a data set, the only one if none is named; options go to ``datasets.load_dataset``.

    Raises CorpusError if there is no such data set or split, MissingExtraError without the datasets library.
    """
    datasets = _library(name)
    try:
        splits = datasets.get_dataset_split_names(dataset, config)
        if split is None and len(splits) == 1:
            split = splits[0]
        data = datasets.load_dataset(dataset, config, split=split, **options) if split in splits else None
    except Exception as error:
        raise _unreadable(name, error) from None
    if data is None:
        asked = "name one" if split is None else f"'{split}' is not among them"
        raise CorpusError(f"'{name}' has the splits {', '.join(splits)}; {asked}: hf:DATASET:CONFIG:SPLIT.")
    return data


def _library(name: str) -> Any:
    try:
        import datasets
    except ImportError:
        raise MissingExtraError(f"Reading '{name}'", "hub") from None
    return datasets


def _unreadable(name: str, error: Exception, row: int = 0) -> CorpusError:
    where = f" after row {row:,}" if row else " as a hub data set"
    return CorpusError(f"'{name}' could not be read{where} ({in_one_line(error)}).")


def _stream(name: str) -> tuple[Any, str | None]:
    """The rows of a data set one by one, and the column asked for."""
    dataset, (config, split, column) = split_hub_name(name, _FORM)
    return load_hub(name, dataset, config, split, streaming=True), column


def check_text(name: str | Path) -> None:
    """Raises InputError unless a text file has something in it, or there is a hub data set of that name."""
    if is_hub(name):
        _stream(str(name))
    else:
        check_readable(Path(name))


def hub_fingerprint(name: str) -> str | None:
    """What the datasets library knows a state of the data by (a commit, or a hash of the files), if it does."""
    dataset, (config, *_) = split_hub_name(name, _FORM)
    datasets = _library(name)
    try:
        fingerprint = datasets.load_dataset_builder(dataset, config).hash
    except Exception as error:
        raise _unreadable(name, error) from None
    return None if fingerprint is None else str(fingerprint)


def read_text(name: str | Path) -> Iterator[str]:
    """The lines of a text file (`read_lines`) or of one column of ``hf:DATASET[:CONFIG[:SPLIT[:COLUMN]]]``.

    A data set is streamed, never downloaded as a whole. Without a column it is the one named ``text``, or the only one
    there is; a value that has several lines gives several, one without text an empty one. Raises InputError.
    """
    return _hub_lines(str(name)) if is_hub(name) else read_lines(Path(name))


def _hub_lines(name: str) -> Iterator[str]:
    data, column = _stream(name)
    rows = _counted(name, data)
    start = next(rows, None)
    if start is None:
        raise CorpusError(f"'{name}' has no rows.")
    first = start[1]
    column = column or (_COLUMN if _COLUMN in first or len(first) != 1 else next(iter(first)))
    if column not in first:
        raise CorpusError(f"'{name}' has no column '{column}'; it has {', '.join(first)}. Name one of them: {_FORM}.")
    for number, row in chain([start], rows):
        value = row[column]
        if not isinstance(value, str | None):
            raise CorpusError(f"'{name}': row {number:,} has {type(value).__name__} in '{column}'; text was expected.")
        yield from (value or "").split("\n")


def _counted(name: str, data: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows with their numbers from 1 on; what goes wrong on the way is a CorpusError."""
    number = 0
    rows = iter(data)
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except Exception as error:
            raise _unreadable(name, error, number) from None
        number += 1
        yield number, row
