"""Words and their subwords: none is lost, whatever the tokenizer, the word, and the length of the sentence."""

from __future__ import annotations

import unicodedata
from functools import cache
from itertools import chain, pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

import tiny
from lingraft.errors import ModelError
from lingraft.tasks import subwords
from lingraft.tasks.subwords import SubwordEncoder, Subwords, Window
from lingraft.vocabulary import frame

SENTENCES = [line.split() for line in tiny.english_lines(30, seed=3)]


@cache
def one_tokenizer(kind: str) -> PreTrainedTokenizerFast:
    """Made once for all examples."""
    return tiny.TOKENIZERS[kind]()


def spelled(sentence: Subwords) -> list[list[int]]:
    """The subwords of each word."""
    return [sentence.ids[start:end].tolist() for start, end in zip(sentence.starts, sentence.ends, strict=True)]


def spell(tokenizer: PreTrainedTokenizerFast, words: list[str]) -> list[list[int]]:
    (sentence,) = SubwordEncoder(tokenizer, 64).encode([words])
    return spelled(sentence)


def test_a_sentence_is_read_as_running_text(any_tokenizer):
    encoder = SubwordEncoder(any_tokenizer, 64)
    sentences = encoder.encode(SENTENCES)
    batch = encoder.batch(sentences)
    expected = any_tokenizer([" ".join(words) for words in SENTENCES], padding=True, return_tensors="pt")
    assert torch.equal(batch.input_ids, expected["input_ids"])
    assert torch.equal(batch.attention_mask, expected["attention_mask"])
    assert batch.lengths.tolist() == [len(words) for words in SENTENCES]
    assert batch.starts.tolist() == list(range(30))
    for words, sentence in zip(SENTENCES, sentences, strict=True):
        assert [any_tokenizer.decode(part).strip() for part in spelled(sentence)] == words


def test_a_word_is_found_where_its_subwords_are(any_tokenizer):
    sentences = [["bora", "dimo keru", "ta"], ["nu"], ["x" * 9, "dorufemi", ",", "."]]
    encoder = SubwordEncoder(any_tokenizer, 64)
    batch = encoder.batch(encoder.encode(sentences))
    flat = batch.input_ids.flatten()
    words = [word for sentence in sentences for word in sentence]
    unknown = any_tokenizer.unk_token_id
    for word, first, count in zip(words, batch.first.tolist(), batch.count.tolist(), strict=True):
        ids = flat[first : first + count].tolist()
        assert count
        assert unknown in ids or any_tokenizer.decode(ids).strip() == word


@pytest.mark.parametrize("kind", tiny.TOKENIZERS)
@settings(max_examples=50)
@given(
    sentence=st.lists(
        st.text(st.sampled_from("bake\u0301R éい世\u200d\u00a0\u0007.-"), max_size=4), min_size=1, max_size=8
    )
)
def test_every_word_has_its_own_subwords(kind, sentence):
    tokenizer = one_tokenizer(kind)
    parts = spell(tokenizer, sentence)
    assert len(parts) == len(sentence)
    assert all(parts)
    if kind != "bytebpe":  # which writes a word behind a space otherwise
        assert parts == [spell(tokenizer, [word])[0] for word in sentence]
    for word, part in zip(sentence, parts, strict=True):
        text = unicodedata.normalize("NFC", tokenizer.decode(part)).replace(" ", "")
        if kind == "bytebpe":
            expected = "".join(unicodedata.normalize("NFC", word).replace("\u0007", "").split())
            assert text == (expected or "<unk>")


def test_words_are_cleaned_as_training_text_is(any_tokenizer):
    given_words = ["bo\u00a0\u0007 ra", "e\u0301", "\tdimo"]
    clean_words = ["bo ra", "é", "dimo"]
    assert spell(any_tokenizer, given_words) == spell(any_tokenizer, clean_words)


def test_words_that_become_nothing_are_unknown(any_tokenizer):
    for sentence in (["", "ba", "", "", "re", " "], [""], ["\u0007", "\u2028"]):
        parts = spell(any_tokenizer, sentence)
        unknown = [k for k, part in enumerate(parts) if part == [any_tokenizer.unk_token_id]]
        assert unknown == [k for k, word in enumerate(sentence) if not word.isalpha()]


def test_a_word_of_which_the_tokenizer_leaves_nothing_is_unknown(wordpiece):
    encoder = SubwordEncoder(wordpiece, 64)
    (sentence,) = encoder.encode([["\u200b", "ba", "\u200b", "\u0007", "re", "\u200b"]])
    ba, re = (wordpiece(word, add_special_tokens=False).input_ids for word in ("ba", "re"))
    unknown = [wordpiece.unk_token_id]
    assert sentence.ids.tolist() == [*unknown, *ba, *unknown, *unknown, *re, *unknown]
    assert (sentence.ends > sentence.starts).all()
    (alone,) = encoder.encode([["\u200b"]])
    assert alone.ids.tolist() == unknown


def test_a_tokenizer_without_unknown_token_still_gives_every_word_one():
    tokenizer = tiny.bytebpe_tokenizer()
    tokenizer.unk_token = None
    assert spell(tokenizer, ["", "ba"])[0] == [tokenizer.mask_token_id]
    tokenizer.mask_token = None
    assert spell(tokenizer, ["", "ba"])[0] == [tokenizer.eos_token_id]


def test_a_word_that_looks_like_a_special_token_is_none(any_tokenizer):
    encoder = SubwordEncoder(any_tokenizer, 64)
    for token in any_tokenizer.all_special_tokens:
        (sentence,) = encoder.encode([["ba", token, "re"]])
        parts = spelled(sentence)
        assert len(parts) == 3
        assert not set(any_tokenizer.all_special_ids) & {*chain(*parts)} - {any_tokenizer.unk_token_id}
        batch = encoder.batch([sentence])
        assert batch.lengths.tolist() == [3]
        assert (batch.count > 0).all()


def test_a_space_by_itself_belongs_to_no_word():
    tokenizer = tiny.unigram_tokenizer()
    encoder = SubwordEncoder(tokenizer, 64)
    space = tokenizer.convert_tokens_to_ids("▁")
    words = ["ba", "世", "re"]
    ids = tokenizer(" ".join(words), add_special_tokens=False).input_ids
    assert space in ids
    (sentence,) = encoder.encode([words])
    assert sentence.ids.tolist() == ids
    assert space not in [ids[start] for start in sentence.starts]
    assert (sentence.ends > sentence.starts).all()


def test_a_sentence_without_words_has_no_subwords(any_tokenizer, monkeypatch):
    monkeypatch.setattr(subwords, "_BLOCK", 2)
    encoder = SubwordEncoder(any_tokenizer, 64)
    sentences = encoder.encode([["ba"], [], ["re"]])
    assert [sentence.ends.size for sentence in sentences] == [1, 0, 1]
    assert [sentence.ids.size > 0 for sentence in sentences] == [True, False, True]
    assert encoder.batch(sentences).lengths.tolist() == [1, 0, 1]
    assert encoder.encode([]) == []


@st.composite
def lengths(draw: st.DrawFn) -> tuple[list[int], list[int], int]:
    """Tokens of every word, tokens of space before it (0 or 1), and the room of a window."""
    room = draw(st.integers(1, 12))
    sizes = draw(st.lists(st.one_of(st.integers(1, 3), st.integers(1, 2 * room)), min_size=1, max_size=40))
    spaces = [0] * len(sizes)
    if draw(st.booleans()):
        spaces = draw(st.lists(st.integers(0, 1), min_size=len(sizes), max_size=len(sizes)))
    return sizes, spaces, room


@settings(max_examples=300)
@given(lengths())
def test_windows_hold_every_word_once_with_words_around_it(wordpiece, given_lengths):
    sizes, spaces, room = given_lengths
    encoder = SubwordEncoder(wordpiece, room + 2)
    ends = np.cumsum(np.add(sizes, spaces))
    sentence = Subwords(np.arange(ends[-1]), ends - sizes, ends)
    windows = encoder.windows(sentence)
    assert [word for window in windows for word in range(window.first, window.last)] == list(range(len(sizes)))
    assert (len(windows) == 1) == (ends[-1] <= room or len(sizes) == 1)
    for window in windows:
        assert 0 < window.end - window.start <= room
        assert window.start in {*sentence.starts, *(sentence.starts - spaces)}
        for word in range(window.first, window.last):
            assert window.start <= sentence.starts[word] < window.end
            assert sentence.ends[word] <= window.end or sizes[word] > room
    assert encoder.batch([sentence]).count.tolist() == [min(size, room) for size in sizes]
    if max(sizes) == 1 and not any(spaces) and room >= 8 and ends[-1] > room:
        for left, right in pairwise(windows):
            assert left.end - right.start == room // 4 or right.end == ends[-1]
            assert left.end - left.last >= room // 8 - 1
            assert right.first - right.start >= room // 8 - 1


def test_every_window_is_a_row(wordpiece):
    encoder = SubwordEncoder(wordpiece, 10)
    short, long = encoder.encode([["ba"], ["ba", "re", "mi", "do"] * 10])
    batch = encoder.batch([short, long, short])
    windows = encoder.windows(long)
    assert len(windows) > 3
    assert batch.input_ids.shape == (len(windows) + 2, 10)
    assert batch.starts.tolist() == [0, 1, 1 + len(windows)]
    assert batch.lengths.tolist() == [1, 40, 1]
    flat = batch.input_ids.flatten()
    expected = np.concatenate([sentence.ids[sentence.starts] for sentence in (short, long, short)])
    assert flat[batch.first].tolist() == expected.tolist()
    assert (batch.input_ids[:, 0] == wordpiece.cls_token_id).all()
    ends = batch.attention_mask.sum(1) - 1
    assert (batch.input_ids[torch.arange(len(ends)), ends] == wordpiece.sep_token_id).all()


@pytest.mark.parametrize("max_length", [5, 9, 20])
def test_windows_of_any_length_lose_nothing(any_tokenizer, max_length):
    encoder = SubwordEncoder(any_tokenizer, max_length)
    before, after = frame(any_tokenizer)
    room = max_length - len(before) - len(after)
    sentences = encoder.encode(SENTENCES)
    batch = encoder.batch(sentences)
    assert batch.input_ids.shape[1] <= max_length
    for ids, mask in zip(batch.input_ids.tolist(), batch.attention_mask.tolist(), strict=True):
        read = ids[: sum(mask)]
        assert sum(mask[: len(read)]) == len(read)
        assert (read[: len(before)], read[len(read) - len(after) :]) == (before, after)
    flat = batch.input_ids.flatten()
    found = [
        flat[first : first + count].tolist()
        for first, count in zip(batch.first.tolist(), batch.count.tolist(), strict=True)
    ]
    assert found == [word[:room] for sentence in sentences for word in spelled(sentence)]


def test_a_word_longer_than_a_window_is_cut(wordpiece):
    encoder = SubwordEncoder(wordpiece, 6)
    sentence = Subwords(np.arange(20), np.array([0, 1, 19]), np.array([1, 19, 20]))
    assert encoder.windows(sentence) == [Window(0, 1, 0, 1), Window(1, 5, 1, 2), Window(19, 20, 2, 3)]
    assert encoder.batch([sentence]).count.tolist() == [1, 4, 1]


def test_an_encoder_without_room_for_a_word_is_refused(wordpiece):
    with pytest.raises(ModelError, match="reads 2 tokens at once"):
        SubwordEncoder(wordpiece, 2)
