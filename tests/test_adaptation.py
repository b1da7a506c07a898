"""A swapped parser learns the new language's order of words from a bitext, as a user has it do so."""

from __future__ import annotations

import gzip
import inspect
import json
from pathlib import Path
from typing import get_type_hints

import pytest

import lingraft
import tiny
from conftest import as_tsv
from lingraft.adaptation import DEFAULTS
from lingraft.cli import tasks as cli_tasks
from lingraft.errors import RecipeError
from lingraft.tasks.parsing import load_parser, read_conllu
from lingraft.tasks.parsing.projection import MIN_SHARE
from lingraft.tasks.settings import FinetuneSettings

SMALL = {"arc_size": 20, "label_size": 10, "precision": "float32"}


def treebank(path: Path, n: int, seed: int, mirrored: bool = False) -> Path:
    """English: every word hangs on the one before it. Mirrored: the cipher, in the opposite order, on the one after."""
    blocks = []
    for line in tiny.english_lines(n, seed, longest=12):
        words = list(reversed(tiny.cipher(line).split())) if mirrored else line.split()
        rows = []
        for k, word in enumerate(words, 1):
            head = (k + 1 if k < len(words) else 0) if mirrored else k - 1
            rows.append(f"{k}\t{word}\t_\tX\t_\t_\t{head}\t{'dep' if head else 'root'}\t_\t_")
        blocks.append("\n".join(rows) + "\n")
    path.write_text("\n".join(blocks) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> Path:
    """A run, an English parser and the same swapped, and a bitext in whose new language words stand the other way."""
    place = tmp_path_factory.mktemp("adapted")
    pairs = [(line, " ".join(reversed(tiny.cipher(line).split()))) for line in tiny.english_lines(500, longest=14)]
    bitext = as_tsv(place / "bitext.tsv", pairs)
    lingraft.transfer(model_folder, to="fr", out=place / "run", bitext=bitext, objective="none")
    train = treebank(place / "train.conllu", 60, seed=1)
    lingraft.finetune(
        "parse", place / "run" / "source", train=train, dev=train, out=place / "english", epochs=12, learning_rate=2e-3,
        **SMALL,
    )  # fmt: skip
    lingraft.swap(place / "english", place / "run" / "target", place / "swapped")
    return place


def options(made: Path, **changes: object) -> list[object]:
    given = {
        "--model": made / "swapped", "--teacher": made / "english", "--bitext": made / "bitext.tsv",
        "--language": "fr", **changes,
    }  # fmt: skip
    return [part for pair in given.items() for part in pair]


def test_the_whole_way(made, tmp_path, command):
    out = tmp_path / "adapted"
    test = treebank(made / "test.conllu", 40, seed=9, mirrored=True)
    status, printed, err = command(
        "adapt", "parse", *options(made), "--out", out, "--sentences", 250, "--set", "learning_rate=2e-3", "--set",
        "epochs=4", "--set", "precision=float32", "--json",
    )  # fmt: skip
    assert (status, "Traceback" in err) == (0, False), err
    told = json.loads(printed)
    assert told == json.loads((out / "run.json").read_text(encoding="utf-8")) | {"out": str(out)}
    assert told["doubt"] == {"beside": 1.0, "other": 0.1}
    assert told["conventions"] is True  # as French it has some
    report = told["runs"][0]
    assert told["data"]["read"] == told["data"]["aligned"] == 500
    assert told["notes"] == []
    assert (report["projected"], report["held_out"]) == (250, 25)
    assert report["parsed"] <= told["data"]["linked"]
    assert told["inputs"].keys() == {str(made / "bitext.tsv")}
    assert report["dev"]["las"] > report["before"]["las"]
    trees = read_conllu(out / "projected.conllu", trees=False)
    assert len(trees) == 250
    assert sum(head >= 0 for each in trees for head in each.heads) == report["attached"] >= 0.6 * report["words"]
    before, after = (
        lingraft.evaluate("parse", folder, test, precision="float32")["las"] for folder in (made / "swapped", out)
    )
    assert after > before + 0.2
    assert load_parser(out).labels == load_parser(made / "swapped").labels


def test_python_gives_what_the_command_gives_and_a_seed_is_a_seed(made, tmp_path):
    def run(name: str, **more: object) -> dict:
        return lingraft.adapt(
            "parse", made / "swapped", teacher=made / "english", bitext=made / "bitext.tsv", language="fr",
            out=tmp_path / name, sentences=120, precision="float32", **more,
        )  # fmt: skip

    run("one"), run("again"), run("other", seed=1)
    for file in ("model.safetensors", "parser.safetensors", "projected.conllu"):
        one, again, other = ((tmp_path / name / file).read_bytes() for name in ("one", "again", "other"))
        assert one == again != other


def test_every_seed_has_its_teacher(made, tmp_path):
    for name in ("swapped", "english"):
        (tmp_path / name).mkdir()
        for seed in (0, 1):
            (tmp_path / name / f"seed-{seed}").symlink_to(made / name)
    out = tmp_path / "out"
    run = lingraft.adapt(
        "parse", tmp_path / "swapped", teacher=tmp_path / "english", bitext=str(made / "bitext.tsv"), language="fr",
        out=out, sentences=100, precision="float32", evaluations=1,
    )  # fmt: skip
    assert [report["settings"]["seed"] for report in run["runs"]] == [0, 1]
    one, other = (read_conllu(out / f"seed-{seed}" / "projected.conllu", trees=False) for seed in (0, 1))
    assert len(one) == len(other) == 100
    assert one != other
    (tmp_path / "english" / "seed-1").rename(tmp_path / "english" / "seed-2")
    with pytest.raises(RecipeError, match=r"has the seeds seed-0, seed-2, .* seed-0, seed-1; give one teacher for all"):
        lingraft.adapt(
            "parse", tmp_path / "swapped", teacher=tmp_path / "english", bitext=made / "bitext.tsv", language="fr",
            out=tmp_path / "no",
        )  # fmt: skip


def test_one_teacher_for_all_two_compressed_files_and_output_for_people(made, tmp_path, command):
    for seed in (0, 1):
        (tmp_path / "swapped").mkdir(exist_ok=True)
        (tmp_path / "swapped" / f"seed-{seed}").symlink_to(made / "swapped")
    rows = [line.split("\t") for line in (made / "bitext.tsv").read_text(encoding="utf-8").splitlines()]
    for side, name in enumerate(("en.gz", "xx.gz")):
        with gzip.open(tmp_path / name, "wt", encoding="utf-8") as file:
            file.writelines(row[side] + "\n" for row in rows)
    given = options(made, **{
        "--model": tmp_path / "swapped", "--bitext": f"{tmp_path / 'en.gz'},{tmp_path / 'xx.gz'}",
        "--sentences": 60, "--set": "evaluations=1",
    })  # fmt: skip
    status, out, err = command("adapt", "parse", *given, "--out", tmp_path / "out")
    assert (status, "Traceback" in err) == (0, False), err
    for said in ("seed 0, on 6 held-out trees", "seed 1, on 6 held-out trees", "las before"):
        assert said in " ".join(out.split())
    run = json.loads((tmp_path / "out" / "run.json").read_text(encoding="utf-8"))
    assert len(run["inputs"]) == 2


def test_of_a_large_bitext_a_sample_is_used(made, tmp_path, monkeypatch):
    monkeypatch.setattr("lingraft.adaptation.AT_MOST_BYTES", 20_000)
    run = lingraft.adapt(
        "parse", made / "swapped", teacher=made / "english", bitext=made / "bitext.tsv", language="fr",
        out=tmp_path / "out", sentences=60, evaluations=1,
    )  # fmt: skip
    assert 100 < run["data"]["aligned"] < run["data"]["read"] == 500


def test_a_model_with_its_teacher_s_vocabulary_is_told_of(made, tmp_path, command):
    given = options(made, **{"--model": made / "english", "--sentences": 60})
    status, _, err = command("adapt", "parse", *given, "--out", tmp_path / "out")
    assert status == 0
    assert "has the vocabulary of its teacher. That is right for a multilingual parser alone" in " ".join(err.split())


def test_the_command_s_defaults_are_those_of_the_function():
    given = inspect.signature(cli_tasks.adapt).parameters
    assert given["min_share"].default == MIN_SHARE
    assert given["sentences"].default == inspect.signature(lingraft.adapt).parameters["sentences"].default
    shown = get_type_hints(cli_tasks.adapt, include_extras=True)["settings"].__metadata__[0].help
    said = {"epochs=1", "batch_size=8", "learning_rate=1e-4", "head_learning_rate=5e-4", "train_embeddings=true"}
    assert all(each in shown for each in said)
    assert {each.partition("=")[0]: json.loads(each.partition("=")[2]) for each in said} == {
        name: value for name, value in DEFAULTS.items() if name != "evaluations"
    }
    assert DEFAULTS["evaluations"] == FinetuneSettings().evaluations


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"--language": "fr,hi"}, "--language is the tag of one language"),
        ({"--sentences": 49}, "--sentences is at least 50"),
        ({"--min-share": 0}, "--min-share is above 0"),
        ({"--bitext": "nowhere.tsv"}, "nowhere.tsv"),
        ({"--set": "arc_size=3"}, "'arc_size' is no setting of this task"),
        ({"--model": "nowhere"}, "nowhere"),
        ({"--set": "learning_rate"}, "--set takes KEY=VALUE"),
        ({"--set": "seed=3"}, "give it as --seed"),
        ({}, "40 sentence pairs"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(changes, message, made, tmp_path, command):
    if not changes:  # too few pairs
        changes = {"--bitext": as_tsv(tmp_path / "few.tsv", tiny.cipher_pairs(40))}
    status, out, err = command("adapt", "parse", *options(made, **changes), "--out", tmp_path / "out")
    assert (status, out, "Traceback" in err) == (2, "", False)
    assert message in " ".join(err.split())
    assert {path.name for path in tmp_path.iterdir()} <= {"few.tsv"}


def test_other_tasks_and_other_models_are_refused(made, tmp_path, command):
    status, _, err = command("adapt", "nli", *options(made), "--out", tmp_path / "out")
    assert status == 2
    assert "a parser (parse); given: 'nli'" in " ".join(err.split())
    status, _, err = command("adapt", "parse", *options(made, **{"--teacher": made / "run" / "source"}), "--out",
                             tmp_path / "out")  # fmt: skip
    assert status == 2
    assert "is no parser" in " ".join(err.split())
    status, _, err = command("adapt", "parse", *options(made), "--out", made / "english")
    assert status != 0
    assert load_parser(made / "english")


def test_a_teacher_with_other_relations_is_refused(made, tmp_path, command):
    train = made / "other.conllu"
    train.write_text((made / "train.conllu").read_text().replace("\tdep\t", "\tobj\t"), encoding="utf-8")
    lingraft.finetune(
        "parse", made / "run" / "source", train=train, dev=train, out=tmp_path / "other", epochs=1, evaluations=1,
        **SMALL,
    )  # fmt: skip
    given = options(made, **{"--teacher": tmp_path / "other"})
    status, _, err = command("adapt", "parse", *given, "--out", tmp_path / "out")
    assert status == 2
    assert "know different relations" in " ".join(err.split())
