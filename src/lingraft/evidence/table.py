"""The translation table: for every token of the new vocabulary, which English tokens it corresponds to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse
from transformers import PreTrainedTokenizerBase

from ..errors import TableError
from ..vocabulary import tokenizer_hash

Array = np.ndarray[Any, Any]

_FORMAT = 1


class Provenance(IntEnum):
    """Where the row of a target token came from."""

    fallback = 0
    bitext = 1
    vectors = 2
    lexicon = 3
    overlap = 4
    composition = 5
    special = 6
    backoff = 7


@dataclass(frozen=True)
class TranslationTable:
    """p(source token | target token).

    matrix: CSR float32, shape (V_target, V_source). Rows sum to 1; a row of provenance ``fallback`` is empty and says
    that nothing is known of the token. provenance: uint8, shape (V_target,), values of `Provenance`. evidence: float32,
    shape (V_target,), the mass of observations a row rests on (expected links for bitext). The hashes are those of the
    two tokenizers (`lingraft.vocabulary.tokenizer_hash`).
    """

    matrix: sparse.csr_matrix
    provenance: Array
    evidence: Array
    source_hash: str
    target_hash: str

    def __post_init__(self) -> None:
        n = self.matrix.shape[0]
        if self.provenance.shape != (n,) or self.evidence.shape != (n,):
            raise TableError(f"A table of {n} rows needs as many provenances and evidences.")
        if not np.isin(self.provenance, list(Provenance)).all() or not (self.evidence >= 0).all():
            raise TableError("A provenance of the table is none of the known ones, or an evidence is negative.")
        sums = np.asarray(self.matrix.sum(axis=1)).ravel()
        wrong = np.abs(sums - (self.provenance != Provenance.fallback)) > 1e-3
        if not np.isfinite(self.matrix.data).all() or (self.matrix.data < 0).any() or wrong.any():
            raise TableError(
                f"{int(wrong.sum())} rows of the table do not sum to 1, or some of its entries are negative or no "
                "numbers. Make the table again."
            )

    def shares(self, ids: Array | None = None) -> dict[str, float]:
        """Share of target tokens by provenance, for those that occur.

        ids: int, shape (n,), the tokens of a text, whose shares are given then, each token as often as it is there.
        """
        rows = self.provenance if ids is None else self.provenance[ids]
        counts = np.bincount(rows, minlength=len(Provenance))
        return {kind.name: float(counts[kind] / max(1, rows.size)) for kind in Provenance if counts[kind]}

    def check_tokenizers(self, source: PreTrainedTokenizerBase, target: PreTrainedTokenizerBase) -> None:
        """Raises TableError unless the table was made for these two tokenizers.

        source, target: by their hashes, which the table has.
        """
        for side, expected, tokenizer in (("source", self.source_hash, source), ("target", self.target_hash, target)):
            given = tokenizer_hash(tokenizer)
            if given != expected:
                raise TableError(
                    f"The table was made for another {side} tokenizer (hash {expected[:12]}, given {given[:12]}). "
                    "Make the table again with these tokenizers."
                )

    def save(self, path: Path) -> None:
        """Writes one ``.npz`` without pickles."""
        matrix = self.matrix
        with path.open("wb") as stream:
            np.savez_compressed(
                stream,
                format=np.array(_FORMAT),
                data=matrix.data.astype(np.float32),
                indices=matrix.indices.astype(np.int32),
                indptr=matrix.indptr.astype(np.int64),
                shape=np.array(matrix.shape, np.int64),
                provenance=self.provenance.astype(np.uint8),
                evidence=self.evidence.astype(np.float32),
                source_hash=np.array(self.source_hash),
                target_hash=np.array(self.target_hash),
            )

    @classmethod
    def load(cls, path: Path) -> TranslationTable:
        """Reads a table; TableError if the file is missing, damaged or no table."""
        if not path.is_file():
            raise TableError(f"Table '{path}' does not exist.")
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
                if int(arrays["format"]) != _FORMAT:
                    raise TableError(
                        f"'{path}' has table format {int(arrays['format'])}; this version reads {_FORMAT}."
                    )
                rows, columns = (int(n) for n in arrays["shape"])
                matrix = sparse.csr_matrix(
                    (arrays["data"], arrays["indices"], arrays["indptr"]), shape=(rows, columns), dtype=np.float32
                )
                matrix.check_format(full_check=True)
                return cls(
                    matrix, arrays["provenance"], arrays["evidence"],
                    str(arrays["source_hash"]), str(arrays["target_hash"]),
                )  # fmt: skip
        except TableError:
            raise
        except Exception as error:  # damaged archives make zipfile, zlib and numpy raise almost anything
            raise TableError(f"'{path}' is no translation table ({type(error).__name__}: {error}).") from None
