"""Rows of the translation table out of each kind of evidence, and the rule by which they are put together.

Every row comes from the first of these that knows the token:

1. special: tokens of a role stand for the source's token of that role, whatever the text says;
2. bitext: expected links with source tokens, normalised;
3. overlap: the source has a token of the same bytes at the same place in a word;
4. composition: the source's tokenizer can spell the token, which then is the mean of those pieces;
5. fallback: nothing is known.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import sparse
from transformers import PreTrainedTokenizerBase

from ..corpus import TokenSequences
from ..vocabulary import (
    all_special_ids,
    backend_json,
    notation,
    plain_backend,
    same_special_tokens,
    special_ids,
    token_identities,
    tokenizer_hash,
)
from .alignment import AlignerSettings, Training
from .alignment.em import Progress
from .alignment.settings import FOR_TABLES
from .table import Provenance, TranslationTable

#: what is a smaller share of a row than this is taken for noise
MIN_SHARE = 1e-3


def bitext_counts(
    pairs: list[tuple[str, str]],
    source: PreTrainedTokenizerBase,
    target: PreTrainedTokenizerBase,
    settings: AlignerSettings = FOR_TABLES,
    on_progress: Progress | None = None,
) -> tuple[sparse.csr_matrix, int]:
    """Expected links between subwords, CSR (V_target, V_source), and how many pairs were too long to be aligned."""
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
    """Token ids of every line, without special tokens, padding or truncation."""
    backend = plain_backend(tokenizer)
    chunks = (lines[start : start + 10_000] for start in range(0, len(lines), 10_000))
    return TokenSequences.from_lists(
        encoding.ids for chunk in chunks for encoding in backend.encode_batch_fast(chunk, add_special_tokens=False)
    )


def build_table(
    source: PreTrainedTokenizerBase,
    target: PreTrainedTokenizerBase,
    counts: sparse.csr_matrix | None = None,
    min_count: float = 0.001,
) -> TranslationTable:
    """Puts all evidence together, row by row, in the order of this module's docstring.

    counts: expected links, shape (V_target, V_source), or None where there is no bitext. min_count: rows with fewer
    links are left to the sources behind.
    """
    n_target, n_source = len(target), len(source)
    provenance = np.full(n_target, Provenance.fallback, np.uint8)
    evidence = np.zeros(n_target, np.float32)
    rows: list[int] = []
    columns: list[int] = []
    weights: list[float] = []

    def add(row: int, sources: list[int], kind: Provenance) -> None:
        provenance[row] = kind
        rows.extend([row] * len(sources))
        columns.extend(sources)
        weights.extend([1 / len(sources)] * len(sources))

    source_roles, target_roles = special_ids(source), special_ids(target)
    for role, row in target_roles.items():
        if role in source_roles and provenance[row] == Provenance.fallback:
            add(row, [source_roles[role]], Provenance.special)
    for row, column in same_special_tokens(target, source).items():
        if provenance[row] == Provenance.fallback:
            add(row, [column], Provenance.special)
    settled = all_special_ids(target) | set(target_roles.values())
    links = _bitext_rows(counts, source, settled, min_count, (n_target, n_source))
    totals = np.asarray(links.sum(axis=1)).ravel()
    known = totals > 0
    provenance[known] = Provenance.bitext
    evidence[known] = totals[known]
    _spelled_rows(source, target, settled | set(np.flatnonzero(known).tolist()), add)
    spelled = sparse.csr_matrix((weights, (rows, columns)), shape=(n_target, n_source), dtype=np.float64)
    scale = sparse.diags(1 / np.where(known, totals, 1.0))
    matrix = (scale @ links + spelled).astype(np.float32).tocsr()
    matrix.sort_indices()
    return TranslationTable(matrix, provenance, evidence, tokenizer_hash(source), tokenizer_hash(target))


def _bitext_rows(
    counts: sparse.csr_matrix | None,
    source: PreTrainedTokenizerBase,
    settled: set[int],
    min_count: float,
    shape: tuple[int, int],
) -> sparse.csr_matrix:
    """The counts without rows and columns of special tokens and without rows of too little evidence."""
    if counts is None:
        return sparse.csr_matrix(shape, dtype=np.float64)
    keep_column = np.ones(shape[1])
    keep_column[list(all_special_ids(source))] = 0
    links = (counts.astype(np.float64) @ sparse.diags(keep_column)).tocsr()
    totals = np.asarray(links.sum(axis=1)).ravel()
    keep_row = (totals >= max(min_count, 1e-12)).astype(np.float64)
    keep_row[list(settled)] = 0
    kept = sparse.csr_matrix(sparse.diags(keep_row) @ links)
    kept.data[kept.data < MIN_SHARE * np.repeat(totals, np.diff(kept.indptr))] = 0
    kept.eliminate_zeros()
    return kept


def _spelled_rows(
    source: PreTrainedTokenizerBase,
    target: PreTrainedTokenizerBase,
    settled: set[int],
    add: Callable[[int, list[int], Provenance], None],
) -> None:
    """Overlap and composition for every target token that has no row yet."""
    by_identity = {identity: index for index, identity in enumerate(token_identities(source)) if identity is not None}
    backend = plain_backend(source)
    # elsewhere a text is spelled as if a word started with it
    spaced = notation(backend_json(source)) == "bytelevel"
    forbidden = all_special_ids(source)
    for row, identity in enumerate(token_identities(target)):
        if identity is None or row in settled:
            continue
        if identity in by_identity:
            add(row, [by_identity[identity]], Provenance.overlap)
            continue
        if identity.lone_byte:
            continue
        try:
            text = identity.text.decode()
        except UnicodeDecodeError:
            continue
        pieces = backend.encode(" " + text if spaced and identity.starts_word else text, add_special_tokens=False).ids
        # what the source can only write byte by byte or not at all says nothing of the token
        if pieces and not forbidden.intersection(pieces) and len(pieces) < max(2, len(text)):
            add(row, list(pieces), Provenance.composition)
