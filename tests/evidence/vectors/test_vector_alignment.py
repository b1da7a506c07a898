"""One space for two languages: Procrustes against scipy, refinement against a known answer, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes
from scipy.stats import ortho_group

from lingraft.errors import CorpusError, RecipeError
from lingraft.evidence.alignment import Lexicon
from lingraft.evidence.vectors import WordVectors, align_vectors
from lingraft.evidence.vectors.alignment import (
    Pairs,
    identical_words,
    lexicon_anchors,
    normalised,
    procrustes,
    shared_space,
)

N, D = 1500, 20


def lexicon(pairs, probabilities=None):
    english, foreign = zip(*pairs, strict=True) if pairs else ((), ())
    unknown = np.full(len(pairs), math.nan, np.float32)
    known = unknown if probabilities is None else np.array(probabilities, np.float32)
    return Lexicon(list(english), list(foreign), known, unknown, unknown)


@pytest.fixture
def languages():
    """Vectors of words e0, e1, ... and the same ones, turned, in another order and a little noisy, of words f0, ..."""
    random = np.random.default_rng(5)
    english = random.normal(size=(N, D)).astype(np.float32)
    turn = ortho_group.rvs(D, random_state=7)
    order = random.permutation(N)
    foreign = ((english + 0.02 * random.normal(size=(N, D))) @ turn)[order].astype(np.float32)
    return (
        WordVectors([f"e{k}" for k in range(N)], english),
        WordVectors([f"f{k}" for k in order], foreign),
        turn,
    )


def right(aligned):
    """Share of foreign words that lie nearest to their translation."""
    found = (aligned.foreign.matrix @ aligned.english.matrix.T).argmax(1)
    return np.mean([word[1:] == str(k) for word, k in zip(aligned.foreign.words, found, strict=True)])


def test_procrustes_is_that_of_scipy():
    random = np.random.default_rng(0)
    foreign, english = random.normal(size=(60, 8)), random.normal(size=(60, 8))
    pairs = Pairs(random.permutation(60), random.permutation(60), random.uniform(0.1, 2, 60))
    root = np.sqrt(pairs.weights)[:, None]
    expected, _ = orthogonal_procrustes(root * foreign[pairs.rows], root * english[pairs.columns])
    found = procrustes(foreign, english, pairs)
    np.testing.assert_allclose(found, expected, atol=1e-10)
    np.testing.assert_allclose(found @ found.T, np.eye(8), atol=1e-12)


def test_procrustes_of_repeated_pairs_is_that_of_their_weight():
    random = np.random.default_rng(1)
    foreign, english = random.normal(size=(9, 4)), random.normal(size=(9, 4))
    rows = np.arange(9)
    repeated = np.repeat(rows, rows + 1)
    one = procrustes(foreign, english, Pairs(repeated, repeated, np.ones(repeated.size)))
    two = procrustes(foreign, english, Pairs(rows, rows, rows + 1.0))
    np.testing.assert_allclose(one, two, atol=1e-12)


def test_normalised_rows_are_unit_and_zero_ones_stay():
    matrix = np.random.default_rng(2).normal(3, 1, size=(50, 5)).astype(np.float32)
    matrix[7] = 0
    found = normalised(matrix)
    rows = np.delete(matrix, 7, axis=0)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    rows -= rows.mean(0)
    np.testing.assert_allclose(
        np.delete(found, 7, axis=0), rows / np.linalg.norm(rows, axis=1, keepdims=True), atol=1e-5
    )
    assert not found[7].any()


def test_a_small_lexicon_finds_the_whole_turn(languages):
    english, foreign, _ = languages
    aligned = align_vectors(english, foreign, lexicon([(f"e{k}", f"f{k}") for k in range(100)]))
    assert aligned.kind == "lexicon"
    assert aligned.anchors == 100
    assert math.isnan(aligned.precision), "too few to hold some out"
    assert right(aligned) > 0.999
    assert aligned.foreign.matrix.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(aligned.foreign.matrix, axis=1), 1, atol=1e-5)


def test_without_whitening_the_space_is_the_english_one(languages):
    english, foreign, turn = languages
    entries = lexicon([(f"e{k}", f"f{k}") for k in range(100)])
    aligned = align_vectors(english, foreign, entries, whiten=False)
    np.testing.assert_array_equal(aligned.english_map, np.eye(D))
    np.testing.assert_allclose(aligned.foreign_map, turn.T, atol=0.02)
    np.testing.assert_allclose(aligned.foreign_map @ aligned.foreign_map.T, np.eye(D), atol=1e-10)
    assert right(aligned) > 0.999


def test_the_shared_space_is_that_of_canonical_correlations():
    random = np.random.default_rng(6)
    common = random.normal(size=(4000, 3))
    mixing = [random.normal(size=(6, 6)) for _ in range(2)]
    ours, theirs = (np.hstack([common, random.normal(size=(4000, 3))]) @ turn for turn in mixing)
    rows = np.arange(4000)
    one, other = shared_space(theirs, ours, Pairs(rows, rows, np.ones(4000)))
    left, right = ours @ one, theirs @ other
    weights = np.linalg.norm(left, axis=0) / np.sqrt(4000)
    np.testing.assert_allclose(weights[:3], 1, atol=0.02)
    assert weights[3:].max() < 0.3, "what the languages do not share weighs little"
    for k in range(3):  # canonical correlations of 1: three dimensions of the six are common
        assert np.corrcoef(left[:, k], right[:, k])[0, 1] > 0.99
    covariance = left[:, :3].T @ left[:, :3] / 4000
    np.testing.assert_allclose(covariance, np.eye(3), atol=0.03)


def test_few_pairs_whiten_only_what_they_tell_about():
    random = np.random.default_rng(8)
    matrix = random.normal(size=(5000, 40)) * np.linspace(1, 3, 40)
    few = Pairs(np.arange(20), np.arange(20), np.ones(20))
    one, other = shared_space(matrix, matrix, few)
    np.testing.assert_allclose(one, other, atol=1e-6)
    assert np.linalg.matrix_rank(one, tol=1e-3) == 20, "dimensions that no pair speaks of have no weight"
    assert np.linalg.norm(matrix @ one, axis=1).max() < 20


def test_a_large_lexicon_is_not_refined(languages, monkeypatch):
    english, foreign, _ = languages
    entries = lexicon([(f"e{k}", f"f{k}") for k in range(400)])
    assert align_vectors(english, foreign, entries).pairs > 400
    monkeypatch.setattr("lingraft.evidence.vectors.alignment.ENOUGH_ANCHORS", 400)
    assert align_vectors(english, foreign, entries).pairs == 400
    assert align_vectors(english, foreign, entries, rounds=5).pairs > 400


def test_frequent_anchors_weigh_more(languages):
    english, foreign, _ = languages
    # the translations of rare words are wrong
    true = [(f"e{k}", f"f{k}") for k in range(60)]
    wrong = [(f"e{k}", f"f{(k * 7 + 1) % N}") for k in range(60, 400)]

    def counted(vectors, first):
        counts = np.array([10_000 if int(word[1:]) < first else 1 for word in vectors.words])
        return WordVectors(vectors.words, vectors.matrix, counts)

    entries = lexicon(true + wrong)
    counts, none = (
        right(align_vectors(counted(english, first), counted(foreign, first), entries, rounds=0)) for first in (60, 0)
    )
    assert counts > none + 0.1


def test_refinement_mends_a_lexicon_that_is_half_wrong(languages):
    english, foreign, _ = languages
    random = np.random.default_rng(9)
    pairs = [(f"e{k if k % 2 else random.integers(N)}", f"f{k}") for k in range(60)]
    refined, plain = (align_vectors(english, foreign, lexicon(pairs), rounds=rounds) for rounds in (5, 0))
    assert right(refined) > right(plain) + 0.02
    assert refined.similarity > plain.similarity
    assert refined.rounds >= 1
    assert (plain.rounds, plain.pairs) == (0, 60)


def test_words_written_the_same_are_anchors(languages):
    english, foreign, _ = languages
    shared = {f"f{k}": f"e{k}" for k in range(80)}
    same = WordVectors([shared.get(word, word) for word in foreign.words], foreign.matrix)
    aligned = align_vectors(english, same)
    assert (aligned.kind, aligned.anchors) == ("identical", 80)
    assert right(aligned) > 0.999
    pairs = identical_words(english, same)
    assert [english.words[k] for k in pairs.columns] == [same.words[k] for k in pairs.rows]


def test_held_out_anchors_say_how_good_the_map_is(languages):
    english, foreign, _ = languages
    true = [(f"e{k}", f"f{k}") for k in range(1000)]
    assert align_vectors(english, foreign, lexicon(true)).precision > 0.99
    noise = [(f"e{k}", f"f{(k * 7 + 1) % 1000}") for k in range(1000)]
    assert align_vectors(english, foreign, lexicon(noise), rounds=0).precision < 0.1


def test_entries_of_the_lexicon_are_weighted_and_phrases_skipped():
    english = WordVectors(["house", "home", "dog"], np.eye(3, dtype=np.float32))
    foreign = WordVectors(["maison", "Chien", "chien"], np.eye(3, dtype=np.float32))
    entries = [
        ("house", "maison"), ("home", "maison"), ("House", "Maison"), ("dog", "Chien"), ("the dog", "chien"),
        ("cat", "chien"), ("dog", "chien"),
    ]  # fmt: skip
    pairs = lexicon_anchors(english, foreign, lexicon(entries))
    found = {(int(e), int(f)): w for f, e, w in zip(pairs.rows, pairs.columns, pairs.weights, strict=True)}
    assert found == {(0, 0): 1.0, (1, 0): 0.5, (2, 1): 1.0, (2, 2): pytest.approx(1 / 3)}
    known = lexicon_anchors(english, foreign, lexicon(entries, [0.25, 0.75, 0.125, 0, 1, 1, 0.5]))
    found = {(int(e), int(f)): w for f, e, w in zip(known.rows, known.columns, known.weights, strict=True)}
    assert found == {(0, 0): 0.25, (1, 0): 0.75, (2, 2): 0.5}


def test_too_little_overlap_is_refused_with_the_count(languages):
    english, foreign, _ = languages
    with pytest.raises(CorpusError, match=r"Only 0 words are written the same .* --lexicon"):
        align_vectors(english, foreign)
    with pytest.raises(CorpusError, match=r"Only 30 of 40 lexicon entries .* English first"):
        align_vectors(
            english, foreign, lexicon([(f"e{k}", f"f{k}") for k in range(30)] + [("x", f"f{k}") for k in range(10)])
        )
    with pytest.raises(CorpusError, match="Only 0 of 0 lexicon entries"):
        align_vectors(english, foreign, lexicon([]))


def test_vectors_of_other_dimensions_are_refused(languages):
    english, foreign, _ = languages
    short = WordVectors(foreign.words, np.ascontiguousarray(foreign.matrix[:, :7]))
    with pytest.raises(CorpusError, match="20 dimensions, those of the other language 7"):
        align_vectors(english, short)


def test_impossible_settings_are_refused(languages):
    english, foreign, _ = languages
    for options in ({"rounds": -1}, {"words": 0}, {"neighbours": 0}):
        with pytest.raises(RecipeError):
            align_vectors(english, foreign, **options)
