"""FOCUS (Dobler & de Melo 2023, "FOCUS: Effective Embedding Initialization for Monolingual Specialization ...").

Tokens of both vocabularies are copied. Every other token becomes a mixture of these, weighted by the sparsemax of the
cosines between auxiliary vectors: fastText (continuous bag of words) trained on the new language's text, with the
target tokenizer's tokens for words. A token that is too rare for an auxiliary vector is drawn with the source's mean
and standard deviation; a common token as rare is copied all the same, but in nobody's mixture.

After the package deepfocus 1.0.1 (three epochs, ten negative samples, at least ten occurrences), with the 300
dimensions of the program as it was published with the paper. The difference: which tokens are common is decided by the
bytes they stand for and whether they start a word, so tokens that hold parts of characters are never taken for one
another. The output bias is mixed as the rows are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from scipy import sparse
from transformers import PreTrainedTokenizerBase

from ...evidence import Provenance
from ...evidence.rows import Evidence
from ...evidence.vectors import similarity_rows, train_on_tokens
from ...vocabulary import plain_backend, token_identities
from .interface import Initialisation, InitialiserInputs
from .rows import table_of

Array = np.ndarray[Any, Any]

DIMENSION = 300
EPOCHS = 3
NEGATIVES = 10
MIN_COUNT = 10

#: lines that are tokenised at once
_BATCH = 10_000


def common_tokens(source: PreTrainedTokenizerBase, target: PreTrainedTokenizerBase) -> dict[int, int]:
    """Target id -> source id of the tokens that stand for the same bytes at the same place in a word."""
    theirs: dict[object, int] = {}
    for column, identity in enumerate(token_identities(source)):
        if identity is not None:
            theirs.setdefault(identity, column)
    mine = enumerate(token_identities(target))
    return {row: theirs[identity] for row, identity in mine if identity is not None and identity in theirs}


def tokenised(lines: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> Iterator[list[str]]:
    """The tokens of every line, as the tokenizer spells them."""
    backend = plain_backend(tokenizer)
    for start in range(0, len(lines), _BATCH):
        for encoding in backend.encode_batch(list(lines[start : start + _BATCH]), add_special_tokens=False):
            yield encoding.tokens


def auxiliary_vectors(
    lines: Sequence[str], tokenizer: PreTrainedTokenizerBase, seed: int = 0, min_count: int = MIN_COUNT
) -> tuple[Array, Array]:
    """fastText vectors of the tokens in a text: float64 (V, d), and how often each occurs, float64 (V,).

    A token that occurs fewer than min_count times has count 0 and a vector of zeros.
    """
    trained = train_on_tokens(
        tokenised(lines, tokenizer), model="cbow", dimension=DIMENSION, epochs=EPOCHS, negatives=NEGATIVES,
        min_count=min_count, seed=seed,
    )  # fmt: skip
    vectors = np.zeros((len(tokenizer), trained.matrix.shape[1]))
    counts = np.zeros(len(tokenizer))
    ids = tokenizer.get_vocab()
    for word, row, frequency in zip(trained.words, trained.matrix, trained.frequencies, strict=True):
        if word in ids:
            vectors[ids[word]], counts[ids[word]] = row, frequency
    return vectors, counts


def focus(
    source: PreTrainedTokenizerBase, target: PreTrainedTokenizerBase, inputs: InitialiserInputs
) -> Initialisation:
    """FOCUS from text of the new language."""
    if not inputs.text:
        raise ValueError("FOCUS works from text of the new language")
    return focus_on(source, target, *auxiliary_vectors(inputs.text, target, inputs.seed))


def focus_on(
    source: PreTrainedTokenizerBase, target: PreTrainedTokenizerBase, vectors: Array, counts: Array
) -> Initialisation:
    """FOCUS with auxiliary vectors of the target's tokens, (V_target, d), zero where a token has none.

    counts: float64 (V_target,), how often each token occurs, for the table's column of evidence.
    """
    shape = len(target), len(source)
    common = common_tokens(source, target)
    places = np.array(sorted(common), np.int64)
    columns = np.array([common[row] for row in places.tolist()], np.int64)
    ones, numbers = np.ones(places.size), np.arange(places.size)
    copied = sparse.csr_matrix((ones, (places, columns)), shape=shape)
    # from the common tokens, by number, to the source's
    to_source = sparse.csr_matrix((ones, (numbers, columns)), shape=(places.size, shape[1]))
    mixed = sparse.csr_matrix(similarity_rows(vectors, vectors[places], activation="sparsemax") @ to_source)
    known = np.asarray(mixed.sum(axis=1)).ravel() > 0
    evidence = [
        Evidence(Provenance.overlap, copied, np.bincount(places, minlength=shape[0]).astype(np.float64)),
        Evidence(Provenance.vectors, mixed, counts * known),
    ]
    return Initialisation(table_of(source, target, evidence), "normal")
