"""A trained alignment model as an object and as a file."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...cache import replacing
from ...errors import InputError
from .block import Csr
from .compiled import Array
from .em import Parameters
from .settings import AlignerSettings
from .words import Vocabulary

_FORMAT = 1
#: pairs of types with fewer expected links are not saved
_SAVED_COUNT = 1e-3


@dataclass(frozen=True)
class AlignmentModel:
    """What the aligner learned, with the words it is about.

    settings: with which it was learned. lowercase, characters: how text has to be prepared. parameters.counts: (foreign
    words x English words).
    """

    english_words: Vocabulary
    foreign_words: Vocabulary
    parameters: Parameters
    settings: AlignerSettings
    lowercase: bool = True
    characters: bool = False

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes one ``.npz`` without pickles, aside first, then renamed."""
        p, counts = self.parameters, self.parameters.counts
        kept = counts.values >= _SAVED_COUNT
        indptr = np.concatenate([[0], np.cumsum(kept, dtype=np.int64)])[counts.indptr]
        about = {
            "format": _FORMAT,
            "settings": self.settings.as_dict(),
            "lowercase": self.lowercase,
            "characters": self.characters,
        }
        english, foreign = self.english_words.to_arrays(), self.foreign_words.to_arrays()
        with replacing(Path(path)) as aside, aside.open("wb") as stream:
            np.savez_compressed(
                stream, about=np.frombuffer(json.dumps(about).encode(), np.uint8), english_words=english[0],
                english_offsets=english[1], foreign_words=foreign[0], foreign_offsets=foreign[1], indptr=indptr,
                columns=counts.columns[kept], counts=counts.values[kept], foreign_null=p.foreign_null,
                english_null=p.english_null, foreign_jumps=p.foreign_jumps, english_jumps=p.english_jumps,
            )  # fmt: skip

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> AlignmentModel:
        """Reads what `save` wrote; InputError if the file is missing, is something else or does not hold together."""
        if not Path(path).is_file():
            raise InputError(f"Model '{path}' does not exist or is no file; give one that lingraft saved.")
        with Path(path).open("rb") as stream:
            try:
                with np.load(stream, allow_pickle=False) as stored:
                    arrays = {name: stored[name] for name in stored.files}
                about = json.loads(arrays["about"].tobytes())
                number = about["format"]
                model = cls._from_arrays(arrays, about) if number == _FORMAT else None
            except Exception as error:  # damaged archives make zipfile, zlib and numpy raise almost anything
                reason = " ".join(f"{type(error).__name__}: {error}".split())
                raise InputError(f"'{path}' is not an alignment model that lingraft saved ({reason}).") from None
        if model is None:
            raise InputError(f"'{path}' is an alignment model of format {number}; this version reads {_FORMAT}.")
        if problem := _problem(model):
            raise InputError(f"'{path}' is damaged: {problem}. Train and save the model again.")
        return model

    @classmethod
    def _from_arrays(cls, arrays: dict[str, Array], about: dict[str, Any]) -> AlignmentModel:
        parameters = Parameters(
            Csr(arrays["indptr"], arrays["columns"], arrays["counts"]), arrays["foreign_null"], arrays["english_null"],
            arrays["foreign_jumps"], arrays["english_jumps"],
        )  # fmt: skip
        return cls(
            Vocabulary.from_arrays(arrays["english_words"], arrays["english_offsets"]),
            Vocabulary.from_arrays(arrays["foreign_words"], arrays["foreign_offsets"]),
            parameters,
            AlignerSettings(**about["settings"]),
            bool(about["lowercase"]),
            bool(about["characters"]),
        )


def _problem(model: AlignmentModel) -> str | None:
    """What does not fit in a model that came from a file; compiled loops would read past the ends of its arrays."""
    p, (indptr, columns, values) = model.parameters, model.parameters.counts
    if indptr.dtype != np.int64 or columns.dtype != np.int32 or values.dtype != np.float32:
        return "its counts are of the wrong type"
    whole = indptr.shape == (len(model.foreign_words) + 1,) and indptr[0] == 0 and (indptr[1:] >= indptr[:-1]).all()
    if not whole or not columns.shape == values.shape == (indptr[-1],):
        return "its counts do not fit its words"
    if columns.size and not 0 <= columns.min() <= columns.max() < len(model.english_words):
        return "its counts name words it does not have"
    if (np.diff(columns)[np.diff(model.parameters.counts.rows) == 0] <= 0).any():
        return "its counts are not in order"
    if not ((values >= 0).all() and (values <= 1e12).all()):
        return "its counts are impossible"
    sizes = {"foreign_null": len(model.foreign_words), "english_null": len(model.english_words)}
    for name in ("foreign_null", "english_null", "foreign_jumps", "english_jumps"):
        array = getattr(p, name)
        fits = array.size == sizes[name] if name in sizes else array.size >= 5 and array.size % 2 == 1
        if array.dtype != np.float32 or array.ndim != 1 or not fits:
            return f"{name} does not fit"
        # a sentence needs jumps that it can make
        possible = array >= 0 if name in sizes else array > 0
        if not (np.isfinite(array).all() and possible.all()) or (array.size and not array.any()):
            return f"{name} holds what are no probabilities"
    try:
        model.english_words.words(), model.foreign_words.words()
    except UnicodeDecodeError:
        return "its words are no UTF-8 text"
    return None
