"""Evidence from sentence pairs: subwords, aligned, give p(English subword | foreign subword)."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from transformers import PreTrainedTokenizerBase

from ..corpus import TokenSequences
from ..vocabulary import all_special_ids, plain_backend
from .alignment import AlignerSettings, Training
from .alignment.em import Progress
from .alignment.settings import FOR_TABLES
from .rows import Evidence
from .table import Provenance

#: what is a smaller share of a row than this is taken for noise
MIN_SHARE = 1e-3

#: rows with fewer expected links say nothing
MIN_COUNT = 1e-3


def bitext_counts(
    pairs: list[tuple[str, str]],
    source: PreTrainedTokenizerBase,
    target: PreTrainedTokenizerBase,
    settings: AlignerSettings = FOR_TABLES,
    on_progress: Progress | None = None,
) -> tuple[sparse.csr_matrix, int]:
    """Expected links between subwords, CSR (V_target, V_source), and how many pairs were too long to be aligned.

    source, target: the tokenizers. settings: of the aligner. on_progress: as for `align`.
    """
    english = encode(source, [pair[0] for pair in pairs])
    foreign = encode(target, [pair[1] for pair in pairs])
    short = (english.lengths <= settings.max_tokens) & (foreign.lengths <= settings.max_tokens)
    if not short.all():
        english, foreign = english.select(short), foreign.select(short)
    with Training(english, foreign, len(source), len(target), settings, on_progress=on_progress) as training:
        indptr, columns, values = training.expected_links()
    counts = sparse.csr_matrix((values, columns, indptr), shape=(len(target), len(source)))
    return counts, int((~short).sum())


def encode(tokenizer: PreTrainedTokenizerBase, lines: list[str]) -> TokenSequences:
    """Token ids of every line, without special tokens, padding or truncation.

    tokenizer: with a backend of the tokenizers library.
    """
    backend = plain_backend(tokenizer)
    chunks = (lines[start : start + 10_000] for start in range(0, len(lines), 10_000))
    return TokenSequences.from_lists(
        encoding.ids for chunk in chunks for encoding in backend.encode_batch_fast(chunk, add_special_tokens=False)
    )


def bitext_evidence(
    counts: sparse.csr_matrix, source: PreTrainedTokenizerBase, min_count: float = MIN_COUNT
) -> Evidence:
    """The rows that expected links make (Tran 2020, equation 2), without links to the source's special tokens.

    counts: CSR (V_target, V_source), as `bitext_counts` gives them. Links that are less than `MIN_SHARE` of a row are
    taken for noise, and rows with fewer than min_count links are left empty.
    """
    keep_column = np.ones(counts.shape[1])
    keep_column[list(all_special_ids(source))] = 0
    links = sparse.csr_matrix(counts.astype(np.float64) @ sparse.diags(keep_column))
    totals = np.asarray(links.sum(axis=1)).ravel()
    share = links.data / np.maximum(np.repeat(totals, np.diff(links.indptr)), 1e-300)
    links.data[(share < MIN_SHARE) | np.repeat(totals < max(min_count, 1e-12), np.diff(links.indptr))] = 0
    links.eliminate_zeros()
    made = Evidence.from_counts(Provenance.bitext, links)
    return Evidence(made.kind, made.matrix, np.where(made.known, totals, 0.0))
