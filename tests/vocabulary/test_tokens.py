"""Token identity across notations, and what the tokenizer's hash depends on."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

import tiny
from lingraft.errors import ModelError
from lingraft.vocabulary import (
    TokenIdentity,
    all_special_ids,
    backend_json,
    lower_cases,
    notation,
    special_ids,
    token_identities,
    tokenizer_hash,
)

BYTEBPE = tiny.bytebpe_tokenizer()
BYTEBPE_IDENTITIES = token_identities(BYTEBPE)


def tokenizer_of(model: dict[str, Any], pre_tokenizer: str | None = None) -> PreTrainedTokenizerFast:
    """A tokenizer around a serialised model."""
    pre = {
        None: None,
        "ByteLevel": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "Metaspace": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
    }[pre_tokenizer]
    state = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
             "pre_tokenizer": pre, "post_processor": None, "decoder": None, "model": model}  # fmt: skip
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(state)))


def vocabulary(*tokens: str) -> dict[str, int]:
    """Tokens numbered in the order given."""
    return {token: index for index, token in enumerate(tokens)}


@pytest.mark.parametrize(
    ("normalizer", "lowers"),
    [
        (None, False),
        ({"type": "NFKC"}, False),
        ({"type": "Lowercase"}, True),
        ({"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None,
          "lowercase": False}, False),
        ({"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None,
          "lowercase": True}, True),
        ({"type": "Sequence", "normalizers": [{"type": "Lowercase"}, {"type": "Prepend", "prepend": "▁"}]}, True),
        ({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁a"}]}, False),
    ],
)  # fmt: skip
def test_whether_a_tokenizer_writes_small_letters_is_seen_in_what_it_does(normalizer: Any, lowers: bool) -> None:
    assert lower_cases(tiny.rebuilt(tiny.wordpiece_tokenizer(), normalizer=normalizer)) == lowers


def test_one_word_in_every_notation_is_one_identity() -> None:
    wordpiece = tokenizer_of({
        "type": "WordPiece", "vocab": vocabulary("[UNK]", "the", "##the", "##", "é"), "unk_token": "[UNK]",
        "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
    })  # fmt: skip
    bytelevel = tokenizer_of({"type": "BPE", "vocab": vocabulary("Ġthe", "the", "ĠÃ©", "Ġ"), "merges": []}, "ByteLevel")
    metaspace = tokenizer_of(
        {"type": "Unigram", "vocab": [["<unk>", 0], ["▁the", -1], ["the", -2], ["▁é", -3], ["▁", -4]], "unk_id": 0},
        "Metaspace",
    )
    start, inside, accent = TokenIdentity(b"the", True), TokenIdentity(b"the", False), TokenIdentity("é".encode(), True)
    assert token_identities(wordpiece)[1:] == [start, inside, TokenIdentity(b"##", True), accent]
    assert token_identities(bytelevel) == [start, inside, accent, TokenIdentity(b"", True)]
    assert token_identities(metaspace)[1:] == [start, inside, accent, TokenIdentity(b"", True)]
    assert start != inside


@pytest.mark.parametrize(
    ("model", "pre_tokenizer", "expected"),
    [
        ({"type": "WordPiece", "vocab": {"[UNK]": 0}, "unk_token": "[UNK]", "continuing_subword_prefix": "##",
          "max_input_chars_per_word": 100}, None, "wordpiece"),
        ({"type": "BPE", "vocab": {"a": 0}, "merges": []}, "ByteLevel", "bytelevel"),
        ({"type": "BPE", "vocab": {"a": 0}, "merges": []}, "Metaspace", "metaspace"),
        ({"type": "BPE", "vocab": {"▁a": 0}, "merges": []}, None, "metaspace"),
        ({"type": "BPE", "vocab": {"a</w>": 0}, "merges": [], "end_of_word_suffix": "</w>"}, None, "suffix"),
        ({"type": "BPE", "vocab": {"a": 0}, "merges": []}, None, "plain"),
    ],
)  # fmt: skip
def test_notation_is_read_from_the_file(model: dict[str, Any], pre_tokenizer: str | None, expected: str) -> None:
    assert notation(backend_json(tokenizer_of(model, pre_tokenizer))) == expected


def test_runs_of_spaces_are_different_tokens() -> None:
    pieces = ["▁", "▁▁", "▁▁▁", "▁a", "▁▁a"]
    metaspace = tokenizer_of({"type": "BPE", "vocab": vocabulary(*pieces), "merges": []})
    bytelevel = tokenizer_of(
        {"type": "BPE", "vocab": vocabulary(*(piece.replace("▁", "Ġ") for piece in pieces)), "merges": []}, "ByteLevel"
    )
    assert len(set(token_identities(metaspace))) == len(pieces)
    assert token_identities(metaspace) == token_identities(bytelevel)


def test_parts_of_a_character_stay_different_though_all_are_displayed_alike() -> None:
    ids = BYTEBPE("中å", add_special_tokens=False).input_ids
    parts = [BYTEBPE_IDENTITIES[index] for index in ids]
    assert {BYTEBPE.decode([index]) for index in ids} == {"\ufffd"}
    assert b"".join(part.text for part in parts) == "中å".encode()
    assert len({part.text for part in parts}) == len(ids) == 5


def test_every_token_has_an_identity_of_its_own(any_tokenizer: PreTrainedTokenizerFast) -> None:
    ordinary = [identity for identity in token_identities(any_tokenizer) if identity is not None]
    assert len(set(ordinary)) == len(ordinary) == len(any_tokenizer) - len(all_special_ids(any_tokenizer))


def test_a_byte_of_a_fallback_is_no_letter() -> None:
    tokenizer = tiny.bytefallback_tokenizer()
    identities = token_identities(tokenizer)
    byte = identities[tokenizer.convert_tokens_to_ids("<0x61>")]
    letter = identities[tokenizer.convert_tokens_to_ids("a")]
    assert byte == TokenIdentity(b"a", False, True)
    assert letter == TokenIdentity(b"a", False)
    assert byte != letter
    assert identities[tokenizer.convert_tokens_to_ids("<0xFF>")] == TokenIdentity(b"\xff", False, True)


def test_without_byte_fallback_the_same_spelling_is_text() -> None:
    tokenizer = tokenizer_of({"type": "BPE", "vocab": {"<0x41>": 0}, "merges": [], "byte_fallback": False}, "Metaspace")
    assert token_identities(tokenizer) == [TokenIdentity(b"<0x41>", False)]


def test_special_tokens_have_no_identity(any_tokenizer: PreTrainedTokenizerFast) -> None:
    any_tokenizer.add_special_tokens({"additional_special_tokens": ["<|extra|>"]})
    identities = token_identities(any_tokenizer)
    assert len(identities) == len(any_tokenizer)
    assert {index for index, identity in enumerate(identities) if identity is None} == all_special_ids(any_tokenizer)
    assert any_tokenizer.convert_tokens_to_ids("<|extra|>") in all_special_ids(any_tokenizer)
    assert set(special_ids(any_tokenizer).values()) <= all_special_ids(any_tokenizer)


def test_roles_that_are_not_filled_are_absent_and_id_zero_counts() -> None:
    assert "mask" not in special_ids(tiny.bytefallback_tokenizer())
    assert special_ids(BYTEBPE)["bos"] == special_ids(BYTEBPE)["cls"] == 0


@given(st.text())
def test_byte_level_identities_concatenate_to_the_bytes_of_the_text(text: str) -> None:
    assume(not any(token in text for token in BYTEBPE.all_special_tokens))
    identities = [BYTEBPE_IDENTITIES[index] for index in BYTEBPE(text, add_special_tokens=False).input_ids]
    assert None not in identities
    assert b"".join(b" " * identity.starts_word + identity.text for identity in identities) == text.encode()


def test_added_tokens_with_spaces_are_read_as_they_are_spelled() -> None:
    tokenizer = tiny.bytebpe_tokenizer()
    tokenizer.add_tokens(["  ", "<go>"])
    identities = token_identities(tokenizer)
    assert identities[tokenizer.convert_tokens_to_ids("  ")] == TokenIdentity(b" ", True)
    assert identities[tokenizer.convert_tokens_to_ids("<go>")] == TokenIdentity(b"<go>", False)


def test_the_hash_ignores_padding_and_truncation(any_tokenizer: PreTrainedTokenizerFast) -> None:
    before = tokenizer_hash(any_tokenizer)
    any_tokenizer(["a", "a b c"], padding="max_length", truncation=True, max_length=8)
    assert backend_json(any_tokenizer)["padding"] is not None
    assert tokenizer_hash(any_tokenizer) == before


def test_the_hash_tells_tokenizers_apart(any_tokenizer: PreTrainedTokenizerFast) -> None:
    n = len(any_tokenizer)
    others = [
        tiny.renumbered(any_tokenizer, [*range(n - 2), n - 1, n - 2]),
        tiny.rebuilt(any_tokenizer, normalizer={"type": "Lowercase"}),
        tiny.rebuilt(any_tokenizer, decoder=None),
    ]
    assert len({tokenizer_hash(tokenizer) for tokenizer in (any_tokenizer, *others)}) == 4
    assert tokenizer_hash(tiny.rebuilt(any_tokenizer)) == tokenizer_hash(any_tokenizer)


def test_a_slow_tokenizer_is_refused() -> None:
    class Slow(PreTrainedTokenizerBase):
        """Has no fast form."""

    with pytest.raises(ModelError, match="Slow has no fast"):
        backend_json(Slow())
