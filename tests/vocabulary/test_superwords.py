"""Tokens that join characters or syllables, where the writing does not show words."""

from __future__ import annotations

import itertools
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

import tiny
from lingraft.surgery import models, save_tokenizer, train_target
from lingraft.vocabulary import (
    backend_json,
    special_ids,
    superwords,
    token_cuts,
    token_identities,
    tokenizer_hash,
    train_tokenizer,
    unigram_units,
)
from lingraft.vocabulary.superwords import units_of

HAN = [chr(0x4E00 + k) for k in range(240)]
SYLLABLES = [
    a + b + c
    for a in ("b", "ch", "đ", "ngh", "kh", "l", "m", "ph", "s", "t")
    for b in ("à", "ê", "ươ", "oa", "ị", "ổ", "ú", "ẽ")
    for c in ("", "n", "ng")
]


def words_of(units: list[str]) -> list[tuple[str, str]]:
    """Words of two units, each of which is a part of two of them, so that it says little by itself."""
    return [(unit, units[(k + 7) % len(units)]) for k, unit in enumerate(units)]


WORDS = ["".join(pair) for pair in words_of(HAN)]
COMPOUNDS = words_of(SYLLABLES)


def chinese(n: int = 1500, seed: int = 0) -> list[str]:
    random = np.random.default_rng(seed)
    return ["".join(random.choice(WORDS, random.integers(3, 9))) + "。" for _ in range(n)]


def vietnamese(n: int = 1500, seed: int = 0) -> list[str]:
    random = np.random.default_rng(seed)
    lines = []
    for _ in range(n):
        chosen = random.integers(len(COMPOUNDS), size=random.integers(3, 9))
        lines.append(" ".join(" ".join(COMPOUNDS[k]) for k in chosen) + ".")
    return lines


def test_characters_are_joined_to_words_that_have_one_form() -> None:
    target = train_tokenizer(tiny.wordpiece_tokenizer(), chinese())
    for first, second in itertools.pairwise(WORDS[:30]):
        assert target.tokenize(first) == [first]
        assert target.tokenize(f"{second}{first}。") == [second, first, "。"]
    assert not any(token.startswith("##") for token in target.get_vocab())
    assert special_ids(target) == special_ids(tiny.wordpiece_tokenizer())
    ids = target(chinese(3, seed=5)[0])["input_ids"]
    assert target.decode(ids, skip_special_tokens=True) == chinese(3, seed=5)[0]


def test_words_of_alphabets_without_spaces_are_longer() -> None:
    random = np.random.default_rng(0)
    words = ["".join(map(chr, random.integers(0x0E01, 0x0E2F, 7))) for _ in range(40)]
    lines = ["".join(random.choice(words, random.integers(3, 9))) for _ in range(1500)]
    target = train_tokenizer(tiny.wordpiece_tokenizer(), lines)
    assert sum(target.tokenize(word) == [word] for word in words) > 30
    assert all(
        len(token) <= 4 for token in train_tokenizer(tiny.wordpiece_tokenizer(), chinese()).get_vocab() if token >= "一"
    )


def test_other_scripts_are_not_joined_with_these() -> None:
    target = train_tokenizer(tiny.wordpiece_tokenizer(), [line + "windows 11" for line in chinese()])
    assert target.tokenize(f"{WORDS[0]}windows{WORDS[1]}11wind") == [WORDS[0], "windows", WORDS[1], "11", *"wind"]


def test_characters_of_lines_that_are_not_learned_from_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(superwords, "_MOST_UNITS", 2000)
    rare = [chr(0x5000 + k) for k in range(60)]
    lines = chinese()
    lines[1::25] = [line + character for line, character in zip(lines[1::25], rare, strict=True)]
    assert len(superwords.sampled(lines, "characters")) < len(lines) / 2
    target = train_tokenizer(tiny.wordpiece_tokenizer(), lines)
    assert all(target.tokenize(character) == [character] for character in rare)


def test_syllables_are_joined_to_words_that_have_one_form() -> None:
    target = train_tokenizer(tiny.wordpiece_tokenizer(), [*vietnamese(), "(“a b”) 2024"])
    for first, second in COMPOUNDS[:20]:
        word = f"▁{first}▁{second}"
        assert target.tokenize(f"{first} {second}") == [word]
        assert target.tokenize(f"({first.upper()}  {second}).") == ["▁(", word, "▁)", "▁."]
    # what only happened to be neighbours is not joined
    pairs = {token for token in target.get_vocab() if token.count("▁") > 1}
    assert pairs == {f"▁{first}▁{second}" for first, second in COMPOUNDS}
    text = f"{' '.join(COMPOUNDS[3])} ( ab ) 2024 {' '.join(COMPOUNDS[4])} ."
    encoding = target(text, return_offsets_mapping=True, add_special_tokens=False)
    names = target.convert_ids_to_tokens(encoding["input_ids"])
    places = dict(zip(names, encoding["offset_mapping"], strict=True))
    for pair in (COMPOUNDS[3], COMPOUNDS[4]):
        first, last = places["▁" + "▁".join(pair)]
        assert text[first:last].strip() == " ".join(pair)
    assert target.decode(encoding["input_ids"]) == text
    assert special_ids(target) == special_ids(tiny.wordpiece_tokenizer())


def test_what_is_no_known_syllable_is_spelled() -> None:
    target = train_tokenizer(tiny.wordpiece_tokenizer(), [*vietnamese(), "kilogram 2024"])
    for text in ("kilo", "nghàlog", "bàbà", "chênchên", "4202"):
        tokens = target.tokenize(text)
        assert "[UNK]" not in tokens
        assert "".join(tokens) == "▁" + text


@pytest.mark.parametrize("size", [300, 401])
def test_a_size_that_is_asked_for(size: int) -> None:
    assert len(train_tokenizer(tiny.wordpiece_tokenizer(), chinese(), size)) == size
    assert len(train_tokenizer(tiny.wordpiece_tokenizer(), vietnamese(), size)) == size


def test_a_small_vocabulary_spells_everything_too() -> None:
    for lines, size in ((chinese(), 260), (vietnamese(), 200)):
        target = train_tokenizer(tiny.wordpiece_tokenizer(), lines, size)
        assert target.unk_token_id not in {token for line in lines for token in target(line)["input_ids"]}


def test_what_a_text_is_written_in() -> None:
    assert units_of(chinese(10)) == "characters"
    assert units_of(["สวัสดีชาวโลก ok"]) == "characters"
    assert units_of(vietnamese()) == "syllables"
    assert units_of(vietnamese(20)) is None  # so few words say nothing
    assert units_of(tiny.english_lines()) is None
    assert units_of(["the man who came in time had no more to say"] * 200) is None
    assert units_of(["나는 학교에 간다"] * 500) is None
    assert units_of(["यह एक वाक्य है"] * 500) is None
    assert units_of(["протокол TCP и UDP для DNS " * 3] * 200) is None
    assert units_of([]) is None


def test_only_a_tokenizer_that_cannot_join_them_is_changed() -> None:
    for kind, make in tiny.TOKENIZERS.items():
        source = make()
        target = backend_json(train_tokenizer(source, chinese()))
        assert (unigram_units(source, chinese()) == "characters") == (kind == "wordpiece")
        assert (target["model"]["type"] == backend_json(source)["model"]["type"]) == (kind != "wordpiece")
    assert unigram_units(tiny.wordpiece_tokenizer(), tiny.english_lines()) is None
    plain = train_tokenizer(tiny.wordpiece_tokenizer(), chinese(), unigram=False)
    assert plain.tokenize(WORDS[0]) == list(WORDS[0])


def test_the_command_takes_what_a_recipe_does(command, tmp_path: Path, sentence_model_folder: Path) -> None:
    sizes = {}
    for name, lines, options, kind in (
        ("usual", chinese(), (), "Unigram"), ("pieces", chinese(), ("--no-unigram",), "WordPiece"),
        ("all", tiny.english_lines(), (), "WordPiece"),
        ("frequent", tiny.english_lines(), ("--min-count", 50), "WordPiece"),
    ):  # fmt: skip
        text = tmp_path / f"{name}.txt"
        text.write_text("\n".join(lines), encoding="utf-8")
        line = ["tokenizer", sentence_model_folder, "--text", text, "--quiet", "--out", tmp_path / name]
        status, _, err = command(*line, *options)
        assert status == 0, err
        made = AutoTokenizer.from_pretrained(tmp_path / name)
        assert backend_json(made)["model"]["type"] == kind
        sizes[name] = len(made)
    assert sizes["frequent"] < sizes["all"]
    assert command(*line[:-1], tmp_path / "none", "--min-count", 0)[0] == 2


def test_transformers_reads_the_same_beside_the_model(tmp_path: Path, sentence_model_folder: str) -> None:
    source = models.load_model(sentence_model_folder)
    for number, lines in enumerate((chinese(), vietnamese())):
        target = train_target(source.model.config, source.tokenizer, lines)
        folder = tmp_path / str(number)
        source.model.config.save_pretrained(folder)
        save_tokenizer(target, folder)
        assert tokenizer_hash(AutoTokenizer.from_pretrained(folder)) == tokenizer_hash(target)
        assert backend_json(target)["model"]["type"] == "Unigram"


@pytest.mark.parametrize(("lines", "decoder"), [(chinese(), "Fuse"), (vietnamese(), "Sequence")])
def test_a_kind_that_transformers_would_not_read_is_not_made(
    lines: list[str], decoder: str, sentence_model_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = models.load_model(sentence_model_folder)
    tried = []

    def read(_: object, tokenizer: PreTrainedTokenizerBase) -> str:
        tried.append(backend_json(tokenizer)["decoder"]["type"])
        return "BertTokenizer"

    monkeypatch.setattr(models, "_read_otherwise", read)
    target = train_target(source.model.config, source.tokenizer, lines)
    assert tried == [decoder]
    assert backend_json(target)["model"]["type"] == "WordPiece"


def test_words_and_signs_that_english_has_too_are_the_same_tokens() -> None:
    source = tiny.wordpiece_tokenizer()
    english = sorted({word for line in tiny.english_lines() for word in line.split()} & source.get_vocab().keys())
    lines = [f"{line}{english[k % len(english)]},2" for k, line in enumerate(chinese())]
    for target in (train_tokenizer(source, lines), train_tokenizer(source, lines, unigram=False)):
        theirs = dict(zip(token_identities(target), range(len(target)), strict=True))
        ours = token_identities(source)
        names = target.get_vocab()
        for text in (*english, ",", "2"):
            assert theirs[ours[source.get_vocab()[text]]] == names[text]


def test_tokens_of_several_are_cut_to_train_their_parts() -> None:
    for lines, token, parts in (
        (chinese(), WORDS[3], [tuple(WORDS[3])]),
        (vietnamese(), "▁" + "▁".join(COMPOUNDS[3]), [tuple("▁" + syllable for syllable in COMPOUNDS[3])]),
    ):
        target = train_tokenizer(tiny.wordpiece_tokenizer(), lines)
        cuts = token_cuts(target)
        row = target.convert_tokens_to_ids(token)
        places = slice(cuts.first[row], cuts.first[row] + cuts.number[row])
        sides = (target.convert_ids_to_tokens(side[places].tolist()) for side in (cuts.left, cuts.right))
        assert set(parts) <= set(zip(*sides, strict=True))


def test_marks_stay_in_words() -> None:
    """Japanese in decomposed form: the mark of a voiced consonant is a character of its own."""
    words = [unicodedata.normalize("NFD", word) for word in ("がぎ", "ぐげ", "ござ", "じず")]
    random = np.random.default_rng(0)
    lines = ["".join(random.choice(words, random.integers(3, 9))) for _ in range(400)]
    target = train_tokenizer(tiny.wordpiece_tokenizer(), lines)
    assert all(target.tokenize(word) == [word] for word in words)


@pytest.mark.parametrize("part", ["normalizer", "pre_tokenizer"])
def test_a_source_without_a_part(part: str) -> None:
    source = tiny.rebuilt(tiny.wordpiece_tokenizer(), **{part: None})
    assert train_tokenizer(source, chinese()).tokenize(WORDS[3]) == [WORDS[3]]
    assert train_tokenizer(source, vietnamese()).tokenize(" ".join(COMPOUNDS[3])) == ["▁" + "▁".join(COMPOUNDS[3])]
