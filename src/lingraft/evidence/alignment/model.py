"""A trained alignment model as an object and as a file."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np

from ...errors import InputError, RecipeError
from .block import Csr
from .em import Parameters
from .settings import AlignerSettings
from .words import Vocabulary

_FORMAT = 1
#: pairs of types with fewer expected links are not saved
_SAVED_COUNT = 1e-3


@dataclass(frozen=True)
class AlignmentModel:
    """What the aligner learned, with the words it is about.

    lowercase, characters: how text has to be prepared. parameters.counts: (foreign words x English words).
    """

    english_words: Vocabulary
    foreign_words: Vocabulary
    parameters: Parameters
    settings: AlignerSettings
    lowercase: bool = True
    characters: bool = False

    def save(self, path: str | PathLike[str]) -> None:
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
        aside = Path(path).with_name(f".aside-{Path(path).name}")
        try:
            with aside.open("wb") as stream:
                np.savez_compressed(
                    stream, about=np.frombuffer(json.dumps(about).encode(), np.uint8), english_words=english[0],
                    english_offsets=english[1], foreign_words=foreign[0], foreign_offsets=foreign[1], indptr=indptr,
                    columns=counts.columns[kept], counts=counts.values[kept], foreign_null=p.foreign_null,
                    english_null=p.english_null, foreign_jumps=p.foreign_jumps, english_jumps=p.english_jumps,
                )  # fmt: skip
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> AlignmentModel:
        """Reads what `save` wrote; InputError if the file is something else or does not hold together."""
        try:
            with np.load(path, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
            about = json.loads(arrays["about"].tobytes())
            if about["format"] != _FORMAT:
                raise InputError(
                    f"'{path}' is an alignment model of format {about['format']}; this version reads format {_FORMAT}."
                )
            english = Vocabulary.from_arrays(arrays["english_words"], arrays["english_offsets"])
            foreign = Vocabulary.from_arrays(arrays["foreign_words"], arrays["foreign_offsets"])
            model = cls(
                english, foreign,
                Parameters(
                    Csr(arrays["indptr"], arrays["columns"], arrays["counts"]), arrays["foreign_null"],
                    arrays["english_null"], arrays["foreign_jumps"], arrays["english_jumps"],
                ),
                AlignerSettings(**about["settings"]), bool(about["lowercase"]), bool(about["characters"]),
            )  # fmt: skip
        except (KeyError, ValueError, TypeError, EOFError, zipfile.BadZipFile, RecipeError) as error:
            raise InputError(f"'{path}' is not an alignment model that lingraft saved: {error}.") from None
        if problem := _problem(model):
            raise InputError(f"'{path}' is damaged: {problem}. Train and save the model again.")
        return model


def _problem(model: AlignmentModel) -> str | None:
    """What does not fit in a model that came from a file; compiled loops would read past the ends of its arrays."""
    p, (indptr, columns, values) = model.parameters, model.parameters.counts
    if indptr.dtype != np.int64 or columns.dtype != np.int32 or values.dtype != np.float32:
        return "its counts are of the wrong type"
    whole = indptr.shape == (len(model.foreign_words) + 1,) and indptr[0] == 0 and (np.diff(indptr) >= 0).all()
    if not whole or indptr[-1] != columns.size or columns.size != values.size:
        return "its counts do not fit its words"
    if columns.size and not 0 <= columns.min() <= columns.max() < len(model.english_words):
        return "its counts name words it does not have"
    rows = model.parameters.counts.rows
    if (np.diff(columns)[np.diff(rows) == 0] <= 0).any():
        return "its counts are not in order"
    sizes = {"foreign_null": len(model.foreign_words), "english_null": len(model.english_words)}
    for name in ("foreign_null", "english_null", "foreign_jumps", "english_jumps"):
        array = getattr(p, name)
        if array.dtype != np.float32 or array.ndim != 1 or array.size != sizes.get(name, array.size):
            return f"{name} does not fit"
        if not np.isfinite(array).all() or (array < 0).any():
            return f"{name} holds a number that is no probability"
    if min(p.foreign_jumps.size, p.english_jumps.size) < 5 or not (np.isfinite(values).all() and (values >= 0).all()):
        return "its numbers are impossible"
    return None
