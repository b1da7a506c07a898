"""All evidence put together, token by token.

A source's row counts as much as it rests on. In units of one expected link of a bitext, a row of strength n has the
weight

    w = min(rate * n, most),

``rate`` and ``most`` being the trust in its source: what one of its observations is worth, and what any number of them
is worth at most. The fused row is the mean of the sources' rows with these weights: the posterior mean of p(source
token | target token) under the links of the bitext (rate 1, without limit), where the other sources are a Dirichlet
prior. A token of many links goes by them; one of few goes by whatever else is known. In a decoder's table tokens that
both have are copies instead.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from scipy import sparse
from transformers import PreTrainedTokenizerBase

from ..vocabulary import all_special_ids, special_ids, special_rows, tokenizer_hash
from .backoff import backoff_evidence
from .rows import Array, Evidence, normalised
from .spelling import spelling_evidence
from .table import Provenance, TranslationTable

#: what is a smaller share of a fused row than this is left out
_MIN_SHARE = 1e-4


@dataclass(frozen=True)
class Trust:
    """How much the rows of a source count.

    rate: expected links that one observation is worth. most: those that a row of any strength is worth at most.
    """

    rate: float = 1.0
    most: float = math.inf

    def weight(self, strength: Array) -> Array:
        """In expected links, shape of ``strength``."""
        return np.minimum(self.rate * strength, self.most)


#: calibrated by benchmarks/fusion.py (docs/results.md)
TRUST: Mapping[Provenance, Trust] = MappingProxyType(
    {
        Provenance.bitext: Trust(),
        Provenance.lexicon: Trust(most=2.0),
        Provenance.vectors: Trust(rate=0.01, most=0.3),
        Provenance.overlap: Trust(),
        Provenance.composition: Trust(rate=0.1),
        Provenance.backoff: Trust(most=1.0),
    }
)


def build_table(
    source: PreTrainedTokenizerBase,
    target: PreTrainedTokenizerBase,
    evidence: Sequence[Evidence] = (),
    trust: Mapping[Provenance, Trust] = TRUST,
    *,
    copy_shared: bool = False,
) -> TranslationTable:
    """The translation table of all that is known of the two vocabularies.

    source, target: the tokenizers whose tokens are the columns and the rows. evidence: of bitext, lexicons and vectors;
    what the tokens' spelling says is added to it, and then what all of that says of the tokens that a token is a piece
    of. trust: of every kind of evidence. copy_shared: a token that the source has too is that one token, whatever other
    evidence says; for decoders, which have read some of most languages on the web (docs/results.md).

    Special tokens stand for the source's token of the same role, or of the same text, whatever the evidence says. The
    provenance of a row is the source with the largest weight in it; a token that no source knows is ``fallback``.
    """
    shape = len(target), len(source)
    special = special_rows(source, target)
    open_rows = np.ones(shape[0], bool)
    open_rows[list(all_special_ids(target) | set(special_ids(target).values()))] = False
    evident = np.zeros(shape[0])  # all that is known of a row
    total = np.zeros(shape[0])  # what is mixed in it
    heaviest = np.zeros(shape[0])
    provenance = np.full(shape[0], Provenance.fallback, np.uint8)
    mixed: Any = sparse.csr_matrix(shape, dtype=np.float64)
    overlap, composition = spelling_evidence(source, target)
    copied = overlap.known if copy_shared else np.zeros(shape[0], bool)

    def add(one: Evidence) -> None:
        nonlocal mixed, heaviest, evident, total
        if one.matrix.shape != shape:
            raise ValueError(f"evidence of shape {one.matrix.shape} for vocabularies of {shape}")
        weight = np.where(open_rows, trust[one.kind].weight(one.strength), 0.0)
        evident = evident + weight
        if one is not overlap:
            weight = np.where(copied, 0.0, weight)
        total = total + weight
        mixed = mixed + sparse.diags(weight) @ one.matrix
        provenance[weight > heaviest] = one.kind
        heaviest = np.maximum(heaviest, weight)

    for one in evidence:
        add(one)
    observed = evident
    add(overlap)
    add(composition)
    # what the source has itself needs no help: a language that is grafted onto itself stays as it is
    needy = (overlap.strength < 1) & ~copied
    rests_on = evident  # what is known of other tokens is none of it
    add(backoff_evidence(target, needy, normalised(mixed.tocsr(), total, _MIN_SHARE), observed))
    mixed = normalised(mixed.tocsr(), total, _MIN_SHARE)
    rows, columns = list(special), list(special.values())
    provenance[rows] = Provenance.special
    fixed = sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=shape)
    matrix = sparse.csr_matrix(mixed + fixed, dtype=np.float32)
    matrix.sort_indices()
    return TranslationTable(
        matrix, provenance, rests_on.astype(np.float32), tokenizer_hash(source), tokenizer_hash(target)
    )
