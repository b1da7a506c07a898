"""Word vectors to and from files, and every way a file can be wrong."""

from __future__ import annotations

import builtins
import gzip
import sys

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lingraft.corpus import Counts
from lingraft.errors import CorpusError, MissingExtraError, OutputError
from lingraft.evidence.vectors import (
    WordVectors,
    load_vectors,
    read_vectors,
    save_vectors,
    train_on_tokens,
    write_vectors,
)

words = st.text(st.characters(exclude_characters=" \n\0", exclude_categories=["Cs"]), min_size=1, max_size=6)
numbers = st.floats(width=32, allow_nan=False, allow_infinity=False)


@st.composite
def tables(draw):
    dimension = draw(st.integers(1, 4))
    row = st.lists(numbers, min_size=dimension, max_size=dimension)
    entries = draw(st.dictionaries(words, row, min_size=1, max_size=6))
    return WordVectors(list(entries), np.array(list(entries.values()), np.float32))


def written(path, *lines):
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")
    return path


def assert_same(found, expected):
    assert found.words == expected.words
    assert found.matrix.dtype == np.float32
    np.testing.assert_array_equal(found.matrix.view(np.uint32), expected.matrix.view(np.uint32))


@given(vectors=tables(), suffix=st.sampled_from([".vec", ".vec.gz", ".vec.zst", ".vec.xz", ".vec.bz2", ""]))
@example(vectors=WordVectors(["\u00a0", "\u2003a", "\r", "1", "\ufeff"], np.ones((5, 1), np.float32)), suffix=".vec")
@example(
    vectors=WordVectors(["a", "b"], np.array([[1e-45, -0.0], [3.4028235e38, 16777217]], np.float32)), suffix=".vec"
)
def test_what_is_written_is_read_back(tmp_path_factory, vectors, suffix):
    path = tmp_path_factory.mktemp("vectors") / f"some{suffix}"
    write_vectors(vectors, path)
    counts = Counts()
    assert_same(read_vectors(path, counts=counts), vectors)
    assert (counts.read, counts.kept, counts.malformed) == (len(vectors), len(vectors), 0)


@given(vectors=tables(), counted=st.booleans())
def test_what_is_saved_is_loaded_with_its_counts(tmp_path_factory, vectors, counted):
    path = tmp_path_factory.mktemp("vectors") / "some.npz"
    counts = np.arange(1.0, 1 + len(vectors)) if counted else None
    save_vectors(WordVectors(vectors.words, vectors.matrix, counts), path)
    found = load_vectors(path)
    assert_same(found, vectors)
    assert (found.counts is None) is not counted
    np.testing.assert_array_equal(
        found.frequencies, counts if counted else len(vectors) / np.arange(1, len(vectors) + 1)
    )


@given(
    st.lists(
        st.one_of(
            st.floats(allow_nan=False, allow_infinity=False).map(repr),
            st.decimals(-1000, 1000, places=7).map(str),
            st.from_regex(r"-?[0-9]{1,20}(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?", fullmatch=True),
            st.sampled_from(["+1", "1.", ".5", "-.5e3", "1e5", "1E-05", "00.10", "1_0", "0x1p3"]),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_numbers_are_those_python_reads(tmp_path_factory, texts):
    """Whatever way a number is written, it is the float32 nearest to the float64 that Python takes it for."""

    def value(text):
        try:
            with np.errstate(over="ignore"):
                return np.float32(float(text))
        except ValueError:
            return np.float32(np.nan)

    expected = np.array([value(text) for text in texts])
    path = written(
        tmp_path_factory.mktemp("vectors") / "some.vec", " ".join(["w", *["0"] * len(texts)]), " ".join(["v", *texts])
    )
    if np.isfinite(expected).all():
        np.testing.assert_array_equal(read_vectors(path).matrix[1].view(np.uint32), expected.view(np.uint32))
    else:
        with pytest.raises(CorpusError, match="line 2 holds"):
            read_vectors(path)


def test_files_as_others_write_them(tmp_path):
    fasttext = written(tmp_path / "a.vec", "2 3", ", 0.1 -0.2 3e-05 ", "a\u00a0b 1 2 3 ")
    expected = WordVectors([",", "a\u00a0b"], np.array([[0.1, -0.2, 3e-05], [1, 2, 3]], np.float32))
    assert_same(read_vectors(fasttext), expected)
    glove = written(tmp_path / "b.txt", ". . . 1 2 3", "the 4 5 6")
    assert read_vectors(glove).words == [". . .", "the"]
    windows = tmp_path / "d.vec"
    windows.write_bytes(b"2 2\r\na 1 2\r\nb 3 4\r\n")
    assert_same(read_vectors(windows), WordVectors(["a", "b"], np.array([[1, 2], [3, 4]], np.float32)))


def test_only_the_first_rows_are_read(tmp_path):
    vectors = WordVectors([f"w{k}" for k in range(50)], np.arange(100, dtype=np.float32).reshape(50, 2))
    write_vectors(vectors, tmp_path / "some.vec.gz")
    found = read_vectors(tmp_path / "some.vec.gz", limit=7)
    assert_same(found, WordVectors(vectors.words[:7], vectors.matrix[:7]))
    # what is wrong behind them is not seen
    lines = ["90 1", *(f"w{k} 1" for k in range(8)), "broken"]
    assert len(read_vectors(written(tmp_path / "b.vec", *lines), limit=8)) == 8
    assert len(read_vectors(tmp_path / "some.vec.gz", limit=None)) == 50
    with pytest.raises(ValueError, match="0 rows"):
        read_vectors(tmp_path / "b.vec", limit=0)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["3 2", "a 1 2", "b 3 4"], r"header \(line 1\) says 3 words and there are only 2"),
        (["1 2", "a 1 2", "b 3 4"], r"header \(line 1\) says 1 words and there are more"),
        (["2 3", "a 1 2", "b 3 4"], "line 2 has 2 numbers, the header says 3"),
        (["2 1", "a 1 2", "b 3 4"], "line 2 has 2 numbers, the header says 1"),
        (["2 99999999999", "a 1 2"], "line 2 has 2 numbers, the header says 99999999999"),
        (["0 300"], "holds no word vectors: its header is '0 300'"),
        (["5 99999999999"], "says 5 words and there are only 0"),
        (["some text", "a 1 2"], "line 1 is neither a header"),
        (["word"], "line 1 is neither a header"),
        (["2 2", "a 1 2", "b 3"], "line 3 has 1 number; .* 1 of 2 rows are malformed"),
        (["2 2", "a 1 2", "b 3 4 5"], "line 3 has more than 2 numbers"),
        (["2 2", "a 1 2", "b 3 x"], "line 3 holds 'x' where a number belongs"),
        (["2 2", "a 1 2", "b nan 1"], "line 3 holds NaN"),
        (["2 2", "a 1 2", "b 1 -inf"], "line 3 holds NaN or a number too large"),
        (["2 2", "a 1 2", "b 1 1e39"], "line 3 holds NaN or a number too large"),
        (["2 2", "a 1 2", "a 3 4"], "line 3 has the word 'a' a second time"),
        (["2 2", "a 1 2", " 3 4"], "line 3 has no word"),
        (["a 1 2", "b 3"], "line 2 has 1 number; expected were a word and 2 numbers"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path, lines, message):
    with pytest.raises(CorpusError, match=message):
        read_vectors(written(tmp_path / "some.vec", *lines))


def test_a_few_malformed_rows_are_skipped_and_counted(tmp_path):
    lines = [f"w{k} {k} 1" for k in range(600)]
    lines[10], lines[20], lines[30], lines[40] = "w10 1", "w20 nan 1", "w3 7 7", ""
    counts = Counts()
    found = read_vectors(written(tmp_path / "some.vec", "599 2", *lines), counts=counts)
    assert len(found) == 596
    assert found.matrix[found.index["w3"]].tolist() == [3, 1], "the first one stays"
    assert found.matrix[found.index["w599"]].tolist() == [599, 1]
    assert (counts.read, counts.kept, counts.malformed, counts.empty) == (599, 596, 3, 1)
    assert counts.malformed_lines == [12, 22, 32]


def test_what_cannot_be_read_at_all(tmp_path):
    with pytest.raises(CorpusError, match="does not exist"):
        read_vectors(tmp_path / "none.vec")
    (tmp_path / "empty.vec").write_bytes(b"")
    with pytest.raises(CorpusError, match="is empty"):
        read_vectors(tmp_path / "empty.vec")
    (tmp_path / "cut.vec.gz").write_bytes(gzip.compress(b"2 1\n" + b"a 1\nb 2\n" * 500)[:30])
    with pytest.raises(CorpusError, match="cannot be read"):
        read_vectors(tmp_path / "cut.vec.gz")
    (tmp_path / "latin.vec").write_bytes("1 1\né 1\n".encode("latin-1"))
    with pytest.raises(CorpusError, match="line 2 holds the byte"):
        read_vectors(tmp_path / "latin.vec")
    for content in (b"", b"PK\x03\x04 no archive"):
        (tmp_path / "some.npz").write_bytes(content)
        with pytest.raises(CorpusError, match="holds no word vectors"):
            load_vectors(tmp_path / "some.npz")


def test_what_cannot_be_written(tmp_path):
    one = np.ones((1, 2), np.float32)
    for word in ("", "a b", "a\n", "\0"):
        with pytest.raises(CorpusError, match="must not be empty"):
            write_vectors(WordVectors([word], one), tmp_path / "some.vec")
    with pytest.raises(CorpusError, match="NaN"):
        write_vectors(WordVectors(["a"], one * np.nan), tmp_path / "some.vec")
    with pytest.raises(CorpusError, match="no vectors"):
        write_vectors(WordVectors([], one[:0]), tmp_path / "some.vec")
    with pytest.raises(CorpusError, match="a word holds"):
        write_vectors(WordVectors(["\ud800"], one), tmp_path / "some.vec")
    with pytest.raises(OutputError, match="cannot be written"):
        write_vectors(WordVectors(["a"], one), tmp_path / "none" / "some.vec")
    assert list(tmp_path.iterdir()) == []


def test_parts_that_do_not_fit_together():
    one = np.ones((1, 2), np.float32)
    for arguments in (
        (["a", "b"], one),
        (["a"], one.astype(np.float64)),
        (["a"], one, np.ones(2)),
        (["a"], one, np.zeros(1)),
    ):
        with pytest.raises(ValueError, match=r"1 words|2 words"):
            WordVectors(*arguments)


def test_a_fasttext_model_is_read(tmp_path):
    import fasttext

    text = written(tmp_path / "text", *["ab cd ab ef"] * 20)
    model = fasttext.train_unsupervised(str(text), dim=5, minCount=1, bucket=50, thread=1, verbose=0)
    model.save_model(str(tmp_path / "some.bin"))
    found = read_vectors(tmp_path / "some.bin")
    assert found.words[0] == "ab"
    assert sorted(found.words) == ["ab", "cd", "ef"], "without the mark of a line's end"
    assert found.counts.tolist() == [40, 20, 20]
    for word, vector in zip(found.words, found.matrix, strict=True):
        np.testing.assert_array_equal(vector, model.get_word_vector(word))
    assert read_vectors(tmp_path / "some.bin", limit=1).words == ["ab"]
    for content in (b"", b"no model at all"):
        (tmp_path / "other.bin").write_bytes(content)
        with pytest.raises(CorpusError, match=r"is empty|is no fastText model"):
            read_vectors(tmp_path / "other.bin")


def test_without_the_library_the_message_has_the_pip_line(tmp_path, monkeypatch):
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name == "fasttext":
            raise ImportError
        return real(name, *args, **kwargs)

    monkeypatch.delitem(sys.modules, "fasttext", raising=False)
    monkeypatch.setattr(builtins, "__import__", refuse)
    (tmp_path / "some.bin").write_bytes(b"x")
    with pytest.raises(MissingExtraError, match=r"lingraft\[vectors\]"):
        read_vectors(tmp_path / "some.bin")
    with pytest.raises(MissingExtraError, match=r"lingraft\[vectors\]"):
        train_on_tokens([["a"]])
