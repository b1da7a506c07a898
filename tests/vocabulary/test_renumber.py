"""Tokenizers under other ids, and chat templates taken along."""

from __future__ import annotations

import numpy as np
import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerFast

import tiny
from lingraft.errors import ModelError
from lingraft.evidence import Provenance, build_table
from lingraft.surgery import from_transformers, graft, save_tokenizer
from lingraft.vocabulary import (
    renumbered,
    special_ids,
    tokenizer_hash,
    train_tokenizer,
    with_chat_template,
    with_padding_at,
)

MESSAGES = [{"role": "user", "content": "badi fogu"}, {"role": "assistant", "content": "na"}]
TOOL = {"type": "function", "function": {"name": "look", "description": "", "parameters": {"type": "object"}}}
LINES = [xx for _, xx in tiny.cipher_pairs(100)]


def test_a_text_has_the_same_tokens_under_other_ids(any_tokenizer: PreTrainedTokenizerFast) -> None:
    order = np.random.default_rng(0).permutation(len(any_tokenizer)).tolist()
    other = renumbered(any_tokenizer, order)
    for line in [*tiny.english_lines(5), "été, 12 ?"]:
        assert [order[k] for k in other(line).input_ids] == any_tokenizer(line).input_ids
        assert other.decode(other(line).input_ids) == any_tokenizer.decode(any_tokenizer(line).input_ids)
    before, after = special_ids(any_tokenizer), special_ids(other)
    assert {role: order[k] for role, k in after.items()} == before


def test_the_padding_token_changes_places_with_one_other(any_tokenizer: PreTrainedTokenizerFast) -> None:
    other = with_padding_at(any_tokenizer, 9)
    mine, theirs = any_tokenizer.get_vocab(), other.get_vocab()
    moved = {token for token in mine if mine[token] != theirs[token]}
    assert moved == {any_tokenizer.pad_token, any_tokenizer.convert_ids_to_tokens(9)}
    assert (other.pad_token, other.pad_token_id) == (any_tokenizer.pad_token, 9)
    assert with_padding_at(other, 9) is other
    assert tokenizer_hash(with_padding_at(other, any_tokenizer.pad_token_id)) == tokenizer_hash(
        renumbered(any_tokenizer, range(len(any_tokenizer)))
    )


def test_a_roberta_takes_a_tokenizer_whose_padding_was_moved() -> None:
    english, foreign = tiny.bytebpe_tokenizer(), tiny.wordpiece_tokenizer()
    source = from_transformers(tiny.roberta(english), english)
    moved = with_padding_at(foreign, english.pad_token_id)
    assert graft(source, moved, build_table(english, moved)).tokenizer.pad_token_id == english.pad_token_id


@pytest.mark.parametrize("place", [-1, 100_000])
def test_an_id_that_is_none_is_refused(place: int) -> None:
    with pytest.raises(ModelError, match="has no such id"):
        with_padding_at(tiny.wordpiece_tokenizer(), place)


def test_without_a_padding_token_there_is_nothing_to_move() -> None:
    tokenizer = tiny.wordpiece_tokenizer()
    tokenizer.pad_token = None
    with pytest.raises(ModelError, match="has no padding token"):
        with_padding_at(tokenizer, 1)


def test_a_trained_tokenizer_keeps_the_chat_template_and_every_token_that_it_writes(tmp_path) -> None:
    source = tiny.chat_tokenizer()
    trained = train_tokenizer(source, LINES)
    save_tokenizer(trained, tmp_path)
    for tokenizer in (trained, AutoTokenizer.from_pretrained(tmp_path)):
        text = source.apply_chat_template(MESSAGES, tokenize=False, tools=[TOOL])
        assert tokenizer.apply_chat_template(MESSAGES, tokenize=False, tools=[TOOL]) == text
        ids = tokenizer.apply_chat_template(MESSAGES, tools=[TOOL], return_dict=False)
        tokens = tokenizer.convert_ids_to_tokens(ids)
        for token, count in (("<|im_start|>", 2), ("<|im_end|>", 2), ("<tool_call>", 1)):
            assert tokens.count(token) == count
        assert set(tokenizer.extra_special_tokens) == set(source.extra_special_tokens)
    table = build_table(source, trained)
    ours, theirs = trained.get_vocab(), source.get_vocab()
    for token in ("<|im_start|>", "<|im_end|>", "<tool_call>"):
        assert table.matrix[ours[token]].indices.tolist() == [theirs[token]]
    assert table.provenance[ours["<|im_start|>"]] == Provenance.special


def test_a_given_tokenizer_takes_the_template_over_if_it_has_its_tokens() -> None:
    source, given = tiny.chat_tokenizer(), tiny.bytebpe_tokenizer()
    assert with_chat_template(given, source) is given
    fitting = tiny.bytebpe_tokenizer()
    fitting.add_special_tokens({"extra_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    taken = with_chat_template(fitting, source)
    assert taken.chat_template == source.chat_template
    assert fitting.chat_template is None
    assert tokenizer_hash(taken) == tokenizer_hash(fitting)
    own = tiny.chat_tokenizer()
    own.chat_template = "{{ messages }}"
    assert with_chat_template(own, source) is own


def test_all_bytes_of_a_byte_level_tokenizer_are_themselves() -> None:
    """Each of the 256 byte tokens becomes its own row, whatever it is numbered and however it is displayed."""
    english = tiny.bytebpe_tokenizer()
    foreign = train_tokenizer(english, LINES)
    order = np.random.default_rng(4).permutation(len(foreign)).tolist()
    order.remove(foreign.pad_token_id)
    foreign = tiny.renumbered(foreign, [*order[:1], foreign.pad_token_id, *order[1:]])
    table = build_table(english, foreign)
    alphabet = english.backend_tokenizer.pre_tokenizer.alphabet()
    ours, theirs = foreign.get_vocab(), english.get_vocab()
    assert len(alphabet) == 256
    for token in alphabet:
        row = table.matrix[ours[token]]
        assert (row.indices.tolist(), row.data.tolist()) == ([theirs[token]], [1.0]), token
