"""Links of subwords as evidence."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from transformers import PreTrainedTokenizerFast

import tiny
from lingraft.evidence import bitext_counts, bitext_evidence, build_table, encode
from lingraft.evidence.alignment import AlignerSettings
from lingraft.vocabulary import train_tokenizer
from spelled import bert_like


def test_words_find_their_translation() -> None:
    source = tiny.wordpiece_tokenizer(700)
    pairs = tiny.cipher_pairs(600)
    target = train_tokenizer(source, [xx for _, xx in pairs])
    table = build_table(source, target, [bitext_evidence(bitext_counts(pairs, source, target)[0], source)])
    vocabulary = source.get_vocab()
    translations = {tiny.cipher_word(word): vocabulary[word] for word in tiny.words() if word in vocabulary}
    whole = {word: index for word, index in target.get_vocab().items() if word in translations}
    found = [int(table.matrix[index].argmax()) == translations[word] for word, index in whole.items()]
    assert len(found) > 100
    assert np.mean(found) > 0.9


def test_pairs_with_a_long_side_are_left_out_and_counted(wordpiece: PreTrainedTokenizerFast) -> None:
    pairs = tiny.cipher_pairs(20)
    long = " ".join(line for line, _ in pairs)
    target = train_tokenizer(wordpiece, [xx for _, xx in pairs])
    settings = AlignerSettings(max_tokens=60)
    counts, left_out = bitext_counts([*pairs, (long, "é"), ("a", tiny.cipher(long))], wordpiece, target, settings)
    expected, none = bitext_counts(pairs, wordpiece, target, settings)
    assert (left_out, none) == (2, 0)
    assert (counts != expected).nnz == 0


def test_encoding_has_no_special_tokens_padding_or_truncation(any_tokenizer: PreTrainedTokenizerFast) -> None:
    any_tokenizer(["a"], padding="max_length", truncation=True, max_length=4)  # leaves both set in the backend
    lines = [tiny.english_lines(1)[0], "", "ba"]
    encoded = encode(any_tokenizer, lines)
    expected = [any_tokenizer(line, add_special_tokens=False).input_ids for line in lines]
    assert [encoded[k].tolist() for k in range(3)] == expected
    assert len(expected[0]) > 4


def test_rows_are_shares_of_the_links_without_noise_and_special_tokens() -> None:
    source = bert_like(["house", "cat", "mat"])  # behind four special tokens
    counts = sparse.csr_matrix(
        np.array([[9, 0, 0, 0, 3, 1, 0], [0, 0, 0, 0, 2, 0, 0.001], [0, 0, 0, 0, 0.4, 0, 0], [1, 0, 0, 0, 0, 0, 0]])
    )
    evidence = bitext_evidence(counts, source, min_count=0.5)
    expected = [[0, 0, 0, 0, 0.75, 0.25, 0], [0, 0, 0, 0, 1, 0, 0], [0] * 7, [0] * 7]
    np.testing.assert_allclose(evidence.matrix.toarray(), expected)
    assert evidence.strength.tolist() == pytest.approx([4, 2.001, 0, 0])
    assert counts[1, 6] == 0.001, "what was given is left as it is"
