"""Tokens of a language that writes clitics and their word as one, made up in Hebrew letters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tiny
from lingraft.surgery import models, save_tokenizer, train_target
from lingraft.vocabulary import (
    backend_json,
    notation,
    token_identities,
    tokenizer_hash,
    train_tokenizer,
    unigram_units,
)
from lingraft.vocabulary.clitics import has_proclitics
from lingraft.vocabulary.superwords import units_of

CLITICS = ["ו", "ב", "ל"]
LETTERS = "גדהזחטיכמנסע"
STEMS = ["".join(np.random.default_rng(k).choice(list(LETTERS), 4 + k % 3)) for k in range(160)]
SEEN_TWICE = "פצקרשתפצקרשת"


def hebrew(n: int = 600, seed: int = 0, clitic: float = 0.4) -> list[str]:
    """Sentences of these stems, most with no clitic; half of the stems never have one."""
    random = np.random.default_rng(seed)
    lines = []
    for _ in range(n):
        words = []
        for stem in random.choice(STEMS, 8):
            some = random.random() < clitic and STEMS.index(stem) % 2
            words.append((random.choice(CLITICS) if some else "") + stem)
        lines.append(" ".join(words) + ".")
    return lines


def test_a_word_is_the_same_token_behind_a_clitic() -> None:
    target = train_tokenizer(tiny.wordpiece_tokenizer(), hebrew())
    never = [stem for k, stem in enumerate(STEMS) if k % 2 == 0]
    for clitic in CLITICS:
        cut = [target.tokenize(clitic + stem) == [clitic, stem] for stem in never]
        assert np.mean(cut) > 0.9
    assert all(target.tokenize(f"({stem})") == ["(", stem, ")"] for stem in STEMS)
    assert not any(token.startswith("##") for token in target.get_vocab())
    # WordPiece has no such token behind a clitic, nor the clitic as a piece of its own
    before = train_tokenizer(tiny.wordpiece_tokenizer(), hebrew(), unigram=False)
    assert not any(stem in before.tokenize(clitic + stem) for stem in never for clitic in CLITICS)


def test_what_is_frequent_with_its_clitic_is_one_token() -> None:
    often = CLITICS[0] + STEMS[0]
    target = train_tokenizer(tiny.wordpiece_tokenizer(), [*hebrew(), *[often] * 3000])
    assert target.tokenize(often) == [often]


def test_rare_words_are_spelled_by_pieces() -> None:
    lines = [*hebrew(), f"{SEEN_TWICE} {SEEN_TWICE}"]
    assert SEEN_TWICE not in train_tokenizer(tiny.wordpiece_tokenizer(), lines).get_vocab()
    thrice = train_tokenizer(tiny.wordpiece_tokenizer(), [*lines, SEEN_TWICE])
    assert SEEN_TWICE in thrice.get_vocab()
    assert SEEN_TWICE not in train_tokenizer(tiny.wordpiece_tokenizer(), [*lines, SEEN_TWICE], min_count=4).get_vocab()


def test_every_text_of_its_characters_is_spelled_and_read_back() -> None:
    target = train_tokenizer(tiny.wordpiece_tokenizer(), [*hebrew(), "windows 2024, (a)"])
    text = f"{STEMS[3]}2 wind (4, {LETTERS}) 0{CLITICS[1]}"
    ids = target(text, add_special_tokens=False)["input_ids"]
    assert target.unk_token_id not in ids
    assert "".join(target.convert_ids_to_tokens(ids)) == text.replace(" ", "")
    # what is cut is read back in parts
    ids = target(f"{STEMS[1]} {CLITICS[0]}{STEMS[0]}")["input_ids"]
    assert target.decode(ids, skip_special_tokens=True) == f"{STEMS[1]} {CLITICS[0]} {STEMS[0]}"


@pytest.mark.parametrize("size", [60, 150, 230])
def test_a_size_that_is_asked_for(size: int) -> None:
    target = train_tokenizer(tiny.wordpiece_tokenizer(), hebrew(), size)
    assert len(target) == size
    assert target.unk_token_id not in {token for line in hebrew(50) for token in target(line)["input_ids"]}


def test_which_text_has_clitics() -> None:
    assert units_of(hebrew()) == "clitics"
    assert unigram_units(tiny.wordpiece_tokenizer(), hebrew()) == "clitics"
    assert unigram_units(tiny.bytebpe_tokenizer(), hebrew()) is None
    assert not has_proclitics(hebrew(30))  # of so few common words nothing is concluded
    assert not has_proclitics(hebrew(clitic=0))
    assert not has_proclitics([f"{stem} {clitic}'{stem}" for stem in STEMS for clitic in CLITICS] * 10)
    assert not has_proclitics(tiny.english_lines() * 20)
    # one letter, as of a "\\n" that was not read as the end of a line
    assert not has_proclitics(
        [line.replace(CLITICS[1], CLITICS[0]).replace(CLITICS[2], CLITICS[0]) for line in hebrew()]
    )
    # vowel points are none
    pointed = [line.replace(CLITICS[0], CLITICS[0] + "\u05b0") for line in hebrew()]
    assert has_proclitics(pointed)
    numbers = [f"{number} {digit}{number}" for number in range(100, 300) for digit in (1, 2, 3)] * 10
    assert not has_proclitics(numbers)
    assert not has_proclitics([])


def test_a_mark_in_the_text_is_a_character() -> None:
    source = tiny.wordpiece_tokenizer()
    target = train_tokenizer(source, [*hebrew(), "\u2581 2 \u2581."])
    assert notation(backend_json(target)) == "plain"
    theirs, ours = token_identities(target), token_identities(source)
    assert theirs[target.get_vocab()["."]] == ours[source.get_vocab()["."]]


def test_a_source_without_a_pre_tokenizer() -> None:
    source = tiny.rebuilt(tiny.wordpiece_tokenizer(), pre_tokenizer=None)
    assert train_tokenizer(source, hebrew()).tokenize(f"{STEMS[0]}  {STEMS[2]}") == [STEMS[0], STEMS[2]]


def test_it_is_the_same_again() -> None:
    source = tiny.wordpiece_tokenizer()
    assert tokenizer_hash(train_tokenizer(source, hebrew())) == tokenizer_hash(train_tokenizer(source, hebrew()))


def test_transformers_reads_the_same_beside_the_model(
    tmp_path: Path, sentence_model_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = models.load_model(sentence_model_folder)
    target = train_target(source.model.config, source.tokenizer, hebrew())
    assert backend_json(target)["model"]["type"] == "Unigram"
    source.model.config.save_pretrained(tmp_path)
    save_tokenizer(target, tmp_path)
    assert tokenizer_hash(models.load_tokenizer(tmp_path)) == tokenizer_hash(target)
    # where it would not, the source's kind stays
    tried = []
    monkeypatch.setattr(models, "_read_otherwise", lambda _, tried_one: tried.append(tried_one) or "BertTokenizer")
    assert backend_json(train_target(source.model.config, source.tokenizer, hebrew()))["model"]["type"] == "WordPiece"
    assert [backend_json(one)["model"]["type"] for one in tried] == ["Unigram"]
