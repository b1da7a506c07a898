from __future__ import annotations

import bz2
import gzip
import itertools
import lzma
import re
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from lingraft.corpus import Counts, read_bitext, read_blocks, read_lines
from lingraft.errors import CorpusError
from lingraft.evidence.alignment import text as text_module
from lingraft.evidence.alignment.text import EncodedBitext, encode_pairs, format_links, read_tokenised
from lingraft.evidence.alignment.words import Vocabulary, cut, join, take_apart

COMPRESSORS = {"txt": bytes, "gz": gzip.compress, "zst": zstandard.compress, "xz": lzma.compress, "bz2": bz2.compress}

#: letters of one to four bytes, final sigma, a letter that grows when lower-cased, a combining mark, and what is white
#: space for Python's str but not here
CHARACTERS = "aAbBéΣσς\u0130中あ\U00020001ก\u0e48\u0301\u00a0\u3000\u0085\u2028\x1c  \t\v\f\r"
lines_of_text = st.lists(st.text(CHARACTERS, max_size=12), min_size=1, max_size=12)
quick = settings(max_examples=60, deadline=None)


def naive_ids(lines: list[list[bytes]]) -> tuple[list[list[int]], list[str]]:
    """Ids in order of first appearance, with a dict."""
    known: dict[bytes, int] = {}
    return [[known.setdefault(token, len(known)) for token in line] for line in lines], [k.decode() for k in known]


def as_lists(sequences) -> list[list[int]]:
    assert sequences.ids.dtype == np.int32
    assert sequences.offsets.dtype == np.int64
    return [sequences[k].tolist() for k in range(len(sequences))]


def tokens_of(bitext: EncodedBitext) -> list[tuple[list[str], list[str]]]:
    english, foreign = bitext.english_words.words(), bitext.foreign_words.words()
    sides = zip(as_lists(bitext.english), as_lists(bitext.foreign), strict=True)
    return [([english[k] for k in left], [foreign[k] for k in right]) for left, right in sides]


def assert_same(one: EncodedBitext, two: EncodedBitext) -> None:
    assert as_lists(one.english) == as_lists(two.english)
    assert as_lists(one.foreign) == as_lists(two.foreign)
    assert one.english_words.words() == two.english_words.words()
    assert one.foreign_words.words() == two.foreign_words.words()
    for left, right in (
        (one.english_word_of_unit, two.english_word_of_unit),
        (one.foreign_word_of_unit, two.foreign_word_of_unit),
    ):
        assert (left is None and right is None) or left.tolist() == right.tolist()


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


# --- vocabulary


def encode(vocabulary: Vocabulary, block: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Ids of the tokens of a text, and tokens per line."""
    starts, ends, lengths = cut(block)
    return vocabulary.encode_spans(block, starts, ends), lengths


def vocabulary_of(words: list[str]) -> Vocabulary:
    """The vocabulary in which word k has the id k."""
    vocabulary = Vocabulary()
    vocabulary.encode_spans(*join(word.encode() for word in words))
    return vocabulary


@quick
@given(
    st.lists(st.lists(st.sampled_from([*map(bytes, zip(range(256))), b" ", b"\n", b"a"]), max_size=40).map(b"".join))
)
def test_blocks_are_encoded_as_by_split_and_a_dict(blocks):
    vocabulary = Vocabulary()
    got, lines = [], []
    for block in blocks:
        ids, lengths = encode(vocabulary, block)
        assert ids.dtype == np.int32
        assert lengths.dtype == np.int64
        here = block.split(b"\n")
        here = here if here[-1] else here[:-1]
        assert len(here) == lengths.size
        got += [part.tolist() for part in np.split(ids, np.cumsum(lengths)[:-1])] if here else []
        lines += [line.split() for line in here]
    known = {}
    assert got == [[known.setdefault(token, len(known)) for token in line] for line in lines]
    assert len(vocabulary) == len(known)
    blob, offsets = vocabulary.to_arrays()
    assert [blob[a:b].tobytes() for a, b in itertools.pairwise(offsets)] == list(known)


def test_the_table_grows_and_keeps_every_id():
    # so many that some share the 32 bits of the hash that the table holds
    words = [f"{k * 7919 % 400_009:x}" for k in range(300_000)]
    vocabulary = Vocabulary()
    for start in range(0, len(words), 100_000):
        ids, _ = encode(vocabulary, " ".join(words[start : start + 100_000]).encode())
        assert ids.tolist() == list(range(start, start + 100_000))
    assert len(vocabulary) == len(words)
    assert vocabulary.words() == words
    again, _ = encode(vocabulary, "\n".join(reversed(words)).encode())
    assert again.tolist() == list(reversed(range(len(words))))
    assert len(vocabulary) == len(words)


def test_tokens_that_differ_little_are_told_apart():
    letters = [chr(k) for k in range(33, 127)]
    words = [*letters, *map("".join, itertools.product(letters, repeat=2)), *("a" * k for k in range(3, 300))]
    words += ["x" * 40 + a + b for a, b in itertools.product(letters[:40], repeat=2)]
    words += [a + b + "x" * 40 for a, b in itertools.product(letters[:40], repeat=2)]
    words += map("".join, itertools.permutations("abcdefg"))
    ids, _ = encode(Vocabulary(), "\n".join(words).encode())
    assert ids.tolist() == list(range(len(words)))


def test_a_token_longer_than_the_table_fits():
    words = ["a", "b" * 200_000, "c"]
    vocabulary = Vocabulary()
    assert encode(vocabulary, " ".join(words).encode())[0].tolist() == [0, 1, 2]
    assert vocabulary.words() == words


def test_nothing_has_no_lines_and_a_line_end_has_one():
    for block, lines in ((b"", []), (b"\n", [0]), (b" \n\n \r", [0, 0, 0]), (b"a", [1]), (b"a\n", [1])):
        assert cut(block)[2].tolist() == lines


@quick
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), unique=True))
def test_words_and_arrays_lead_back(words):
    vocabulary = vocabulary_of(words)
    assert vocabulary.words() == words
    blob, offsets = vocabulary.to_arrays()
    assert (blob.dtype, offsets.dtype) == (np.uint8, np.int64)
    assert offsets.shape == (len(words) + 1,)
    copy = Vocabulary.from_arrays(blob, offsets)
    assert copy.words() == words
    blob[:] = 0
    assert copy.words() == vocabulary.words() == words


@pytest.mark.parametrize("offsets", [[], [1, 3], [0, 2], [0, 2, 1, 3], [0, 4]])
def test_damaged_arrays_are_refused(offsets):
    with pytest.raises(CorpusError, match="offsets do not fit its 3 bytes"):
        Vocabulary.from_arrays(np.frombuffer(b"abc", np.uint8), np.array(offsets, np.int64))
    with pytest.raises(CorpusError, match="holds a word twice"):
        Vocabulary.from_arrays(np.frombuffer(b"aba", np.uint8), np.array([0, 1, 2, 3]))


# --- blocks of a file


@quick
@given(lines_of_text, st.booleans(), st.booleans(), st.integers(1, 40))
def test_blocks_hold_the_lines_of_the_file(tmp_path_factory, lines, mark, ended, size):
    content = "\ufeff" * mark + "\n".join(lines) + "\n" * ended
    if not content:
        return
    path = write(tmp_path_factory.mktemp("blocks"), "text.txt", content)
    blocks = list(read_blocks(path, size))
    assert all(block.endswith(b"\n") for block in blocks)
    assert [line.rstrip("\r\n") for line in b"".join(blocks).decode().split("\n")[:-1]] == list(read_lines(path))


@pytest.mark.parametrize("kind", sorted(COMPRESSORS))
def test_blocks_are_about_as_long_as_asked(tmp_path, kind):
    content = "".join(f"line {k}: déjà vu, 中文\n" for k in range(20_000)).encode()
    path = write(tmp_path, f"text.{kind}", COMPRESSORS[kind](content))
    blocks = list(read_blocks(path, 50_000))
    assert b"".join(blocks) == content
    assert max(map(len, blocks)) < 150_000
    assert len(blocks) > 5


# --- reading a bitext


@quick
@given(lines_of_text, lines_of_text, st.booleans(), st.booleans(), st.integers(1, 60))
def test_two_files_are_read_as_by_naive_python(tmp_path_factory, left, right, ended, lowercase, block_size):
    count = min(len(left), len(right))
    folder = tmp_path_factory.mktemp("bitext")
    # a last line that is empty and has no end is no line
    sides = [[*side[: count - 1], side[count - 1] or "x"] for side in (left, right)]
    paths = [write(folder, f"{k}.txt", "\n".join(side) + "\n" * ended) for k, side in enumerate(sides)]
    bitext = read_tokenised(f"{paths[0]},{paths[1]}", lowercase=lowercase, block_size=block_size)
    for side, sequences, words in (
        (sides[0], bitext.english, bitext.english_words),
        (sides[1], bitext.foreign, bitext.foreign_words),
    ):
        tokens = [(line.lower() if lowercase else line).encode().split() for line in side]
        assert (as_lists(sequences), words.words()) == naive_ids(tokens)
    assert bitext.malformed == 0
    assert bitext.english_word_of_unit is None
    assert bitext.foreign_word_of_unit is None
    assert_same(bitext, encode_pairs(zip(*sides, strict=True), lowercase=lowercase))


@quick
@given(lines_of_text, st.integers(1, 60), st.booleans())
def test_a_tsv_is_read_like_two_files(tmp_path_factory, lines, block_size, characters):
    folder = tmp_path_factory.mktemp("bitext")
    left = [line.replace("\t", "-") for line in lines]
    right = left[::-1]
    english, foreign = (write(folder, name, "\n".join([*side, ""])) for name, side in (("en", left), ("xx", right)))
    tsv = write(folder, "b.tsv", "".join(f"{a}\t{b}\r\n" for a, b in zip(left, right, strict=True)))
    one = read_tokenised(str(tsv), characters=characters, block_size=block_size)
    two = read_tokenised(f"{english},{foreign}", characters=characters, block_size=block_size)
    assert_same(one, two)
    assert len(one.english) == len(one.foreign) == len(lines)
    assert_same(one, encode_pairs(zip(left, right, strict=True), characters=characters))


@pytest.mark.parametrize("kind", sorted(COMPRESSORS))
def test_compressed_files_are_read(tmp_path, kind):
    pairs = [(f"word {k} é", f"mot {k * k} É") for k in range(3000)]
    tsv = write(tmp_path, f"b.tsv.{kind}", COMPRESSORS[kind]("".join(f"{a}\t{b}\n" for a, b in pairs).encode()))
    assert_same(read_tokenised(str(tsv), block_size=1000), encode_pairs(pairs))


@pytest.mark.parametrize("block_size", range(1, 12))
def test_a_token_across_blocks_is_one(tmp_path, block_size):
    english = write(tmp_path, "en", "\ufeffTwo words\r\n\r\ndéjà vu")
    foreign = write(tmp_path, "xx", "二つの 言葉\n\nまた\n")
    bitext = read_tokenised(f"{english},{foreign}", block_size=block_size)
    assert tokens_of(bitext) == [(["two", "words"], ["二つの", "言葉"]), ([], []), (["déjà", "vu"], ["また"])]


def test_every_line_of_a_tsv_is_kept(tmp_path):
    lines = [f"e{k}\tf{k}" for k in range(300)]
    lines[3], lines[100], lines[101], lines[200], lines[250] = "one column", "", "\t", "a\tb\tc", " \u3000 "
    path = write(tmp_path, "b.tsv", "\n".join(lines))
    bitext = read_tokenised(str(path), block_size=500)
    assert bitext.malformed == 2
    empty = {3, 100, 101, 200, 250}
    assert tokens_of(bitext) == [([], []) if k in empty else ([f"e{k}"], [f"f{k}"]) for k in range(300)]
    counts = Counts()
    assert len(list(read_bitext(str(path), counts))) == 298
    assert counts.malformed == bitext.malformed


@pytest.mark.parametrize("character_range", [range(0x3000), range(0x3000, sys.maxunicode + 1)])
def test_no_letter_becomes_white_space_when_lower_cased(character_range):
    letters = "".join(map(chr, character_range))
    white = set(" \t\n\v\f\r")
    assert not any(white & set(letter.lower()) for letter in letters if letter not in white)


def test_lower_case_is_that_of_str_lower(tmp_path):
    path = write(tmp_path, "b.tsv", "ΟΔΟΣ ΣΑΣ\t\u0130STANBUL STRASSE\n")
    assert tokens_of(read_tokenised(str(path))) == [(["οδος", "σας"], ["i\u0307stanbul", "strasse"])]
    assert tokens_of(read_tokenised(str(path), lowercase=False)) == [(["ΟΔΟΣ", "ΣΑΣ"], ["\u0130STANBUL", "STRASSE"])]


def test_new_words_come_behind_those_of_a_saved_vocabulary(tmp_path):
    path = write(tmp_path, "b.tsv", "The dog\tLe chien\nA cat\tchat\n")
    known = vocabulary_of(["dog", "the"]), vocabulary_of(["chat"])
    for bitext in (
        read_tokenised(str(path), extend=known),
        encode_pairs([("The dog", "Le chien"), ("A cat", "chat")], extend=known),
    ):
        assert as_lists(bitext.english) == [[1, 0], [2, 3]]
        assert as_lists(bitext.foreign) == [[1, 2], [0]]
        assert bitext.english_words.words() == ["dog", "the", "a", "cat"]
    assert [v.words() for v in known] == [["dog", "the"], ["chat"]]


# --- refusals: word for word those of `read_bitext`

GOOD = "".join(f"line {k}\tligne {k}\n" for k in range(500)).encode()
BAD_FILES = {
    "empty.tsv": b"",
    "nothing.tsv.gz": gzip.compress(b""),
    "nul.tsv": GOOD + b"a\tb\0c\n" + GOOD,
    "latin.tsv": GOOD + "café\tcafé\n".encode("latin-1") + GOOD,
    "nul-then-latin.tsv": GOOD + b"a\tb\0c\n" + "café\tcafé\n".encode("latin-1"),
    "latin-then-nul.tsv": GOOD + "café\tcafé\n".encode("latin-1") + b"a\tb\0c\n",
    "cut-character.tsv": GOOD + "a\té".encode()[:-1],
    "utf16.tsv": GOOD.decode().encode("utf-16"),
    "plain.tsv.gz": GOOD,
    "plain.tsv.zst": GOOD,
    "cut.tsv.gz": gzip.compress(GOOD)[:-9],
    "cut.tsv.xz": lzma.compress(GOOD)[:-9],
    "cut.tsv.bz2": bz2.compress(GOOD)[:-9],
    "cut.tsv.zst": zstandard.compress(GOOD)[:-1],
    "one-column.tsv": b"one\ntwo\n",
    "three-columns.tsv": GOOD + b"a\tb\tc\n" * 6 + b"d\n",
}


def refusal(read, *arguments, **options) -> str:
    with pytest.raises(CorpusError) as caught:
        read(*arguments, **options)
    return str(caught.value)


def naive_refusal(name: str) -> str:
    return refusal(lambda: list(read_bitext(name, Counts())))


@pytest.mark.parametrize("block_size", [1, 100, 1 << 20])
@pytest.mark.parametrize("name", sorted(BAD_FILES))
def test_files_are_refused_with_the_same_words(tmp_path, name, block_size):
    path = write(tmp_path, name, BAD_FILES[name])
    got, wanted = refusal(read_tokenised, str(path), block_size=block_size), naive_refusal(str(path))
    if "after line" in wanted and block_size < 1000:  # smaller pieces come further before the damage is seen
        got, wanted = (re.sub(r"after line \d+", "after line k", message) for message in (got, wanted))
    assert got == wanted


def test_names_are_refused_with_the_same_words(tmp_path):
    good = write(tmp_path, "good.txt", "one\n")
    for name in (f"{tmp_path}", f"{tmp_path / 'gone.tsv'}", "hf:some/set", f"{good},{tmp_path / 'gone.txt'}", "a,b,c"):
        assert refusal(read_tokenised, name) == naive_refusal(name)


@pytest.mark.parametrize(("left", "right"), [(3, 5), (5, 3), (2000, 1999)])
def test_files_of_different_length_are_refused_with_the_same_words(tmp_path, left, right):
    paths = [write(tmp_path, f"{k}.txt", "word\n" * count) for k, count in enumerate((left, right))]
    name = f"{paths[0]},{paths[1]}"
    assert refusal(read_tokenised, name, block_size=100) == naive_refusal(name)


def test_a_second_file_that_is_wrong_is_named(tmp_path):
    good = write(tmp_path, "good.txt", "one\ntwo\n")
    bad = write(tmp_path, "bad.txt", b"one\nca\xe9\n")
    message = refusal(read_tokenised, f"{good},{bad}")
    assert message == naive_refusal(f"{good},{bad}")
    assert str(bad) in message


# --- pairs of Python objects


def test_tokens_of_a_sequence_are_opaque():
    pairs = [(["New York", "is\tbig\n", "", "a\0b"], "New York"), (("is\tbig\n",), []), ("  ", "a\nb\rc\u00a0d")]
    bitext = encode_pairs(pairs)
    assert tokens_of(bitext) == [
        (["new york", "is\tbig\n", "", "a\0b"], ["new", "york"]),
        (["is\tbig\n"], []),
        ([], ["a", "b", "c\u00a0d"]),
    ]
    assert tokens_of(encode_pairs(pairs, lowercase=False))[0] == (pairs[0][0], ["New", "York"])


def test_many_pairs_go_in_parts(monkeypatch):
    pairs = [(f"a{k % 7} b", [f"c{k}", "d"]) for k in range(50)]
    whole = encode_pairs(pairs)
    monkeypatch.setattr(text_module, "_PAIRS", 3)
    assert_same(whole, encode_pairs(iter(pairs)))
    assert tokens_of(whole) == [(a.split(), b) for a, b in pairs]
    assert tokens_of(encode_pairs([])) == []


def test_half_a_surrogate_pair_is_refused_with_the_pair():
    with pytest.raises(CorpusError, match=r"Pair 2 holds half a surrogate pair, '\\udc80'"):
        encode_pairs([("a", "b"), ("a", "b\udc80")])


# --- characters


def units(*tokens: str) -> list[tuple[str, int]]:
    """The units of the tokens of one line, and the numbers of their tokens."""
    bitext = encode_pairs([(list(tokens), [])], characters=True, lowercase=False)
    assert bitext.english_word_of_unit.dtype == np.int32
    assert bitext.foreign_word_of_unit.tolist() == []
    return list(zip(tokens_of(bitext)[0][0], bitext.english_word_of_unit.tolist(), strict=True))


@pytest.mark.parametrize(
    ("token", "parts"),
    [
        ("word", "word"),
        ("中文", "中|文"),
        ("2024年5月", "2024|年|5|月"),
        ("Windows用户,好", "Windows|用|户|,|好"),
        ("ひらがなカタカナー", "ひ|ら|が|な|カ|タ|カ|ナ|ー"),
        ("か\u3099あ", "か\u3099|あ"),
        ("葛\U000e0100城", "葛\U000e0100|城"),
        ("\U00020bb7野屋", "\U00020bb7|野|屋"),
        ("ที่นี่abc", "ที่|นี่|abc"),
        ("ກິນເຂົ້າ", "ກິ|ນ|ເ|ຂົ້|າ"),
        ("ភាសា", "ភា|សា"),
        ("မြန်မာ", "မြ|န်|မာ"),
        ("e\u0301中\u0301e", "e\u0301|中\u0301|e"),
        ("\u0e48กa", "\u0e48|ก|a"),
        ("a\u0e48ก", "a\u0e48|ก"),
        ("한국어", "한국어"),
        ("。「」", "。「」"),
        ("", ""),
    ],
)
def test_characters_of_scripts_without_spaces_are_units(token, parts):
    assert units("x", token, "中") == [("x", 0), *((part, 1) for part in parts.split("|")), ("中", 2)]


SCRIPTS = (
    "CJK UNIFIED IDEOGRAPH",
    "CJK COMPATIBILITY IDEOGRAPH",
    "HIRAGANA",
    "KATAKANA LETTER",
    "THAI CHARACTER",
    "LAO",
    "KHMER",
    "MYANMAR",
)


def test_the_ranges_are_those_of_the_names_of_the_characters():
    own, marks, others = [], [], []
    for character in map(chr, range(0x21, sys.maxunicode + 1)):
        category = unicodedata.category(character)
        if category in ("Cn", "Co", "Cs", "Cc"):
            continue
        if unicodedata.name(character, "").startswith(SCRIPTS):
            (marks if category.startswith("M") else own).append(character)
        elif category in ("Lu", "Ll") or ord(character) < 0xE00:
            others.append(character)
    assert min(map(len, (own, marks, others))) > 100
    for kind, before_han, before_latin in ((own, 2, 2), (marks, 1, 1), (others, 2, 1)):
        if kind is others:
            kind = [character for character in kind if not unicodedata.category(character).startswith("M")]
        for start, wanted in (("中", before_han), ("a", before_latin)):
            block = "\n".join(start + character for character in kind).encode()
            lengths = take_apart(block, *cut(block))[2]
            assert [character for character, got in zip(kind, lengths, strict=True) if got != wanted] == []


@quick
@given(st.lists(st.text("aé,中文あกร\u0e48\U00020001", min_size=1, max_size=8), max_size=6), st.booleans())
def test_units_lead_back_to_their_tokens(tokens, sequence):
    pair = (tokens if sequence else " ".join(tokens), "")
    bitext = encode_pairs([pair, pair], characters=True)
    words = bitext.english_words.words()
    for line in range(2):
        back = [""] * len(tokens)
        first = bitext.english.offsets[line]
        for k, unit in enumerate(bitext.english[line]):
            back[bitext.english_word_of_unit[first + k]] += words[unit]
        assert back == tokens


# --- links out


def naive_links(offsets, english, foreign, posterior) -> bytes:
    lines = []
    for start, end in itertools.pairwise(offsets):
        links = [f"{english[k]}-{foreign[k]}" + (f":{posterior[k]:.3f}" if posterior is not None else "")
                 for k in range(start, end)]  # fmt: skip
        lines.append(" ".join(links) + "\n")
    return "".join(lines).encode()


numbers = st.integers(0, 120) | st.sampled_from([9, 10, 99, 100, 999, 1000, 65_535])
links = st.tuples(numbers, numbers, st.floats(0, 1, width=32))


@quick
@given(st.lists(st.lists(links, max_size=6), max_size=6), st.sampled_from([np.uint16, np.int32]), st.booleans())
def test_links_are_written_as_by_join(pairs, kind, with_posterior):
    flat = [link for pair in pairs for link in pair]
    offsets = np.concatenate([[0], np.cumsum([len(pair) for pair in pairs])]).astype(np.int64)
    english, foreign = (np.array([link[k] for link in flat], kind) for k in (0, 1))
    posterior = np.array([link[2] for link in flat], np.float32) if with_posterior else None
    assert format_links(offsets, english, foreign, posterior) == naive_links(offsets, english, foreign, posterior)


def test_posteriors_are_rounded_as_python_rounds():
    # ties in binary, every thousandth and what lies half-way between two
    posterior = np.concatenate([np.arange(65) / 64, np.arange(2001) / 2000]).astype(np.float32)
    offsets = np.arange(posterior.size + 1)
    zeros = np.zeros(posterior.size, np.uint16)
    text = format_links(offsets, zeros, zeros, posterior)
    assert text == naive_links(offsets, zeros, zeros, posterior)
    assert text.endswith(b"0-0:1.000\n")
    assert b"0-0:0.016\n" in text


def test_sums_that_left_the_unit_interval_are_written_as_its_ends():
    posterior = np.array([1.0001, 1.7, -0.2, np.nan], np.float32)
    zeros = np.zeros(4, np.int32)
    assert format_links(np.array([0, 4]), zeros, zeros, posterior) == b"0-0:1.000 0-0:1.000 0-0:0.000 0-0:0.000\n"


def test_a_part_of_the_pairs_can_be_written():
    offsets = np.array([0, 2, 2, 3, 5])
    english, foreign = np.arange(5, dtype=np.uint16), np.full(5, 2_000_000_000, np.int32)
    whole = format_links(offsets, english, foreign).splitlines(keepends=True)
    assert whole == [b"0-2000000000 1-2000000000\n", b"\n", b"2-2000000000\n", b"3-2000000000 4-2000000000\n"]
    assert format_links(offsets[1:3], english, foreign) == b"".join(whole[1:2])
    assert format_links(offsets[2:], english, foreign) == b"".join(whole[2:])
    assert format_links(offsets[:1], english, foreign) == b""
