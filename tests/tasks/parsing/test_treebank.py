"""CoNLL-U: what was read is written byte for byte, and whatever is wrong is told with its line."""

from __future__ import annotations

import gzip
import lzma
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from trees import leads_to_the_root, random_tree

from lingraft.errors import CorpusError, OutputError
from lingraft.tasks.parsing import Sentence, read_conllu, write_conllu
from lingraft.tasks.parsing.treebank import UNKNOWN, above

EXAMPLE = """\
# newdoc
# sent_id = one
# text =Vámonos al mar
1-2\tVámonos\t_\t_\t_\t_\t_\t_\t_\t_
1\tVamos\tir\tVERB\t_\tNumber=Plur|Mood=Imp|Mood=Ind\t0\troot\t0:root\t_
2\tnos\tnosotros\tPRON\t_\tCase=Acc\t1\tobj\t1:obj\t_
2.1\tjuntos\t_\tADV\t_\t_\t_\t_\t1:advmod|2:dep\tCopyOf=-1
3-4\tal\t_\t_\t_\t_\t_\t_\t_\t_
3\ta\ta\tADP\t_\t_\t5\tcase\t5:case\t_
4\tel\tel\tDET\t_\t_\t5\tdet\t5:det\t_
5\tmar  azul\tmar\tNOUN\t_\t_\t1\tobl:arg\t1:obl:a\tSpaceAfter=No|A=b|A=c

# a comment
# a comment
0.1\t_\t_\t_\t_\t_\t_\t_\t0:root\t_
1\tSí\tsí\tINTJ\t_\t_\t0\troot\t_\t_

"""


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def test_the_words_are_the_lines_with_a_whole_number(tmp_path):
    first, second = read_conllu(write(tmp_path / "a.conllu", EXAMPLE))
    assert first.forms == ("Vamos", "nos", "a", "el", "mar  azul")
    assert first.upos == ("VERB", "PRON", "ADP", "DET", "NOUN")
    assert first.heads == (0, 1, 5, 5, 1)
    assert first.deprels == ("root", "obj", "case", "det", "obl:arg")
    assert [first.lines[row].split("\t")[0] for row in first.rows] == ["1", "2", "3", "4", "5"]
    assert (second.forms, second.heads, len(first), len(second)) == (("Sí",), (0,), 5, 1)


def test_another_tree_changes_two_columns_of_words_and_nothing_else(tmp_path):
    (first, second) = read_conllu(write(tmp_path / "a.conllu", EXAMPLE))
    changed = first.with_tree([2, 0, 4, 2, 4], ["a", "root", "b", "c", "d:e"])
    assert (changed.heads, changed.deprels) == ((2, 0, 4, 2, 4), ("a", "root", "b", "c", "d:e"))
    write_conllu([changed, second], tmp_path / "b.conllu")
    expected = (
        EXAMPLE.replace("\t0\troot\t0:root\t_\n2", "\t2\ta\t0:root\t_\n2")
        .replace("\t1\tobj\t", "\t0\troot\t")
        .replace("\t5\tcase\t", "\t4\tb\t")
        .replace("\t5\tdet\t", "\t2\tc\t")
        .replace("\t1\tobl:arg\t", "\t4\td:e\t")
    )
    assert (tmp_path / "b.conllu").read_text(encoding="utf-8") == expected
    assert read_conllu(tmp_path / "b.conllu")[0] == changed


column = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=6)
form = column.filter(lambda text: text.strip())


@st.composite
def treebanks(draw: st.DrawFn) -> str:
    """A valid file with multiword tokens, empty nodes and comments, and anything at all in the other columns."""
    text = ""
    for _ in range(draw(st.integers(1, 3))):
        n = draw(st.integers(1, 6))
        heads = random_tree(n, np.random.default_rng(draw(st.integers(0, 99))))
        lines = [f"#{draw(st.text(st.characters(exclude_categories=['Cc', 'Cs']), max_size=9))}" for _ in range(n % 3)]
        free = 0
        for word in range(n + 1):
            if word:
                if free < word and draw(st.booleans()):
                    free = draw(st.integers(word, n))
                    lines.append("\t".join([f"{word}-{free}", draw(form), *(draw(column) for _ in range(8))]))
                before = [str(word), draw(form), *(draw(column) for _ in range(4)), str(heads[word - 1])]
                relation = draw(form.filter(lambda field: field != "_"))
                lines.append("\t".join([*before, relation, draw(column), draw(column)]))
            lines += [
                "\t".join([f"{word}.{empty}", draw(form), *(draw(column) for _ in range(8))])
                for empty in range(1, draw(st.sampled_from([1, 1, 1, 2, 3])))
            ]
        text += "\n".join(lines) + "\n\n"
    return text


@settings(deadline=None, max_examples=60)
@given(treebanks())
def test_what_is_read_is_written_byte_for_byte(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.mktemp("treebank")
    sentences = read_conllu(write(folder / "in.conllu", text))
    assert write_conllu(sentences, folder / "out.conllu") == len(sentences)
    assert (folder / "out.conllu").read_bytes() == text.encode()
    write_conllu([s.with_tree(s.heads, s.deprels) for s in sentences], folder / "out.conllu")
    assert (folder / "out.conllu").read_bytes() == text.encode()
    assert all(leads_to_the_root(sentence.heads) for sentence in sentences)


@settings(deadline=None, max_examples=40)
@given(treebanks())
def test_another_reader_finds_the_same_words(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    conllu = pytest.importorskip("conllu")
    # that reader also splits at spaces, trims lines, and takes a second pass over columns of features
    text = "".join("x" if character.isspace() and character not in "\t\n" else character for character in text)
    plain = {name: lambda fields, k: fields[k] for name in ("xpos", "feats", "deps", "misc")}
    sentences = read_conllu(write(tmp_path_factory.mktemp("treebank") / "in.conllu", text))
    expected = []
    for block in text.removesuffix("\n\n").split("\n\n"):
        rows = "\n".join(line for line in block.split("\n") if not line.startswith("#"))
        tokens = conllu.parse(rows.replace("\t_\t_\t", "\t_\t_\t"), field_parsers=plain | {"head": lambda f, k: f[k]})
        expected.append([token for token in tokens[0] if isinstance(token["id"], int)])
    assert [list(sentence.forms) for sentence in sentences] == [[t["form"] for t in words] for words in expected]
    assert [list(map(str, s.heads)) for s in sentences] == [[t["head"] for t in words] for words in expected]
    assert [list(sentence.deprels) for sentence in sentences] == [[t["deprel"] for t in words] for words in expected]
    assert [list(sentence.upos) for sentence in sentences] == [[t["upos"] for t in words] for words in expected]


@pytest.mark.parametrize(
    ("suffix", "compress"), [(".gz", gzip.compress), (".xz", lzma.compress), (".zst", zstandard.compress)]
)
def test_compressed_files_are_read_as_plain_ones(tmp_path, suffix, compress):
    (tmp_path / f"a.conllu{suffix}").write_bytes(compress(EXAMPLE.encode()))
    assert read_conllu(tmp_path / f"a.conllu{suffix}") == read_conllu(write(tmp_path / "a.conllu", EXAMPLE))


def test_a_missing_last_empty_line_and_foreign_line_ends_are_forgiven(tmp_path):
    expected = read_conllu(write(tmp_path / "a.conllu", EXAMPLE))
    assert read_conllu(write(tmp_path / "b.conllu", EXAMPLE.rstrip("\n"))) == expected
    assert read_conllu(write(tmp_path / "c.conllu", "\n" + EXAMPLE.replace("\n", "\r\n") + "\n\n")) == expected


def words(*rows: str) -> str:
    """Lines with ID, FORM, HEAD and DEPREL given, separated by spaces."""
    lines = ["# text = x"]
    for row in rows:
        number, word, head, deprel = row.split(" ")
        lines.append(f"{number}\t{word}\t_\t_\t_\t_\t{head}\t{deprel}\t_\t_")
    return "\n".join(lines) + "\n\n"


GOOD = words("1 a 0 root")

WRONG = {
    "a column is missing": (words("1 a 0 root").replace("\t_\t_\n", "\t_\n"), "line 2 has 9 columns"),
    "a column too many": (words("1 a 0 root").replace("root", "root\t_"), "line 2 has 11 columns"),
    "spaces for tabs": ("1 a _ _ _ _ 0 root _ _\n\n", "line 1 has 1 column;"),
    "an ID is left out": (words("1 a 0 root", "3 b 1 obj"), "ID '3'; the next word of the sentence is 2"),
    "an ID is there twice": (words("1 a 0 root", "1 b 1 obj"), "line 3 has the ID '1'"),
    "IDs begin with 0": (words("0 a 0 root"), "line 2 has the ID '0'"),
    "an ID is no number": (words("x a 0 root"), "line 2 has the ID 'x'"),
    "an ID has a leading zero": (words("01 a 0 root"), "line 2 has the ID '01'"),
    "an ID in other digits": (words("١ a 0 root"), "line 2 has the ID '١'"),
    "no empty line between sentences": (GOOD.rstrip("\n") + "\n" + GOOD, "line 4 has the ID '1'"),
    "a range behind its words": (words("1 a 0 root", "1-2 ab _ _"), "line 3 has the ID '1-2'; a multiword token"),
    "a range backwards": (words("1-0 ab _ _", "1 a 0 root"), "line 2 has the ID '1-0'"),
    "ranges that overlap": (words("1-2 ab _ _", "1 a 0 root", "2-3 bc _ _", "2 b 1 x", "3 c 1 x"), "line 4 has the ID"),
    "a range past the end": (words("1-3 abc _ _", "1 a 0 root"), "a multiword token goes to 3"),
    "empty nodes out of order": (words("1 a 0 root", "1.2 b _ _"), "line 3 has .* an empty node here is 1.1"),
    "an empty node elsewhere": (words("1 a 0 root", "2.1 b _ _"), "line 3 has the ID '2.1'"),
    "a form is empty": (words("1  0 root"), "line 2 has an empty FORM"),
    "a head past the end": (words("1 a 0 root", "2 b 3 obj"), "line 3 has the HEAD '3'; a number from 0 to 2"),
    "a head below zero": (words("1 a -1 root"), "line 2 has the HEAD '-1'"),
    "a head that is no number": (words("1 a zero root"), "line 2 has the HEAD 'zero'"),
    "no head": (words("1 a _ root"), r"line 2 has no HEAD \('_'\)"),
    "no relation": (words("1 a 0 _"), "line 2 has the DEPREL '_'"),
    "an empty relation": (words("1 a 0 "), "line 2 has the DEPREL ''"),
    "two roots": (words("1 a 0 root", "2 b 1 x", "3 c 0 root"), "line 4 makes word 3 a second root beside word 1"),
    "no root": (words("1 a 2 x", "2 b 1 x"), "line 2 begins a sentence without a root"),
    "its own head": (words("1 a 0 root", "2 b 2 x"), "line 3 is part of a cycle: from word 2"),
    "a cycle": (words("1 a 0 root", "2 b 5 x", "3 c 5 x", "4 d 3 x", "5 e 4 x"), "line 4 is .* from word 3"),
    "comments alone": (GOOD + "# sent_id = 2\n\n", "line 4 ends a sentence without any word"),
    "an empty node alone": ("0.1\ta" + "\t_" * 8 + "\n\n", "line 1 ends a sentence without any word"),
    "nothing but empty lines": ("\n\n \n", "holds no sentence"),
    "nothing": ("", "is empty"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_told_with_file_and_line(tmp_path, name):
    text, message = WRONG[name]
    path = write(tmp_path / "wrong.conllu", text)
    with pytest.raises(CorpusError, match=message) as caught:
        read_conllu(path)
    assert str(caught.value).startswith(f"'{path}'")
    assert caught.value.exit_status == 2


def test_the_line_is_counted_from_the_beginning_of_the_file(tmp_path):
    path = write(tmp_path / "wrong.conllu", EXAMPLE + GOOD + words("1 a 0 root", "2 b 0 root"))
    with pytest.raises(CorpusError, match="line 23 makes word 2 a second root"):
        read_conllu(path)


def test_without_trees_only_the_form_of_a_file_is_checked(tmp_path):
    text = words("1 a _ _", "2 b 0 root", "3 c 0 root", "4 d 4 _")
    (sentence,) = read_conllu(write(tmp_path / "a.conllu", text), trees=False)
    assert (sentence.heads, sentence.deprels) == ((-1, 0, 0, 4), ("_", "root", "root", "_"))
    write_conllu([sentence], tmp_path / "b.conllu")
    assert (tmp_path / "b.conllu").read_bytes() == text.encode()
    with pytest.raises(CorpusError, match="line 2 has the HEAD '7'"):
        read_conllu(write(tmp_path / "c.conllu", words("1 a 7 x")), trees=False)


def test_words_make_a_sentence_that_can_be_read_again(tmp_path):
    made = Sentence.from_words(["l'", "eau  vive", "."], ["text = l'eau  vive."], [False, False, True])
    write_conllu([made], tmp_path / "a.conllu")
    assert read_conllu(tmp_path / "a.conllu", trees=False) == [made]
    assert (tmp_path / "a.conllu").read_text(encoding="utf-8") == (
        "# text = l'eau  vive.\n"
        "1\tl'\t_\t_\t_\t_\t_\t_\t_\tSpaceAfter=No\n"
        "2\teau  vive\t_\t_\t_\t_\t_\t_\t_\tSpaceAfter=No\n"
        "3\t.\t_\t_\t_\t_\t_\t_\t_\t_\n\n"
    )


@pytest.mark.parametrize("forms", [[], ["a", ""], [" "], ["a\tb"], ["a\nb"], ["a\r"]])
def test_words_that_fit_no_column_are_refused(forms):
    with pytest.raises(CorpusError, match="word"):
        Sentence.from_words(forms)


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    def broken():
        yield from read_conllu(write(tmp_path / "a.conllu", EXAMPLE))
        raise CorpusError("broken off")

    (tmp_path / "out.conllu").write_text("older", encoding="utf-8")
    with pytest.raises(CorpusError, match="broken off"):
        write_conllu(broken(), tmp_path / "out.conllu")
    assert (tmp_path / "out.conllu").read_text(encoding="utf-8") == "older"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.conllu", "out.conllu"]


@pytest.mark.parametrize("name", ["missing/a.conllu", "a.conllu.gz"])
def test_a_place_that_cannot_be_written_is_refused(tmp_path, name):
    with pytest.raises(OutputError, match=name):
        write_conllu([], tmp_path / name)


def test_above_ends():
    assert above(0, [2, 3, 0]) == {1, 2}
    assert above(0, [2, UNKNOWN]) == {1}
    assert above(0, [2, 1]) == {0, 1}
