"""Several new languages in one run: what it writes, what it says, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer

import lingraft
import tiny
from conftest import as_tsv
from lingraft.errors import CorpusError, RecipeError
from lingraft.recipe import build_recipe, read_recipe_file
from plain import assert_loads_without_lingraft

KINDS = {"graft": "masked", "mlm": "masked", "clm": "causal", "distill": "sentence", "headless": "sentence"}
TARGETS = ["fr/target", "hi/target", "source"]


@pytest.fixture(scope="module")
def files(tmp_path_factory, bitext_file, heldout_file):
    """Sentence pairs and held-out ones of two languages: the cipher as fr, the mirror language as hi."""
    folder = tmp_path_factory.mktemp("several")
    return {
        "bitext": {"fr": bitext_file, "hi": as_tsv(folder / "hi.tsv", tiny.mirror_pairs())},
        "eval": {"fr": heldout_file, "hi": as_tsv(folder / "hi.held.tsv", tiny.mirror_pairs(40, seed=7))},
    }


@pytest.fixture(scope="module")
def run(files, model_folder, causal_model_folder, sentence_model_folder, tmp_path_factory):
    """Gives the finished run of a name, made once."""
    common = {"to": ["fr", "hi"], "bitext": files["bitext"], "eval_bitext": files["eval"]}
    language = {"training.batch_size": 4, "training.sequence_length": 32}
    arguments = {
        "graft": {"model": model_folder, "objective": "none"},
        "mlm": {"model": model_folder, "steps": 6, "settings": language | {"training.translation_weight": 0.5}},
        "clm": {"model": causal_model_folder, "steps": 6, "settings": language},
        "distill": {"model": sentence_model_folder, "steps": 6, "settings": {"training.batch_size": 16}},
        "headless": {
            "model": sentence_model_folder, "objective": "mlm", "steps": 8,
            "settings": language | {"training.head_steps": 2},
        },
    }  # fmt: skip
    made = {}

    def get(name):
        if name not in made:
            made[name] = lingraft.transfer(out=tmp_path_factory.mktemp(name) / "out", **common, **arguments[name])
        return made[name]

    return get


@pytest.fixture(params=sorted(KINDS))
def finished(request, run):
    return run(request.param)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def test_the_run_directory_holds_a_folder_a_language_and_one_english_model(finished):
    out = finished.directory
    assert names(out) == [".cache", "fr", "hi", "recipe.yaml", "run.json", "source"]
    assert names(out / "fr") == names(out / "hi") == ["table.npz", "target"]
    assert json.loads((out / "run.json").read_text(encoding="utf-8")) == finished.run


def test_every_language_has_its_numbers(finished, files):
    report = finished.run
    assert (report["status"], report["language"]) == ("done", ["fr", "hi"])
    assert len(report["inputs"]) == 4
    for key in ("corpus", "vocabulary", "table", "graft", "scores"):
        assert list(report[key]) == ["fr", "hi"]
    for language, model in finished.targets.items():
        assert report["corpus"][language]["bitext"]["kept"] == 400
        assert report["vocabulary"][language]["size"] == len(model.tokenizer)
        table = lingraft.TranslationTable.load(finished.directory / language / "table.npz")
        table.check_tokenizers(finished.source.tokenizer, model.tokenizer)
        untouched, grafted = (finished.scores[language][state]["retrieval"] for state in ("untouched", "grafted"))
        for direction in ("en_to_xx", "xx_to_en"):
            assert untouched[direction] < 0.3
            assert grafted[direction] > 0.6
    vocabularies = [set(model.tokenizer.get_vocab()) for model in finished.targets.values()]
    assert vocabularies[0] != vocabularies[1]
    assert {"corpus-fr", "corpus-hi", "vocabulary-fr", "table-hi", "graft-hi"} <= set(report["seconds"])


def test_the_recipe_of_a_run_gives_the_run_again(finished):
    recipe = build_recipe(read_recipe_file(finished.directory / "recipe.yaml"))
    assert recipe == finished.recipe
    assert recipe.languages == ("fr", "hi")
    before = (finished.directory / "run.json").read_bytes()
    assert lingraft.resume(finished.directory).run == finished.run
    assert (finished.directory / "run.json").read_bytes() == before


def test_the_one_target_of_several_is_refused_and_named(run):
    with pytest.raises(RecipeError, match=r"several languages \(fr, hi\).*\.targets\['fr'\]"):
        run("graft").target  # noqa: B018


def test_the_results_load_without_lingraft(run, tmp_path):
    kinds = {run(name).directory / side: kind for name, kind in KINDS.items() for side in TARGETS}
    assert_loads_without_lingraft(kinds, tmp_path)


@pytest.mark.parametrize("name", ["mlm", "clm", "headless"])
def test_training_moves_one_body_for_all_languages(run, name):
    result = run(name)
    source, *targets = (weights(result.directory / side) for side in ("source", "fr/target", "hi/target"))
    body = {key for key in source if ("layer" in key or key.startswith("transformer.h.")) and key.endswith("weight")}
    assert len(body) > 10
    for language, target in zip(("fr", "hi"), targets, strict=True):
        assert all(torch.equal(source[key], target[key]) for key in body)
        grafted = weights(next((result.directory / ".cache").glob(f"graft-{language}-*")) / "target")
        # a graft without a head has other names
        grafted = {key: grafted.get(key, grafted.get(key.partition(".")[2])) for key in target}
        assert any(not torch.equal(grafted[key], target[key]) for key in body)
        embeddings = next(key for key in target if "word_embeddings" in key or "wte" in key)
        assert not torch.equal(grafted[embeddings], target[embeddings])
        scores = result.scores[language]
        for state in ("grafted", "trained"):
            assert {"lm_xx", "lm_en"} <= set(scores[state])
        assert scores["trained"]["lm_xx"]["loss"] < scores["grafted"]["lm_xx"]["loss"]
    assert result.scores["fr"]["trained"]["lm_en"] == result.scores["hi"]["trained"]["lm_en"]
    last = result.run["training"]["history"][-1]
    assert {"loss_fr", "loss_hi", "loss_en"} <= set(last)
    assert ({"tlm_fr", "tlm_hi", "tlm_en"} <= set(last)) == (name == "mlm")
    assert list(result.run["training"]["text"]) == ["fr", "hi", "en"]
    assert result.run["training"]["text"]["en"]["lines"] > result.run["training"]["text"]["fr"]["lines"]


def test_distillation_leaves_english_alone_and_gives_every_language_its_vectors(run, sentence_model_folder):
    result = run("distill")
    content = (sentence_model_folder / "model.safetensors").read_bytes()
    assert (result.directory / "source" / "model.safetensors").read_bytes() == content
    assert {"loss_fr", "loss_hi", "cosine_fr", "cosine_hi"} <= set(result.run["training"]["history"][-1])
    english = SentenceTransformer(str(result.directory / "source"), device="cpu").encode(["bado fe"])
    for language, say in (("fr", tiny.cipher), ("hi", tiny.mirrored)):
        assert result.scores[language]["english_cosine"] == pytest.approx(1, abs=1e-5)
        target = SentenceTransformer(str(result.directory / language / "target"), device="cpu")
        assert float((target.encode([say("bado fe")]) * english).sum()) > 0.3


def test_without_training_each_language_is_what_a_run_of_its_own_makes(run, files, model_folder, tmp_path):
    result = run("graft")
    for language in ("fr", "hi"):
        alone = lingraft.transfer(
            model_folder, to=language, out=tmp_path / language, bitext=files["bitext"][language], objective="none",
            eval_bitext=files["eval"][language],
        )  # fmt: skip
        for name in ("table.npz", "target/model.safetensors", "target/tokenizer.json"):
            ours, theirs = result.directory / language / name, alone.directory / name
            assert ours.read_bytes() == theirs.read_bytes()
        assert result.scores[language] == alone.scores
        assert result.run["vocabulary"][language] == alone.run["vocabulary"]


def test_a_swap_finds_the_english_model_and_the_table_of_the_language(run, model_folder):
    """Carrying the drift along needs both."""
    out = run("graft").directory
    swapped = lingraft.swap(model_folder, out / "hi" / "target", carry_drift=True)
    rows = [model.get_input_embeddings().weight for model in (swapped.model, run("graft").targets["hi"].model)]
    torch.testing.assert_close(*rows)


def test_a_run_killed_in_training_ends_with_the_same_weights(tmp_path, files, sentence_model_folder):
    recipe = {
        "source": str(sentence_model_folder), "language": ["fr", "hi"],
        "evidence": {"bitext": {name: [str(path)] for name, path in files["bitext"].items()}},
        "training": {"objective": "mlm", "steps": 5, "head_steps": 1, "embeddings_share": 0.34, "batch_size": 4,
                     "sequence_length": 32, "checkpoint_seconds": 0},
    }  # fmt: skip
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    spec = {"recipe": recipe, "whole": str(whole), "broken": str(broken), "batches": [3], "commits": False}
    program = [sys.executable, str(Path(__file__).with_name("killing.py")), json.dumps(spec)]
    done = subprocess.run(program, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name in TARGETS:
        assert (broken / name / "model.safetensors").read_bytes() == (whole / name / "model.safetensors").read_bytes()
    one, other = (json.loads((folder / "run.json").read_text(encoding="utf-8")) for folder in (whole, broken))
    assert other["scores"] == one["scores"]
    assert names(broken / ".cache") == names(whole / ".cache")


def test_objects_in_memory_text_and_a_given_tokenizer(tmp_path, run, model_folder):
    """Lists of pairs by language, text for one of them, English for all, and a tokenizer for one."""
    tokenizer = run("graft").directory / "hi" / "target"
    foreign = [tiny.cipher(line) for line in tiny.english_lines(80, seed=3)]
    result = lingraft.transfer(
        model_folder, to="fr,hi", out=tmp_path / "out",
        bitext={"fr": tiny.cipher_pairs(200), "hi": tiny.mirror_pairs(200)}, text={"fr": lingraft.Lines(foreign)},
        source_text=lingraft.Lines(tiny.english_lines(70, seed=4)), tokenizer={"hi": tokenizer},
        objective="mlm", steps=2, settings={"training.batch_size": 2, "training.sequence_length": 16},
    )  # fmt: skip
    corpus = result.run["corpus"]
    assert (corpus["fr"]["text"]["kept"], corpus["en"]["source_text"]["kept"]) == (80, 70)
    assert "text" not in corpus["hi"]
    text = result.run["training"]["text"]
    assert {name: made["lines"] + made["held_out"] for name, made in text.items()}["en"] == 70
    assert result.targets["hi"].tokenizer.get_vocab() == lingraft.load_model(tokenizer).tokenizer.get_vocab()
    kept = [name.rpartition("-")[0] for name in names(tmp_path / "out" / "inputs")]
    assert kept == ["bitext", "bitext", "source-text", "text"]
    assert set(result.scores["hi"]["trained"]) == {"lm_xx", "lm_en"}


def test_a_language_that_is_added_keeps_what_the_others_made(files, model_folder, tmp_path):
    """The key of a language's stages knows nothing of the other languages."""
    made = {}
    for languages in (["fr", "hi"], ["fr", "vi"]):
        bitext = {"fr": files["bitext"]["fr"], languages[1]: files["bitext"]["hi"]}
        out = tmp_path / languages[1]
        lingraft.transfer(model_folder, to=languages, out=out, bitext=bitext, objective="none")
        made[languages[1]] = {name for name in names(out / ".cache") if "-fr-" in name}
    assert made["hi"] == made["vi"]
    assert len(made["hi"]) == 5


def test_the_command_line(command, files, model_folder, tmp_path):
    odd = tmp_path / "hi=odd.tsv"
    odd.write_bytes(files["bitext"]["hi"].read_bytes())
    line = ["transfer", model_folder, "--to", "fr,hi", "--objective", "none", "--out", tmp_path / "out"]
    for language, path in files["eval"].items():
        line += ["--eval-bitext", f"{language}={path}"]
    status, out, err = command(*line, "--bitext", f"FR={files['bitext']['fr']}", "--bitext", f"hi={odd}")
    assert (status, "Traceback" in err) == (0, False)
    for shown in ("languages", "fr, hi", "fr: sentence pairs", "hi: vocabulary", "hi: retrieval, grafted"):
        assert shown in out
    assert [entry.split()[0] for entry in err.splitlines()] == ["corpus", "vocabulary", "table", "graft", "scores"]
    assert "fr: 400 pairs; hi: 400 pairs" in err
    status, out, _ = command("resume", tmp_path / "out", "--json", "--quiet")
    assert (status, json.loads(out)["language"]) == (0, ["fr", "hi"])


def test_one_language_may_be_named_too_and_a_file_with_an_equals_sign_is_a_file(
    command, monkeypatch, files, model_folder, tmp_path
):
    monkeypatch.chdir(tmp_path)
    Path("fr=pairs.tsv").write_bytes(files["bitext"]["fr"].read_bytes())
    line = ["transfer", model_folder, "--to", "fr", "--objective", "none", "--quiet", "--json"]
    given = {"plain": files["bitext"]["fr"], "named": f"fr={files['bitext']['fr']}", "file": "fr=pairs.tsv"}
    for out, bitext in given.items():
        status, printed, _ = command(*line, "--bitext", bitext, "--out", out)
        assert (status, json.loads(printed)["language"]) == (0, "fr")
        assert names(Path(out)) == [".cache", "recipe.yaml", "run.json", "source", "table.npz", "target"]
    recipes = [yaml.safe_load((Path(out) / "recipe.yaml").read_text(encoding="utf-8")) for out in given]
    assert recipes[0] == recipes[1]
    assert recipes[2]["evidence"]["bitext"] == [str(tmp_path / "fr=pairs.tsv")]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--bitext", "fr=F", "--to", "fr,sw"], ["No evidence for sw", "--bitext sw=FILE"]),
        (["--bitext", "F", "--bitext", "hi=H"], ["bitext.tsv'", "names no language", "fr, hi", "--bitext fr="]),
        (["--bitext", "fr=F", "--bitext", "de=H"], ["'de' is none of the run's languages (fr, hi)", "LANG=FILE"]),
        (["--bitext", "fr=F", "--bitext", "hi="], ["'hi=' names no file"]),
        (["--bitext", "fr=F", "--bitext", "hi=H", "--to", "fr,hi,fra"], ["'fr' is given twice"]),
        (["--bitext", "fr=F", "--bitext", "hi=H", "--to", "fr,en"], ["'en' is the source model's language"]),
        (["--bitext", "fr=F", "--bitext", "hi=H", "--to", "fr,hindi"], ["'hindi' is no BCP 47"]),
        (["--bitext", "fr=F", "--bitext", "hi=H", "--text", "F"], ["--text", "names no language"]),
        (["--bitext", "fr=F", "--bitext", "hi=H", "--tokenizer", "x"], ["--tokenizer", "LANG=FOLDER"]),
        (
            ["--bitext", "fr=F", "--bitext", "hi=H", "--eval-bitext", "fr=F", "--eval-bitext", "fr=H"],
            ["--eval-bitext is given 2 times for fr"],
        ),
        (["--bitext", "fr=F", "--bitext", "hi=gone.tsv"], ["gone.tsv' does not exist"]),
        (
            ["--bitext", "fr=F", "--bitext", "hi=H", "--set", "corpus.text={de: [x]}"],
            ["'corpus.text' is given for de", "fr, hi"],
        ),
        (
            ["--bitext", "fr=F", "--bitext", "hi=H", "--set", "evaluation.bitext=held.tsv"],
            ["'evaluation.bitext' is given without a language", "{fr: ...}"],
        ),
        (
            ["--bitext", "fr=F", "--bitext", "hi=H", "--set", "vocabulary={size: 99, tokenizer: {fr: x, hi: x}}"],
            ["size is for a tokenizer that is trained"],
        ),
    ],
)  # fmt: skip
def test_what_is_refused(command, files, model_folder, tmp_path, options, named):
    paths = {"F": str(files["bitext"]["fr"]), "H": str(files["bitext"]["hi"])}
    words = [
        paths.get(word, word if "=" not in word else "=".join(paths.get(part, part) for part in word.split("=")))
        for word in options
    ]
    to = [] if "--to" in options else ["--to", "fr,hi"]
    status, out, err = command("transfer", model_folder, *to, *words, "--out", tmp_path / "out")
    assert (status, out) == (2, "")
    assert "Traceback" not in err
    message = " ".join(err.split())
    for part in named:
        assert part in message
    assert not (tmp_path / "out").exists()


def test_what_python_refuses(tmp_path, files, model_folder):
    with pytest.raises(RecipeError, match=r"'evidence\.bitext' is given without a language"):
        lingraft.transfer(model_folder, to=["fr", "hi"], out=tmp_path / "out", bitext=tiny.cipher_pairs(20))
    for tag in ("de", "../de", 5):
        with pytest.raises(RecipeError, match=r"'?evidence\.bitext"):
            lingraft.transfer(
                model_folder, to=["fr", "hi"], out=tmp_path / "out",
                bitext={"fr": tiny.cipher_pairs(20), "hi": tiny.mirror_pairs(20), tag: tiny.mirror_pairs(20)},
            )  # fmt: skip
    with pytest.raises(CorpusError, match="One bitext can be held out"):
        lingraft.transfer(
            model_folder, to=["fr", "hi"], out=tmp_path / "out", bitext=files["bitext"],
            eval_bitext={"fr": [files["eval"]["fr"]] * 2},
        )  # fmt: skip
    assert not (tmp_path / "out").exists()


def test_twice_the_same_file_of_one_language_is_refused_for_evaluation(command, files, model_folder, tmp_path):
    line = ["transfer", model_folder, "--to", "fr", "--bitext", files["bitext"]["fr"], "--out", tmp_path / "out"]
    status, _, err = command(*line, "--eval-bitext", files["eval"]["fr"], "--eval-bitext", files["eval"]["fr"])
    assert status == 2
    assert "--eval-bitext is given 2 times (" in err
