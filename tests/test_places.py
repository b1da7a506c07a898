"""Whose a folder is, and what is refused before any work is done."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from filelock import FileLock

import lingraft
import tiny
from lingraft.errors import ModelError, OutputError, RecipeError
from lingraft.evidence import Provenance, build_table
from lingraft.surgery import from_transformers, graft, load_model
from lingraft.vocabulary import train_tokenizer


def test_a_folder_in_which_another_process_works_is_refused(tmp_path, model_folder, bitext_file):
    out = tmp_path / "out"
    first = lingraft.transfer(model_folder, to="fr", out=out, bitext=bitext_file, objective="none")
    (out / "run.json").unlink()
    with FileLock(out / ".cache" / "lock"), pytest.raises(OutputError, match="Another process"):
        lingraft.resume(out)
    assert sorted(path.name for path in out.iterdir()) == [".cache", "recipe.yaml", "source", "table.npz", "target"]
    assert lingraft.resume(out).run["source"] == first.run["source"]


def test_a_finished_run_is_left_as_it_is(tmp_path, model_folder, bitext_file):
    out = tmp_path / "out"
    first = lingraft.transfer(model_folder, to="fr", out=out, bitext=bitext_file, objective="none")
    (out / "target" / "notes.txt").write_text("mine", encoding="utf-8")
    before = (out / "run.json").read_bytes()
    assert lingraft.resume(out).run == first.run
    assert (out / "run.json").read_bytes() == before
    assert (out / "target" / "notes.txt").exists()


def test_a_finished_run_whose_model_is_gone_is_made_whole(tmp_path, model_folder, bitext_file):
    out = tmp_path / "out"
    lingraft.transfer(model_folder, to="fr", out=out, bitext=bitext_file, objective="none")
    weights = (out / "target" / "model.safetensors").read_bytes()
    shutil.rmtree(out / "target")
    lingraft.resume(out)
    assert (out / "target" / "model.safetensors").read_bytes() == weights


def test_the_run_may_not_lie_inside_the_source_model(tmp_path, model_folder, bitext_file):
    copy = tmp_path / "model"
    shutil.copytree(model_folder, copy)
    with pytest.raises(OutputError, match="inside the source model"):
        lingraft.transfer(copy, to="fr", out=copy / "french", bitext=bitext_file)
    assert not (copy / "french").exists()


@pytest.mark.parametrize(("objective", "folder"), [("clm", "model_folder"), ("mlm", "causal_model_folder")])
def test_an_objective_that_does_not_fit_is_refused_first(tmp_path, request, bitext_file, objective, folder):
    model = request.getfixturevalue(folder)
    with pytest.raises(RecipeError, match=f"'{objective}' does not fit"):
        lingraft.transfer(model, to="fr", out=tmp_path / "out", bitext=bitext_file, objective=objective)
    assert not (tmp_path / "out").exists()


def test_a_sentence_encoder_that_wants_its_own_code_is_refused(tmp_path, sentence_model_folder):
    folder = tmp_path / "model"
    shutil.copytree(sentence_model_folder, folder)
    modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    modules[-1]["type"] = "evil.Normalize"
    (folder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    with pytest.raises(ModelError, match=r"evil\.Normalize"):
        load_model(folder)


def test_a_sentence_encoder_named_for_its_former_head_can_be_trained(tmp_path, sentence_model_folder, bitext_file):
    folder = tmp_path / "model"
    shutil.copytree(sentence_model_folder, folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["architectures"] = ["BertForMaskedLM"]
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    for objective in ("distill", "mlm"):
        out = tmp_path / objective
        result = lingraft.transfer(folder, to="fr", out=out, bitext=bitext_file, objective=objective, steps=2)
        assert result.target.kind == "sentence"


def test_special_tokens_without_a_role_keep_their_rows_and_ids():
    english = tiny.bytebpe_tokenizer()
    english.add_special_tokens({"additional_special_tokens": ["<|im_end|>"]})
    model = tiny.llama(english)
    old = english.convert_tokens_to_ids("<|im_end|>")
    model.generation_config.eos_token_id = [english.eos_token_id, old, len(english) + 5]
    source = from_transformers(model, english)
    foreign = train_tokenizer(english, [pair[1] for pair in tiny.cipher_pairs()], 330)
    new = foreign.convert_tokens_to_ids("<|im_end|>")
    assert new != old
    table = build_table(english, foreign)
    assert table.provenance[new] == Provenance.special
    target = graft(source, foreign, table)
    rows = [m.model.get_input_embeddings().weight for m in (source, target)]
    torch.testing.assert_close(rows[0][old], rows[1][new])
    assert target.model.generation_config.eos_token_id == [foreign.eos_token_id, new]


def test_long_words_of_scripts_without_spaces_are_not_unknown():
    tokenizer = train_tokenizer(tiny.wordpiece_tokenizer(), ["กขคงจฉชซ" * 30] * 5)
    ids = tokenizer("กขคงจฉชซ" * 40, add_special_tokens=False)["input_ids"]
    assert tokenizer.unk_token_id not in ids


def test_the_cache_of_compiled_loops_is_not_needed(monkeypatch):
    from lingraft.evidence.alignment import compiled

    options = []

    def njit(cache: bool = False, **given):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        options.append(given)
        return lambda function: function

    monkeypatch.setattr(compiled, "njit", njit)
    assert compiled.compiled(fastmath=compiled.FAST)(Path)("x") == Path("x")
    assert options == [{"nogil": True, "fastmath": compiled.FAST}]
