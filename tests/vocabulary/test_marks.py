"""A byte-level tokenizer of a language with vowel signs: its words stay whole, and nothing else changes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import GPT2Tokenizer, PreTrainedTokenizerFast

import tiny
from lingraft.vocabulary import backend_json, cuts_at_marks, plain_backend, train_tokenizer
from lingraft.vocabulary.marks import has_marks, keep_marks

#: words of scripts whose vowel signs are combining marks; the last but one has a joiner, the last is decomposed
WORDS = {
    "hi": "हिन्दी", "ta": "தமிழில்", "th": "ภาษาที่นี่", "bn": "বাংলায়", "km": "ភាសាខ្មែរ", "my": "မြန်မာဘာသာ",
    "ar": "مُدَرِّسَة", "si": "ශ්‍රී", "vi": "nu\u031bo\u031b\u0301c",
}  # fmt: skip
#: of Llama 3, and of o200k, which knows of marks
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
AWARE = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|\p{N}{1,3}|\s+|[^\s\p{L}\p{N}]+"


def split(pattern: str) -> Any:
    parts = [
        pre_tokenizers.Split(Regex(pattern), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ]
    return pre_tokenizers.Sequence(parts)


KINDS = {
    "gpt2": pre_tokenizers.ByteLevel(add_prefix_space=False),
    "prefix space": pre_tokenizers.ByteLevel(add_prefix_space=True),
    "llama3": split(LLAMA3),
    "falcon": pre_tokenizers.Sequence(
        [pre_tokenizers.Punctuation("contiguous"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    ),
}


def state_of(pre_tokenizer: Any) -> dict[str, Any]:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    state: dict[str, Any] = json.loads(tokenizer.to_str())
    return state


def source_with(pre_tokenizer: Any) -> PreTrainedTokenizerFast:
    return tiny.rebuilt(tiny.bytebpe_tokenizer(), pre_tokenizer=state_of(pre_tokenizer)["pre_tokenizer"])


def pieces(state: dict[str, Any], text: str) -> list[str]:
    """What the serialised tokenizer cuts the text into before its model sees it."""
    tokenizer = Tokenizer.from_str(json.dumps(state))
    if tokenizer.normalizer:
        text = tokenizer.normalizer.normalize_str(text)
    return [piece for piece, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)]


@pytest.mark.parametrize("language", WORDS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_frequent_word_becomes_one_token(kind: str, language: str) -> None:
    word = WORDS[language]
    source = source_with(KINDS[kind])
    assert cuts_at_marks(source)
    assert len(pieces(backend_json(source), word)) > 1, "or this shows nothing"
    target = train_tokenizer(source, [f"{word} {word}"] * 10)
    ids = target(f"{word} {word}", add_special_tokens=False).input_ids
    assert len(ids) == 2
    assert target.decode(ids).strip() == f"{word} {word}"


@pytest.mark.parametrize("kind", KINDS)
def test_the_pattern_stays_where_the_text_has_no_marks(kind: str) -> None:
    source = source_with(KINDS[kind])
    target = train_tokenizer(source, ["l'été de 2003"])
    assert backend_json(target)["pre_tokenizer"] == backend_json(source)["pre_tokenizer"]


def test_a_pattern_that_knows_of_marks_is_left_alone() -> None:
    source = source_with(split(AWARE))
    assert not cuts_at_marks(source)
    target = train_tokenizer(source, [WORDS["hi"]] * 5)
    assert backend_json(target)["pre_tokenizer"] == backend_json(source)["pre_tokenizer"]


@pytest.mark.parametrize("kind", ["wordpiece", "unigram"])
def test_other_kinds_never_cut_at_marks(kind: str) -> None:
    source = tiny.TOKENIZERS[kind]()
    assert not cuts_at_marks(source)
    state = backend_json(train_tokenizer(source, [*WORDS.values()] * 3))
    assert all(len(pieces(state, word)) == 1 for word in WORDS.values())


def test_it_is_made_once() -> None:
    for pre_tokenizer in KINDS.values():
        kept = keep_marks(state_of(pre_tokenizer))
        assert keep_marks(kept) is kept


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (r"\p{L}+", r"[\p{L}@]+"),
        (r"[\p{L}\d]+|[^\p{L}]", r"[\p{L}@\d]+|[^\p{L}]"),
        (r"\[\p{L}\]\\\p{L}", r"\[[\p{L}@]\]\\[\p{L}@]"),
        (r"[^a[\p{L}]]|[a[b]\p{L}]|\p{Lu}|\P{L}|\\p{L}", r"[^a[\p{L}]]|[a[b]\p{L}@]|\p{Lu}|\P{L}|\\p{L}"),
        (r"\p{L}\p{Mn}*", r"\p{L}\p{Mn}*"),
        (r"\pL+|\p{Letter}|[\p{Lu}\p{Lo}]", r"[\pL@]+|[\p{Letter}@]|[\p{Lu}\p{Lo}@]"),
        (r"\p{L}|\p{Malayalam}", r"[\p{L}@]|\p{Malayalam}"),
    ],
)
def test_patterns_take_marks_where_they_take_letters(pattern: str, expected: str) -> None:
    kept = keep_marks(state_of(pre_tokenizers.Split(Regex(pattern), "isolated")))
    assert kept["pre_tokenizer"]["pattern"]["Regex"] == expected.replace("@", r"\p{M}\x{200C}\x{200D}")
    Tokenizer.from_str(json.dumps(kept))  # a pattern that cannot be read is refused here


@pytest.mark.parametrize("kind", KINDS)
@given(text=st.text(st.characters(exclude_categories=["Cs", "M"], exclude_characters="\u200c\u200d")))
def test_text_without_marks_is_cut_as_before(kind: str, text: str) -> None:
    state = state_of(KINDS[kind])
    assert not has_marks([text])
    assert pieces(keep_marks(state), text) == pieces(state, text)


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_every_text_survives(text: str) -> None:
    tokenizer = train_tokenizer(tiny.bytebpe_tokenizer(), [*WORDS.values()] * 3)
    backend = plain_backend(tokenizer)
    assert backend.decode(backend.encode(text, add_special_tokens=False).ids, skip_special_tokens=False) == text


def test_a_space_before_every_piece_of_an_earlier_part_stays() -> None:
    parts = [pre_tokenizers.Digits(), pre_tokenizers.ByteLevel(add_prefix_space=True)]
    state = state_of(pre_tokenizers.Sequence(parts))
    assert keep_marks(state) is state


def test_emoji_are_no_marks() -> None:
    assert not has_marks(["I ❤️ it", "👩‍👩‍👧", "naïve"])
    assert has_marks(["I ❤️ it", "कि"])
    assert has_marks(["می‌خواهم"])


def test_signs_keep_the_marks_that_follow_them() -> None:
    """Many an emoji is a sign with a variation selector, a mark, or several with joiners."""
    state = state_of(KINDS["gpt2"])
    for text in ("❤️", "👩‍👩‍👧", "a ❤️ b"):
        assert pieces(keep_marks(state), text) == pieces(state, text)


def test_a_tokenizer_of_transformers_own_class_does_so_too() -> None:
    model = json.loads(tiny.bytebpe_tokenizer().backend_tokenizer.to_str())["model"]
    source = GPT2Tokenizer(vocab=model["vocab"], merges=[tuple(pair) for pair in model["merges"]], unk_token=None)
    target = train_tokenizer(source, [WORDS["hi"]] * 10)
    assert len(target(WORDS["hi"]).input_ids) == 1
