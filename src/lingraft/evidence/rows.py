"""What one source of evidence says of the tokens of the new vocabulary, before the sources are put together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from .table import Provenance

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class Evidence:
    """p(source token | target token) as one source has it, and how much it rests on.

    kind: the provenance a row gets that is this source's alone. matrix: CSR float64, shape (V_target, V_source); a row
    sums to 1, or is empty where the source knows nothing of the token. strength: float64, shape (V_target,), the
    observations behind a row: expected links, occurrences of words that contain the token; 0 where the row is empty.
    """

    kind: Provenance
    matrix: sparse.csr_matrix
    strength: Array

    @classmethod
    def from_counts(cls, kind: Provenance, counts: sparse.csr_matrix) -> Evidence:
        """Rows in proportion to counts, CSR (V_target, V_source), not negative; their sums are the strength.

        kind: of what they come.
        """
        counts = counts.astype(np.float64)
        totals = np.asarray(counts.sum(axis=1)).ravel()
        scale = sparse.diags(1 / np.where(totals > 0, totals, 1.0))
        return cls(kind, sparse.csr_matrix(scale @ counts), totals)

    @property
    def known(self) -> Array:
        """Of which tokens the source knows something, bool (V_target,)."""
        return self.strength > 0


def normalised(rows: sparse.csr_matrix, totals: Array, least: float) -> sparse.csr_matrix:
    """Rows that sum to 1, or are empty, without what was a smaller share than ``least`` of a row's total.

    rows: CSR float64, not negative; left as it is. totals: float64, shape (rows,).
    """
    each = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
    kept = rows.copy()
    kept.data[kept.data < least * totals[each]] = 0
    kept.eliminate_zeros()
    sums = np.asarray(kept.sum(axis=1)).ravel()
    return sparse.csr_matrix(sparse.diags(1 / np.where(sums > 0, sums, 1.0)) @ kept)
