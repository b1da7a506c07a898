"""Evidence of any method to the rows of a table, special tokens by their role."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse
from transformers import PreTrainedTokenizerBase

from ...evidence import Provenance, TranslationTable
from ...evidence.rows import Evidence
from ...vocabulary import all_special_ids, special_rows, tokenizer_hash


def table_of(
    source: PreTrainedTokenizerBase, target: PreTrainedTokenizerBase, evidence: Sequence[Evidence]
) -> TranslationTable:
    """A table each row of which is that of the first evidence that knows the token; special tokens go by role.

    source, target: the tokenizers. evidence: the best first.

    Rows are normalised after what they give to special tokens of the source, which stand for no text, is taken out.
    Rows that no evidence knows are empty, of provenance ``fallback``.
    """
    shape = len(target), len(source)
    special = special_rows(source, target)
    matrix: sparse.csr_matrix = sparse.csr_matrix(
        (np.ones(len(special)), (list(special), list(special.values()))), shape=shape
    )
    provenance = np.full(shape[0], Provenance.fallback, np.uint8)
    provenance[list(special)] = Provenance.special
    strength = np.zeros(shape[0], np.float32)
    left = np.ones(shape[0], bool)
    left[sorted(all_special_ids(target) | set(special))] = False
    ordinary = np.ones(shape[1])
    ordinary[sorted(all_special_ids(source))] = 0
    for part in evidence:
        rows = sparse.csr_matrix(part.matrix @ sparse.diags(ordinary))
        totals = np.asarray(rows.sum(axis=1)).ravel()
        mine = left & (totals > 0)
        share = np.divide(1, totals, out=np.zeros(shape[0]), where=mine)
        matrix = matrix + sparse.csr_matrix(sparse.diags(share) @ rows)
        provenance[mine] = part.kind
        strength[mine] = part.strength[mine]
        left &= ~mine
    made = sparse.csr_matrix(matrix, dtype=np.float32)
    made.eliminate_zeros()
    made.sort_indices()
    return TranslationTable(made, provenance, strength, tokenizer_hash(source), tokenizer_hash(target))
