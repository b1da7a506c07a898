"""Words and their subwords: none is lost, whatever the tokenizer, the word, and the length of the sentence."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny
from lingraft.errors import ModelError
from lingraft.tasks.parsing.subwords import SubwordEncoder, Subwords, Window


def test_a_sentence_is_read_as_running_text(any_tokenizer):
    sentences = [line.split() for line in tiny.english_lines(20, seed=4)]
    encoder = SubwordEncoder(any_tokenizer, 64)
    batch = encoder.batch(encoder.encode(sentences))
    expected = any_tokenizer([" ".join(words) for words in sentences], padding=True, return_tensors="pt")
    assert torch.equal(batch.input_ids, expected["input_ids"])
    assert torch.equal(batch.attention_mask, expected["attention_mask"])
    assert batch.lengths.tolist() == [len(words) for words in sentences]
    assert batch.starts.tolist() == list(range(20))


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


def test_a_word_of_which_nothing_is_left_is_unknown(wordpiece):
    encoder = SubwordEncoder(wordpiece, 64)
    (sentence,) = encoder.encode([["\u200b", "ba", "\u200b", "\u0007", "re", "\u200b"]])
    ba, re = (wordpiece(word, add_special_tokens=False).input_ids for word in ("ba", "re"))
    unknown = [wordpiece.unk_token_id]
    assert sentence.ids.tolist() == [*unknown, *ba, *unknown, *unknown, *re, *unknown]
    assert (sentence.ends > sentence.starts).all()
    (alone,) = encoder.encode([["\u200b"]])
    assert alone.ids.tolist() == unknown


def test_special_tokens_in_a_text_stand_for_no_role(wordpiece):
    encoder = SubwordEncoder(wordpiece, 64)
    (sentence,) = encoder.encode([["ba", "[SEP]", "re"]])
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


@st.composite
def lengths(draw: st.DrawFn) -> tuple[list[int], int]:
    """Tokens of every word, and the room of a window."""
    room = draw(st.integers(1, 12))
    sizes = st.one_of(st.integers(1, 3), st.integers(1, 2 * room))
    return draw(st.lists(sizes, min_size=1, max_size=40)), room


@settings(max_examples=300)
@given(lengths())
def test_windows_hold_every_word_once_with_words_around_it(wordpiece, given_lengths):
    sizes, room = given_lengths
    encoder = SubwordEncoder(wordpiece, room + 2)
    ends = np.cumsum(sizes)
    sentence = Subwords(np.arange(ends[-1]), ends - sizes, ends)
    windows = encoder.windows(sentence)
    assert [word for window in windows for word in range(window.first, window.last)] == list(range(len(sizes)))
    assert (len(windows) == 1) == (ends[-1] <= room or len(sizes) == 1)
    for window in windows:
        assert 0 < window.end - window.start <= room
        assert window.start in sentence.starts
        for word in range(window.first, window.last):
            assert window.start <= sentence.starts[word] < window.end
            assert sentence.ends[word] <= window.end or sizes[word] > room
    if max(sizes) == 1 and room >= 8 and ends[-1] > room:
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


def test_a_word_longer_than_a_window_is_cut(wordpiece):
    encoder = SubwordEncoder(wordpiece, 6)
    sentence = Subwords(np.arange(20), np.array([0, 1, 19]), np.array([1, 19, 20]))
    assert encoder.windows(sentence) == [Window(0, 1, 0, 1), Window(1, 5, 1, 2), Window(19, 20, 2, 3)]
    assert encoder.batch([sentence]).count.tolist() == [1, 4, 1]


def test_an_encoder_without_room_for_a_word_is_refused(wordpiece):
    with pytest.raises(ModelError, match="reads 2 tokens at once"):
        SubwordEncoder(wordpiece, 2)
