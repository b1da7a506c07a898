"""Evidence from the tokens that a token is a piece of: what little is known of it leans on what is known of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse
from transformers import PreTrainedTokenizerBase

from ..vocabulary import token_cuts
from .rows import Array, Evidence, normalised
from .table import Provenance

#: counterparts that are a smaller share of a row than this are left out: a piece of a thousand words has thousands
_MIN_SHARE = 0.003


def backoff_evidence(
    target: PreTrainedTokenizerBase, needy: Array, rows: sparse.csr_matrix, strength: Array
) -> Evidence:
    """The mean of the rows of all tokens that are cut into a token and another one.

    So ``##books`` has something of ``mybooks`` and ``thebooks``: words that the bitext has not are spelled by pieces
    that it hardly has by themselves. Every token has one vote, however often it was seen, as in the back-off of Kneser
    & Ney (1995): a piece is known by how many words it makes.

    needy: bool, shape (V_target,), the tokens that get such a row. rows: CSR float64, shape (V_target, V_source), what
    is known of the target's tokens; they sum to 1 or are empty. strength: float64, shape (V_target,), observations of a
    token in the new language, which its spelling is not; below 1 they are as much of a vote. The evidence's strength is
    the number of votes.
    """
    size = rows.shape[0]
    if not strength.any():
        return Evidence(Provenance.backoff, sparse.csr_matrix(rows.shape, dtype=np.float64), np.zeros(size))
    cuts = token_cuts(target)
    whole = np.repeat(np.arange(size), cuts.number)
    piece = np.concatenate([cuts.left, cuts.right])
    # a whole that has a piece in two of its cuts votes once
    piece, whole = np.unique(np.stack([piece, np.tile(whole, 2)]), axis=1)
    vote = np.minimum(strength, 1.0)[whole]
    used = needy[piece] & (vote > 0)
    votes: Any = sparse.csr_matrix((vote[used], (piece[used], whole[used])), shape=(size, size))
    number = np.asarray(votes.sum(axis=1)).ravel()
    mean = normalised(sparse.csr_matrix(votes @ rows), number, _MIN_SHARE)
    return Evidence(Provenance.backoff, mean, np.where(np.diff(mean.indptr) > 0, number, 0.0))


def pieces_of(target: PreTrainedTokenizerBase, known: Array) -> Array:
    """Which tokens are pieces of tokens that are known: bool, shape (V_target,), as ``known`` is."""
    cuts = token_cuts(target)
    whole = np.repeat(known, cuts.number)
    result = np.zeros(known.size, bool)
    result[cuts.left[whole]] = True
    result[cuts.right[whole]] = True
    return result
