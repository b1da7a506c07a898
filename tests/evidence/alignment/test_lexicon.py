from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lingraft.corpus import Counts, read_lines
from lingraft.errors import CorpusError, OutputError, RecipeError
from lingraft.evidence.alignment.lexicon import (
    Lexicon,
    lexicon_from_counts,
    prior_counts,
    read_lexicon,
    unused_entries,
    write_lexicon,
)

NUMBERS = ("english_given_foreign", "foreign_given_english", "count")

#: anything but what the format cannot hold
words = st.text(st.characters(exclude_characters="\t\n\r\0", exclude_categories=["Cs"]), min_size=1, max_size=6).filter(
    lambda word: word == word.strip(" ") != ""
)
probabilities = st.floats(0, 1, width=32) | st.just(math.nan)
link_counts = st.floats(0, width=32, allow_infinity=False) | st.just(math.nan)
entries = st.lists(st.tuples(words, words, probabilities, probabilities, link_counts), min_size=1, max_size=8)
one_letter = st.tuples(st.sampled_from("abcd"), st.sampled_from("wxyz"), probabilities, probabilities)


def lexicon(*rows: tuple[str, str, float, float, float]) -> Lexicon:
    english, foreign, *numbers = zip(*rows, strict=True) if rows else ([],) * 5
    return Lexicon(list(english), list(foreign), *(np.array(column, np.float32) for column in numbers))


def plain(*pairs: tuple[str, str]) -> Lexicon:
    return lexicon(*((*pair, math.nan, math.nan, math.nan) for pair in pairs))


def rows(lexicon: Lexicon) -> list[tuple[str, str, float, float, float]]:
    numbers = [getattr(lexicon, name).tolist() for name in NUMBERS]
    return list(zip(lexicon.english, lexicon.foreign, *numbers, strict=True))


def assert_same(found: Lexicon, expected: Lexicon) -> None:
    assert (found.english, found.foreign) == (expected.english, expected.foreign)
    for name in NUMBERS:
        one, two = getattr(found, name), getattr(expected, name)
        assert one.dtype == two.dtype == np.float32
        np.testing.assert_array_equal(one.view(np.uint32), two.view(np.uint32))


def write(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def csr(table: list[list[float]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """CSR of the cells that are not zero, the columns of a row in descending order."""
    cells = [[(j, v) for j, v in reversed(list(enumerate(row))) if v] for row in table]
    indptr = np.concatenate([[0], np.cumsum([len(row) for row in cells])]).astype(np.int64)
    flat = [cell for row in cells for cell in row]
    return indptr, np.array([j for j, _ in flat], np.int32), np.array([v for _, v in flat], np.float32)


# --- from counts ------------------------------------------------------------------------------------------------------


@given(
    table=st.integers(0, 5).flatmap(
        lambda n: st.lists(st.lists(st.integers(0, 9), min_size=n, max_size=n), max_size=5)
    ),
    min_count=st.sampled_from([0, 1, 2, 4]),
    min_probability=st.sampled_from([0.0, 0.25, 0.375, 1.0]),
)
def test_lexicon_is_that_of_a_naive_implementation(
    table: list[list[int]], min_count: int, min_probability: float
) -> None:
    n_english = max(map(len, table), default=0)
    expected = []
    for f, row in enumerate(table):
        for e, value in enumerate(row):
            if value and value >= min_count:
                backward, forward = Fraction(value, sum(row)), Fraction(value, sum(other[e] for other in table))
                if max(backward, forward) >= min_probability:
                    expected.append((f, -backward, e, forward, value))
    expected.sort()
    found = lexicon_from_counts(
        *csr([[v / 4 for v in row] for row in table]),
        [f"e{k}" for k in range(n_english)],
        [f"f{k}" for k in range(len(table))],
        min_count / 4,
        min_probability,
    )
    assert len(found) == len(expected)
    for row, (f, backward, e, forward, value) in zip(rows(found), expected, strict=True):
        assert row == (f"e{e}", f"f{f}", np.float32(float(-backward)), np.float32(float(forward)), value / 4)
    assert all(getattr(found, name).dtype == np.float32 for name in NUMBERS)


def test_defaults_drop_rare_and_improbable_entries() -> None:
    counts = csr([[0.4, 99.0, 0.6], [0.0, 0.9, 300.0]])
    found = lexicon_from_counts(*counts, ["a", "the", "b"], ["la", "le"])
    # (a, la) is too rare; (b, la) and (the, le) are below 1 % in both directions
    assert [row[:2] for row in rows(found)] == [("the", "la"), ("b", "le")]
    np.testing.assert_allclose(found.english_given_foreign, [0.99, 300 / 300.9], rtol=1e-6)
    np.testing.assert_allclose(found.foreign_given_english, [99 / 99.9, 300 / 300.6], rtol=1e-6)


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("min_count", -1.0), ("min_count", math.nan), ("min_probability", 1.1), ("min_probability", -0.1)],
)
def test_impossible_limits_are_refused(keyword: str, value: float) -> None:
    with pytest.raises(RecipeError, match=f"is {value}; it must"):
        lexicon_from_counts(*csr([[1.0]]), ["a"], ["b"], **{keyword: value})


def test_counts_of_other_words_are_refused() -> None:
    for english, foreign in ((["a"], ["x"]), (["a", "b"], ["x", "y"])):
        with pytest.raises(ValueError, match="the counts are not of"):
            lexicon_from_counts(*csr([[1.0, 2.0]]), english, foreign)


# --- files ------------------------------------------------------------------------------------------------------------


@settings(deadline=None)  # writes files
@given(entries=entries, suffix=st.sampled_from(["", ".tsv", ".tsv.gz", ".zst", ".xz", ".bz2"]))
@example(entries=[("\u3000", "\u2003", *[math.nan] * 3)], suffix="")  # other white space is no empty line
@example(entries=[("\ufeff", "\x85", 1.0, 0.0, math.nan)], suffix=".tsv")  # no byte order mark, no line end
@example(entries=[("a", "b", 1e-45, 1.0, float(np.finfo(np.float32).max))], suffix="")
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, entries: list[tuple[str, str, float, float, float]], suffix: str
) -> None:
    path = tmp_path_factory.mktemp("lexicon") / f"words{suffix}"
    lines = lexicon(*entries)
    write_lexicon(lines, path)
    content = path.read_bytes()
    assert_same(read_lexicon(str(path)), lines)
    write_lexicon(lines, path)
    assert path.read_bytes() == content
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_the_format(tmp_path: Path) -> None:
    path = tmp_path / "words.tsv"
    write_lexicon(lexicon(("house", "maison", 0.5, 1 / 3, 12), ("ice cream", "glace", 1, 1e-5, math.nan)), path)
    assert list(read_lines(path)) == ["house\tmaison\t0.5\t0.33333334\t12.0", "ice cream\tglace\t1.0\t1e-05"]


def test_two_to_five_columns(tmp_path: Path) -> None:
    path = write(
        tmp_path / "words.tsv",
        "a\tx", " b b \ty z ", "", "c\tx\t0.5", "d\tx\t1\t0", " \t ", "e\tx\t.25\t1e-1\t7", "f\tx\t\t0.5\t", "a\tx\r",
    )  # fmt: skip
    counts = Counts()
    found = read_lexicon(path, counts)
    assert [row[:2] for row in rows(found)] == [
        ("a", "x"), ("b b", "y z"), ("c", "x"), ("d", "x"), ("e", "x"), ("f", "x"), ("a", "x"),
    ]  # fmt: skip
    nan = math.nan
    np.testing.assert_array_equal(found.english_given_foreign, np.float32([nan, nan, 0.5, 1, 0.25, nan, nan]))
    np.testing.assert_array_equal(found.foreign_given_english, np.float32([nan, nan, nan, 0, 0.1, 0.5, nan]))
    np.testing.assert_array_equal(found.count, np.float32([nan, nan, nan, nan, 7, nan, nan]))
    assert (counts.read, counts.kept, counts.empty, counts.malformed) == (9, 7, 2, 0)


MALFORMED = [
    ("house maison", "has 1 column;"),
    ("a\tb\t1\t1\t1\t1", "has 6 columns;"),
    ("a\t", "has an empty word;"),
    (" \tb\t0.5", "has an empty word;"),
    ("a\tb\tc", "holds 'c' where a number belongs;"),
    ("a\tb\t0,5", "holds '0,5' where a number belongs;"),
    ("a\tb\t1.5", "holds '1.5' where a probability belongs;"),
    ("a\tb\t-0.5", "holds '-0.5' where a probability belongs;"),
    ("a\tb\tnan", "holds 'nan' where a probability belongs;"),
    ("a\tb\t0.5\tinf", "holds 'inf' where a probability belongs;"),
    ("a\tb\t0.5\t0.5\t-1", "holds '-1' where a count belongs;"),
    ("a\tb\t0.5\t0.5\tinf", "holds 'inf' where a count belongs;"),
    ("a\tb\t0.5\t0.5\t1e39", "holds '1e39' where a count belongs;"),
]


@pytest.mark.parametrize(("line", "message"), MALFORMED)
def test_malformed_lines(tmp_path: Path, line: str, message: str) -> None:
    good = ["a\tb"] * 99
    path = write(tmp_path / "words.tsv", *good[:9], line, *good[9:])
    counts = Counts()
    assert len(read_lexicon(path, counts)) == 99
    assert (counts.read, counts.kept, counts.malformed, counts.malformed_lines) == (100, 99, 1, [10])
    write(path, *good[:9], line, *good[9:], "x")
    with pytest.raises(CorpusError) as caught:
        read_lexicon(path)
    assert f"'{path}': line 10 {message}" in str(caught.value)
    assert "2 of 101 lines" in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="does not exist"):
        read_lexicon(tmp_path / "none")
    with pytest.raises(CorpusError, match="holds no lexicon entries"):
        read_lexicon(write(tmp_path / "words", "", " "))
    (tmp_path / "words").write_bytes(b"a\tb\na\t\xff\n")
    with pytest.raises(CorpusError, match="not UTF-8 text: line 2"):
        read_lexicon(tmp_path / "words")


@pytest.mark.parametrize("word", ["", " ", " a", "a ", "a\tb", "a\nb", "a\r", "a\0", "a\ud800"])
def test_words_that_are_no_column_are_refused(tmp_path: Path, word: str) -> None:
    path = write(tmp_path / "words.tsv", "a\tb")
    for entry in (("a", word), (word, "a")):
        with pytest.raises(CorpusError, match=r"cannot be written"):
            write_lexicon(plain(("a", "b"), entry), path)
    assert path.read_text() == "a\tb\n"
    assert list(tmp_path.iterdir()) == [path]


def test_files_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path / "file", "old")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "none" / "words.tsv", file / "words.tsv", tmp_path / "folder"):
        with pytest.raises(OutputError, match="cannot be written"):
            write_lexicon(plain(("a", "b")), path)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_lexicon(plain(("a", "b")), file)
    assert file.read_text() == "old\n"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "folder"]


# --- prior ------------------------------------------------------------------------------------------------------------


def dense(counts: tuple[np.ndarray, np.ndarray, np.ndarray], n_english: int) -> np.ndarray:
    indptr, columns, values = counts
    assert [a.dtype for a in counts] == [np.int64, np.int32, np.float32]
    table = np.zeros((indptr.size - 1, n_english), np.float32)
    for row in range(indptr.size - 1):
        cells = columns[indptr[row] : indptr[row + 1]].tolist()
        assert cells == sorted(set(cells))
        table[row, cells] = values[indptr[row] : indptr[row + 1]]
    return table


def test_prior_counts() -> None:
    nan = math.nan
    lines = lexicon(
        ("house", "maison", 0.5, 0.25, 9),
        ("home", "maison", 0.5, nan, nan),
        ("dog", "chien", nan, 0.125, nan),
        ("cat", "chat", nan, nan, nan),
        ("tom cat", "chat", nan, nan, nan),
        ("cat", "chat", nan, nan, nan),
        ("pussycat", "chat", nan, nan, nan),
        ("cat", "chaton", 0, 0, 0),
        ("dog", "chiens", 1, 1, 1),
        ("doggy", "chien", 1, 1, 1),
        ("house", "grande maison", 1, 1, 1),
        ("house", "maison", 0.25, 0.25, 9),
    )
    english = {"home": 0, "cat": 1, "house": 2, "dog": 3, "tom cat": 4}
    foreign = {"chat": 0, "maison": 1, "chien": 2, "chaton": 3, "grande maison": 4, "un": 5}
    expected = np.zeros((6, 5), np.float32)
    # three different entries: cat, tom cat and pussycat
    expected[0, 1] = 8 / 3
    expected[1, 2], expected[1, 0] = 3, 4
    expected[2, 3] = 1
    np.testing.assert_array_equal(dense(prior_counts(lines, english, foreign, 8.0), 5), expected)
    assert not dense(prior_counts(lines, english, foreign, 0.0), 5).any()


@given(pairs=st.lists(one_letter, max_size=12), strength=st.floats(0, 100))
def test_prior_counts_of_repeated_entries(pairs: list[tuple[str, str, float, float]], strength: float) -> None:
    lines = lexicon(*((*pair, 1.0) for pair in pairs))
    expected = np.zeros((3, 3))
    for e, f, *both in pairs:
        known = [p for p in both if p == p]
        p = sum(known) / len(known) if known else 1 / len({other[0] for other in pairs if other[1] == f})
        if e in "abc" and f in "xyz":
            cell = "xyz".index(f), "abc".index(e)
            expected[cell] = max(expected[cell], strength * p)
    found = prior_counts(lines, {w: k for k, w in enumerate("abc")}, {w: k for k, w in enumerate("xyz")}, strength)
    np.testing.assert_array_equal(dense(found, 3), expected.astype(np.float32))


def test_prior_counts_of_characters() -> None:
    nan = math.nan
    lines = lexicon(
        ("china", "中国", 0.5, nan, 9),
        ("country", "国", nan, nan, nan),
        ("mum", "妈妈", 1, 1, 1),  # one type, and so one cell
        ("user", "Windows用户", nan, nan, nan),
        ("word", "Windows用户", nan, nan, nan),
        ("ไทย", "中", 1, 0.5, 1),
        ("中国", "国中", 1, 1, 1),  # nobody knows which goes with which
        ("tom cat", "猫", 1, 1, 1),
        ("cat", "大 猫", 1, 1, 1),
        ("half", "国\ud800", 1, 1, 1),
    )
    english = {
        word: k for k, word in enumerate(["china", "country", "mum", "user", "ไ", "ท", "ย", "中", "half", "cat"])
    }
    foreign = {word: k for k, word in enumerate(["中", "国", "妈", "Windows", "用", "户", "猫"])}
    expected = np.zeros((7, 10), np.float32)
    expected[:2, 0] = 6 * 0.5 / 2
    expected[1, 1] = 6
    expected[2, 2] = 6
    expected[3:6, 3] = 6 / 2 / 3
    expected[0, 4:7] = 6 * 0.75 / 3
    expected[1, 8] = 6 / 2
    np.testing.assert_allclose(dense(prior_counts(lines, english, foreign, 6.0, characters=True), 10), expected)
    assert unused_entries(lines, characters=True) == 3
    assert unused_entries(lines) == 2
    whole = dense(prior_counts(lines, english, foreign, 6.0), 10)
    assert whole[1, 1] == 6
    assert np.count_nonzero(whole) == 1


def test_prior_counts_of_nothing() -> None:
    for entries in (lexicon(), plain(("a", "b"))):
        indptr, columns, values = prior_counts(entries, {"x": 0}, {"y": 0, "z": 1}, 1.0)
        assert indptr.tolist() == [0, 0, 0]
        assert columns.size == values.size == 0
        assert prior_counts(entries, {}, {}, 1.0)[0].tolist() == [0]


def test_impossible_priors_are_refused() -> None:
    for strength in (-1.0, math.nan, math.inf):
        with pytest.raises(RecipeError, match="strength of the lexicon"):
            prior_counts(plain(("a", "b")), {"a": 0}, {"b": 0}, strength)
    with pytest.raises(ValueError, match="foreign type 3 where there are 1 types"):
        prior_counts(plain(("a", "b")), {"a": 0}, {"b": 3}, 1.0)
