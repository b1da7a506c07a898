"""RAMEN (Tran 2020, "From English to Foreign Languages: Transferring Pre-trained Language Models").

E_f = A E_e, and the output bias likewise (equation 1), where A comes from one of two sources:

- a bitext: links of grow-diag-final-and between subwords, counted and normalised for each foreign subword;
- word vectors in one space: subwords are means of the words that contain them (equation 4), and A is the sparsemax of
  their cosines (equation 3).

What is not as published: links are those of lingraft's aligner instead of fast_align's; vectors are aligned on the
dictionary where one is given instead of on identical strings; special tokens of the source take no part in A. Subwords
that get nothing are drawn from N(0, 1/d^2), as the paper says; the published program draws them with standard deviation
d^-0.5 (`Unknown`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse
from transformers import PreTrainedTokenizerBase

from ...evidence import Provenance, encode
from ...evidence.alignment import AlignerSettings, Training
from ...evidence.alignment.symmetrize import symmetrize
from ...evidence.rows import Evidence
from ...evidence.vectors import align_vectors, vector_evidence
from .interface import Initialisation, InitialiserInputs, OnProgress
from .rows import table_of


def hard_link_counts(
    pairs: Sequence[tuple[str, str]],
    source: PreTrainedTokenizerBase,
    target: PreTrainedTokenizerBase,
    settings: AlignerSettings | None = None,
    on_progress: OnProgress | None = None,
) -> sparse.csr_matrix:
    """How often grow-diag-final-and links each pair of subwords, CSR float64 (V_target, V_source).

    pairs: sentence pairs, English first. Pairs with a side longer than the settings allow are left out.
    """
    settings = settings or AlignerSettings()
    english = encode(source, [pair[0] for pair in pairs])
    foreign = encode(target, [pair[1] for pair in pairs])
    short = (english.lengths <= settings.max_tokens) & (foreign.lengths <= settings.max_tokens)
    if not short.all():
        english, foreign = english.select(short), foreign.select(short)
    counts = sparse.csr_matrix((len(target), len(source)), dtype=np.float64)
    with Training(english, foreign, len(source), len(target), settings, on_progress=on_progress) as training:
        for block, posteriors in training.posteriors():
            links = symmetrize(
                posteriors, block.english_offsets, block.foreign_offsets, "grow-diag-final-and",
                workers=training.workers,
            )  # fmt: skip
            pair = np.repeat(np.arange(len(links)), np.diff(links.pair_offsets))
            rows = block.foreign[block.foreign_offsets[pair] + links.foreign]
            columns = block.english[block.english_offsets[pair] + links.english]
            counts = counts + sparse.csr_matrix((np.ones(rows.size), (rows, columns)), shape=counts.shape)
    return sparse.csr_matrix(counts)


def ramen(
    source: PreTrainedTokenizerBase, target: PreTrainedTokenizerBase, inputs: InitialiserInputs
) -> Initialisation:
    """RAMEN from the bitext where there is one, else from the word vectors."""
    if inputs.pairs:
        counts = hard_link_counts(inputs.pairs, source, target, on_progress=inputs.on_progress)
        evidence = Evidence.from_counts(Provenance.bitext, counts)
    elif inputs.english_vectors is not None and inputs.foreign_vectors is not None:
        aligned = align_vectors(inputs.english_vectors, inputs.foreign_vectors, inputs.lexicon, whiten=False)
        evidence = vector_evidence(source, target, aligned, activation="sparsemax", temperature=1.0, csls=0)
    else:
        raise ValueError("RAMEN works from a bitext or from word vectors of both languages")
    return Initialisation(table_of(source, target, [evidence]), "ramen")
