"""Vectors of tokens: equation 4 against a direct loop, for every kind of tokenizer."""

from __future__ import annotations

import numpy as np
import pytest

import tiny
from lingraft.evidence.vectors import WordVectors, token_vectors
from lingraft.evidence.vectors.subwords import _attached, segmented
from lingraft.vocabulary import all_special_ids


def some_vectors(words, counts=None, seed=0):
    matrix = np.random.default_rng(seed).normal(size=(len(words), 6)).astype(np.float32)
    return WordVectors(list(words), matrix, counts)


def in_running_text(tokenizer, word):
    """Ids of a word behind another one, by taking away that one's."""
    before = tokenizer("a", add_special_tokens=False).input_ids
    ids = tokenizer(f"a {word}", add_special_tokens=False).input_ids
    assert ids[: len(before)] == before
    return set(ids[len(before) :]) - all_special_ids(tokenizer)


@pytest.mark.parametrize("counted", [True, False])
def test_equation_4(any_tokenizer, counted):
    words = tiny.words()
    counts = np.random.default_rng(1).integers(1, 99, len(words)).astype(np.float64) if counted else None
    vectors = some_vectors(words, counts)
    found, mass = token_vectors(vectors, any_tokenizer, limit=200)
    weights = counts[:200] if counted else len(words) / np.arange(1, 201)
    expected, total = np.zeros((len(any_tokenizer), 6)), np.zeros(len(any_tokenizer))
    for word, vector, weight in zip(words[:200], vectors.matrix, weights, strict=False):
        for token in in_running_text(any_tokenizer, word):
            expected[token] += weight * vector
            total[token] += weight
    assert found.dtype == np.float32
    assert found.shape == (len(any_tokenizer), 6)
    np.testing.assert_allclose(mass, total)
    np.testing.assert_allclose(found, expected / np.maximum(total, 1e-9)[:, None], rtol=1e-4, atol=1e-5)
    assert (mass > 0).sum() > 50
    assert not found[list(all_special_ids(any_tokenizer))].any()
    assert not found[mass == 0].any()


def test_word_initial_and_inner_tokens_are_different_tokens():
    tokenizer = tiny.bytebpe_tokenizer()
    initial, inner = tokenizer.convert_tokens_to_ids(["Ġb", "b"])
    assert initial in segmented(["b"], tokenizer)[0]
    assert inner not in segmented(["b"], tokenizer)[0]
    found = segmented(["éb"], tokenizer)[0]
    assert inner in found
    assert initial not in found


def test_marks_and_spaceless_scripts_stand_in_text_without_a_space_too():
    tokenizer = tiny.bytebpe_tokenizer()
    ids = {form: set(tokenizer(form, add_special_tokens=False).input_ids) for form in (",", " ,", "中", " 中")}
    assert set(segmented([","], tokenizer)[0]) == ids[","] | ids[" ,"]
    assert set(segmented(["中"], tokenizer)[0]) == ids["中"] | ids[" 中"]


def test_a_word_that_begins_with_a_vowel_sign_stands_behind_a_letter():
    assert [_attached(word) for word in ("กา", "ิน", "\u0301a", "a", "7", ",")] == ["。", "a", "a", "", "", "a"]


def test_a_tokenizer_that_writes_lower_case_gets_its_tokens_from_both():
    tokenizer = tiny.wordpiece_tokenizer()
    word = tiny.words()[0]
    vectors = WordVectors([word, word.upper()], np.array([[1, 0], [0, 1]], np.float32), np.array([3.0, 1.0]))
    found, mass = token_vectors(vectors, tokenizer)
    for token in in_running_text(tokenizer, word):
        assert found[token].tolist() == [0.75, 0.25]
        assert mass[token] == 4


def test_a_token_that_occurs_twice_in_a_word_counts_once():
    tokenizer = tiny.wordpiece_tokenizer()
    _, mass = token_vectors(WordVectors(["xqxqxqxq"], np.ones((1, 2), np.float32), np.array([5.0])), tokenizer)
    assert set(mass.tolist()) <= {0.0, 5.0}


def test_no_words_no_vectors():
    found, mass = token_vectors(WordVectors([], np.zeros((0, 4), np.float32)), tiny.wordpiece_tokenizer())
    assert found.shape == (300, 4)
    assert not found.any()
    assert not mass.any()
