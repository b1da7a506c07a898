"""RAMEN's two sources against direct loops."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

import tiny
from lingraft.evidence import Provenance
from lingraft.evidence.alignment import AlignerSettings, Lexicon, align
from lingraft.evidence.vectors import WordVectors, align_vectors
from lingraft.surgery import InitialiserInputs, initialise
from lingraft.surgery.initialisers.ramen import hard_link_counts
from lingraft.vocabulary import all_special_ids, train_tokenizer


def cipher_tokenizer(english: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    return train_tokenizer(english, [xx for _, xx in tiny.cipher_pairs()])


def pieces(tokenizer: PreTrainedTokenizerFast, text: str) -> list[str]:
    return [str(k) for k in tokenizer(text, add_special_tokens=False)["input_ids"]]


@pytest.mark.parametrize("block_tokens", [5 << 19, 1500], ids=["one block", "several blocks"])
def test_hard_counts_are_those_of_the_links_one_by_one(block_tokens: int) -> None:
    english = tiny.unigram_tokenizer()
    foreign = cipher_tokenizer(english)
    pairs = tiny.cipher_pairs(150, seed=3)
    settings = AlignerSettings(block_tokens=block_tokens)
    made = hard_link_counts(pairs, english, foreign, settings)
    tokenised = [(pieces(english, en), pieces(foreign, xx)) for en, xx in pairs]
    found = align(tokenised, symmetrize="grow-diag-final-and", settings=settings, lowercase=False)
    counted = Counter(
        (int(xx[j]), int(en[i])) for (en, xx), links in zip(tokenised, found.links, strict=True) for i, j in links
    )
    assert sum(counted.values()) > 1000
    cells = made.tocoo()
    assert (
        dict(zip(zip(cells.row.tolist(), cells.col.tolist(), strict=True), cells.data.tolist(), strict=True)) == counted
    )


def test_rows_are_the_counts_renormalised() -> None:
    english = tiny.wordpiece_tokenizer()
    foreign = cipher_tokenizer(english)
    pairs = tiny.cipher_pairs(150)
    made = initialise("ramen", english, foreign, InitialiserInputs(pairs=pairs))
    counts = hard_link_counts(pairs, english, foreign).toarray()
    counts[:, sorted(all_special_ids(english))] = 0
    counts[sorted(all_special_ids(foreign))] = 0
    rows = np.flatnonzero(counts.sum(1))
    assert rows.size > 50
    expected = counts[rows] / counts[rows].sum(1, keepdims=True)
    np.testing.assert_allclose(made.table.matrix[rows].toarray(), expected, atol=1e-6)
    assert (made.table.provenance[rows] == Provenance.bitext).all()
    assert set(made.table.shares()) == {"bitext", "special", "fallback"}
    assert made.unknown == "ramen"


def test_english_with_other_ids_is_found_again() -> None:
    english = tiny.wordpiece_tokenizer()
    order = np.random.default_rng(4).permutation(len(english)).tolist()
    foreign = tiny.renumbered(english, order)
    lines = tiny.english_lines(300)
    made = initialise("ramen", english, foreign, InitialiserInputs(pairs=[(line, line) for line in lines]))
    known = np.flatnonzero(made.table.provenance == Provenance.bitext)
    frequent = known[made.table.evidence[known] >= 5]
    assert frequent.size > 100
    best = np.asarray(made.table.matrix[frequent].argmax(1)).ravel()
    assert (best == np.array(order)[frequent]).mean() > 0.98


def test_a_bitext_goes_before_vectors_and_vectors_take_sparsemax_of_cosines() -> None:
    english = tiny.wordpiece_tokenizer()
    foreign = cipher_tokenizer(english)
    words = list(tiny.words())
    random = np.random.default_rng(0)
    matrix = random.normal(size=(len(words), 20)).astype(np.float32)
    ours = WordVectors(words, matrix)
    theirs = WordVectors([tiny.cipher_word(word) for word in words], (matrix @ rotation(20)).astype(np.float32))
    unknown = np.full(100, np.nan, np.float32)
    lexicon = Lexicon(ours.words[:100], theirs.words[:100], unknown, unknown, unknown)
    inputs = InitialiserInputs(english_vectors=ours, foreign_vectors=theirs, lexicon=lexicon)
    made = initialise("ramen", english, foreign, inputs)
    assert "vectors" in made.table.shares()
    both = InitialiserInputs(pairs=tiny.cipher_pairs(50), english_vectors=ours, foreign_vectors=theirs, lexicon=lexicon)
    assert "vectors" not in initialise("ramen", english, foreign, both).table.shares()

    aligned = align_vectors(ours, theirs, lexicon, whiten=False)
    source, target = equation_4(aligned.english, english), equation_4(aligned.foreign, foreign)
    columns = sorted(source)
    unit = {token: vector / np.linalg.norm(vector) for token, vector in source.items()}
    for token, vector in target.items():
        cosines = np.array([unit[column] @ vector / np.linalg.norm(vector) for column in columns])
        expected = np.zeros(len(english))
        expected[columns] = project(cosines)
        np.testing.assert_allclose(made.table.matrix[token].toarray()[0], expected, atol=1e-4)


def rotation(d: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(9).normal(size=(d, d)))[0]


def equation_4(vectors: WordVectors, tokenizer: PreTrainedTokenizerFast) -> dict[int, np.ndarray]:
    """Mean of the words that contain a token, by 1 / rank, word by word."""
    total: dict[int, np.ndarray] = {}
    for rank, (word, vector) in enumerate(zip(vectors.words, vectors.matrix, strict=True), 1):
        for token in set(tokenizer(word, add_special_tokens=False)["input_ids"]) - all_special_ids(tokenizer):
            # a sum will do: its length does not matter for a cosine
            total[token] = total.get(token, np.zeros(vectors.dimension)) + vector.astype(np.float64) / rank
    return total


def project(scores: np.ndarray) -> np.ndarray:
    """The nearest point of the probability simplex, its threshold found by halving."""
    low, high = scores.max() - 1, scores.max()
    for _ in range(100):
        middle = (low + high) / 2
        if np.maximum(scores - middle, 0).sum() > 1:
            low = middle
        else:
            high = middle
    return np.maximum(scores - low, 0)
