"""The tasks as a user runs them: fine-tune in English, swap, evaluate, everything written down."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import lingraft
import tiny
from lingraft.errors import OutputError, RecipeError
from lingraft.surgery import load_model
from lingraft.taskruns import combine, record_score, seed_folders, task_settings
from lingraft.tasks.intervals import Counts
from lingraft.tasks.kinds import KINDS, task_kind
from lingraft.tasks.nli import load_nli
from lingraft.tasks.nli_data import LABELS
from lingraft.tasks.parsing import load_parser, read_conllu
from lingraft.tasks.tag_data import read_tags
from lingraft.tasks.tagging import new_tagger
from lingraft.training.precision import default_device, resolve_precision

QUICK = {"epochs": 1, "batch_size": 8, "precision": "float32", "evaluations": 1}


def nli_file(path: Path, n: int = 24, seed: int = 0, foreign: bool = False) -> Path:
    """Made-up pairs with a header and labels in turn."""
    lines = [tiny.cipher(line) if foreign else line for line in tiny.english_lines(2 * n, seed)]
    rows = [f"{lines[k]}\t{lines[n + k]}\t{LABELS[k % 3]}" for k in range(n)]
    path.write_text("\n".join(["premise\thypothesis\tlabel", *rows]) + "\n", encoding="utf-8")
    return path


def pos_file(path: Path, foreign: bool = False) -> Path:
    """CoNLL-U in which every word's tag is told by its first letter, and its head is the word before it."""
    blocks = []
    for line in tiny.english_lines(12, longest=6):
        line = tiny.cipher(line) if foreign else line
        rows = []
        for k, word in enumerate(line.split(), 1):
            tag = "NOUN" if word[0] < "g" else "VERB"
            rows.append(
                "\t".join([str(k), word, "_", tag, "_", "_", str(k - 1), "root" if k == 1 else "dep", "_", "_"])
            )
        blocks.append("\n".join(rows) + "\n")
    path.write_text("\n".join(blocks) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, model_folder: Path, bitext_file: Path) -> Path:
    out = tmp_path_factory.mktemp("run") / "out"
    lingraft.transfer(model_folder, to="fr", out=out, bitext=bitext_file, objective="none")
    return out


def test_the_whole_way_of_inference(run, tmp_path, command):
    train, foreign = nli_file(tmp_path / "train.tsv"), nli_file(tmp_path / "test.tsv", seed=3, foreign=True)
    sets = [part for name, value in QUICK.items() for part in ("--set", f"{name}={value}")]
    status, out, err = command(
        "finetune", "nli", "--model", run / "source", "--train", train, "--dev", train, "--out", tmp_path / "nli",
        "--seeds", 2, "--json", *sets,
    )  # fmt: skip
    assert (status, "Traceback" in err) == (0, False)
    made = json.loads(out)
    assert [report["settings"]["seed"] for report in made["runs"]] == [0, 1]
    assert made == json.loads((tmp_path / "nli" / "run.json").read_text(encoding="utf-8")) | {
        "out": str(tmp_path / "nli")
    }
    assert set(made["inputs"]) == {str(train)}

    status, out, err = command(
        "swap", "--task-model", tmp_path / "nli", "--to", run / "target", "--out", tmp_path / "swapped", "--json"
    )
    assert status == 0, err
    assert [report["origin"] for report in json.loads(out)["swaps"]] == ["verified", "verified"]

    status, out, err = command("evaluate", "nli", "--model", tmp_path / "swapped", "--data", foreign, "--json")
    assert status == 0, err
    score = json.loads(out)
    assert (score["task"], score["n"], len(score["seeds"]["accuracy"])) == ("nli", 24, 2)
    low, high = score["intervals"]["accuracy"]
    assert low <= score["accuracy"] <= high
    assert score["accuracy"] == pytest.approx(np.mean(score["seeds"]["accuracy"]))
    # twice the same score is kept once, and another file's beside it
    _, shown, _ = command("evaluate", "nli", "--model", tmp_path / "swapped", "--data", foreign, "--quiet")
    assert f"{100 * score['accuracy']:.1f} % (95 % interval {100 * low:.1f} to {100 * high:.1f})" in shown
    weights = [run / "target" / "model.safetensors", tmp_path / "swapped" / "seed-0" / "model.safetensors"]
    assert {path.stat().st_mode for path in weights} == {(run / "recipe.yaml").stat().st_mode}
    command("evaluate", "nli", "--model", tmp_path / "swapped", "--data", train, "--quiet")
    kept = json.loads((tmp_path / "swapped" / "run.json").read_text(encoding="utf-8"))["evaluations"]
    assert [list(entry["data"]) for entry in kept] == [[str(foreign)], [str(train)]]
    assert kept[0]["accuracy"] == score["accuracy"]


def test_a_task_model_follows_an_encoder_of_the_new_languages_own(model_folder, bitext_file, tmp_path, command):
    """Of the English model itself the swap makes the new language's, and tells that it moved the encoder."""
    out = tmp_path / "run"
    lingraft.transfer(model_folder, to="fr", out=out, bitext=bitext_file, objective="distill", steps=2)
    given = ("--task-model", model_folder, "--to", out / "target", "--out", tmp_path / "swapped")
    status, _, err = command("swap", *given)
    assert status == 0, err
    assert "moved as training moved the English ones" in " ".join(err.split())
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (tmp_path / "swapped", out / "target"))
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, rtol=0, atol=1e-6)


def test_the_whole_way_of_tagging(run, tmp_path, command):
    data = pos_file(tmp_path / "train.conllu")
    status, _, err = command(
        "finetune", "tag", "--model", run / "source", "--train", data, "--dev", data, "--out", tmp_path / "tag",
        "--epochs", 30, "--learning-rate", 2e-3, "--set", "head_learning_rate=1e-2", "--set", "precision=float32",
    )  # fmt: skip
    assert status == 0, err
    status, out, _ = command("evaluate", "tag", "--model", tmp_path / "tag", "--data", data, "--json")
    assert status == 0
    score = json.loads(out)
    assert score["accuracy"] > 0.9
    assert score["n"] == sum(len(line.split()) for line in tiny.english_lines(12, longest=6))
    assert "seeds" not in score


def test_data_of_another_kind_of_tags_are_refused(run, tmp_path, command):
    entities = tmp_path / "entities.bio"
    entities.write_text("badi\tB-PER\nfogu\tO\n", encoding="utf-8")
    new_tagger(load_model(run / "source"), read_tags(pos_file(tmp_path / "pos.conllu"))).save(tmp_path / "tag")
    status, out, err = command("evaluate", "tag", "--model", tmp_path / "tag", "--data", entities, "--json")
    assert (status, out) == (2, "")
    assert "has named entities and the model tags parts of speech" in err.replace("\n", " ")


def test_the_whole_way_of_parsing(run, tmp_path, command):
    data, foreign = pos_file(tmp_path / "train.conllu"), pos_file(tmp_path / "test.conllu", foreign=True)
    status, out, err = command(
        "finetune", "parse", "--model", run / "source", "--train", data, "--dev", data, "--out", tmp_path / "parser",
        "--epochs", 40, "--learning-rate", 2e-3, "--set", "arc_size=20", "--set", "label_size=10",
        "--set", "precision=float32", "--json",
    )  # fmt: skip
    assert status == 0, err
    made = json.loads(out)
    assert made["options"]["arc_size"] == 20
    assert made["runs"][0]["dev"]["las"] > 0.8
    status, out, err = command(
        "swap", "--task-model", tmp_path / "parser", "--to", run / "target", "--out", tmp_path / "swapped", "--json"
    )
    assert status == 0, err
    assert json.loads(out)["swaps"][0]["origin"] == "verified"
    head = "parser.safetensors"
    assert (tmp_path / "swapped" / head).read_bytes() == (tmp_path / "parser" / head).read_bytes()
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("parser", "swapped"))
    assert before.keys() == after.keys()
    assert [name for name in before if not torch.equal(before[name], after[name])] == [
        "embeddings.word_embeddings.weight"
    ]
    status, out, err = command("evaluate", "parse", "--model", tmp_path / "swapped", "--data", foreign, "--json")
    assert status == 0, err
    score = json.loads(out)
    assert (score["task"], score["punct"], score["n"]) == ("parse", True, 12)
    assert set(score["intervals"]) == {"uas", "las", "uas_without_punct", "las_without_punct"}

    text = tmp_path / "text.txt"
    text.write_text("Éxn bàdù.\n\ncxé\n", encoding="utf-8")
    status, _, err = command("parse", tmp_path / "swapped", text, "--out", tmp_path / "out.conllu")
    assert status == 0, err
    sentences = read_conllu(tmp_path / "out.conllu")
    assert [sentence.forms for sentence in sentences] == [("Éxn", "bàdù", "."), ("cxé",)]
    hidden = tmp_path / "treebank.txt"
    hidden.write_bytes(foreign.read_bytes())
    status, _, err = command("parse", tmp_path / "swapped", hidden, "--out", tmp_path / "seen.conllu")
    assert status == 0, err
    assert [s.forms for s in read_conllu(tmp_path / "seen.conllu")] == [s.forms for s in read_conllu(foreign)]
    status, _, err = command(
        "parse", tmp_path / "swapped", text, "--format", "tokenised", "--out", tmp_path / "words.conllu"
    )
    assert status == 0, err
    assert [s.forms for s in read_conllu(tmp_path / "words.conllu")] == [("Éxn", "bàdù."), ("cxé",)]
    status, _, err = command("parse", tmp_path / "swapped", text, "--format", "html", "--out", tmp_path / "x.conllu")
    assert (status, "conllu, tokenised or raw" in err) == (2, True)
    status, _, err = command("parse", tmp_path / "swapped", text, "--out", tmp_path / "out.conllu")
    assert (status, "is there already" in err.replace("\n", " ")) == (2, True)


def test_a_parser_object_is_swapped_like_its_folder(run, tmp_path):
    data = pos_file(tmp_path / "train.conllu")
    lingraft.finetune(
        "parse", run / "source", train=data, dev=data, out=tmp_path / "parser", **{**QUICK, "arc_size": 20}
    )
    parser = load_parser(tmp_path / "parser")
    words = [sentence.forms for sentence in read_conllu(pos_file(tmp_path / "test.conllu", foreign=True))]
    english = parser.parse(words)
    swapped = lingraft.swap(parser, run / "target").model
    lingraft.swap(tmp_path / "parser", run / "target", tmp_path / "swapped")
    assert swapped.parse(words) == load_parser(tmp_path / "swapped").parse(words)
    assert parser.parse(words) == english


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("3\tba\t_\tX\t_\t_\t1\tdep\t_\t_", "line 2"),
        ("2\tba\t_\tX\t_\t_\t2\tdep\t_\t_", "cycle"),
        ("2\tba\t_\tX\t_\t_\t0\troot\t_\t_", "root"),
        ("2\tba\t_\tX\t_\t_\t1\tdep\t_", "columns"),
    ],
)
def test_a_broken_treebank_is_refused(row, message, run, tmp_path, command):
    bad = tmp_path / "bad.conllu"
    bad.write_text(f"1\tba\t_\tX\t_\t_\t0\troot\t_\t_\n{row}\n\n", encoding="utf-8")
    status, _, err = command(
        "finetune", "parse", "--model", run / "source", "--train", bad, "--dev", bad, "--out", tmp_path / "out"
    )
    assert status == 2
    assert message in err
    assert "line" in err
    assert str(bad) in err.replace("\n", "")


def test_python_gives_what_the_command_gives(run, tmp_path):
    train = nli_file(tmp_path / "train.tsv")
    report = lingraft.finetune("nli", run / "source", train=train, dev=train, out=tmp_path / "one", **QUICK)
    assert report["runs"][0]["settings"]["batch_size"] == 8
    assert report["data"] == {"train": {"n": 24}, "dev": {"n": 24}}
    lingraft.finetune("nli", run / "source", train=train, dev=train, out=tmp_path / "two", **QUICK)
    one, two = load_nli(tmp_path / "one"), load_nli(tmp_path / "two")
    for (name, p), (_, q) in zip(one.model.named_parameters(), two.model.named_parameters(), strict=True):
        assert torch.equal(p, q), name
    score = lingraft.evaluate("nli", tmp_path / "one", train)
    assert score["accuracy"] == report["runs"][0]["dev"]["accuracy"]


def test_the_oracle_stands_beside_the_choice(run, tmp_path):
    train, foreign = nli_file(tmp_path / "train.tsv"), nli_file(tmp_path / "dev.tsv", seed=3, foreign=True)
    settings = {**QUICK, "evaluations": 2}
    plain = lingraft.finetune("nli", run / "source", train=train, dev=train, out=tmp_path / "plain", **settings)
    report = lingraft.finetune(
        "nli", run / "source", train=train, dev=train, out=tmp_path / "out", oracle=run / "target", oracle_dev=foreign,
        **settings,
    )  # fmt: skip
    made = report["runs"][0]
    assert made["dev"] == plain["runs"][0]["dev"]
    assert made["oracle"]["accuracy"] == max(entry["oracle"]["accuracy"] for entry in made["history"])


def several(path: Path) -> Path:
    """Pairs in English, then the same in the cipher language, with a language column."""
    rows = ["language\tsentence1\tsentence2\tgold_label"]
    for k, (premise, hypothesis) in enumerate(zip(*[iter(tiny.english_lines(24))] * 2, strict=True)):
        rows += [f"en\t{premise}\t{hypothesis}\t{LABELS[k % 3]}"]
        rows += [f"fr\t{tiny.cipher(premise)}\t{tiny.cipher(hypothesis)}\t{LABELS[k % 3]}"]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def test_one_file_in_several_languages_serves_for_everything(run, tmp_path, command, monkeypatch):
    from lingraft import taskruns

    data, loaded, honest = several(tmp_path / "xnli.tsv"), [], taskruns.load_model
    monkeypatch.setattr(taskruns, "load_model", lambda name, **given: loaded.append(name) or honest(name, **given))
    sets = [part for name, value in QUICK.items() for part in ("--set", f"{name}={value}")] + ["--set", "evaluations=2"]
    status, out, err = command(
        "finetune", "nli", "--model", run / "source", "--train", data, "--dev", data, "--out", tmp_path / "nli", *sets,
        "--language", "en", "--oracle", run / "target", "--oracle-dev", data, "--oracle-language", "fr",
    )  # fmt: skip
    assert status == 0, err
    assert "oracle accuracy" in out
    assert "oracle chosen_step" in out
    assert loaded.count(str(run / "target")) == 1
    made = json.loads((tmp_path / "nli" / "run.json").read_text(encoding="utf-8"))
    assert set(made["runs"][0]["oracle"]) == {"chosen_step", "accuracy"}
    assert (made["language"], made["oracle_language"]) == ("en", "fr")
    assert made["data"]["dev"] == {"n": 12, "other_languages": 12}
    for language in ("en", "fr", "fr"):
        assert lingraft.evaluate("nli", tmp_path / "nli", data, language=language)["other_languages"] == 12
    kept = json.loads((tmp_path / "nli" / "run.json").read_text(encoding="utf-8"))["evaluations"]
    assert [entry["options"] for entry in kept] == [
        {"language": language, "precision": resolve_precision("auto", default_device())} for language in ("en", "fr")
    ]


def test_the_precision_of_a_score_is_chosen_and_recorded(run, tmp_path):
    data = several(tmp_path / "xnli.tsv")
    lingraft.finetune("nli", run / "source", train=data, dev=data, out=tmp_path / "nli", language="en", settings=QUICK)
    for precision in ("float32", "bf16"):
        score = lingraft.evaluate("nli", tmp_path / "nli", data, language="en", precision=precision)
        assert score["precision"] == precision
    kept = json.loads((tmp_path / "nli" / "run.json").read_text(encoding="utf-8"))["evaluations"]
    assert [entry["options"]["precision"] for entry in kept] == ["float32", "bf16"]
    with pytest.raises(RecipeError, match="float32, bf16 or auto; given: 'fp8'"):
        lingraft.evaluate("nli", tmp_path / "nli", data, language="en", precision="fp8")


def test_scores_of_hub_data_are_kept_apart(tmp_path):
    (tmp_path / "run.json").write_text("{}", encoding="utf-8")
    for data, value in (("hf:one", 1), ("hf:two", 2), ("hf:one", 3)):
        record_score(tmp_path, data, {"language": None}, {"task": "nli", "accuracy": value})
    kept = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))["evaluations"]
    assert kept == [
        {"data": {name: None}, "options": {}, "task": "nli", "accuracy": value}
        for name, value in (("hf:two", 2), ("hf:one", 3))
    ]


def test_a_language_is_for_inference_alone(run, tmp_path, command):
    data = pos_file(tmp_path / "train.conllu")
    status, _, err = command(
        "finetune", "tag", "--model", run / "source", "--train", data, "--dev", data, "--out", tmp_path / "out",
        "--language", "en",
    )  # fmt: skip
    assert (status, "--language picks" in err) == (2, True)


def test_a_decoder_whose_config_has_no_padding_token_learns_inference(causal_model_folder, tmp_path):
    train = nli_file(tmp_path / "train.tsv")
    assert load_model(causal_model_folder).model.config.pad_token_id is None
    report = lingraft.finetune("nli", causal_model_folder, train=train, dev=train, out=tmp_path / "nli", **QUICK)
    score = lingraft.evaluate("nli", tmp_path / "nli", train)
    assert score["accuracy"] == report["runs"][0]["dev"]["accuracy"]


def test_nothing_half_done_is_left(run, tmp_path):
    train = nli_file(tmp_path / "train.tsv")
    with pytest.raises(RecipeError):
        lingraft.finetune(
            "nli", run / "source", train=train, dev=train, out=tmp_path / "out", **{**QUICK, "frozen_layers": 9}
        )
    assert [path.name for path in tmp_path.iterdir()] == ["train.tsv"]
    (tmp_path / "out").mkdir()
    with pytest.raises(OutputError, match="is there already"):
        lingraft.finetune("nli", run / "source", train=train, dev=train, out=tmp_path / "out", **QUICK)


def test_a_folder_of_somebody_else_gets_no_scores_written_into_it(run, tmp_path):
    train = nli_file(tmp_path / "train.tsv")
    lingraft.finetune("nli", run / "source", train=train, dev=train, out=tmp_path / "nli", **QUICK)
    (tmp_path / "nli" / "run.json").unlink()
    lingraft.evaluate("nli", tmp_path / "nli", train)
    assert not (tmp_path / "nli" / "run.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "seed=3"], "give it as --seed"),
        (["--set", "out=there"], "'out' is no setting of this task"),
        (["--set", "model=other"], "'model' is no setting"),
        (["--set", "train=other"], "'train' is no setting"),
        (["--set", "seeds=2"], "'seeds' is no setting"),
        (["--oracle-language", "fr"], "--oracle-language is for --oracle-dev"),
        (["--set", "warmth=3"], "'warmth' is no setting of this task"),
        (["--set", "epochs=many"], "epochs is a number; given: 'many'"),
        (["--set", "batch_size=2.5"], "batch_size is a whole number"),
        (["--set", "train_embeddings=maybe"], "true or false"),
        (["--set", "epochs"], "KEY=VALUE"),
        (["--epochs", "-1"], "--epochs is above 0"),
        (["--oracle", "x"], "go together"),
        (["--set", "max_length=7"], "is at least 8; given: 7"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(arguments, message, run, tmp_path, command):
    train = nli_file(tmp_path / "train.tsv")
    status, out, err = command(
        "finetune", "nli", "--model", run / "source", "--train", train, "--dev", train, "--out", tmp_path / "out",
        *arguments,
    )  # fmt: skip
    assert (status, out) == (2, "")
    assert message in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("premise\thypothesis\nbadi\tfogu\n", "label"),
        ("premise\thypothesis\tlabel\nbadi\tfogu\tperhaps\n", "line 2"),
        ("premise\thypothesis\tlabel\nbadi\n", "line 2"),
    ],
)
def test_bad_examples_are_refused_with_their_line(content, message, run, tmp_path, command):
    bad = tmp_path / "bad.tsv"
    bad.write_text(content, encoding="utf-8")
    status, _, err = command(
        "finetune", "nli", "--model", run / "source", "--train", bad, "--dev", bad, "--out", tmp_path / "out"
    )
    assert status == 2
    assert message in err
    assert str(bad) in err.replace("\n", "")


def test_tasks_have_names():
    with pytest.raises(RecipeError, match="nli"):
        task_kind("translation")


def test_settings_know_the_task_s_defaults():
    for kind in KINDS.values():
        settings, options = task_settings(kind, {})
        assert all(getattr(settings, name) == value for name, value in kind.defaults.items())
        assert options == dict(kind.options)
    settings, _ = task_settings(KINDS["nli"], {"train_embeddings": "true", "epochs": "0.5", "seed": 3})
    assert (settings.train_embeddings, settings.epochs, settings.seed) == (True, 0.5, 3)


def test_the_length_of_an_input_is_a_setting_of_inference_alone():
    assert task_settings(KINDS["nli"], {})[1] == {"max_length": 128}
    assert task_settings(KINDS["nli"], {"max_length": "40"})[1] == {"max_length": 40}
    for task in ("parse", "tag"):
        with pytest.raises(RecipeError, match="'max_length' is no setting of this task"):
            task_settings(KINDS[task], {"max_length": 40})


def test_seeds_are_found_in_their_order(tmp_path):
    for name in ("seed-10", "seed-9", "seed-x", "other"):
        (tmp_path / name).mkdir()
    assert [Path(name).name for name in seed_folders(tmp_path)] == ["seed-9", "seed-10"]
    assert seed_folders(tmp_path / "other") == [str(tmp_path / "other")]
    assert seed_folders("owner/name") == ["owner/name"]


def test_scores_of_seeds_are_combined():
    ones = np.ones(10)
    counts = [Counts(np.arange(10) < k, ones) for k in (4, 6)]
    combined = combine([({"task": "nli", "accuracy": each.score, "n": 10}, {"accuracy": each}) for each in counts])
    assert combined["accuracy"] == pytest.approx(0.5)
    assert combined["seeds"] == {"accuracy": [0.4, 0.6]}
    assert combined["intervals"]["accuracy"][0] < 0.5 < combined["intervals"]["accuracy"][1]
