from __future__ import annotations

import json
import logging
import shutil
from importlib import import_module

import numpy as np
import pytest
from page import Page

import lingraft
import tiny
from conftest import as_tsv
from lingraft.errors import OutputError, TableError
from lingraft.evidence import Provenance
from lingraft.report import html, translations
from lingraft.report.html import embedded
from lingraft.report.translations import Translations
from lingraft.vocabulary import all_special_ids

SECTIONS = {"findings", "inputs", "scores", "vocabulary", "table", "alignment", "map", "training", "cost"}

HOSTILE = [
    "<script>alert(1)</script>",
    "</script>",
    "</SCRIPT ",
    "<!--",
    "\"'&",
    "\u2028",
    "]]>",
    "{{ 7*7 }}",
    "<img src=x onerror=y>",
]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope="module")
def finished(tmp_path_factory, real_report, sentence_model_folder):
    """A run of a sentence encoder, with its report; the names of its files are as hostile as a system allows."""
    folder = tmp_path_factory.mktemp("report")
    bitext = as_tsv(folder / "<b>&\"'.tsv", tiny.cipher_pairs())
    heldout = as_tsv(folder / "held <i>.tsv", tiny.cipher_pairs(40, seed=7))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(import_module("lingraft.transfer"), "add_report", real_report)
        return lingraft.transfer(
            sentence_model_folder, to="fr", out=folder / "out", bitext=bitext, eval_bitext=heldout, steps=12,
            settings={"training.batch_size": 16},
        )  # fmt: skip


@pytest.fixture
def copied(finished, tmp_path):
    """The folder of that run, to be changed."""
    return shutil.copytree(finished.directory, tmp_path / "out", ignore=shutil.ignore_patterns("graft-*", "trained-*"))


def test_a_transfer_ends_with_its_report(finished):
    out = finished.directory
    assert names(out) == [".cache", "recipe.yaml", "report.html", "run.json", "source", "table.npz", "target"]
    page = Page(out / "report.html")
    assert page.ids >= SECTIONS
    page.assert_closed()
    assert (out / "report.html").stat().st_size < 5_000_000
    assert 'class="absent"' not in page.html.partition("<main>")[2]
    assert json.loads((out / "run.json").read_text(encoding="utf-8")) == finished.run


def test_every_chart_has_its_place_and_is_drawn_of_the_numbers(finished):
    page = Page(finished.directory / "report.html")
    assert set(page.charts) <= page.ids
    kinds = [place.split("-", 2)[2] for place in page.charts]
    assert kinds == ["shares", "retrieval", "map", "curve", "curve", "rate"]
    drawn = json.dumps(page.charts)
    score = finished.scores["trained"]["retrieval"]["en_to_xx"]
    assert str(100 * score) in drawn
    assert json.dumps(finished.run["training"]["history"][0]["loss_xx"]) in drawn


def test_what_is_read_is_in_the_run(finished):
    page = Page(finished.directory / "report.html")
    run = finished.run
    assert "<b>&\"'.tsv" in page.text
    assert f"{run['vocabulary']['size']:,} tokens" in page.text
    assert f"{run['training']['tokens']:,}" in page.text
    assert run["versions"]["torch"] in page.text
    assert f"{run['cpu_seconds']['table']:.1f}" in page.section("cost")
    assert "not recorded" in page.section("inputs")


def test_the_most_frequent_tokens_and_the_search_box_say_what_the_table_says(finished):
    page = Page(finished.directory / "report.html")
    table = lingraft.TranslationTable.load(finished.directory / "table.npz")
    tokens = page.tokens()[0]
    ids = np.cumsum(tokens["ids"])
    special = all_special_ids(finished.target.tokenizer)
    assert ids.size == len(tokens["texts"]) == finished.run["vocabulary"]["size"] - len(special)
    at = 0
    for place, token in enumerate(ids):
        length = int(tokens["lengths"][place])
        row = table.matrix[int(token)].toarray().ravel()
        values = sorted(row[row > 0], reverse=True)[:4]
        assert tokens["percent"][at : at + length] == [round(100 * float(value)) for value in values]
        assert int(tokens["provenance"][place]) == table.provenance[token]
        at += length
    assert at == len(tokens["sources"])
    commonest = tokens["texts"][int(np.argmax(tokens["counts"]))]
    first = page.section("table").partition('<td class="token"><bdi dir="auto">')[2].partition("</bdi>")[0]
    assert first == commonest


def test_example_sentences_are_linked_word_by_word(finished):
    """The cipher is word by word in order, so the links are the diagonal."""
    page = Page(finished.directory / "report.html")
    paths = [attributes["d"] for tag, attributes in page.tags if tag == "path"]
    straight = [path for path in paths if path.split("C")[0].split()[1] == path.split()[-1]]
    assert len(paths) > 20
    assert len(straight) > 0.8 * len(paths)


def test_hostile_tokens_and_numbers_stay_text(copied, monkeypatch):
    """Whatever a vocabulary, a sentence or run.json holds: the page has the same elements and scripts as without."""
    before = Page(copied / "report.html")
    real = translations.written_tokens
    monkeypatch.setattr(
        translations, "written_tokens",
        lambda tokenizer: [HOSTILE[k % len(HOSTILE)] + text for k, text in enumerate(real(tokenizer))],
    )  # fmt: skip
    cached = next((copied / ".cache").glob("corpus-*")) / "bitext.en"
    lines = cached.read_text(encoding="utf-8").splitlines()
    cached.write_text("".join(f'{line} </script>"{HOSTILE[0]}\n' for line in lines), encoding="utf-8")
    run = json.loads((copied / "run.json").read_text(encoding="utf-8"))
    run["notes"] = HOSTILE
    run["source"]["name"] = run["machine"]["system"] = run["versions"]["torch"] = "".join(HOSTILE)
    (copied / "run.json").write_text(json.dumps(run), encoding="utf-8")
    lingraft.report(copied)
    page = Page(copied / "report.html")
    page.assert_closed()
    assert page.programs == before.programs
    assert {tag for tag, _ in page.tags} <= {tag for tag, _ in before.tags}
    assert len(page.scripts) == len(before.scripts)
    assert HOSTILE[0] in page.text
    assert "49" not in [part.strip() for part in page.parts]
    for attributes, content in page.scripts:
        if "type" in attributes:
            assert not set(content) & set("<>&\u2028\u2029")
    assert any(HOSTILE[0] in text for text in page.tokens()[0]["texts"])


@pytest.mark.parametrize("text", [*HOSTILE, "\u2029", "क़ पानी", "\ud800"])
def test_embedded_json_is_the_same_json_without_markup(text):
    written = str(embedded({"a": text, text: [1.5, None]}))
    assert not set(written) & set("<>&\u2028\u2029")
    assert json.loads(written) == {"a": text, text: [1.5, None]}


def test_without_the_cache_the_report_says_what_is_missing(copied):
    shutil.rmtree(copied / ".cache")
    made = lingraft.report(copied)
    page = Page(copied / "report.html")
    assert page.ids >= SECTIONS
    page.assert_closed()
    left_out = [warning for warning in made.warnings if "left out" in warning]
    assert len(left_out) == 2
    assert all(warning in page.text for warning in left_out)
    assert "The most frequent tokens" not in page.text
    assert page.tokens()[0]["counts"] == []
    assert 'class="absent"' in page.section("alignment")
    assert any(place.endswith("map") for place in page.charts)


def test_a_run_of_an_earlier_version_has_a_report_too(copied):
    """Without the numbers that this version added to run.json, and without training or scores."""
    run = json.loads((copied / "run.json").read_text(encoding="utf-8"))
    del run["vocabulary"]["fertility"], run["table"]["text_shares"], run["cpu_seconds"], run["training"]
    run["scores"] = {}
    (copied / "run.json").write_text(json.dumps(run), encoding="utf-8")
    lingraft.report(copied)
    page = Page(copied / "report.html")
    for name in ("scores", "vocabulary", "training"):
        assert 'class="absent"' in page.section(name)
    assert "not measured" in page.section("cost")


def test_losses_that_are_no_numbers_are_drawn_as_gaps(copied):
    run = json.loads((copied / "run.json").read_text(encoding="utf-8"))
    run["training"]["history"][3]["loss_xx"] = float("nan")
    run["training"]["history"][4]["loss_xx"] = float("inf")
    (copied / "run.json").write_text(json.dumps(run), encoding="utf-8")
    lingraft.report(copied)
    assert "NaN" not in json.dumps(Page(copied / "report.html").charts)


def test_a_table_that_cannot_be_read_costs_only_what_needs_it(copied):
    (copied / "table.npz").write_bytes(b"no table")
    made = lingraft.report(copied)
    page = Page(copied / "report.html")
    assert page.ids >= SECTIONS
    assert any("table.npz" in warning for warning in made.warnings)
    assert page.tokens() == []


def test_the_report_is_the_same_every_time(finished, copied):
    before = (copied / "report.html").read_bytes()
    lingraft.report(copied)
    after = (copied / "report.html").read_bytes()
    assert len(after) == pytest.approx(len(before), abs=200)  # Bokeh numbers its models
    assert Page(copied / "report.html").tokens() == Page(finished.directory / "report.html").tokens()


def test_several_languages_have_a_part_each(tmp_path, real_report, model_folder, bitext_file):
    other = as_tsv(tmp_path / "hi.tsv", tiny.mirror_pairs(200))
    result = lingraft.transfer(
        model_folder, to="fr,hi", out=tmp_path / "out", bitext={"fr": bitext_file, "hi": other}, objective="none",
        source_text=lingraft.Lines(tiny.english_lines(50)),
    )  # fmt: skip
    real_report(tmp_path / "out", result.run)
    page = Page(tmp_path / "out" / "report.html")
    page.assert_closed()
    assert len(page.tokens()) == 2
    for section in ("scores", "vocabulary", "table", "alignment", "map"):
        assert {f"{section}-language-0", f"{section}-language-1"} <= page.ids
    assert [place.split("-", 2)[2] for place in page.charts] == ["shares", "map"] * 2
    assert "English text" in page.section("inputs")
    assert 'class="absent"' in page.section("training")
    assert result.run["notes"] == json.loads((tmp_path / "out" / "run.json").read_text(encoding="utf-8"))["notes"]


def test_a_report_that_fails_leaves_the_run_finished(finished, copied, real_report, monkeypatch, caplog):
    def broken(run):
        raise ValueError("no <ink>")

    monkeypatch.setattr(html, "_Page", broken)
    (copied / "report.html").unlink()
    numbers = json.loads((copied / "run.json").read_text(encoding="utf-8"))
    with caplog.at_level(logging.WARNING, "lingraft"):
        real_report(copied, numbers)
        real_report(copied, numbers)
    assert "no <ink>" in caplog.text
    run = json.loads((copied / "run.json").read_text(encoding="utf-8"))
    assert [note for note in run["notes"] if "report.html could not be made (ValueError: no <ink>)" in note] == run[
        "notes"
    ][-1:]
    assert run["status"] == "done"
    assert not (copied / "report.html").exists()


def test_resume_makes_the_report_that_a_kill_prevented(copied, real_report, monkeypatch):
    monkeypatch.setattr(import_module("lingraft.transfer"), "add_report", real_report)
    (copied / "report.html").unlink()
    lingraft.resume(copied)
    assert (copied / "report.html").is_file()


class Rows:
    """A language of so many tokens, without a model."""

    def __init__(self, size, monkeypatch):
        random = np.random.default_rng(0)
        words = ["".join(chr(0x905 + k) for k in random.integers(0, 50, 5)) for _ in range(size)]
        monkeypatch.setattr(translations, "written_tokens", lambda _: words)
        monkeypatch.setattr(translations, "all_special_ids", lambda _: {0})
        columns = random.integers(0, size, (size, 6))
        weights = random.dirichlet(np.ones(6), size)
        from scipy import sparse

        matrix = sparse.csr_matrix((weights.ravel(), (np.repeat(np.arange(size), 6), columns.ravel())), (size, size))
        self.tokenizer = None
        self.run = type("Run", (), {"source_tokenizer": None})
        self.table = lingraft.TranslationTable(
            matrix, np.full(size, Provenance.bitext, np.uint8), random.random(size).astype(np.float32) * 100, "", ""
        )
        self.made = Translations(self)
        self.made.counts = random.integers(0, 1000, size)


def test_a_vocabulary_of_32000_tokens_fits(monkeypatch):
    packed, size = Rows(32_000, monkeypatch).made.payload(html.LIMIT - 1_700_000)
    assert size == 31_999
    assert len(packed) < html.LIMIT - 1_700_000


def test_of_what_does_not_fit_the_most_frequent_tokens_stay(monkeypatch):
    rows = Rows(2_000, monkeypatch)
    packed, size = rows.made.payload(10_000)
    assert len(packed) <= 10_000
    assert 100 < size < 2_000
    rows.made.payload(1)


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        (".", r"is no folder; the --out folder"),
        ("recipe.yaml", r"holds no run: there is no recipe.yaml"),
        ("run.json", r"is not finished: it has no run.json yet. Go on with it: lingraft resume"),
        ("table.npz", r"has no table.npz"),
        ("target", r"has no target"),
        ("source", r"has no source, the English model"),
    ],
)
def test_a_folder_that_is_no_finished_run_is_refused(copied, missing, message, command):
    path = copied / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    before = path.parent.exists() and names(path.parent)
    with pytest.raises(OutputError, match=message):
        lingraft.report(copied)
    status, out, err = command("report", copied, "--json")
    assert (status, out, "Traceback" in err) == (2, "", False)
    assert err.startswith("lingraft: ")
    assert (path.parent.exists() and names(path.parent)) == before


@pytest.mark.parametrize(("content", "message"), [("{", "is damaged"), ("[]", "is of no finished run: 'corpus'")])
def test_numbers_that_are_damaged_are_refused(copied, content, message):
    (copied / "run.json").write_text(content, encoding="utf-8")
    with pytest.raises(OutputError, match=message):
        lingraft.report(copied)


def test_the_command_writes_it_again(copied, command):
    (copied / "report.html").unlink()
    status, out, err = command("report", copied, "--json")
    told = json.loads(out)
    assert (status, err) == (0, "")
    assert set(told) == {"path", "bytes", "warnings"}
    assert told["path"] == str(copied / "report.html")
    assert told["bytes"] == (copied / "report.html").stat().st_size
    status, out, err = command("report", copied)
    assert (status, out) == (0, "")
    assert "report.html, 1." in err


def test_rows_of_other_tokenizers_are_refused(copied):
    table = lingraft.TranslationTable.load(copied / "table.npz")
    other = lingraft.TranslationTable(table.matrix, table.provenance, table.evidence, "0" * 64, table.target_hash)
    other.save(copied / "table.npz")
    with pytest.raises(TableError):
        html.open_run(copied).of("fr").table  # noqa: B018
