"""Word vectors as evidence of how tokens correspond (Tran 2020, section 3.2)."""

from __future__ import annotations

import numpy as np
from transformers import PreTrainedTokenizerBase

from ..rows import Evidence
from ..table import Provenance
from .alignment import AlignedVectors
from .similarity import Activation, similarity_rows
from .subwords import token_vectors

#: sharper than the paper's cosines at temperature 1, under which a row is spread over dozens of tokens
ACTIVATION: Activation = "sparsemax"
TEMPERATURE = 0.2
CSLS = 10


def vector_evidence(
    source: PreTrainedTokenizerBase,
    target: PreTrainedTokenizerBase,
    aligned: AlignedVectors,
    *,
    activation: Activation = ACTIVATION,
    temperature: float = TEMPERATURE,
    neighbours: int = 10,
    csls: int = CSLS,
    limit: int | None = 50_000,
) -> Evidence:
    """p(source token | target token) by the similarity of their vectors.

    aligned: word vectors in one space (`align_vectors`). Makes vectors of tokens of them (`token_vectors`) and rows of
    those (`similarity_rows`, whose parameters these are). The paper's form is ``activation="sparsemax", temperature=1,
    csls=0``. Returns an Evidence of kind ``vectors``; its strength is the occurrences of words that contain a token.
    Special tokens have no row and a part in none. Raises what those two do. activation, temperature, neighbours, csls:
    of `similarity_rows`. limit: the most frequent so many words of a language are segmented; None for all.
    """
    ours, _ = token_vectors(aligned.english, source, limit)
    theirs, mass = token_vectors(aligned.foreign, target, limit)
    rows = similarity_rows(
        theirs, ours, activation=activation, temperature=temperature, neighbours=neighbours, csls=csls
    )
    return Evidence(Provenance.vectors, rows, np.where(np.diff(rows.indptr) > 0, mass, 0.0))
