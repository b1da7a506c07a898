"""`lingraft align`, `score-alignment` and `lexicon` as a user types them."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zstandard

import lingraft
import tiny
from conftest import as_tsv
from lingraft import AlignerSettings, AlignmentModel, align
from lingraft.evidence.alignment import Lexicon, files, read_lexicon, write_lexicon

SYMMETRIZATIONS = ["posterior", "intersection", "union", "grow-diag", "grow-diag-final", "grow-diag-final-and"]
COMPRESSORS = {"gz": gzip.compress, "zst": zstandard.compress, "xz": lzma.compress, "bz2": bz2.compress}
RESULT = {"pairs", "links", "malformed", "too_long", "log_likelihood", "out"}


def pharaoh(links, posterior=False):
    """Links as they are to be written, a line for each pair."""
    values = iter(links.posterior.tolist())
    return "".join(
        " ".join(f"{i}-{j}" + (f":{next(values):.3f}" if posterior else "") for i, j in of_pair) + "\n"
        for of_pair in links
    )


def only_object(out):
    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    assert out.count("\n") == 1
    return json.loads(out, parse_constant=refuse)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope="module")
def pairs():
    return tiny.cipher_pairs(120)


@pytest.fixture(scope="module")
def library(pairs):
    """What the library makes of the bitext."""
    return align(pairs)


@pytest.fixture(scope="module")
def bitext(pairs, tmp_path_factory):
    return as_tsv(tmp_path_factory.mktemp("align") / "bitext.tsv", pairs)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def aligned(command, out):
    """Aligns, quietly, and gives the lines that were written."""

    def run(*arguments):
        status, stdout, err = command("align", *arguments, "--out", out, "--quiet")
        assert (status, stdout, err) == (0, "", "")
        text = out.read_text(encoding="ascii")
        out.unlink()
        return text

    return run


@pytest.fixture
def refused(command, tmp_path):
    """A command that has to be refused: one message, no traceback, nothing made, changed or left behind."""

    def run(*arguments, status=2):
        before = {path: path.read_bytes() if path.is_file() else None for path in tmp_path.rglob("*")}
        found, stdout, err = command(*arguments)
        assert (found, stdout) == (status, ""), err
        assert err.startswith("lingraft: ")
        assert err.endswith(".\n")
        assert err.count("\n") == 1
        assert "Traceback" not in err
        assert "Errno" not in err
        assert {path: path.read_bytes() if path.is_file() else None for path in tmp_path.rglob("*")} == before
        return err

    return run


# align


def test_links_are_written_a_line_a_pair(command, bitext, library, out):
    status, stdout, err = command("align", bitext, "--out", out)
    assert (status, stdout) == (0, "")
    first, last = err.splitlines()
    assert first.split()[:4] == ["align", "100", "%", "log-likelihood"]
    assert last == f"Written to {out}."
    assert out.read_text(encoding="ascii") == pharaoh(library.links)
    assert names(out.parent) == ["out"]


def test_quiet_says_nothing_and_json_prints_one_object(command, bitext, library, out, pairs):
    assert command("align", bitext, "--out", out, "--quiet") == (0, "", "")
    out.unlink()
    status, stdout, err = command("align", bitext, "--out", out, "--json", "--seed", 3)
    assert (status, len(err.splitlines())) == (0, 1)
    report = only_object(stdout)
    assert report.keys() == RESULT
    assert report["log_likelihood"] == [list(both) for both in library.log_likelihood]
    assert (report["pairs"], report["links"]) == (len(pairs), library.links.english.size)
    assert (report["malformed"], report["too_long"], report["out"]) == (0, 0, str(out))
    out.unlink()
    status, again, err = command("align", bitext, "--out", out, "--json", "--quiet")
    assert (status, err) == (0, "")
    assert only_object(again) == report


def test_soft_links_have_their_posterior(aligned, bitext, library, pairs):
    assert aligned(bitext, "--soft") == pharaoh(library.likely, posterior=True)
    assert aligned(bitext, "--soft", "--threshold", "0.2") == pharaoh(library.links, posterior=True)
    assert aligned(bitext, "--threshold", 0.01) == pharaoh(library.likely)
    assert aligned(bitext, "--threshold", 0.7) == pharaoh(align(pairs, threshold=0.7).links)


@pytest.mark.parametrize("symmetrization", SYMMETRIZATIONS)
def test_every_symmetrization_has_its_name(aligned, bitext, pairs, symmetrization):
    expected = pharaoh(align(pairs, symmetrize=symmetrization).links)
    assert aligned(bitext, "--symmetrize", symmetrization) == expected


def test_method_and_iterations(aligned, bitext, pairs, library):
    first_stage = pharaoh(align(pairs, settings=AlignerSettings(method="ibm2")).links)
    assert aligned(bitext, "--method", "ibm2") == first_stage
    assert aligned(bitext, "--method", "hmm", "--iterations", 4) == pharaoh(library.links)
    one = pharaoh(align(pairs, settings=AlignerSettings(iterations=1)).links)
    assert aligned(bitext, "--iterations", 1) == one
    assert len({first_stage, one, pharaoh(library.links)}) > 1


def test_the_number_of_threads_changes_nothing(aligned, bitext, library):
    for threads in (1, 3):
        assert aligned(bitext, "--threads", threads, "--soft") == pharaoh(library.likely, posterior=True)


@pytest.mark.parametrize("suffix", COMPRESSORS)
def test_compressed_and_two_files_are_the_same_bitext(aligned, tmp_path, pairs, bitext, library, suffix):
    packed = tmp_path / f"bitext.tsv.{suffix}"
    packed.write_bytes(COMPRESSORS[suffix](bitext.read_bytes()))
    assert aligned(packed) == pharaoh(library.links)
    english, foreign = tmp_path / "text.en", tmp_path / f"text.xx.{suffix}"
    english.write_text("".join(f"{pair[0]}\n" for pair in pairs), encoding="utf-8")
    foreign.write_bytes(COMPRESSORS[suffix]("".join(f"{pair[1]}\n" for pair in pairs).encode()))
    assert aligned(f"{english},{foreign}") == pharaoh(library.links)


def test_line_k_of_the_output_is_of_line_k_of_the_input(command, tmp_path, pairs, out):
    lines = [f"{english}\t{foreign}" for english, foreign in pairs]
    for number, line in ((3, ""), (4, "\t"), (10, "alone\t"), (11, "\tallein"), (50, "only one column")):
        lines[number] = line
    lines[60] = f"{'long ' * 1001}\tlang"
    (tmp_path / "bitext.tsv").write_text("\n".join([*lines, "", ""]), encoding="utf-8")
    status, stdout, _ = command("align", tmp_path / "bitext.tsv", "--out", out, "--json")
    report = only_object(stdout)
    assert (status, report["pairs"], report["malformed"], report["too_long"]) == (0, 121, 1, 1)
    written = out.read_text(encoding="ascii").split("\n")
    assert written.pop() == ""
    assert [k for k, line in enumerate(written) if not line] == [3, 4, 10, 11, 50, 60, 120]
    for k in (0, 59, 61, 119):
        assert len(written[k].split()) > 0.8 * len(pairs[k][0].split())


def test_a_file_of_windows_is_the_same(aligned, tmp_path, bitext, library):
    (tmp_path / "windows.tsv").write_bytes(b"\xef\xbb\xbf" + bitext.read_bytes().replace(b"\n", b"\r\n"))
    assert aligned(tmp_path / "windows.tsv") == pharaoh(library.links)


def test_case_and_characters(aligned, tmp_path):
    mixed = [("The cat", "猫犬 CAT"), ("the dog", "犬 cat"), ("The Dog", "犬 Cat")] * 15
    path = as_tsv(tmp_path / "bitext.tsv", mixed)
    for options, arguments in (
        ([], {}),
        (["--keep-case"], {"lowercase": False}),
        (["--characters"], {"characters": True}),
        (["--characters", "--keep-case"], {"lowercase": False, "characters": True}),
    ):
        assert aligned(path, "--soft", *options) == pharaoh(align(mixed, **arguments).likely, posterior=True)
    assert aligned(path) != aligned(path, "--keep-case") or aligned(path, "--soft") != aligned(path, "--characters")


def test_a_model_is_saved_and_gone_on_from(command, aligned, tmp_path, bitext, library, pairs):
    model, second = tmp_path / "model.npz", tmp_path / "second.npz"
    assert aligned(bitext, "--save-model", model) == pharaoh(library.links)
    assert names(tmp_path) == ["model.npz"]
    new = tiny.cipher_pairs(10, seed=4)
    text = as_tsv(tmp_path / "new.tsv", new)
    expected = align(new, model=model)
    assert aligned(text, "--model", model, "--save-model", second) == pharaoh(expected.links)
    assert len(AlignmentModel.load(second).english_words) == len(expected.model.english_words)
    assert names(tmp_path) == ["model.npz", "new.tsv", "second.npz"]
    assert aligned(text) != pharaoh(expected.links)


def test_a_model_brings_its_settings_and_options_go_before_them(command, aligned, tmp_path, bitext):
    model = tmp_path / "model.npz"
    aligned(bitext, "--iterations", 2, "--keep-case", "--save-model", model)
    made = AlignmentModel.load(model)
    assert (made.settings.method, made.settings.iterations, made.lowercase) == ("hmm", 2, False)
    line = ["align", bitext, "--model", model, "--json"]
    report = only_object(command(*line, "--out", tmp_path / "one")[1])
    assert len(report["log_likelihood"]) == 2
    report = only_object(command(*line, "--method", "ibm2", "--out", tmp_path / "two")[1])
    assert report["log_likelihood"] == []
    first_stage = tmp_path / "first.npz"
    aligned(bitext, "--method", "ibm2", "--save-model", first_stage)
    report = only_object(command("align", bitext, "--model", first_stage, "--json", "--out", tmp_path / "three")[1])
    assert report["log_likelihood"] == []


def test_options_that_would_do_nothing_are_refused(refused, aligned, tmp_path, bitext):
    model = tmp_path / "model.npz"
    aligned(bitext, "--save-model", model)
    out = ["--out", tmp_path / "out"]
    assert "--keep-case" in refused("align", bitext, "--model", model, "--keep-case", *out)
    assert "--characters" in refused("align", bitext, "--model", model, "--characters", *out)
    assert "--iterations" in refused("align", bitext, "--method", "ibm2", "--iterations", 3, *out)
    assert "--threshold" in refused("align", bitext, "--symmetrize", "union", "--threshold", 0.5, *out)


def test_a_lexicon_is_started_from(aligned, tmp_path, pairs):
    rare = (f"Rarus {pairs[0][0]} unicus", f"Drei {pairs[0][1]} eins")
    path = as_tsv(tmp_path / "bitext.tsv", [*pairs, rare])
    (tmp_path / "lexicon.tsv").write_text("RARUS\teins\nunicus\tDREI\t0.8\n", encoding="utf-8")
    last = len(rare[0].split()) - 1
    without = aligned(path).splitlines()[-1].split()
    with_lexicon = aligned(path, "--lexicon", tmp_path / "lexicon.tsv").splitlines()[-1].split()
    assert {f"0-{last}", f"{last}-0"} <= set(with_lexicon)
    assert not {f"0-{last}", f"{last}-0"} & set(without)


def test_entries_of_a_lexicon_that_are_not_used_are_counted(command, tmp_path, out):
    path = as_tsv(tmp_path / "bitext.tsv", [("cat dog", "猫犬"), ("cat", "大猫")] * 5)
    (tmp_path / "lexicon.tsv").write_text("tom cat\t猫\ncat\t大猫\ndog\t犬 犬\n", encoding="utf-8")
    line = ["align", path, "--lexicon", tmp_path / "lexicon.tsv", "--characters"]
    report = only_object(command(*line, "--out", out, "--json")[1])
    assert report.keys() == RESULT | {"unused_entries"}
    assert report["unused_entries"] == 2
    err = command(*line, "--out", tmp_path / "again")[2].splitlines()
    assert len(err) == 3
    assert err[1].startswith("2 entries of the lexicon were not used: ")


def test_the_output_may_have_any_name(command, bitext, library, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("links", "a b [c].txt", "Ærø"):
        assert command("align", bitext, "--out", name, "--quiet")[0] == 0
        assert Path(name).read_text(encoding="ascii") == pharaoh(library.links)
    assert names(tmp_path) == ["a b [c].txt", "links", "Ærø"]


@pytest.mark.parametrize(
    ("extra", "named"),
    [
        (["--method", "ibm4"], ["'ibm4'", "hmm, ibm2"]),
        (["--iterations", 101], ["iterations", "101"]),
        (["--iterations", -1], ["iterations", "-1"]),
        (["--symmetrize", "grow"], ["'grow'", *SYMMETRIZATIONS]),
        (["--threshold", 1.5], ["--threshold", "1.5"]),
        (["--threshold", -0.1], ["--threshold", "-0.1"]),
        (["--threshold", "nan"], ["--threshold", "nan"]),
        (["--soft", "--symmetrize", "union"], ["--soft", "'union'"]),
        (["--lexicon", "gone.tsv"], ["'gone.tsv' does not exist"]),
        (["--model", "gone.npz"], ["'gone.npz' does not exist"]),
        (["--model", "."], ["'.' does not exist or is no file"]),
        (["--save-model", "no/model.npz"], ["'no/model.npz' cannot be written", "no folder 'no'"]),
        (["--save-model", "out"], ["--out and --save-model are both", "out"]),
        (["--out", "no/out"], ["'no/out' cannot be written", "no folder 'no'"]),
        (["--save-model", "there"], ["'there' is there already", "--save-model"]),
        (["--out", "there"], ["'there' is there already", "--out"]),
        (["--out", "."], ["'.' is there already", "--out"]),
        (["--model", "there"], ["'there' is not an alignment model"]),
        (["--lexicon", "there"], ["'there'", "line 1 has 1 column"]),
        (["--lexicon", "empty"], ["'empty' is empty"]),
        (["--lexicon", "wrong.tsv"], ["'wrong.tsv'", "line 2 holds '2.5' where a probability belongs"]),
    ],
    ids=lambda value: " ".join(map(str, value)) if str(value[0]).startswith("--") else "",
)  # fmt: skip
def test_align_names_a_wrong_option(refused, monkeypatch, tmp_path, bitext, extra, named):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").write_text("mine\n")
    (tmp_path / "empty").write_text("")
    (tmp_path / "wrong.tsv").write_text("one\tun\ntwo\tdeux\t2.5\n")
    message = refused("align", bitext, "--out", "out", *extra)
    for part in named:
        assert part in message


@pytest.mark.parametrize("command_name", ["align", "lexicon"])
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "does not exist"), (b"", "is empty"), (b"a\tb\n\0\n", "line 2 holds NUL bytes"),
        ("à\té\n".encode("latin-1"), "line 1 holds the byte 0xe0"), (b"one\ntwo\n", "line 1 has 1 column"),
        (b"\n\n", "no pair with words on both sides"), (b"a\t\n\tb\n", "no pair with words on both sides"),
    ],
    ids=["missing", "empty", "binary", "latin-1", "one column", "blank", "one side"],
)  # fmt: skip
def test_a_bad_bitext_is_named(refused, tmp_path, command_name, content, reason):
    path = tmp_path / "bitext.tsv"
    if content is not None:
        path.write_bytes(content)
    message = refused(command_name, path, "--out", tmp_path / "out")
    assert f"'{path}'" in message
    assert reason in message


@pytest.mark.parametrize("command_name", ["align", "lexicon"])
def test_a_bad_pair_of_files_is_named(refused, tmp_path, bitext, command_name):
    (tmp_path / "text.en").write_text("a\n" * 1203)
    (tmp_path / "text.fr").write_text("à\n" * 1200)
    (tmp_path / "cut.tsv.zst").write_bytes(zstandard.compress(bitext.read_bytes())[:-20])
    line = [command_name, "--out", tmp_path / "out"]
    message = refused(*line, f"{tmp_path}/text.en,{tmp_path}/text.fr")
    assert f"'{tmp_path}/text.en' has 1,203 lines" in message
    assert "has 1,200" in message
    assert "names 3 files" in refused(*line, "a,b,c")
    assert "gone' does not exist" in refused(*line, f"{tmp_path}/text.en,{tmp_path}/gone")
    assert "is a folder" in refused(*line, tmp_path)
    assert "cut.tsv.zst' cannot be read" in refused(*line, tmp_path / "cut.tsv.zst")


@pytest.mark.parametrize(
    "arguments",
    [["align"], ["align", "bitext.tsv"], ["align", "b", "--out", "o", "--threads", "0"], ["lexicon", "bitext.tsv"],
     ["align", "b", "--out", "o", "--threshold", "low"], ["align", "b", "--out", "o", "--iterations", "2.5"],
     ["align", "b", "--out", "o", "--sauce"], ["score-alignment", "a"],
     ["lexicon", "b", "--out", "o", "--threads", "x"]],
    ids=" ".join,
)  # fmt: skip
def test_a_wrong_command_line_has_exit_status_two(command, monkeypatch, tmp_path, arguments):
    monkeypatch.chdir(tmp_path)
    status, stdout, err = command(*arguments)
    assert (status, stdout) == (2, "")
    assert "Usage: lingraft" in err
    assert "Traceback" not in err
    assert names(tmp_path) == []


def test_a_model_that_is_damaged_is_refused_before_the_bitext_is_read(command, refused, aligned, tmp_path, bitext):
    model = tmp_path / "model.npz"
    aligned(bitext, "--save-model", model)
    model.write_bytes(model.read_bytes()[:-100])
    message = refused("align", "gone.tsv", "--model", model, "--out", tmp_path / "out")
    assert f"'{model}' is not an alignment model that lingraft saved" in message


def disk_full(*_, **__):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("fails", "arguments"),
    [
        ((files, "format_links"), ["align"]),
        ((np, "savez_compressed"), ["align", "--save-model", "model.npz"]),
        ((Path, "write_bytes"), ["lexicon"]),
    ],
    ids=["links", "model", "lexicon"],
)
def test_a_full_disk_leaves_nothing_half_done(refused, monkeypatch, tmp_path, bitext, fails, arguments):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(*fails, disk_full)
    status = 2 if arguments == ["lexicon"] else 1
    assert "No space left on device" in refused(*arguments, bitext, "--out", "out", "--quiet", status=status)


def test_a_name_that_the_disk_does_not_take_is_refused(refused, tmp_path, bitext):
    assert "File name too long" in refused("align", bitext, "--out", tmp_path / ("x" * 300), status=1)
    assert "File name too long" in refused("align", bitext, "--out", tmp_path / ("x" * 250), "--quiet")


def test_an_interrupted_alignment_leaves_nothing(command, monkeypatch, tmp_path, bitext):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(files, "format_links", interrupt)
    status, stdout, err = command("align", bitext, "--out", tmp_path / "out", "--quiet")
    assert status not in (0, 2)
    assert stdout == ""
    assert "Traceback" not in err
    assert names(tmp_path) == []


# score-alignment


@pytest.fixture
def gold(tmp_path):
    path = tmp_path / "gold.txt"
    path.write_text("0-0 1-1 2?1\n\n0-1 1?0\n")
    (tmp_path / "links.txt").write_text("0-0 2-1:0.75\n\n0-1 1-1\n")
    return path


def test_links_are_scored(command, tmp_path, gold):
    line = ["score-alignment", tmp_path / "links.txt", gold]
    status, stdout, err = command(*line, "--json")
    assert (status, err) == (0, "")
    report = only_object(stdout)
    assert report == lingraft.score_alignment(tmp_path / "links.txt", gold).as_dict()
    assert report == {"precision": 3 / 4, "recall": 2 / 3, "aer": pytest.approx(1 - 5 / 7), "sentences": 3}
    status, stdout, err = command(*line, "--quiet")
    assert (status, err) == (0, "")
    for shown in ("precision", "0.7500", "recall", "0.6667", "aer", "0.2857", "sentences", "3"):
        assert shown in stdout


def test_what_align_writes_can_be_scored(command, aligned, tmp_path, bitext, pairs):
    for extra in ([], ["--soft"]):
        (tmp_path / "links").write_text(aligned(bitext, *extra))
        (tmp_path / "gold").write_text(
            "".join(" ".join(f"{k}-{k}" for k in range(len(pair[0].split()))) + "\n" for pair in pairs)
        )
        report = only_object(command("score-alignment", tmp_path / "links", tmp_path / "gold", "--json")[1])
        assert report["sentences"] == len(pairs)
        assert report["aer"] < 0.1


@pytest.mark.parametrize(
    ("links", "gold", "named"),
    [
        (None, "0-0\n", ["links' does not exist"]),
        ("0-0\n", None, ["gold' does not exist"]),
        ("", "0-0\n", ["links' is empty"]),
        ("0-0\n", "", ["gold' is empty"]),
        ("0-0\n0-0\n", "0-0\n", ["has 2 lines", "has 1;"]),
        ("0-0\n", "0-0\n0:0\n", ["gold': line 2 holds '0:0', which is no link"]),
        ("0-0 1\n", "0-0\n", ["links': line 1 holds '1', which is no link"]),
        ("-1-0\n", "0-0\n", ["links': line 1 holds '-1-0'"]),
        ("0-0\n", "0-0\n\0", ["gold'", "NUL"]),
    ],
)
def test_links_that_cannot_be_scored_are_named(refused, tmp_path, links, gold, named):
    for name, content in (("links", links), ("gold", gold)):
        if content is not None:
            (tmp_path / name).write_text(content)
    message = refused("score-alignment", tmp_path / "links", tmp_path / "gold")
    for part in named:
        assert part in message


# lexicon


def test_a_lexicon_is_made(command, tmp_path, bitext, out, pairs):
    status, stdout, err = command("lexicon", bitext, "--out", out, "--json")
    assert status == 0
    assert err.split()[:3] == ["align", "100", "%"]
    report = only_object(stdout)
    made = read_lexicon(out)
    assert report == {"pairs": len(pairs), "entries": len(made), "malformed": 0, "too_long": 0, "out": str(out)}
    best = {}
    for english, foreign in zip(made.english, made.foreign, strict=True):
        best.setdefault(foreign, english)
    assert np.mean([tiny.cipher_word(english) == foreign for foreign, english in best.items()]) > 0.9
    assert made.count.min() >= 0.5
    assert names(tmp_path) == ["out"]
    status, stdout, err = command("lexicon", bitext, "--out", tmp_path / "quiet.tsv.gz", "--quiet", "--threads", 1)
    assert (status, stdout, err) == (0, "", "")
    assert gzip.decompress((tmp_path / "quiet.tsv.gz").read_bytes()) == out.read_bytes()
    status, stdout, err = command("lexicon", bitext, "--out", tmp_path / "loud.tsv")
    assert (status, stdout) == (0, "")
    assert err.splitlines()[-1] == f"Written to {tmp_path / 'loud.tsv'}."


def test_the_least_count_and_probability(command, tmp_path, bitext):
    made = {}
    for name, extra in (("all", [0, 0]), ("default", []), ("often", [3, 0.01]), ("sure", [0.5, 0.9])):
        options = ["--min-count", extra[0], "--min-probability", extra[1]] if extra else []
        assert command("lexicon", bitext, "--out", tmp_path / name, *options, "--quiet")[0] == 0
        made[name] = read_lexicon(tmp_path / name)
    assert len(made["all"]) >= len(made["default"]) > len(made["often"]) > 10
    assert made["often"].count.min() >= 3
    assert (np.maximum(made["sure"].english_given_foreign, made["sure"].foreign_given_english) >= 0.9).all()


def test_case_and_characters_of_a_lexicon(command, tmp_path):
    path = as_tsv(tmp_path / "bitext.tsv", [("Cat", "猫"), ("cat dog", "猫犬"), ("Dog", "犬")] * 20)
    words = {}
    for name, extra in (("low", []), ("case", ["--keep-case"]), ("characters", ["--characters"])):
        assert command("lexicon", path, "--out", tmp_path / name, *extra, "--quiet")[0] == 0
        made = read_lexicon(tmp_path / name)
        words[name] = set(made.english), set(made.foreign)
    assert words["low"] == ({"cat", "dog"}, {"猫", "犬", "猫犬"})
    assert words["case"][0] >= {"Cat", "Dog"}
    assert words["characters"] == ({"cat", "dog"}, {"猫", "犬"})


def test_a_lexicon_helps_the_next_alignment(command, aligned, tmp_path, bitext):
    assert command("lexicon", bitext, "--out", tmp_path / "lexicon.tsv", "--quiet")[0] == 0
    new = tiny.cipher_pairs(6, seed=4)
    text = as_tsv(tmp_path / "new.tsv", new)
    expected = pharaoh(align(new, lexicon=tmp_path / "lexicon.tsv").links)
    assert aligned(text, "--lexicon", tmp_path / "lexicon.tsv") == expected
    assert len(expected.split()) > len(aligned(text).split())


@pytest.mark.parametrize(
    ("extra", "named"),
    [
        (["--min-count", -1], ["--min-count", "-1"]),
        (["--min-count", "nan"], ["--min-count", "nan"]),
        (["--min-count", "inf"], ["--min-count", "inf"]),
        (["--min-probability", 1.1], ["--min-probability", "1.1"]),
        (["--min-probability", "nan"], ["--min-probability", "nan"]),
        (["--out", "there"], ["'there' is there already", "--out"]),
        (["--out", "no/lexicon.tsv"], ["'no/lexicon.tsv' cannot be written", "no folder 'no'"]),
    ],
    ids=lambda value: " ".join(map(str, value)) if str(value[0]).startswith("--") else "",
)
def test_lexicon_names_a_wrong_option(refused, monkeypatch, tmp_path, bitext, extra, named):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").write_text("mine")
    message = refused("lexicon", bitext, "--out", "out", *extra)
    for part in named:
        assert part in message


def test_a_lexicon_of_the_library_is_read(aligned, tmp_path, bitext, pairs):
    unknown = np.full(1, np.nan, np.float32)
    entries = Lexicon([tiny.words()[0]], [tiny.cipher_word(tiny.words()[0])], unknown, unknown, unknown)
    write_lexicon(entries, tmp_path / "lexicon.tsv.zst")
    expected = pharaoh(align(pairs, lexicon=entries).links)
    assert aligned(bitext, "--lexicon", tmp_path / "lexicon.tsv.zst") == expected


# A process of its own


def test_aligning_needs_neither_torch_nor_transformers(tmp_path, bitext):
    program = """
import sys
from lingraft import cli
bitext, folder = sys.argv[1:]
for line in (
    ["align", bitext, "--out", folder + "/links", "--save-model", folder + "/model", "--quiet"],
    ["lexicon", bitext, "--out", folder + "/lexicon", "--quiet"],
    ["align", bitext, "--out", folder + "/more", "--model", folder + "/model", "--lexicon", folder + "/lexicon"],
    ["score-alignment", folder + "/more", folder + "/links", "--json"],
):
    sys.argv = ["lingraft", *line]
    try:
        cli.main()
    except SystemExit as exit:
        assert exit.code == 0, line
print(sorted({name.partition(".")[0] for name in sys.modules}))
"""
    done = subprocess.run([sys.executable, "-c", program, bitext, tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stderr.splitlines()] == ["align", "Written"]
    score, modules = done.stdout.splitlines()
    assert json.loads(score)["aer"] < 0.1
    assert "'lingraft'" in modules
    for heavy in ("torch", "transformers", "tokenizers", "sentence_transformers", "huggingface_hub"):
        assert f"'{heavy}'" not in modules, heavy
    assert names(tmp_path) == ["lexicon", "links", "model", "more"]
