from __future__ import annotations

import pytest

import tiny
from lingraft.report.vocabulary import fertility_rows, parity
from lingraft.report.written import script_of, script_shares, visible, written_tokens
from lingraft.vocabulary import text_counts


def test_every_kind_of_tokenizer_is_written_without_its_notation(any_tokenizer):
    written = written_tokens(any_tokenizer)
    special = set(any_tokenizer.all_special_ids)
    assert len(written) == len(any_tokenizer)
    for index, text in enumerate(written):
        if index not in special:
            assert text
            assert not text.startswith(("##", "Ġ", "▁")), text
            assert not any(ord(c) < 32 for c in text)


def test_a_token_inside_a_word_has_a_hyphen():
    tokenizer = tiny.wordpiece_tokenizer()
    written = written_tokens(tokenizer)
    vocabulary = tokenizer.get_vocab()
    inside = next(name for name in vocabulary if name.startswith("##"))
    assert written[vocabulary[inside]] == f"-{inside[2:]}"
    assert written[vocabulary["[CLS]"]] == "[CLS]"


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("पानी", "Devanagari"), ("ماء", "Arabic"), ("水", "Han"), ("nước", "Latin"), ("-ing", "Latin"),
        ("вода", "Cyrillic"),
        ("12", "digits"), ("?!", "signs"), ("⟨e0 a4⟩", "parts of characters"),
    ],
)  # fmt: skip
def test_scripts_have_the_names_people_know(text, script):
    assert script_of(text) == script


def test_shares_of_scripts_are_weighted():
    assert script_shares(["a", "水", "1"], [3, 1, 0]) == {"Latin": 0.75, "Han": 0.25}
    assert script_shares(["a"], [0]) == {}


def test_control_characters_are_seen():
    assert visible("a\nb\x00\x7f") == "a␊b␀␡"


def test_counts_of_a_text():
    tokenizer = tiny.wordpiece_tokenizer()
    lines = ["bado fe", "fe  é"]
    counts = text_counts(tokenizer, lines)
    pieces = [tokenizer.tokenize(line) for line in lines]
    assert counts == {
        "lines": 2, "words": 4, "characters": 9, "bytes": 13, "tokens": sum(map(len, pieces)),
        "unknown": sum(tokens.count("[UNK]") for tokens in pieces),
    }  # fmt: skip
    assert text_counts(tokenizer, [])["tokens"] == 0


def test_fertility_is_not_given_by_word_where_no_spaces_divide_words():
    spaced = {"lines": 1, "words": 10, "characters": 50, "bytes": 60, "tokens": 20, "unknown": 1}
    glued = spaced | {"words": 2}
    rows = fertility_rows({"target": glued, "english": spaced})
    assert [row["words"] for row in rows] == [None, 2.0]
    assert rows[1]["characters"] == 2.5
    assert rows[1]["unknown"] == 0.05
    assert fertility_rows({}) == []


def test_parity_is_of_the_same_sentences():
    assert parity({"pairs_target": {"tokens": 30}, "pairs_english": {"tokens": 20}}) == 1.5
    assert parity({}) is None
