"""Words and their subwords: what running text would give, nothing lost, and pieces that end where words end."""

from __future__ import annotations

import unicodedata
from functools import cache
from itertools import chain, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

import tiny
from lingraft.errors import ModelError
from lingraft.tasks.words import WordPieces, encode_words
from lingraft.vocabulary import frame

SENTENCES = [line.split() for line in tiny.english_lines(30, seed=3)]


@cache
def one_tokenizer(kind: str) -> PreTrainedTokenizerFast:
    """Made once for all examples."""
    return tiny.TOKENIZERS[kind]()


def spelled(tokenizer: PreTrainedTokenizerFast, pieces: WordPieces, piece: int) -> list[list[int]]:
    """The subwords of each word of a piece."""
    before, after = frame(tokenizer)
    ids = pieces.ids[piece]
    assert ids[: len(before)].tolist() == before
    assert ids[ids.size - len(after) :].tolist() == after
    first = pieces.first[piece]
    assert first[0] == len(before)
    return [part.tolist() for part in np.split(ids[: ids.size - len(after)], first)[1:]]


def test_the_subwords_are_those_of_running_text(any_tokenizer):
    pieces = encode_words(any_tokenizer, SENTENCES, 64)
    assert pieces.sentence.tolist() == list(range(30))
    for number, words in enumerate(SENTENCES):
        assert pieces.ids[number].tolist() == any_tokenizer(" ".join(words)).input_ids
        parts = spelled(any_tokenizer, pieces, number)
        assert [any_tokenizer.decode(part).strip() for part in parts] == words


@pytest.mark.parametrize("kind", tiny.TOKENIZERS)
@settings(max_examples=50)
@given(
    sentence=st.lists(
        st.text(st.sampled_from("bake\u0301R éい世\u200d\u00a0\u0007.-"), max_size=4), min_size=1, max_size=8
    )
)
def test_every_word_has_its_own_subwords(kind, sentence):
    tokenizer = one_tokenizer(kind)
    parts = spelled(tokenizer, encode_words(tokenizer, [sentence], 512), 0)
    assert len(parts) == len(sentence)
    assert all(parts)
    singles = encode_words(tokenizer, [[word] for word in sentence], 512)
    alone = [spelled(tokenizer, singles, number)[0] for number in range(len(sentence))]
    if kind != "bytebpe":  # which writes a word behind a space otherwise
        assert parts == alone
    for word, part in zip(sentence, parts, strict=True):
        text = unicodedata.normalize("NFC", tokenizer.decode(part)).replace(" ", "")
        if kind == "bytebpe":
            expected = "".join(unicodedata.normalize("NFC", word).replace("\u0007", "").split())
            assert text == (expected or "<unk>")


def test_words_that_become_nothing_are_unknown(any_tokenizer):
    for sentence in (["", "ba", "", "", "re", " "], [""], ["\u0007", "\u2028"]):
        parts = spelled(any_tokenizer, encode_words(any_tokenizer, [sentence], 64), 0)
        unknown = [k for k, part in enumerate(parts) if part == [any_tokenizer.unk_token_id]]
        assert unknown == [k for k, word in enumerate(sentence) if not word.isalpha()]


def test_a_tokenizer_without_unknown_token_still_gives_every_word_one():
    tokenizer = tiny.bytebpe_tokenizer()
    tokenizer.unk_token = None
    parts = spelled(tokenizer, encode_words(tokenizer, [["", "ba"]], 64), 0)
    assert parts[0] == [tokenizer.mask_token_id]


def test_a_word_that_looks_like_a_special_token_is_none(any_tokenizer):
    for token in any_tokenizer.all_special_tokens:
        parts = spelled(any_tokenizer, encode_words(any_tokenizer, [["ba", token, "re"]], 64), 0)
        assert len(parts) == 3
        assert not set(any_tokenizer.all_special_ids) & {*chain(*parts)} - {any_tokenizer.unk_token_id}


@pytest.mark.parametrize("max_length", [5, 9, 20])
def test_pieces_end_where_words_end_and_lose_nothing(any_tokenizer, max_length):
    whole = encode_words(any_tokenizer, SENTENCES, 10_000)
    pieces = encode_words(any_tokenizer, SENTENCES, max_length)
    room = max_length - sum(map(len, frame(any_tokenizer)))
    assert pieces.ids.lengths.max() <= max_length
    assert (np.diff(pieces.sentence) >= 0).all()
    for number in range(len(SENTENCES)):
        mine = np.flatnonzero(pieces.sentence == number)
        parts = [spelled(any_tokenizer, pieces, piece) for piece in mine]
        assert [*chain(*parts)] == [word[:room] for word in spelled(any_tokenizer, whole, number)]
        for this, following in pairwise(parts):
            assert sum(map(len, this)) + len(following[0]) > room, "no piece is shorter than it has to be"


def test_a_sentence_without_words_has_no_piece(wordpiece):
    assert encode_words(wordpiece, [["ba"], [], ["re"]], 64).sentence.tolist() == [0, 2]
    assert len(encode_words(wordpiece, [], 64)) == 0


def test_no_room_is_refused(wordpiece):
    with pytest.raises(ModelError, match="A maximum length of 2 has no room"):
        encode_words(wordpiece, SENTENCES, 2)
