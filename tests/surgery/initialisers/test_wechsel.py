"""WECHSEL against the formula written out for every token."""

from __future__ import annotations

import math

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

import tiny
from lingraft.errors import CorpusError
from lingraft.evidence import Provenance
from lingraft.evidence.alignment import Lexicon
from lingraft.evidence.vectors import WordVectors
from lingraft.surgery import InitialiserInputs, from_transformers, graft_with, initialise, vocabulary_parameters
from lingraft.surgery.initialisers.wechsel import dictionary_rotation, subword_vectors
from lingraft.vocabulary import all_special_ids, train_tokenizer

DIMENSION = 12


def lexicon_of(english: list[str], foreign: list[str]) -> Lexicon:
    unknown = np.full(len(english), np.nan, np.float32)
    return Lexicon(english, foreign, unknown, unknown, unknown)


def vectors_of(words: list[str], seed: int, counts: bool = True) -> WordVectors:
    random = np.random.default_rng(seed)
    matrix = random.normal(size=(len(words), DIMENSION)).astype(np.float32)
    return WordVectors(words, matrix, random.integers(1, 50, len(words)).astype(np.float64) if counts else None)


@pytest.fixture
def toy(any_tokenizer: PreTrainedTokenizerFast) -> tuple[PreTrainedTokenizerFast, InitialiserInputs]:
    """A tokenizer of the cipher language, unrelated vectors of both, and a dictionary of some words."""
    foreign = train_tokenizer(any_tokenizer, [xx for _, xx in tiny.cipher_pairs()])
    words = list(tiny.words()[:80])
    ciphered = [tiny.cipher_word(word) for word in words]
    lexicon = lexicon_of([*words[:30], "a phrase of words", words[0]], [*ciphered[:30], ciphered[1], ciphered[2]])
    return foreign, InitialiserInputs(
        english_vectors=vectors_of(words, 1), foreign_vectors=vectors_of(ciphered, 2), lexicon=lexicon
    )


def by_hand(
    source: PreTrainedTokenizerFast, target: PreTrainedTokenizerFast, inputs: InitialiserInputs
) -> dict[int, dict[int, float]]:
    """Source tokens and weights of every target token that has a vector, straight from the paper."""
    english, foreign, lexicon = inputs.english_vectors, inputs.foreign_vectors, inputs.lexicon
    pairs = [
        (english.words.index(one), foreign.words.index(other))
        for one, other in zip(lexicon.english, lexicon.foreign, strict=True)
        if one in english.words and other in foreign.words
        # as it is and in lower case are the same here, and count twice
        for _ in range(4)
    ]
    left = np.array([english.matrix[k] for k, _ in pairs], np.float64)
    right = np.array([foreign.matrix[k] for _, k in pairs], np.float64)
    u, _, v = np.linalg.svd(left.T @ right)
    ours = {token: vector @ (u @ v) for token, vector in means(source, english).items()}
    theirs = means(target, foreign)

    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    rows = {}
    for token, vector in theirs.items():
        nearest = sorted(((cosine(vector, other), column) for column, other in ours.items()), reverse=True)[:10]
        weights = [math.exp(similarity / 0.1) for similarity, _ in nearest]
        rows[token] = {column: w / sum(weights) for w, (_, column) in zip(weights, nearest, strict=True)}
    return rows


def means(tokenizer: PreTrainedTokenizerFast, vectors: WordVectors) -> dict[int, np.ndarray]:
    """Of every token the mean of its words, with and without a space before them, by their counts."""
    total: dict[int, np.ndarray] = {}
    mass: dict[int, float] = {}
    for word, vector, count in zip(vectors.words, vectors.matrix, vectors.counts, strict=True):
        for text in (word, " " + word):
            for token in set(tokenizer(text, add_special_tokens=False)["input_ids"]) - all_special_ids(tokenizer):
                total[token] = total.get(token, 0) + count * vector.astype(np.float64)
                mass[token] = mass.get(token, 0) + count
    return {token: vector / mass[token] for token, vector in total.items()}


def test_rows_are_those_of_the_formula(
    any_tokenizer: PreTrainedTokenizerFast, toy: tuple[PreTrainedTokenizerFast, InitialiserInputs]
) -> None:
    foreign, inputs = toy
    made = initialise("wechsel", any_tokenizer, foreign, inputs)
    expected = by_hand(any_tokenizer, foreign, inputs)
    assert len(expected) > 40
    rows = np.flatnonzero(made.table.provenance == Provenance.vectors).tolist()
    assert rows == sorted(expected)
    # tokens of the very same words have the same vector, and which of them is the tenth nearest is a matter of rounding
    vectors = means(any_tokenizer, inputs.english_vectors)
    same: dict[bytes, int] = {}
    first = np.arange(len(any_tokenizer))
    for token, vector in vectors.items():
        first[token] = same.setdefault(vector.round(6).tobytes(), token)
    for row in rows:
        wanted = np.zeros(len(any_tokenizer))
        np.add.at(wanted, first[list(expected[row])], list(expected[row].values()))
        found = np.bincount(first, made.table.matrix[row].toarray()[0], len(any_tokenizer))
        np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert set(made.table.shares()) == {"vectors", "special", "fallback"}
    assert made.unknown == "normal"


def test_subword_vectors_and_what_they_rest_on(any_tokenizer: PreTrainedTokenizerFast) -> None:
    vectors = vectors_of([*tiny.words()[:60], "Ωμέγα"], 3)
    found, mass = subword_vectors(vectors, any_tokenizer)
    expected = means(any_tokenizer, vectors)
    assert found.shape == (len(any_tokenizer), DIMENSION)
    assert np.flatnonzero(mass).tolist() == sorted(expected)
    np.testing.assert_allclose(found[sorted(expected)], [expected[token] for token in sorted(expected)], atol=1e-9)
    assert not found[mass == 0].any()


def test_words_without_counts_weigh_one_over_their_rank() -> None:
    tokenizer = tiny.wordpiece_tokenizer()
    words = [word for word in tiny.words() if len(tokenizer.tokenize(word)) == 2][:2]
    first, second = (tokenizer.convert_tokens_to_ids(tokenizer.tokenize(word)[0]) for word in words)
    assert first != second
    shared = WordVectors([words[0], words[0] + words[1]], np.eye(2, dtype=np.float32))
    assert tokenizer.tokenize(shared.words[1])[0] == tokenizer.tokenize(words[0])[0]
    np.testing.assert_allclose(subword_vectors(shared, tokenizer)[0][first], [2 / 3, 1 / 3])


def test_the_rotation_is_found_and_case_is_tried() -> None:
    words = list(tiny.words()[:60])
    rotation = np.linalg.qr(np.random.default_rng(5).normal(size=(DIMENSION, DIMENSION)))[0]
    english = vectors_of([word.title() for word in words], 1)
    foreign = WordVectors([word.upper().lower() for word in words], (english.matrix @ rotation).astype(np.float32))
    found, pairs = dictionary_rotation(english, foreign, lexicon_of(words, [word.upper() for word in words]))
    # English as a title alone; foreign in lower case alone
    assert pairs == len(words)
    np.testing.assert_allclose(found, rotation, atol=1e-5)
    with pytest.raises(CorpusError, match="Of the 1 entries of the dictionary none has a vector on both sides"):
        dictionary_rotation(english, foreign, lexicon_of(["nowhere"], ["nulle part"]))


def test_a_cipher_is_deciphered() -> None:
    """Vectors of the foreign words are those of their translations, turned: rows find the token of the translation."""
    english = tiny.wordpiece_tokenizer()
    order = np.random.default_rng(4).permutation(len(english)).tolist()
    foreign = tiny.renumbered(english, order)
    ours = vectors_of(list(tiny.words()), 1)
    rotation = np.linalg.qr(np.random.default_rng(5).normal(size=(DIMENSION, DIMENSION)))[0]
    theirs = WordVectors(ours.words, (ours.matrix @ rotation).astype(np.float32), ours.counts)
    inputs = InitialiserInputs(
        english_vectors=ours, foreign_vectors=theirs, lexicon=lexicon_of(ours.words[:40], ours.words[:40])
    )
    made = initialise("wechsel", english, foreign, inputs)
    known = np.flatnonzero(made.table.provenance == Provenance.vectors)
    assert known.size > 100
    best = np.asarray(made.table.matrix[known].argmax(1)).ravel()
    vectors, _ = subword_vectors(ours, english)
    # tokens that occur in the very same words have the same vector and cannot be told apart
    np.testing.assert_allclose(vectors[best], vectors[np.array(order)[known]], atol=1e-5)


def test_tokens_without_a_vector_have_the_sources_mean_and_spread(
    toy: tuple[PreTrainedTokenizerFast, InitialiserInputs], any_tokenizer: PreTrainedTokenizerFast
) -> None:
    if "mask" not in str(any_tokenizer.special_tokens_map):
        pytest.skip("a masked model is grafted")
    foreign, inputs = toy
    make = {"[MASK]": tiny.bert}.get(any_tokenizer.mask_token, tiny.roberta)
    source = from_transformers(make(any_tokenizer), any_tokenizer)
    made = initialise("wechsel", any_tokenizer, foreign, inputs)
    unknown = made.table.provenance == Provenance.fallback
    assert unknown.sum() > 20
    rows = vocabulary_parameters(graft_with(source, foreign, made).model)["input"].detach()[unknown]
    before = vocabulary_parameters(source.model)["input"].detach()[: len(any_tokenizer)]
    assert abs(float((rows - before.mean(0)).std() / before.std(0).mean()) - 1) < 0.2
