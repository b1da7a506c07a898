"""Words in English letters, and numbers, are cut as English cuts them."""

from __future__ import annotations

import pytest

import tiny
from lingraft.vocabulary import backend_json, plain_backend, train_tokenizer
from lingraft.vocabulary.shared import shared_tokens

RUSSIAN = ["наш поезд ушёл рано утром", "она пришла домой поздно вечером", "мы идём по длинной дороге"]


def english() -> tuple[list[str], str]:
    """Two words that an English tokenizer has as a token, and one that it cuts."""
    source = tiny.wordpiece_tokenizer()
    words = sorted(
        {word for line in tiny.english_lines() for word in line.split() if word.isascii() and word.isalpha()}
    )
    whole = [word for word in words if len(word) > 3 and source.tokenize(word) == [word]]
    return whole[:2], next(word for word in words if len(source.tokenize(word)) > 1)


def with_numbers(source_lines: list[str]) -> list[str]:
    return [*source_lines, *[f"{number}" for number in (1995, 2016, 407)] * 9]


def test_words_that_a_text_has_once_are_cut_as_in_english() -> None:
    whole, cut = english()
    source = tiny.wordpiece_tokenizer()
    target = train_tokenizer(source, [*RUSSIAN * 20, f"по {whole[0]} и {whole[1]}", cut])
    for word in (*whole, cut):
        assert target.tokenize(word) == source.tokenize(word)
    assert target.tokenize("дороге") == ["дороге"]


def test_a_text_in_english_letters_has_words_of_its_own() -> None:
    whole, cut = english()
    tokens = shared_tokens(plain_backend(tiny.wordpiece_tokenizer()), "##", [*whole, cut])
    assert not any(token.removeprefix("##").isalpha() for token in tokens)


def test_all_numbers_are_shared() -> None:
    source = train_tokenizer(tiny.wordpiece_tokenizer(), with_numbers(tiny.english_lines()))
    numbers = {token for token in source.get_vocab() if token.removeprefix("##").isdigit()}
    assert {"1995", "2016", "407"} < numbers
    for lines in (RUSSIAN * 20, ["le train est parti tôt"] * 20):
        target = train_tokenizer(source, lines)
        assert numbers <= set(target.get_vocab())
        assert target.tokenize("2016 1995") == ["2016", "1995"]


@pytest.mark.parametrize("lines", [["我们去北京"] * 90, RUSSIAN * 20])
def test_those_of_one_form_have_no_parts_of_words(lines: list[str]) -> None:
    whole, cut = english()
    source = train_tokenizer(tiny.wordpiece_tokenizer(), with_numbers(tiny.english_lines()))
    target = train_tokenizer(source, [*lines, f"{whole[0]} {cut}"])
    assert target.tokenize(f"{whole[0]} 2016") == [whole[0], "2016"]
    unigram = backend_json(target)["model"]["type"] == "Unigram"
    assert unigram != any(token.startswith("##") for token in target.get_vocab())


@pytest.mark.parametrize("size", [60, 75])
def test_a_small_vocabulary_keeps_its_characters(size: int) -> None:
    source = train_tokenizer(tiny.wordpiece_tokenizer(), with_numbers(tiny.english_lines()))
    target = train_tokenizer(source, RUSSIAN * 20, size)
    assert len(target) == size
    assert target.unk_token_id not in {token for line in RUSSIAN for token in target(line)["input_ids"]}


def test_other_kinds_of_tokenizers_learn_their_own() -> None:
    whole, _ = english()
    source = tiny.unigram_tokenizer()
    target = train_tokenizer(source, [*RUSSIAN * 20, whole[0]])
    assert target.tokenize(whole[0]) != [f"▁{whole[0]}"]
