from __future__ import annotations

import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lingraft.corpus import Counts, clean, clean_pairs, clean_text, read_bitext, split_bitext
from lingraft.errors import CorpusError


def write(path, lines):
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return str(path)


def tsv(tmp_path, malformed, n=200, bad="only one column"):
    """A TSV of n lines of which those with the given 1-based numbers are malformed."""
    lines = [bad if number in malformed else f"english {number}\tfrançais {number}" for number in range(1, n + 1)]
    return write(tmp_path / "bitext.tsv", lines)


def read(name):
    counts = Counts()
    return list(read_bitext(name, counts)), counts


def test_text_is_composed():
    assert clean("e\u0301te\u0301") == "été"
    assert clean("\u1100\u1161") == "\uac00"


def test_compatibility_characters_stay():
    assert clean("ﬁne №５") == "ﬁne №５"


@pytest.mark.parametrize("word", ["می\u200cخواهم", "क्\u200dष", "ශ්\u200dරී", "👩\u200d🌾", "a\u00adb"])
def test_format_characters_carry_meaning_and_stay(word):
    assert clean(f"  {word}\t{word} ") == f"{word} {word}"


@pytest.mark.parametrize("gap", [" ", "\t", "\r", "\v", "\x07", "\x7f", "\x85", "\u00a0", "\u2028", "\u2029", "\u3000"])
def test_white_space_and_control_characters_are_one_space(gap):
    assert clean(f"{gap}one{gap}{gap} two{gap}") == "one two"


@given(st.text())
def test_cleaning_twice_is_cleaning_once(line):
    assert clean(clean(line)) == clean(line)


@given(st.text(st.characters(categories=("L", "M", "Cc", "Cf", "Zs", "Zl", "Zp"))))
def test_clean_lines_are_composed_single_spaced_and_hold_no_control_characters(line):
    cleaned = clean(line)
    assert unicodedata.is_normalized("NFC", cleaned)
    assert not {unicodedata.category(character) for character in cleaned} & {"Cc", "Zl", "Zp"}
    assert all(character == " " or not character.isspace() for character in cleaned)
    assert cleaned == cleaned.strip()
    assert (" ", " ") not in pairwise(cleaned)


@given(st.text(st.characters(categories=("L", "N", "P", "Cf", "Zs"))))
def test_cleaning_loses_nothing_but_white_space(line):
    composed = unicodedata.normalize("NFC", line)
    assert "".join(clean(line).split()) == "".join(composed.split())


def test_every_line_of_text_is_kept_or_counted():
    counts = Counts()
    lines = list(clean_text(["one", "", " \t", "x" * 11, "x" * 10, " y  z "], 10, counts))
    assert lines == ["one", "x" * 10, "y z"]
    assert counts.as_dict() == Counts(read=6, kept=3, empty=2, overlong=1).as_dict()


def test_a_pair_goes_as_a_whole():
    counts = Counts()
    given_pairs = [("a", "b"), ("a", ""), (" ", "b"), ("a", "x" * 11), ("x" * 11, "b"), ("x" * 11, "")]
    assert list(clean_pairs(given_pairs, 10, counts)) == [("a", "b")]
    assert counts.as_dict() == Counts(read=6, kept=1, empty=3, overlong=2).as_dict()


@given(st.lists(st.tuples(st.text(max_size=30), st.text(max_size=30))))
def test_the_counts_of_pairs_add_up(pairs):
    counts = Counts()
    kept = list(clean_pairs(pairs, 20, counts))
    assert counts.kept == len(kept)
    assert counts.read == len(pairs) == counts.kept + counts.empty + counts.overlong


def test_counts_of_files_add_up():
    total = Counts(read=3, kept=1, malformed=2, malformed_lines=[4, 5])
    total.add(Counts(read=12, kept=2, empty=1, overlong=1, malformed=9, malformed_lines=[*range(1, 10)]))
    assert total.as_dict() == {
        "read": 15, "kept": 3, "empty": 1, "overlong": 1, "malformed": 11,
        "malformed_lines": [4, 5, 1, 2, 3, 4, 5, 6, 7, 8],
    }  # fmt: skip


def test_a_tsv_gives_its_pairs_english_first(tmp_path):
    pairs, counts = read(tsv(tmp_path, malformed=(), n=3))
    assert pairs == [(f"english {k}", f"français {k}") for k in (1, 2, 3)]
    assert counts == Counts()  # reading counts only what it skips; cleaning counts the rest


@pytest.mark.parametrize("bad", ["only one column", "one\ttwo\tthree"])
def test_one_malformed_line_of_two_hundred_is_skipped_and_counted_with_its_number(tmp_path, bad):
    pairs, counts = read(tsv(tmp_path, malformed={7}, bad=bad))
    assert len(pairs) == 199
    assert ("english 8", "français 8") in pairs
    assert (counts.read, counts.malformed, counts.malformed_lines) == (1, 1, [7])


def test_one_percent_exactly_is_skipped(tmp_path):
    pairs, counts = read(tsv(tmp_path, malformed={7, 200}))
    assert len(pairs) == 198
    assert counts.malformed_lines == [7, 200]


@pytest.mark.parametrize(("bad", "columns"), [("only one column", "1 column,"), ("one\ttwo\tthree", "3 columns,")])
def test_three_malformed_lines_of_two_hundred_are_an_error_that_names_the_first(tmp_path, bad, columns):
    name = tsv(tmp_path, malformed={30, 7, 200}, bad=bad)
    with pytest.raises(CorpusError) as caught:
        read(name)
    assert f"'{name}': line 7 has {columns} two were expected" in str(caught.value)
    assert "3 of 200 lines" in str(caught.value)


def test_a_single_malformed_line_of_a_short_tsv_is_an_error(tmp_path):
    with pytest.raises(CorpusError, match="line 2 has 1 column"):
        read(tsv(tmp_path, malformed={2}, n=50))


def test_blank_lines_of_a_tsv_are_empty_pairs_and_keep_the_line_numbers(tmp_path):
    pairs, counts = read(tsv(tmp_path, malformed={2, 3}, n=4, bad=""))
    assert pairs == [("english 1", "français 1"), ("", ""), ("", ""), ("english 4", "français 4")]
    assert counts.malformed == 0


def test_at_most_ten_line_numbers_are_kept(tmp_path):
    _, counts = read(tsv(tmp_path, malformed=set(range(100, 112)), n=2000))
    assert (counts.malformed, counts.malformed_lines) == (12, [*range(100, 110)])


def test_two_files_give_the_pairs_a_tsv_gives(tmp_path):
    english = write(tmp_path / "text.en", ["a", "", "c"])
    foreign = write(tmp_path / "text.fr", ["à", "b", "ç"])
    pairs, _ = read(f"{english},{foreign}")
    assert pairs == [("a", "à"), ("", "b"), ("c", "ç")]


@pytest.mark.parametrize(("n_english", "n_foreign"), [(3, 5), (5, 3), (1200, 1), (1, 1200)])
def test_two_files_of_different_length_are_refused_with_both_counts(tmp_path, n_english, n_foreign):
    english = write(tmp_path / "text.en", ["a"] * n_english)
    foreign = write(tmp_path / "text.fr", ["à"] * n_foreign)
    with pytest.raises(CorpusError) as caught:
        read(f"{english},{foreign}")
    assert f"'{english}' has {n_english:,} lines" in str(caught.value)
    assert f"'{foreign}' has {n_foreign:,}" in str(caught.value)


def test_three_files_are_no_bitext():
    with pytest.raises(CorpusError, match="names 3 files") as caught:
        split_bitext("a.en,b.fr,c.de")
    assert "a.en,b.fr,c.de" in str(caught.value)


def test_a_file_with_a_comma_in_its_name_is_one_file(tmp_path):
    name = write(tmp_path / "one,two.tsv", ["a\tà"])
    assert read(name)[0] == [("a", "à")]


@pytest.mark.parametrize("which", ["text.en", "text.fr"])
def test_a_missing_side_is_named(tmp_path, which):
    names = [write(tmp_path / side, ["a"]) for side in ("text.en", "text.fr")]
    (tmp_path / which).unlink()
    with pytest.raises(CorpusError, match="does not exist") as caught:
        read(",".join(names))
    assert str(tmp_path / which) in str(caught.value)
