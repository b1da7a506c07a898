"""NLI data: what is written is read, whatever the form, and every way a file can be wrong is one clear message."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from lingraft.corpus import clean
from lingraft.errors import CorpusError, MissingExtraError
from lingraft.tasks.nli_data import LABELS, NliData, read_nli

ROWS = [
    ("The red kite flew.", "Something flew.", "entailment"),
    ('She said "no" twice.', "She said 'yes'.", "contradiction"),
    ("Two men build a wall.", "The wall is high.", "neutral"),
]
NUMBERS = [LABELS.index(label) for _, _, label in ROWS]


def tsv(rows: list[tuple[str, ...]], header: str = "premise hypothesis label") -> str:
    return "".join("\t".join(row) + "\n" for row in [tuple(header.split()), *rows])


def jsonl(rows: list[tuple[Any, ...]], keys: str = "premise hypothesis label") -> str:
    return "".join(json.dumps(dict(zip(keys.split(), row, strict=True))) + "\n" for row in rows)


def write(folder: Path, content: str, name: str = "pairs.tsv") -> str:
    (folder / name).write_bytes(content.encode())
    return str(folder / name)


def read(folder: Path, content: str, **options: Any) -> NliData:
    return read_nli(write(folder, content), **options)


def refusal(folder: Path, content: str, **options: Any) -> str:
    """The message, which has to name the file."""
    path = write(folder, content)
    with pytest.raises(CorpusError) as caught:
        read_nli(path, **options)
    assert path in str(caught.value)
    return str(caught.value)


def check(data: NliData) -> None:
    assert data.premises == [row[0] for row in ROWS]
    assert data.hypotheses == [row[1] for row in ROWS]
    assert data.labels is not None
    assert (data.labels.dtype, data.labels.tolist()) == ("int64", NUMBERS)


# what is read


def test_a_tsv(tmp_path):
    data = read(tmp_path, tsv(ROWS))
    check(data)
    assert (data.source, data.unlabelled, data.other_languages, len(data)) == (str(tmp_path / "pairs.tsv"), 0, 0, 3)


@pytest.mark.parametrize("suffix", ["gz", "zst", "xz", "bz2"])
@pytest.mark.parametrize("make", [tsv, jsonl])
def test_compressed(tmp_path, suffix, make):
    compress = {"gz": gzip.compress, "zst": zstandard.compress, "xz": lzma.compress, "bz2": bz2.compress}[suffix]
    path = tmp_path / f"pairs.{suffix}"
    path.write_bytes(compress(make(ROWS).encode()))
    check(read_nli(str(path)))


def test_jsonl_is_told_from_its_content(tmp_path):
    check(read(tmp_path, "\n" + jsonl(ROWS)))


def test_columns_in_any_order_among_others(tmp_path):
    rows = [("x", label, hypothesis, "", premise, "y") for premise, hypothesis, label in ROWS]
    check(read(tmp_path, tsv(rows, "id Label HYPOTHESIS label1 premise genre")))
    check(read(tmp_path, jsonl(rows, "id label hypothesis label1 premise genre")))


MNLI = "gold_label sentence1_binary_parse sentence1 sentence2 promptID label1 label2"


def test_mnli_and_its_rows_without_gold_label(tmp_path):
    rows = [(label, "( a )", premise, hypothesis, "7", "neutral", "") for premise, hypothesis, label in ROWS]
    rows.insert(1, ("-", "( a )", "", "Nobody agreed.", "7", "neutral", "entailment"))
    for content in (tsv(rows, MNLI), jsonl(rows, MNLI)):
        data = read(tmp_path, content)
        check(data)
        assert data.unlabelled == 1


def test_the_translated_mnli_of_xnli(tmp_path):
    rows = [
        (premise, hypothesis, label.replace("contradiction", "contradictory")) for premise, hypothesis, label in ROWS
    ]
    check(read(tmp_path, tsv(rows, "premise hypo label")))


def test_anli(tmp_path):
    rows = [("u", premise, hypothesis, label[0], "n") for premise, hypothesis, label in ROWS]
    check(read(tmp_path, jsonl(rows, "uid context hypothesis label model_label")))


XNLI = "language gold_label sentence1 sentence2 promptID match"


def xnli_rows(*languages: str) -> list[tuple[str, ...]]:
    return [
        (language, label, premise + language, hypothesis + language, "1", "True")
        for language in languages
        for premise, hypothesis, label in ROWS
    ]


def test_one_language_of_the_original_xnli(tmp_path):
    for content in (tsv(xnli_rows("ar", "fr", "zh"), XNLI), jsonl(xnli_rows("ar", "fr", "zh"), XNLI)):
        data = read(tmp_path, content, language="FR")
        assert data.premises == [row[0] + "fr" for row in ROWS]
        assert data.hypotheses == [row[1] + "fr" for row in ROWS]
        assert data.labels is not None
        assert (data.labels.tolist(), data.other_languages) == (NUMBERS, 6)


def test_rows_of_other_languages_may_be_wrong(tmp_path):
    rows = [*xnli_rows("fr"), ("sw", "?", "", "", "1", "True")]
    assert len(read(tmp_path, tsv(rows, XNLI), language="fr")) == 3


def test_a_file_in_one_language_needs_no_name_of_it(tmp_path):
    assert len(read(tmp_path, tsv(xnli_rows("fr"), XNLI))) == 3


@pytest.mark.parametrize("name", ["entailment", "Entailment", "ENTAILMENT", " entailment ", "e", "E"])
def test_labels_of_any_case(tmp_path, name):
    labels = read(tmp_path, tsv([("a", "b", name), ("a", "b", "neutral")])).labels
    assert labels is not None
    assert labels.tolist() == [0, 1]


def test_quotes_mean_nothing(tmp_path):
    rows = [('"a', 'b "c" d"', "neutral"), ("'", '""', "neutral")]
    data = read(tmp_path, tsv(rows))
    assert list(zip(data.premises, data.hypotheses, strict=True)) == [row[:2] for row in rows]


def test_blank_lines_and_empty_fields_at_the_end_are_passed_over(tmp_path):
    check(read(tmp_path, tsv([(*row, "", "") for row in ROWS]).replace("\n", "\n\n").replace("label\n", "label\n \n")))


def test_windows_line_ends_and_a_byte_order_mark(tmp_path):
    check(read(tmp_path, "\ufeff" + tsv(ROWS).replace("\n", "\r\n")))


def test_text_is_clean(tmp_path):
    data = read(tmp_path, jsonl([("Cafe\u0301\n is\u00a0 open ", "\u200bx\ty", "neutral")]))
    assert (data.premises, data.hypotheses) == (["Café is open"], [clean("\u200bx\ty")])


def test_without_labels_every_row_is_kept(tmp_path):
    rows = [("a", "b", "-"), ("c", "d", "maybe")]
    data = read(tmp_path, tsv(rows), labelled=False)
    assert (data.premises, data.hypotheses, data.labels, data.unlabelled) == (["a", "c"], ["b", "d"], None, 0)
    assert read(tmp_path, tsv([("a", "b")], "premise hypothesis"), labelled=False).labels is None


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1).filter(clean)
CASES = [str.lower, str.upper, str.title, lambda label: label[0], lambda label: f" {label}"]


@given(
    rows=st.lists(st.tuples(TEXT, TEXT, st.integers(0, 2), st.sampled_from(CASES)), min_size=1, max_size=6),
    order=st.permutations(["premise", "hypothesis", "label", "genre"]),
    as_json=st.booleans(),
)
def test_what_is_written_is_read(tmp_path_factory, rows, order, as_json):
    lines = []
    for premise, hypothesis, label, case in rows:
        premise, hypothesis = (text if as_json else clean(text) for text in (premise, hypothesis))
        values = {"premise": premise, "hypothesis": hypothesis, "label": case(LABELS[label]), "genre": "x"}
        lines.append(tuple(values[name] for name in order))
    content = (jsonl if as_json else tsv)(lines, " ".join(order))
    data = read(tmp_path_factory.mktemp("nli"), content)
    assert data.premises == [clean(row[0]) for row in rows]
    assert data.hypotheses == [clean(row[1]) for row in rows]
    assert data.labels is not None
    assert data.labels.tolist() == [row[2] for row in rows]


# what is refused


def test_missing_columns_are_named_with_those_found(tmp_path):
    message = refusal(tmp_path, tsv([("a", "b")], "premise text"))
    assert "lacks hypothesis or hypo or sentence2; gold_label or label. Found: premise, text" in message
    assert "Found: premise,hypothesis,label" in refusal(tmp_path, "premise,hypothesis,label\na,b,neutral\n")
    assert "line 2 lacks premise" in refusal(tmp_path, jsonl(ROWS[:1]) + '{"label": "neutral", "hypothesis": "x"}\n')
    assert "Found: nothing" in refusal(tmp_path, "{}\n")


def test_a_file_without_header_is_refused(tmp_path):
    assert "Found: The red kite flew., Something flew., entailment" in refusal(tmp_path, "\t".join(ROWS[0]) + "\n")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("a\tb", "line 5 has 2 fields, and the header names 3"),
        ("a", "line 5 has 1 field, and the header names 3"),
        ("a\tb\tc\tneutral", "line 5 has 4 fields, and the header names 3"),
        ("\tb\tneutral", "line 5 has an empty premise"),
        ("a\t \u00a0\tneutral", "line 5 has an empty hypothesis"),
        ("a\tb\tmaybe", "line 5 has the label 'maybe'; entailment, neutral or contradiction was expected"),
        ("a\tb\t", "line 5 has the label ''"),
        ("a\tb\t" + "x" * 99, "xxx...'"),
        ("a\tb\t2", "line 5 has the number 2 as label"),
        ("a\tb\t-1", "line 5 has the number -1 as label"),
        ("a\tb\t1.0", "line 5 has the number 1.0 as label"),
    ],
)
def test_a_wrong_row_is_named(tmp_path, line, says):
    assert says in refusal(tmp_path, tsv(ROWS) + line + "\n")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"premise": "a", ', "line 4 is no JSON (Expecting property name"),
        ("premise", "line 4 is no JSON (Expecting value at character 1)"),
        ("[" * 100_000, "line 4 is no JSON"),
        ('["a", "b", "neutral"]', "line 4 is a list; one JSON object a line was expected"),
        ("7", "line 4 is 7; one JSON object"),
        ('{"premise": 3, "hypothesis": "b", "label": "neutral"}', "line 4 has 3 as premise; text was expected"),
        ('{"premise": "a", "hypothesis": null, "label": "neutral"}', "line 4 has null as hypothesis"),
        ('{"premise": "a", "hypothesis": "", "label": "neutral"}', "line 4 has an empty hypothesis"),
        ('{"premise": "a", "hypothesis": "b", "label": 1}', "line 4 has the number 1 as label"),
        ('{"premise": "a", "hypothesis": "b", "label": true}', "line 4 has the label true"),
        ('{"premise": "a", "hypothesis": "b", "label": ["neutral"]}', 'line 4 has the label ["neutral"]'),
    ],
)
def test_a_wrong_entry_is_named(tmp_path, line, says):
    assert says in refusal(tmp_path, jsonl(ROWS) + line + "\n")


def test_a_json_array_is_refused(tmp_path):
    assert "line 1 is a list" in refusal(tmp_path, json.dumps([{"premise": "a"}]))


def test_several_languages_are_listed(tmp_path):
    message = refusal(tmp_path, tsv([*xnli_rows("fr", "ar"), ("zh", "?", "", "", "", "")], XNLI))
    assert "in several languages (ar, fr, zh); name one" in message


def test_a_language_that_is_not_there_is_refused_with_those_that_are(tmp_path):
    message = refusal(tmp_path, tsv(xnli_rows("fr", "ar"), XNLI), language="de")
    assert "none of its rows is in 'de'; its languages are ar, fr" in message


def test_a_language_cannot_be_picked_from_a_file_that_has_none(tmp_path):
    assert "'fr' cannot be picked" in refusal(tmp_path, tsv(ROWS), language="fr")


def test_no_row_left(tmp_path):
    assert "it has no rows" in refusal(tmp_path, tsv([]))
    assert "it has no rows" in refusal(tmp_path, "\n \n")
    assert "all 2 rows are without a gold label" in refusal(tmp_path, tsv([("a", "b", "-"), ("c", "d", "-")]))


def test_files_that_cannot_be_read(tmp_path):
    assert "is empty" in refusal(tmp_path, "")
    for name, says in ((str(tmp_path), "is a folder"), (str(tmp_path / "gone.tsv"), "does not exist")):
        with pytest.raises(CorpusError, match=says):
            read_nli(name)


# data sets of the hub


class Data(list):
    """What the datasets library returns, as far as it is used."""

    def __init__(self, rows: list[dict[str, Any]], names: list[str] | None = None) -> None:
        super().__init__(rows)
        self.column_names = list(rows[0])
        self.features = {name: SimpleNamespace(names=names if name == "label" else None) for name in rows[0]}


@pytest.fixture
def hub(monkeypatch):
    """A stand-in for the datasets library: fill ``sets`` with (data set, configuration, split) -> Data."""
    sets: dict[tuple[str, str | None, str], Data] = {}

    def splits(name: str, config: str | None) -> list[str]:
        found = [key[2] for key in sets if key[:2] == (name, config)]
        if not found:
            raise ValueError(f"Config name is missing.\nPlease pick one among {sorted(sets)}")
        return found

    def load(name: str, config: str | None, split: str) -> Data:
        return sets[name, config, split]

    stub = SimpleNamespace(get_dataset_split_names=splits, load_dataset=load)
    monkeypatch.setitem(sys.modules, "datasets", stub)
    return sets


def entries(labels: list[Any]) -> list[dict[str, Any]]:
    return [{"premise": a, "hypothesis": b, "label": y} for (a, b, _), y in zip(ROWS, labels, strict=True)]


def test_a_hub_data_set_names_its_numbers(hub):
    hub["org/nli", "fr", "test"] = Data(entries([2, 0, 1]), ["Contradiction", "neutral", "entailment"])
    hub["org/nli", "fr", "train"] = Data(entries([0, 0, 0]), list(LABELS))
    data = read_nli("hf:org/nli:fr:test")
    check(data)
    assert data.source == "hf:org/nli:fr:test"


def test_the_only_split_needs_no_name(hub):
    hub["nli", None, "test"] = Data(entries(["Entailment", "contradiction", "neutral"]))
    check(read_nli("hf:nli"))


def test_rows_of_the_hub_without_label_are_counted(hub):
    hub["nli", None, "train"] = Data(entries([-1, None, 1]), list(LABELS))
    data = read_nli("hf:nli")
    assert (data.premises, data.unlabelled) == ([ROWS[2][0]], 2)


def test_one_language_of_all_languages(hub):
    row = {
        "premise": {"fr": "a fr", "zh": "a zh"},
        "hypothesis": {"language": ["zh", "fr"], "translation": ["b zh", "b fr"]},
        "label": 1,
    }
    hub["xnli", "all_languages", "test"] = Data([row], list(LABELS))
    data = read_nli("hf:xnli:all_languages", "fr")
    assert (data.premises, data.hypotheses) == (["a fr"], ["b fr"])
    with pytest.raises(CorpusError, match=r"several languages \(fr, zh\); name one of them"):
        read_nli("hf:xnli:all_languages")
    with pytest.raises(CorpusError, match=r"several languages \(fr, zh\); 'de' is not among them"):
        read_nli("hf:xnli:all_languages", "de")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("hf:", "names no hub data set"),
        ("hf:a:b:c:d", "names no hub data set"),
        ("hf:nli", "has the splits test, train; name one: hf:DATASET:CONFIG:SPLIT"),
        ("hf:nli::dev", "has the splits test, train; 'dev' is not among them"),
        ("hf:other", r"could not be read as a hub data set \(ValueError: Config name is missing.\)"),
        ("hf:nli::test", "row 1 has the number 2 as label"),
        ("hf:nli::train", "row 1 has the label 7, and there are 3 classes"),
        ("hf:named", "row 1 has the label 'yes'"),
        ("hf:bare", "lacks hypothesis"),
    ],
)
def test_what_is_refused_of_the_hub(hub, name, says):
    hub["nli", None, "test"] = Data(entries([2, 0, 1]))
    hub["nli", None, "train"] = Data(entries([7, 0, 1]), list(LABELS))
    hub["named", None, "train"] = Data(entries([0, 0, 1]), ["yes", "no"])
    hub["bare", None, "train"] = Data([{"premise": "a", "label": "neutral"}])
    with pytest.raises(CorpusError, match=says) as caught:
        read_nli(name)
    assert f"'{name}'" in str(caught.value)


def test_without_the_datasets_library_the_pip_line_is_shown(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'lingraft\[hub\]'"):
        read_nli("hf:xnli:fr:test")


@pytest.mark.filterwarnings("default")
def test_the_datasets_library_itself(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    columns = zip(*ROWS, strict=True)
    data = datasets.Dataset.from_dict(dict(zip(("premise", "hypothesis", "label"), columns, strict=True)))
    data = data.cast_column("label", datasets.ClassLabel(names=["neutral", "contradiction", "entailment"]))
    (tmp_path / "set").mkdir()
    data.to_parquet(str(tmp_path / "set" / "test.parquet"))
    check(read_nli(f"hf:{tmp_path / 'set'}"))
    check(read_nli(f"hf:{tmp_path / 'set'}:default:test"))
    with pytest.raises(CorpusError, match="has the splits test; 'dev' is not among them"):
        read_nli(f"hf:{tmp_path / 'set'}:default:dev")
