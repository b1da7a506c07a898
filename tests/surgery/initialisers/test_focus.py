"""FOCUS: what is common is copied, everything else is mixed of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerFast

import tiny
from lingraft.evidence import Provenance
from lingraft.evidence.vectors import training
from lingraft.surgery import InitialiserInputs, from_transformers, graft_with, initialise, vocabulary_parameters
from lingraft.surgery.initialisers.focus import auxiliary_vectors, common_tokens, focus_on, tokenised
from lingraft.vocabulary import all_special_ids, token_identities, train_tokenizer

DIMENSION = 10


@pytest.fixture(autouse=True)
def few_ngrams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Filling fastText's table of character n-grams takes longer than training on a small text."""
    monkeypatch.setattr(training, "_BUCKETS", 500)


@pytest.fixture
def foreign(any_tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """A tokenizer of a language that shares some of its words with English."""
    lines = [f"{xx} {en}" for en, xx in tiny.cipher_pairs()]
    return train_tokenizer(any_tokenizer, lines)


def simplex(scores: np.ndarray) -> np.ndarray:
    """The nearest point of the probability simplex, by trying every size of the support."""
    ordered = np.sort(scores)[::-1]
    for size in range(1, scores.size + 1):
        threshold = (ordered[:size].sum() - 1) / size
        if ordered[size - 1] > threshold and (size == scores.size or ordered[size] <= threshold):
            return np.maximum(scores - threshold, 0)
    raise AssertionError("a simplex has a nearest point")


def test_rows_are_those_of_the_formula(
    any_tokenizer: PreTrainedTokenizerFast, foreign: PreTrainedTokenizerFast
) -> None:
    random = np.random.default_rng(0)
    vectors = random.normal(size=(len(foreign), DIMENSION))
    counts = random.integers(1, 99, len(foreign)).astype(np.float64)
    rare = random.random(len(foreign)) < 0.3
    vectors[rare], counts[rare] = 0, 0
    made = focus_on(any_tokenizer, foreign, vectors, counts)
    ours, theirs = token_identities(any_tokenizer), token_identities(foreign)
    common = {row: ours.index(identity) for row, identity in enumerate(theirs) if identity and identity in ours}
    anchors = [row for row in common if not rare[row]]
    assert common == common_tokens(any_tokenizer, foreign)
    assert len(anchors) > 10
    assert len(anchors) < len(common) < len(foreign)
    special = all_special_ids(foreign)
    for row in range(len(foreign)):
        if row in special:
            continue
        expected = np.zeros(len(any_tokenizer))
        if row in common:
            expected[common[row]] = 1
            kind = Provenance.overlap
        elif rare[row]:
            kind = Provenance.fallback
        else:
            lengths = np.linalg.norm(vectors[row]) * np.linalg.norm(vectors[anchors], axis=1)
            cosines = vectors[anchors] @ vectors[row] / lengths
            np.add.at(expected, [common[other] for other in anchors], simplex(cosines))
            kind = Provenance.vectors
        assert made.table.provenance[row] == kind
        np.testing.assert_allclose(made.table.matrix[row].toarray()[0], expected, atol=1e-5)


def test_the_same_vocabulary_in_another_order_is_copied(any_tokenizer: PreTrainedTokenizerFast) -> None:
    order = np.random.default_rng(1).permutation(len(any_tokenizer)).tolist()
    pad = any_tokenizer.pad_token_id
    order[order.index(pad)], order[pad] = order[pad], pad  # RoBERTa numbers positions from it on
    foreign = tiny.renumbered(any_tokenizer, order)
    made = focus_on(any_tokenizer, foreign, np.zeros((len(foreign), 3)), np.zeros(len(foreign)))
    if any_tokenizer.mask_token is None:
        assert set(made.table.shares()) == {"special", "overlap"}
        return
    make = tiny.bert if any_tokenizer.mask_token == "[MASK]" else tiny.roberta
    source = from_transformers(make(any_tokenizer), any_tokenizer)
    before = vocabulary_parameters(source.model)["input"].detach()
    after = vocabulary_parameters(graft_with(source, foreign, made).model)["input"].detach()
    special = all_special_ids(any_tokenizer)
    same = [k for k, old in enumerate(order) if old not in special or any_tokenizer.convert_ids_to_tokens(old)]
    assert torch.equal(after[same], before[[order[k] for k in same]])


def test_halves_of_characters_are_not_taken_for_one_another() -> None:
    """Of byte-level vocabularies decoded text is the same replacement character for many tokens."""
    english = tiny.bytebpe_tokenizer()
    foreign = train_tokenizer(english, ["привет мир", "это текст", "好的 我们"] * 5)
    common = common_tokens(english, foreign)
    partial = [row for row in common if "\ufffd" in foreign.decode([row])]
    assert len(partial) > 100
    for row in partial:
        assert english.convert_ids_to_tokens(common[row]) == foreign.convert_ids_to_tokens(row)
    assert len(set(common.values())) == len(common)


def test_text_comes_as_the_tokenizer_spells_it(any_tokenizer: PreTrainedTokenizerFast) -> None:
    lines = tiny.english_lines(5)
    assert list(tokenised(lines, any_tokenizer)) == [any_tokenizer.tokenize(line) for line in lines]


def test_auxiliary_vectors_are_of_the_tokens_that_occur_often_enough() -> None:
    english = tiny.wordpiece_tokenizer()
    lines = tiny.english_lines(300)
    ids = np.array([token for line in lines for token in english(line, add_special_tokens=False)["input_ids"]])
    occurs = np.bincount(ids, minlength=len(english))
    vectors, counts = auxiliary_vectors(lines, english, seed=1)
    assert np.flatnonzero(vectors.any(1)).tolist() == np.flatnonzero(occurs >= 10).tolist()
    np.testing.assert_array_equal(counts, np.where(occurs >= 10, occurs, 0))
    again, _ = auxiliary_vectors(lines, english, seed=1)
    np.testing.assert_array_equal(vectors, again)


def test_the_whole_way_from_text() -> None:
    english = tiny.wordpiece_tokenizer()
    lines = [f"{xx} {en}" for en, xx in tiny.cipher_pairs(300)]
    foreign = train_tokenizer(english, lines)
    made = initialise("focus", english, foreign, InitialiserInputs(text=lines))
    expected = focus_on(english, foreign, *auxiliary_vectors(lines, foreign))
    assert (made.table.matrix != expected.table.matrix).nnz == 0
    assert set(made.table.shares()) >= {"special", "overlap", "vectors"}
    assert made.unknown == "normal"
