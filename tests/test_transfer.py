from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from transformers import AutoModelForMaskedLM, AutoTokenizer

import lingraft
import tiny
from lingraft.evidence import Provenance
from lingraft.evidence.spelling import spelling_evidence
from lingraft.recipe import build_recipe, read_recipe_file
from plain import assert_loads_without_lingraft

KINDS = {"graft": "masked", "mlm": "masked", "clm": "causal", "distill": "sentence", "headless": "sentence"}


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope="module")
def arguments(model_folder, causal_model_folder, sentence_model_folder, bitext_file, heldout_file):
    """What each of the runs of this module is called with, less the output folder."""
    common = {"to": "fr", "bitext": bitext_file, "eval_bitext": heldout_file}
    language = {"training.batch_size": 4, "training.sequence_length": 32}
    return {
        "graft": {"model": model_folder, "objective": "none", **common},
        "mlm": {"model": model_folder, "steps": 6, "settings": language, **common},
        "clm": {"model": causal_model_folder, "steps": 6, "settings": language, **common},
        "distill": {"model": sentence_model_folder, "steps": 6, "settings": {"training.batch_size": 16}, **common},
        "headless": {
            "model": sentence_model_folder, "objective": "mlm", "steps": 8,
            "settings": language | {"training.head_steps": 2}, **common,
        },
    }  # fmt: skip


@pytest.fixture(scope="module")
def run(arguments, tmp_path_factory):
    """Gives the finished run of a name, made once."""
    made = {}

    def get(name):
        if name not in made:
            made[name] = lingraft.transfer(out=tmp_path_factory.mktemp(name) / "out", **arguments[name])
        return made[name]

    return get


@pytest.fixture(params=sorted(KINDS))
def finished(request, run):
    return run(request.param)


def test_the_run_directory_holds_what_is_promised(finished):
    out = finished.directory
    assert names(out) == [".cache", "recipe.yaml", "run.json", "source", "table.npz", "target"]
    assert json.loads((out / "run.json").read_text(encoding="utf-8")) == finished.run
    assert not [name for folder in ("target", "source") for name in content(out / folder) if "stage.json" in name]


def test_the_numbers_of_a_run(finished, request):
    report = finished.run
    kind = KINDS[request.node.callspec.params["finished"]]
    assert (report["status"], report["language"], report["source"]["kind"]) == ("done", "fr", kind)
    assert report["corpus"]["bitext"] == {
        "read": 400, "kept": 400, "empty": 0, "overlong": 0, "malformed": 0, "malformed_lines": [],
    }  # fmt: skip
    assert report["corpus"]["eval_bitext"]["kept"] == 40
    assert report["vocabulary"]["size"] == len(AutoTokenizer.from_pretrained(finished.directory / "target"))
    assert sum(report["table"]["shares"].values()) == pytest.approx(1)
    assert report["table"]["text_coverage"] > 0.95
    in_text = report["table"]["text_shares"]
    assert sum(in_text.values()) == pytest.approx(1)
    assert 1 - in_text.get("fallback", 0) == pytest.approx(report["table"]["text_coverage"])
    fertility = report["vocabulary"]["fertility"]
    assert set(fertility) == {"target", "source", "english", "pairs_target", "pairs_english"}
    assert fertility["target"]["tokens"] / fertility["target"]["lines"] == report["vocabulary"]["tokens_per_line"]
    assert fertility["pairs_english"]["lines"] == 400
    assert len(report["inputs"]) == 2
    assert set(report["seconds"]) >= {"corpus", "vocabulary", "table", "graft", "scores", "this_call"}
    assert set(report["cpu_seconds"]) == set(report["seconds"]) - {"this_call"}
    assert report["peak_memory_mb"] > 100
    assert report["versions"]["torch"] == metadata.version("torch")


def test_the_recipe_in_the_directory_is_the_resolved_one(finished):
    recipe = build_recipe(read_recipe_file(finished.directory / "recipe.yaml"))
    assert recipe == finished.recipe
    assert recipe.training.objective != "auto"
    if recipe.training.objective != "none":
        assert None not in (recipe.training.batch_size, recipe.training.learning_rate, recipe.training.embeddings_share)
        assert recipe.training.steps == finished.run["training"]["steps"]


def test_the_table_belongs_to_the_two_tokenizers(finished):
    table = lingraft.TranslationTable.load(finished.directory / "table.npz")
    table.check_tokenizers(finished.source.tokenizer, finished.target.tokenizer)
    assert table.shares() == pytest.approx(finished.run["table"]["shares"])


def test_a_decoder_keeps_the_rows_of_the_tokens_that_it_has(run):
    """However often a bitext has them; with other models that counts for more than their spelling."""
    for name, kept in (("clm", True), ("mlm", False)):
        finished = run(name)
        table = lingraft.TranslationTable.load(finished.directory / "table.npz")
        overlap, _ = spelling_evidence(finished.source.tokenizer, finished.target.tokenizer)
        assert overlap.known.sum() > 5
        assert (table.provenance[overlap.known] == Provenance.overlap).all() == kept


def test_the_grafted_model_retrieves_better_than_the_untouched_one(finished):
    untouched, grafted = (finished.scores[state]["retrieval"] for state in ("untouched", "grafted"))
    for direction in ("en_to_xx", "xx_to_en"):
        assert untouched[direction] < 0.3
        assert grafted[direction] > 0.7
    assert untouched["n"] == grafted["n"] == 40


def test_the_results_load_without_lingraft(run, tmp_path):
    kinds = {run(name).directory / side: kind for name, kind in KINDS.items() for side in ("target", "source")}
    assert_loads_without_lingraft(kinds, tmp_path)


def test_without_training_the_body_is_the_english_one_and_english_stays(run, model_folder):
    out = run("graft").directory
    assert {**content(out / "source"), "README.md": b""} == {**content(model_folder), "README.md": b""}
    english, target = (load_file(folder / "model.safetensors") for folder in (model_folder, out / "target"))
    sized = {name for name in english if english[name].shape[:1] != target[name].shape[:1]}
    assert sized == {"bert.embeddings.word_embeddings.weight", "cls.predictions.bias"}
    assert english.keys() == target.keys()
    assert all(torch.equal(english[name], target[name]) for name in english.keys() - sized)


@pytest.mark.parametrize("name", ["mlm", "clm"])
def test_language_model_training_moves_one_body_for_both_languages(run, name):
    result = run(name)
    grafted = load_file(next((result.directory / ".cache").glob("graft-*")) / "target" / "model.safetensors")
    source, target = (load_file(result.directory / side / "model.safetensors") for side in ("source", "target"))
    shared = {key for key in source if source[key].shape == target[key].shape and source[key].shape[0] > 1}
    body = {key for key in shared if "layer" in key or key.startswith("transformer.h.")}
    assert len(body) > 20
    assert all(torch.equal(source[key], target[key]) for key in body)
    assert all(not torch.equal(grafted[key], target[key]) for key in body if key.endswith("weight"))
    embeddings = [key for key in target if "word_embeddings" in key or "wte" in key]
    assert not torch.equal(grafted[embeddings[0]], target[embeddings[0]])
    for state in ("grafted", "trained"):
        for side in ("lm_xx", "lm_en"):
            assert result.scores[state][side]["bits_per_byte"] > 0
    assert result.scores["trained"]["lm_xx"]["loss"] < result.scores["grafted"]["lm_xx"]["loss"]


def test_the_output_bias_of_a_masked_graft_is_of_the_text(run):
    calibration = run("graft").run["graft"]["calibration"]
    assert 0 < calibration["tokens"] < run("graft").run["vocabulary"]["tokens_per_line"] * 400
    assert calibration["divergence"] > 0
    assert run("mlm").run["graft"]["calibration"] == calibration
    assert not any("calibration" in run(name).run["graft"] for name in ("clm", "distill", "headless"))


def test_distillation_moves_the_new_languages_model_and_leaves_english_alone(run, sentence_model_folder):
    result = run("distill")
    assert (result.recipe.training.encoder, result.recipe.training.embeddings_share) == ("own", 0)
    made = content(result.directory / "source")
    assert made.pop("README.md").startswith(b"---\n")  # its card
    assert made == content(sentence_model_folder)
    assert result.scores["english_cosine"] == pytest.approx(1, abs=1e-5)
    english, target = (load_file(f / "model.safetensors") for f in (sentence_model_folder, result.directory / "target"))
    words = "embeddings.word_embeddings.weight"
    assert {name for name in english if english[name].shape != target[name].shape} == {words}
    grafted = load_file(next((result.directory / ".cache").glob("graft-*")) / "target" / "model.safetensors")
    assert all(torch.equal(english[name], grafted[name]) for name in english.keys() - {words})
    still = {name for name in grafted if torch.equal(grafted[name], target[name])}
    assert still <= {"pooler.dense.weight", "pooler.dense.bias", "embeddings.position_ids"}
    assert [entry["step"] for entry in result.run["training"]["history"]] == [1, 2, 3, 4, 5, 6]


def test_a_sentence_encoder_without_head_gets_one_for_language_modelling(run):
    result = run("headless")
    assert [entry["stage"] for entry in result.run["training"]["history"]] == ["head"] * 2 + ["embeddings"] * 2 + [
        "all"
    ] * 4
    for side in ("target", "source"):
        model, loading = AutoModelForMaskedLM.from_pretrained(result.directory / side, output_loading_info=True)
        assert not loading["missing_keys"]
        assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert set(names(result.directory / "target")) >= {"modules.json", "1_Pooling"}


def test_the_result_gives_its_models(run):
    result = run("distill")
    assert (result.target.kind, result.source.kind) == ("sentence", "sentence")
    assert len(result.target.tokenizer) == result.run["vocabulary"]["size"]
    vectors = SentenceTransformer(str(result.directory / "target"), device="cpu").encode([tiny.cipher("bado fe")])
    ours = lingraft.load_model(result.directory / "target")
    inputs = ours.tokenizer([tiny.cipher("bado fe")], return_tensors="pt")
    with torch.inference_mode():
        assert torch.allclose(
            ours.embed(inputs["input_ids"], inputs["attention_mask"]), torch.from_numpy(vectors), atol=1e-5
        )
