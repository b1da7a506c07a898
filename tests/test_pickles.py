"""Transfers of models whose weights are a pickle: when asked for, and never a pickle in what comes out."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer

import families
import lingraft
import tiny
from conftest import on_disk
from lingraft import stages
from lingraft.errors import ModelError
from lingraft.surgery import copy_without_pickles, load_model

TRAINING = {"training.batch_size": 4, "training.sequence_length": 32}


def pickled(folder: Path, to: Path) -> Path:
    """A copy of a model folder whose weights are pickles, as an old training program leaves it."""
    shutil.copytree(folder, to)
    for path in to.rglob("model.safetensors"):
        torch.save(load_file(path), path.with_name("pytorch_model.bin"))
        path.unlink()
    torch.save({"learning_rate": 1.0}, to / "training_args.bin")
    return to


def pickles(folder: Path) -> list[str]:
    """Files in a folder, at any depth, that could be pickles; token ids lie in a ``.bin`` of plain numbers."""
    return [
        str(path) for path in folder.rglob("*")
        if (path.suffix in (".bin", ".pt", ".pth", ".pkl") and not path.name.startswith("tokens-"))
        or path.name == "pytorch_model.bin.index.json"
    ]  # fmt: skip


def test_without_being_asked_for_a_pickle_is_refused(
    model_folder: Path, bitext_file: Path, tmp_path: Path, command: Any
) -> None:
    source = pickled(model_folder, tmp_path / "source")
    with pytest.raises(ModelError, match=r"pytorch_model\.bin is a pickle.*--allow-pickle, which lingraft transfer"):
        lingraft.transfer(source, to="fr", out=tmp_path / "out", bitext=bitext_file, objective="none")
    arguments = ("transfer", source, "--to", "fr", "--bitext", bitext_file, "--out", tmp_path / "out")
    status, _, err = command(*arguments)
    assert status == ModelError.exit_status
    assert "--allow-pickle" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("objective", ["none", "mlm"])
def test_a_masked_model(objective: str, model_folder: Path, bitext_file: Path, tmp_path: Path, command: Any) -> None:
    source, out = pickled(model_folder, tmp_path / "source"), tmp_path / "out"
    arguments = ["transfer", source, "--to", "fr", "--bitext", bitext_file, "--objective", objective, "--out", out]
    if objective == "mlm":
        arguments += ["--steps", 3, *(part for key, value in TRAINING.items() for part in ("--set", f"{key}={value}"))]
    status, told, _ = command(*arguments, "--allow-pickle", "--json")
    assert status == 0
    assert any("are a pickle; source/ has the same as safetensors" in note for note in json.loads(told)["notes"])
    assert not pickles(out)
    assert "allow_pickle: true" in (out / "recipe.yaml").read_text(encoding="utf-8")
    for side in ("source", "target"):
        model, loading = AutoModelForMaskedLM.from_pretrained(out / side, output_loading_info=True)
        assert not loading["missing_keys"]
        assert len(AutoTokenizer.from_pretrained(out / side)) == model.config.vocab_size
    if objective == "none":
        before, after = load_file(model_folder / "model.safetensors"), load_file(out / "source" / "model.safetensors")
        assert before.keys() == after.keys()
        assert all(torch.equal(before[name], after[name]) for name in before)
    safe = lingraft.transfer(
        model_folder, to="fr", out=tmp_path / "safe", bitext=bitext_file, objective=objective,
        **({"steps": 3, "settings": TRAINING} if objective == "mlm" else {}),
    )  # fmt: skip
    for side in ("source", "target"):
        one, other = (load_file(folder / side / "model.safetensors") for folder in (out, safe.directory))
        assert all(torch.equal(one[name], other[name]) for name in one), "the same model as from safetensors"


def test_a_sentence_encoder_with_a_pickle_in_a_part_of_it(
    model_folder: Path, bitext_file: Path, heldout_file: Path, tmp_path: Path
) -> None:
    folder = families.sentence_folder(tmp_path / "encoder", load_model(model_folder))
    source, out = pickled(folder, tmp_path / "source"), tmp_path / "out"
    lingraft.transfer(
        source, to="fr", out=out, bitext=bitext_file, eval_bitext=heldout_file, steps=3,
        settings={"training.batch_size": 8}, allow_pickle=True,
    )  # fmt: skip
    assert not pickles(out)
    lines = tiny.english_lines(3)
    one, other, target = (
        SentenceTransformer(str(place), device="cpu").encode(lines)
        for place in (folder, out / "source", out / "target")
    )
    assert (one == other).all()
    assert target.shape == one.shape


def test_a_decoder_whose_tied_weights_lie_in_several_pickles(tmp_path: Path, bitext_file: Path) -> None:
    tokenizer = tiny.bytefallback_tokenizer()
    model = tiny.llama(tokenizer, tied=True).to(torch.bfloat16)
    source = on_disk(tmp_path / "source", model, tokenizer)
    (source / "model.safetensors").unlink()
    weights = model.state_dict()
    assert weights["lm_head.weight"].data_ptr() == weights["model.embed_tokens.weight"].data_ptr()
    tied = ["model.embed_tokens.weight", "lm_head.weight"]
    parts = [tied, [name for name in weights if name not in tied]]
    files = [f"pytorch_model-0000{number}-of-00002.bin" for number in (1, 2)]
    for file, part in zip(files, parts, strict=True):
        torch.save({name: weights[name] for name in part}, source / file)
    where = {name: file for file, part in zip(files, parts, strict=True) for name in part}
    index = {"metadata": {"total_size": 1}, "weight_map": where}
    (source / "pytorch_model.bin.index.json").write_text(json.dumps(index), encoding="utf-8")
    result = lingraft.transfer(
        source, to="fr", out=tmp_path / "out", bitext=bitext_file, objective="none", allow_pickle=True
    )
    assert not pickles(tmp_path / "out")
    read, loading = AutoModelForCausalLM.from_pretrained(tmp_path / "out" / "source", output_loading_info=True)
    assert not loading["missing_keys"]
    assert read.lm_head.weight is read.model.embed_tokens.weight
    assert all(torch.equal(value, weights[name]) for name, value in read.state_dict().items())
    assert result.source.stored_dtype == result.target.stored_dtype == torch.bfloat16


def test_a_run_from_a_pickle_goes_on_where_it_stopped(
    model_folder: Path, bitext_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = pickled(model_folder, tmp_path / "source"), tmp_path / "out"

    def stopped(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(stages, "make_scores", stopped)
        with pytest.raises(KeyboardInterrupt):
            lingraft.transfer(
                source, to="fr", out=out, bitext=bitext_file, steps=2, settings=TRAINING, allow_pickle=True
            )
    assert not (out / "source").exists()
    result = lingraft.resume(out)
    assert result.recipe.allow_pickle
    assert {"source", "graft", "trained"} <= set(result.run["reused_stages"])
    assert lingraft.resume(out).run == result.run
    assert not pickles(out)


def test_a_pickle_beside_safetensors_is_not_published(model_folder: Path, bitext_file: Path, tmp_path: Path) -> None:
    source = Path(shutil.copytree(model_folder, tmp_path / "source"))
    torch.save(load_file(source / "model.safetensors"), source / "pytorch_model.bin")
    lingraft.transfer(source, to="fr", out=tmp_path / "out", bitext=bitext_file, objective="none")
    assert not pickles(tmp_path / "out")
    assert (tmp_path / "out" / "source" / "model.safetensors").is_file()


class _Runs:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return Path.touch, (Path("ran"),)  # type: ignore[return-value]


def test_what_is_more_than_tensors_is_refused(model_folder: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    source = pickled(model_folder, tmp_path / "source")
    for content in ({"weight": _Runs()}, {"weight": "no tensor"}, ["no mapping"]):
        (source / "pytorch_model.bin").write_bytes(pickle.dumps(content))
        with pytest.raises(ModelError, match="could not be loaded as a model"):
            copy_without_pickles(source, tmp_path / "copy")
        shutil.rmtree(tmp_path / "copy")
    assert not (tmp_path / "ran").exists()
