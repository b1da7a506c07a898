"""Tagged sentences: every scheme of entity tags gives the same entities, and a wrong line is named."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lingraft.errors import CorpusError, RecipeError
from lingraft.tasks.tag_data import as_iob2, entities, read_conllu_tags, read_entity_tags, read_tags

CONLLU = """\
# sent_id = 1
# text = Vámonos al mar rápido
1-2\tVámonos\t_\t_\t_\t_\t_\t_\t_\t_
1\tVamos\tir\tVERB\t_\tMood=Imp\t0\troot\t_\t_
2\tnos\tnosotros\tPRON\t_\tCase=Acc\t1\tobj\t_\t_
3-4\tal\t_\t_\t_\t_\t_\t_\t_\t_
3\ta\ta\tADP\t_\t_\t5\tcase\t_\t_
4\tel\tel\tDET\t_\t_\t5\tdet\t_\t_
5\tmar\tmar\tNOUN\t_\t_\t1\tobl\t1:obl|5.1:x\t_
5.1\tvamos\tir\tVERB\t_\t_\t_\t_\t0:root\t_
6\trápido rápido\trápido\tADV\t_\t_\t1\tadvmod\t_\t_

# sent_id = 2
1\tSí\tsí\tINTJ\t_\t_\t0\troot\t_\t_
"""

CONLL = """\
-DOCSTART- -X- -X- O

Ana NNP B-NP I-PER
Ruiz NNP I-NP I-PER
Oslo NNP I-NP B-PER
saw VBD B-VP O
ACME NNP B-NP I-ORG
Oslo NNP I-NP I-LOC

-DOCSTART- -X- -X- O

# : : O
"""


def write(folder: Path, content: str, name: str = "tagged.txt") -> Path:
    (folder / name).write_bytes(content.encode())
    return folder / name


def refusal(folder: Path, content: str, kind: str = "auto") -> str:
    """The message, which has to name the file."""
    path = write(folder, content)
    with pytest.raises(CorpusError) as caught:
        read_tags(path, kind)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_words_of_conllu(tmp_path):
    data = read_tags(write(tmp_path, CONLLU))
    assert data.words == [["Vamos", "nos", "a", "el", "mar", "rápido rápido"], ["Sí"]]
    assert data.tags == [["VERB", "PRON", "ADP", "DET", "NOUN", "ADV"], ["INTJ"]]
    assert (data.kind, data.source, len(data), data.n_words) == ("pos", str(tmp_path / "tagged.txt"), 2, 7)


def test_the_words_are_those_of_the_conllu_package(tmp_path):
    conllu = pytest.importorskip("conllu")
    content = "\n\n".join([CONLLU] * 4)
    data = read_conllu_tags(write(tmp_path, content))
    parsed = [sentence.filter(id=lambda k: isinstance(k, int)) for sentence in conllu.parse(content)]
    assert data.words == [[token["form"] for token in sentence] for sentence in parsed]
    assert data.tags == [[token["upos"] for token in sentence] for sentence in parsed]


def test_entities_of_conll_2003(tmp_path):
    data = read_tags(write(tmp_path, CONLL))
    assert data.words == [["Ana", "Ruiz", "Oslo", "saw", "ACME", "Oslo"], ["#"]]
    assert data.tags == [["B-PER", "I-PER", "B-PER", "O", "B-ORG", "B-LOC"], ["O"]]
    assert data.kind == "ner"


def test_words_with_spaces_between_tabs_and_comments(tmp_path):
    data = read_tags(write(tmp_path, "# id 7\tdomain=x\n# a comment\nHà Nội\tB-LOC\nđẹp \t O\n\n#\tO\n#\n"))
    assert (data.words, data.tags) == ([["Hà Nội", "đẹp"], ["#"]], [["B-LOC", "O"], ["O"]])


def test_windows_line_ends_and_compression(tmp_path):
    (tmp_path / "tagged.gz").write_bytes(gzip.compress(CONLLU.replace("\n", "\r\n").encode()))
    assert read_tags(tmp_path / "tagged.gz").tags == read_tags(write(tmp_path, CONLLU)).tags


def test_the_kind_can_be_named(tmp_path):
    path = write(tmp_path, CONLLU)
    assert read_tags(path, "pos") == read_tags(path) == read_conllu_tags(path)
    path = write(tmp_path, CONLL)
    assert read_tags(path, "ner") == read_tags(path) == read_entity_tags(path)
    with pytest.raises(RecipeError, match="auto, pos or ner"):
        read_tags(path, "chunks")  # type: ignore[arg-type]


def test_a_file_of_ten_columns_without_ids_holds_entities(tmp_path):
    assert read_tags(write(tmp_path, "\t".join([*"abcdefghi", "O"]) + "\n")).kind == "ner"


LINES = CONLLU.splitlines()


@pytest.mark.parametrize(
    ("number", "line", "says"),
    [
        (5, "2\tnos\tnosotros\tPRON\t_\t_\t1\tobj\t_", "line 5 has 9 columns; CoNLL-U has 10"),
        (5, "2 nos nosotros PRON _ _ 1 obj _ _", "line 5 has 1 column; CoNLL-U has 10"),
        (5, LINES[4].replace("2\t", "two\t", 1), "line 5 has the ID 'two'; the next word of the sentence is 2"),
        (5, LINES[4].replace("2\t", "0\t", 1), "line 5 has the ID '0'"),
        (5, LINES[4].replace("2\t", "5\t", 1), "line 5 has the ID '5'; the next word of the sentence is 2"),
        (14, LINES[13].replace("INTJ", "_"), "line 14 has a word without UPOS"),
        (14, LINES[13].replace("INTJ", ""), "line 14 has a word without UPOS"),
        (14, LINES[13].replace("Sí", " "), "line 14 has an empty FORM"),
    ],
)
def test_a_wrong_line_of_conllu_is_named(tmp_path, number, line, says):
    content = "\n".join([*LINES[: number - 1], line, *LINES[number:]])
    assert says in refusal(tmp_path, content, "pos")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("word", "line 3 has no word and tag"),
        ("\tO", "line 3 has no word and tag"),
        ("word\t", "line 3 ends with '', which is no entity tag"),
        ("word PER", "line 3 ends with 'PER'"),
        ("word B_PER", "line 3 ends with 'B_PER', which is no entity tag; O, B-TYPE"),
        ("word PER-B", "line 3 ends with 'PER-B'"),
        ("word o", "line 3 ends with 'o'"),
    ],
)
def test_a_wrong_line_of_entities_is_named(tmp_path, line, says):
    assert says in refusal(tmp_path, f"Ana B-PER\n\n{line}\n")


@pytest.mark.parametrize("content", ["\n\n", "# text = a\n", "-DOCSTART- O\n\n"])
@pytest.mark.parametrize("kind", ["auto", "ner"])
def test_a_file_without_words_is_refused(tmp_path, content, kind):
    assert "has no tagged word" in refusal(tmp_path, content, kind)


@pytest.mark.parametrize(
    ("content", "says"), [("\n\n", "holds no sentence"), ("# text = a\n", "without any word"), ("a O\n\n", "line 1")]
)
def test_conllu_without_words_is_refused(tmp_path, content, says):
    assert says in refusal(tmp_path, content, "pos")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(CorpusError, match="does not exist"):
        read_tags(tmp_path / "gone.conllu")


@st.composite
def spans(draw: st.DrawFn) -> tuple[int, list[tuple[int, int, str]]]:
    """A number of words and entities among them, in their order."""
    found, place = [], 0
    for gap, size, kind in draw(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3), st.sampled_from("XY")))):
        found.append((place + gap, place + gap + size, kind))
        place += gap + size
    return place + draw(st.integers(0, 2)), found


def tagged(scheme: str, n: int, found: list[tuple[int, int, str]]) -> list[str]:
    """The entities written in a scheme."""
    tags = ["O"] * n
    for number, (start, end, kind) in enumerate(found):
        prefixes = ["B", *"I" * (end - start - 1)]
        if scheme == "IOB1" and not (number and found[number - 1][1:] == (start, kind)):
            prefixes[0] = "I"
        if scheme in ("BIOES", "BILOU", "BMEWO"):
            first, inner, last, single = {"BIOES": "BIES", "BILOU": "BILU", "BMEWO": "BMEW"}[scheme]
            prefixes = [first, *inner * (end - start - 2), last] if end - start > 1 else [single]
        tags[start:end] = [f"{prefix}-{kind}" for prefix in prefixes]
    return tags


@given(spans(), st.sampled_from(["IOB1", "IOB2", "BIOES", "BILOU", "BMEWO"]))
def test_every_scheme_gives_the_same_entities(drawn, scheme):
    n, found = drawn
    tags = tagged(scheme, n, found)
    assert entities(tags) == found
    assert as_iob2(tags) == tagged("IOB2", n, found)


@given(st.lists(st.sampled_from(["O", *(f"{prefix}-{kind}" for prefix in "BIES" for kind in ("X", "Y-Z"))])))
def test_any_tags_are_entities_that_do_not_overlap(tags):
    found = entities(tags)
    covered = [place for start, end, _ in found for place in range(start, end)]
    assert covered == [place for place, tag in enumerate(tags) if tag != "O"]
    assert all(tags[place].partition("-")[2] == kind for start, end, kind in found for place in range(start, end))
    assert entities(as_iob2(tags)) == found


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("I-X I-Y", [(0, 1, "X"), (1, 2, "Y")]),
        ("B-X B-X", [(0, 1, "X"), (1, 2, "X")]),
        ("E-X I-X", [(0, 1, "X"), (1, 2, "X")]),
        ("I-X S-X I-X", [(0, 1, "X"), (1, 2, "X"), (2, 3, "X")]),
        ("B-X O E-X", [(0, 1, "X"), (2, 3, "X")]),
        ("B I O", [(0, 2, "")]),
        ("", []),
    ],
)
def test_broken_schemes_are_read_as_conlleval_does(tags, expected):
    assert entities(tags.split()) == expected
