"""Vectors of a text: how it is cut, what is trained, and that it is the same again."""

from __future__ import annotations

import unicodedata
from collections import Counter

import numpy as np
import pytest

import tiny
from lingraft.corpus.scripts import MARK_RANGES, is_spaceless
from lingraft.errors import CorpusError, RecipeError
from lingraft.evidence.vectors import cooccurrence, train_on_tokens, train_vectors, words_of
from lingraft.evidence.vectors.training import _segmented


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("L'eau, c'est 3,5 km_h!", ["L", "'", "eau", ",", "c", "'", "est", "3", ",", "5", "km_h", "!"]),
        ("हिन्दी की किताबें।", ["हिन्दी", "की", "किताबें", "।"]),
        ("क्‍ष می‌خواهم", ["क्‍ष", "می‌خواهم"]),
        ("Việt e\u0301te\u0301", ["Việt", "e\u0301te\u0301"]),
        ("中国人abc，ไทยคำ 한국어", ["中国人", "abc", "，", "ไทยคำ", "한국어"]),
        ("วันนี้กินผักที่บ้าน abcกั", ["วันนี้กินผักที่บ้าน", "abc", "กั"]),
        ("မြန်မာဘာသာ ភាសាខ្មែរ か\u3099き\u3099", ["မြန်မာဘာသာ", "ភាសាខ្មែរ", "か\u3099き\u3099"]),
        ("a\u00a0b\u2003c\td", ["a", "b", "c", "d"]),
        ("", []),
    ],
)
def test_words_of_a_line(line, words):
    assert words_of(line) == words
    assert words_of(line.upper(), lowercase=True) == words_of(line.upper().lower())


def test_a_vowel_sign_stays_with_its_consonant_as_in_the_aligner():
    marks = [chr(code) for first, last in MARK_RANGES for code in range(first, last + 1)]
    for mark in marks:
        assert not is_spaceless(mark)
        if unicodedata.category(mark)[0] == "M":
            assert words_of(f"ก{mark}ข") == [f"ก{mark}ข"]


def direct_information(lines, words):
    """Positive pointwise mutual information by a loop over all positions."""
    counts = np.zeros((len(words), len(words)))
    for line in lines:
        ids = [words.index(word) if word in words else None for word in line.split()]
        for i, one in enumerate(ids):
            for j, other in enumerate(ids):
                if 0 < abs(i - j) <= 5 and one is not None and other is not None:
                    counts[one, other] += (6 - abs(i - j)) / 5
    smooth = counts.sum(0) ** 0.75 / (counts.sum(0) ** 0.75).sum()
    with np.errstate(divide="ignore"):
        return np.maximum(np.log(counts / counts.sum(1, keepdims=True) / smooth), 0)


def test_vectors_are_the_truncated_decomposition_of_the_information(monkeypatch):
    monkeypatch.setattr(cooccurrence, "_ROUNDS", 30)
    monkeypatch.setattr(cooccurrence, "_BLOCK", 500)
    lines = tiny.english_lines(250)
    found = train_vectors(lines, dimension=8, min_count=3)
    tokens = Counter(" ".join(lines).split())
    assert dict(zip(found.words, found.counts, strict=True)) == {w: n for w, n in tokens.items() if n >= 3}
    assert (np.diff(found.counts) <= 0).all()
    left, values, _ = np.linalg.svd(direct_information(lines, found.words))
    expected = left[:, :8] * np.sqrt(values[:8])
    # the sign of a direction is open
    np.testing.assert_allclose(found.matrix @ found.matrix.T, expected @ expected.T, atol=2e-3)


def test_the_same_again_and_by_fasttext_another_for_another_seed():
    lines = tiny.english_lines(300)
    one, two = (train_vectors(lines, dimension=8, min_count=3) for _ in range(2))
    assert one.words == two.words
    np.testing.assert_array_equal(one.matrix, two.matrix)
    tokens = [line.split() for line in lines]
    one, two, other = (train_on_tokens(tokens, dimension=8, min_count=3, epochs=1, seed=seed) for seed in (0, 0, 1))
    assert one.words == two.words
    np.testing.assert_array_equal(one.matrix, two.matrix)
    assert dict(zip(one.words, one.counts, strict=True)) == dict(zip(other.words, other.counts, strict=True))
    assert np.abs(one.matrix[0] - other.matrix[other.index[one.words[0]]]).max() > 1e-4


def test_words_of_one_topic_are_alike():
    random = np.random.default_rng(0)
    topics = [[f"a{k}" for k in range(10)], [f"b{k}" for k in range(10)]]
    lines = [" ".join(random.choice(topics[k % 2], 12)) for k in range(1500)]
    found = train_vectors(lines, dimension=2)
    centred = found.matrix - found.matrix.mean(0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    same = np.equal.outer([word[0] for word in found.words], [word[0] for word in found.words])
    cosines = unit @ unit.T
    assert cosines[same].mean() > cosines[~same].mean() + 0.3


def test_tokens_of_a_tokenizer_are_taken_as_they_are():
    sentences = [["Ġthe", "##ing", "</s>", "a b", "", "x\u00a0y", "__label__z"]] * 30
    found = train_on_tokens(sentences, dimension=4, ngrams=(0, 0), model="cbow")
    assert sorted(found.words) == ["##ing", "__label__z", "x\u00a0y", "Ġthe"]
    assert found.counts.tolist() == [30] * 4


def test_lower_case():
    lines = ["Ab AB ab c"] * 10
    assert train_vectors(lines, dimension=1, lowercase=True).words == ["ab", "c"]
    assert train_vectors(lines, dimension=1).words == ["AB", "Ab", "ab", "c"]


def test_text_without_spaces_is_cut_into_words():
    random = np.random.default_rng(1)
    characters = [chr(0x4E00 + k) for k in range(40)]
    words = ["".join(random.choice(characters, 2)) for _ in range(30)]
    lines = ["".join(random.choice(words, 8)) + "。" for _ in range(2000)]
    found = train_vectors(lines, dimension=4)
    assert {len(word) for word in found.words} <= {1, 2, 3, 4}
    parts = {one + other for one in words for other in ["", *words]}
    assert found.counts[[word in parts for word in found.words]].sum() > 0.8 * (found.counts.sum() - 2000)
    pieces = _segmented(Counter({words[0] + words[1]: 50, words[2]: 50, "あいう": 1}))
    assert all("".join(parts) == run for run, parts in pieces.items())


def test_nothing_to_train_on_is_refused():
    for lines in ([], ["", " "], ["once"], ["two words"] * 9):
        with pytest.raises(CorpusError, match="words occur 5 times or more, and vectors of 2 dimensions need more"):
            train_vectors(lines, dimension=2)
        with pytest.raises(CorpusError, match="no word occurs 99 times"):
            train_on_tokens([line.split() for line in lines], dimension=2, min_count=99)
    for options in ({"dimension": 0}, {"min_count": 0}):
        with pytest.raises(RecipeError):
            train_vectors(["a"], **options)
    for options in ({"dimension": 0}, {"epochs": 0}, {"min_count": 0}, {"negatives": 0}, {"threads": 0}):
        with pytest.raises(RecipeError):
            train_on_tokens([["a"]], **options)
