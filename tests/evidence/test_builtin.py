"""The lexicons of the package, and text made of a lexicon."""

from __future__ import annotations

import lzma
import math
from collections import Counter
from functools import cache
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

import tiny
from lingraft.errors import CorpusError, RecipeError
from lingraft.evidence import builtin_languages, builtin_lexicon, check_direction, lexicon_text
from lingraft.evidence.alignment import Lexicon
from lingraft.evidence.builtin import with_probabilities
from lingraft.vocabulary import tokenizer_hash, train_tokenizer

LANGUAGES = ("ar", "fr", "hi", "ru", "vi", "zh")
FOLDER = Path(str(files("lingraft") / "data" / "lexicons"))
NAN = math.nan

the_lexicon = cache(builtin_lexicon)


def lexicon(*entries: tuple[str, str, float]) -> Lexicon:
    english, foreign, count = zip(*entries, strict=True)
    unknown = np.full(len(entries), NAN, np.float32)
    return Lexicon(list(english), list(foreign), unknown, unknown, np.array(count, np.float32))


def test_every_language_is_there_and_described() -> None:
    assert builtin_languages() == LANGUAGES
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    for language in LANGUAGES:
        assert f"`en-{language}.tsv.xz`" in readme
    assert "CC BY-SA" in readme


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_file_is_small_sorted_and_holds_words_only(language: str) -> None:
    path = FOLDER / f"en-{language}.tsv.xz"
    assert path.stat().st_size <= 600_000
    found = the_lexicon(language)
    assert len(found) > 20_000
    assert len(set(zip(found.english, found.foreign, strict=True))) == len(found), "an entry twice"
    assert found.foreign == sorted(found.foreign)
    # no sentences
    assert max(len(word.split(" ")) for word in found.english + found.foreign) <= 4
    assert max(map(len, found.foreign)) <= 40
    for word in found.english + found.foreign:
        assert word[0].isalpha()
        assert not any(mark in word for mark in '.,;:!?"()。，')
    assert (found.count > 0).all()


@pytest.mark.parametrize("language", LANGUAGES)
def test_probabilities_are_shares_of_the_counts(language: str) -> None:
    found = the_lexicon(language)
    for side, share in ((found.foreign, found.english_given_foreign), (found.english, found.foreign_given_english)):
        totals: Counter[str] = Counter()
        for word, p in zip(side, share.tolist(), strict=True):
            totals[word] += p
        assert min(totals.values()) == pytest.approx(1, abs=1e-3)
        assert max(totals.values()) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("language", "english", "foreign"),
    [
        ("fr", "water", "eau"), ("ru", "water", "вода"), ("ar", "water", "ماء"), ("hi", "water", "पानी"),
        ("vi", "water", "nước"), ("zh", "water", "水"), ("vi", "pupils", "học sinh"), ("zh", "countries", "国家"),
        ("fr", "Paris", "Paris"), ("ru", "Russia", "Россия"),
    ],
)  # fmt: skip
def test_everyday_words_are_translated(language: str, english: str, foreign: str) -> None:
    found = the_lexicon(language)
    senses = zip(found.count.tolist(), found.english, found.foreign, strict=True)
    assert max((count, word) for count, word, other in senses if other == foreign)[1] == english


def test_regions_and_scripts_have_the_lexicon_of_their_language() -> None:
    assert builtin_lexicon("hi-Deva-IN").english == the_lexicon("hi").english
    assert builtin_lexicon("zh-Hans").foreign == the_lexicon("zh").foreign


@pytest.mark.parametrize("language", ["de", "en", "", "french", "../fr", "fr\0"])
def test_other_languages_are_refused_with_those_there_are(language: str) -> None:
    with pytest.raises(RecipeError, match="only for ar, fr, hi, ru, vi, zh"):
        builtin_lexicon(language)


@cache
def english_tokenizer() -> PreTrainedTokenizerFast:
    """Uncased and accent-stripping, as BERT's, of the English words of a lexicon."""
    counts: Counter[str] = Counter()
    found = the_lexicon("hi")
    for word, count in zip(found.english, found.count.tolist(), strict=True):
        counts[word] += math.ceil(count)
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=6000, special_tokens=["[UNK]"], show_progress=False)
    tokenizer.train_from_iterator([" ".join([word] * min(count, 1000)) for word, count in counts.items()], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]")


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_direction_of_every_language_is_known(language: str) -> None:
    """Of French and Vietnamese as well, whose script is that of English; of the frequent and of the rare words."""
    found = the_lexicon(language)
    order = np.argsort(-found.count, kind="stable")
    for some in (order[:4000], order[-4000:], order[:60]):
        columns = [[side[k] for k in some.tolist()] for side in (found.english, found.foreign)]
        numbers = [column[some] for column in (found.english_given_foreign, found.foreign_given_english, found.count)]
        check_direction(Lexicon(*columns, *numbers), english_tokenizer())
        with pytest.raises(CorpusError, match="wrong way round"):
            check_direction(Lexicon(*columns[::-1], *numbers), english_tokenizer())


def test_text_has_the_words_in_proportion_to_their_counts() -> None:
    entries = [(word, tiny.cipher_word(word), 600 / (k + 1)) for k, word in enumerate(tiny.words())]
    lines = lexicon_text(lexicon(*entries, ("x", entries[0][1], 600)), tokens=10_000)
    occurring = Counter(word.strip(".,").lower() for line in lines for word in line.split())
    total = 600 + sum(count for *_, count in entries)
    for k, (_, word, count) in enumerate(entries):
        expected = max(1, round(10_000 * (1200 if k == 0 else count) / total))
        assert occurring[word] == expected


def test_text_is_the_same_every_time_and_another_with_another_seed() -> None:
    words = lexicon(*((word, tiny.cipher_word(word), 9.0) for word in tiny.words()))
    one = lexicon_text(words, 3, 2000)
    assert one == lexicon_text(words, 3, 2000) != lexicon_text(words, 4, 2000)
    assert sorted(" ".join(one)) != one


def test_text_of_a_word_list_has_every_word_as_often() -> None:
    lines = lexicon_text(lexicon(("a", "un", NAN), ("one", "un", NAN), ("house", "maison", NAN)), tokens=30)
    words = Counter(word.strip(".,").lower() for line in lines[:2] for word in line.split())
    assert words == {"un": 20, "maison": 10}


def test_text_of_scripts_without_spaces_has_none_and_joins_no_frequent_words() -> None:
    characters = [chr(0x4E00 + k) for k in range(400)]
    entries = lexicon(*(("x", character, 1000 / (k + 1)) for k, character in enumerate(characters)))
    lines = [line for line in lexicon_text(entries, tokens=40_000) if line.endswith("。")]
    assert not any(" " in line for line in lines)
    pairs = Counter(pair for line in lines for pair in pairwise(line) if not set(pair) & set("，。"))
    counts = Counter("".join(lines))
    # by chance the two most frequent would stand together this often
    chance = counts[characters[0]] * counts[characters[1]] / 40_000
    assert max(pairs.values()) < chance / 2


def test_elisions_are_written_with_the_word_behind_them() -> None:
    lines = lexicon_text(lexicon(("the", "l'", 50), ("man", "homme", 50)), tokens=100)
    assert "l'homme" in " ".join(lines)
    assert "' " not in " ".join(line for line in lines if "homme" in line)


@pytest.mark.parametrize(
    ("word", "signs"), [("घर", "०९।"), ("بيت", "٠٩؟،"), ("家", "。，「"), ("дом", "«»—"), ("บ้าน", "๐๙"), ("nhà", "?!")]
)
def test_text_has_the_digits_and_marks_of_the_script(word: str, signs: str) -> None:
    text = " ".join(lexicon_text(lexicon(("house", word, 3.0)), tokens=3))
    for sign in signs + "0123456789.,?!abcXYZ":
        assert text.count(sign) >= 5 or sign == "。"
    assert "1999" in text


def test_a_tokenizer_can_be_trained_on_the_words_alone(any_tokenizer: PreTrainedTokenizerFast) -> None:
    words = lexicon(*((word, tiny.cipher_word(word), 900 / (k + 1)) for k, word in enumerate(tiny.words())))
    lines = lexicon_text(words, tokens=5000)
    trained = train_tokenizer(any_tokenizer, lines)
    assert tokenizer_hash(trained) == tokenizer_hash(train_tokenizer(any_tokenizer, lexicon_text(words, tokens=5000)))
    line = tiny.cipher(tiny.english_lines(1)[0])
    ids = trained(line + " 1999, (9)!", add_special_tokens=False)["input_ids"]
    assert trained.unk_token_id not in ids
    assert len(trained(line, add_special_tokens=False)["input_ids"]) < 2 * len(line.split())


def test_probabilities_need_counts_and_survive_zeros() -> None:
    found = with_probabilities(lexicon(("a", "un", 3.0), ("one", "un", 1.0), ("a", "une", 1.0), ("b", "bé", 0.0)))
    assert found.english_given_foreign.tolist() == [0.75, 0.25, 1, 0]
    assert found.foreign_given_english.tolist() == [0.75, 1, 0.25, 0]


def test_the_files_are_lists_of_words_and_counts() -> None:
    for language in LANGUAGES:
        with lzma.open(FOLDER / f"en-{language}.tsv.xz", "rt", encoding="utf-8") as lines:
            assert all(len(line.split("\t")) == 5 for line in lines)
