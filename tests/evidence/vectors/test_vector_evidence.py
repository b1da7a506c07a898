"""From word vectors of two languages to rows of the table: a cipher whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ortho_group

import tiny
from lingraft.evidence import Provenance
from lingraft.evidence.vectors import WordVectors, align_vectors, vector_evidence
from lingraft.vocabulary import all_special_ids


def turned(vectors, names, seed=0):
    """The same vectors in another space, in another order, under other names."""
    random = np.random.default_rng(seed)
    order = random.permutation(len(vectors))
    turn = ortho_group.rvs(vectors.dimension, random_state=seed)
    matrix = (vectors.matrix[order] @ turn).astype(np.float32)
    return WordVectors([names[vectors.words[k]] for k in order], matrix, vectors.frequencies[order])


@pytest.fixture
def english():
    words = sorted({word for line in tiny.english_lines() for word in line.split()})
    matrix = np.random.default_rng(4).normal(size=(len(words), 16)).astype(np.float32)
    return WordVectors(words, matrix)


def test_a_cipher_is_read(any_tokenizer, english):
    """The same words in a turned space, under the same tokenizer with other ids: every row is the identity's."""
    order = np.random.default_rng(2).permutation(len(any_tokenizer))
    target = tiny.renumbered(any_tokenizer, order)
    foreign = turned(english, {word: word for word in english.words})
    paper = {"activation": "sparsemax", "temperature": 1, "csls": 0}
    for options, least in ((paper, 1), ({}, 0.98)):
        found = vector_evidence(any_tokenizer, target, align_vectors(english, foreign), **options)
        assert found.kind == Provenance.vectors
        known = np.flatnonzero(found.strength)
        assert known.size > 60
        # tokens that occur in the very same words have the same vector and share the row
        best = found.matrix[known].max(axis=1).toarray().ravel()
        own = np.asarray(found.matrix[known, order[known]]).ravel()
        assert np.mean(own > best - 1e-3) >= least
        np.testing.assert_allclose(found.matrix[known].sum(axis=1), 1, atol=1e-9)


def test_special_tokens_have_no_row_and_no_part(any_tokenizer, english):
    foreign = turned(english, {word: word for word in english.words})
    found = vector_evidence(any_tokenizer, any_tokenizer, align_vectors(english, foreign))
    special = sorted(all_special_ids(any_tokenizer))
    assert not found.matrix[special].nnz
    assert not found.matrix[:, special].nnz
    assert not found.strength[special].any()
    assert ((found.strength > 0) == (np.diff(found.matrix.indptr) > 0)).all()


def test_the_paper_s_form_is_sparsemax_of_cosines(english):
    tokenizer = tiny.wordpiece_tokenizer()
    aligned = align_vectors(english, turned(english, {word: word for word in english.words}))
    plain, default = (
        vector_evidence(tokenizer, tokenizer, aligned, **options)
        for options in ({"activation": "sparsemax", "temperature": 1, "csls": 0}, {})
    )
    assert plain.matrix.nnz > default.matrix.nnz
