"""One training several times at once, and the mean of the weights."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from lingraft import transfer
from lingraft.errors import RecipeError, RunError
from lingraft.processes import Processes
from lingraft.recipe import TrainingRecipe, build_recipe, read_recipe_file
from lingraft.stages import train_replica
from lingraft.surgery import load_model
from lingraft.training import distillation_trainer, resolve_training
from lingraft.training.replicas import (
    Alongside,
    Job,
    average,
    check_replicas,
    replica_seed,
    save_weights,
    threads_shared,
)

SETTINGS = {
    "training.steps": 6, "training.batch_size": 16, "training.checkpoint_seconds": 0, "training.precision": "float32",
}  # fmt: skip


def two_models(scale: float) -> list[nn.Module]:
    """Two models under one layer."""
    torch.manual_seed(0)
    shared = nn.Linear(3, 4)
    models = [nn.Sequential(shared, nn.Linear(4, 2)), nn.Sequential(shared, nn.Linear(4, 5))]
    with torch.no_grad():
        models[1][1].weight.mul_(scale)
    return models


def test_the_mean_of_weights(tmp_path: Path):
    """Of three, where x + x + x over three is not x in single precision; a layer that two models share counts once."""
    for number, scale in enumerate((2.0, 6.0)):
        save_weights(two_models(scale), tmp_path / f"{number}")
    models, untouched = two_models(1.0), two_models(1.0)
    average(models, [tmp_path / "0", tmp_path / "1"])
    assert torch.equal(models[0][1].weight, untouched[0][1].weight)
    assert torch.equal(models[0][0].weight, untouched[0][0].weight)
    assert models[1][0] is models[0][0]
    assert torch.allclose(models[1][1].weight, 3 * untouched[1][1].weight)


def test_seeds_differ_and_the_first_is_the_run_s():
    seeds = {replica_seed(seed, number) for seed in range(20) for number in range(8)}
    assert len(seeds) == 160
    assert [replica_seed(seed, 0) for seed in (0, 7)] == [0, 7]


def test_a_run_of_three_is_the_mean_of_three_runs(
    tmp_path: Path, sentence_model_folder: Path, bitext_file: Path, heldout_file: Path
):
    out = tmp_path / "run"
    result = transfer(
        str(sentence_model_folder), to="fr", bitext=[str(bitext_file)], eval_bitext=str(heldout_file), out=out, seed=3,
        objective="distill", settings=SETTINGS | {"training.replicas": 3},
    )  # fmt: skip
    told = result.run["training"]["replicas"]
    assert [(one["steps"], one["tokens"] > 0) for one in told] == 3 * [(6, True)]
    assert not list(out.glob(".cache/checkpoints*"))
    assert (out / "source" / "model.safetensors").read_bytes() == (
        sentence_model_folder / "model.safetensors"
    ).read_bytes()

    source = load_model(sentence_model_folder)
    recipe = result.recipe.training.model_copy(update={"replicas": 1})
    corpus = next(out.glob(".cache/corpus-*"))
    pairs = list(zip(*((corpus / f"bitext.{side}").read_text().split("\n")[:-1] for side in ("en", "xx")), strict=True))
    trained = []
    for number in range(3):
        target = load_model(next(out.glob(".cache/graft-*")) / "target")
        seed = replica_seed(3, number)
        distillation_trainer(source, target, pairs, recipe, seed, tmp_path / str(number)).run()
        trained.append(dict(target.model.named_parameters()))
    made = load_file(out / "target" / "model.safetensors")
    spread = 0.0
    for name, value in made.items():
        mine = [one[name].detach() for one in trained if name in one]
        if mine:
            spread = max(spread, float((mine[0] - mine[1]).abs().max()))
            assert torch.allclose(value, torch.stack(mine).mean(0), atol=1e-6), name
    assert spread > 1e-4, "the orders are the same"


def test_replicas_end_with_a_run_that_is_killed_and_go_on_with_it(
    tmp_path: Path, sentence_model_folder: Path, bitext_file: Path
):
    recipe = {
        "source": str(sentence_model_folder), "language": "fr", "evidence": {"bitext": [str(bitext_file)]},
        "training": {"objective": "distill", "steps": 6, "batch_size": 16, "checkpoint_seconds": 0, "replicas": 2},
    }  # fmt: skip
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    spec = {"recipe": recipe, "whole": str(whole), "broken": str(broken), "batches": [4], "commits": False}
    program = [sys.executable, str(Path(__file__).parents[1] / "killing.py"), json.dumps(spec)]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for side in ("target", "source"):
        name = f"{side}/model.safetensors"
        assert (broken / name).read_bytes() == (whole / name).read_bytes()


def test_a_replica_goes_on_from_its_own_checkpoint(tmp_path: Path, monkeypatch, sentence_model_folder: Path):
    """What a finished replica left is what it leaves when it is run again."""
    graft = load_model(sentence_model_folder)
    pairs = [(f"the cat {n}", f"a dog {n}") for n in range(40)]
    monkeypatch.setattr("lingraft.stages._language_models", lambda *_: (load_model(sentence_model_folder), {}, False))
    asked = []

    def distill(source, targets, training, seed, languages, folder, on_step):
        asked.append(seed)
        return distillation_trainer(source, graft, pairs, training, seed, folder).run(on_step)

    monkeypatch.setattr("lingraft.stages._distill", distill)
    recipe = resolve_training(
        TrainingRecipe(objective="distill", steps=3, batch_size=8, precision="float32"), "sentence"
    )
    left = []
    for _ in range(2):
        train_replica(1, sentence_model_folder, recipe, 5, {}, tmp_path / "replica-2")
        left.append((tmp_path / "replica-2" / "report.json").read_text(encoding="utf-8"))
    assert asked == 2 * [replica_seed(5, 1)]
    assert left[0] == left[1]
    assert json.loads(left[0])["steps"] == 3


def job(tmp_path: Path, work, *arguments: object) -> Job:
    return Job(work, arguments, tmp_path / "replica" / "log.txt")


@pytest.mark.parametrize(
    ("work", "argument", "why"),
    [
        (read_recipe_file, Path("nowhere.yaml"), "nowhere.yaml"),
        (Path.unlink, Path("nowhere"), "FileNotFoundError"),
        (os._exit, 3, "its exit status is 3"),
    ],
)
def test_why_a_replica_failed_is_told(tmp_path: Path, work, argument, why: str):
    with pytest.raises(RunError, match="Replica 2 of 2 has failed: ") as caught:  # noqa: SIM117
        with Alongside([job(tmp_path, work, argument)], 1) as others:
            others.wait()
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


def test_replicas_are_stopped_where_the_run_is(tmp_path: Path):
    with pytest.raises(KeyboardInterrupt):  # noqa: SIM117
        with Alongside([job(tmp_path, time.sleep, 1000)], 1) as others:
            raise KeyboardInterrupt
    assert [process.returncode is not None for process in others._started] == [True]


def test_one_that_nobody_holds_any_more_ends(tmp_path: Path):
    with Alongside([job(tmp_path, time.sleep, 1000)], 1) as others:
        process = others._started[0]
        process.stdin.close()
        assert process.wait(timeout=60) == 1


def test_threads_are_shared_out_and_given_back():
    before = torch.get_num_threads()
    torch.set_num_threads(5)
    try:
        with threads_shared(2) as share:
            assert (share, torch.get_num_threads()) == (2, 2)
        assert torch.get_num_threads() == 5
        with threads_shared(9) as share:
            assert share == 1
    finally:
        torch.set_num_threads(before)


def test_a_launcher_s_processes_are_no_replicas():
    class Three(Processes):
        size = 3

    check_replicas(Processes(), 2)
    check_replicas(Three(), 1)
    with pytest.raises(RecipeError, match="a launcher has started 3"):
        check_replicas(Three(), 2)


def test_replicas_are_for_distillation():
    with pytest.raises(RecipeError, match=r"training\.replicas=2 is for the objective 'distill'; this run has 'mlm'"):
        resolve_training(TrainingRecipe(objective="mlm", replicas=2), "masked")


def test_build_recipe_takes_them():
    recipe = build_recipe({"source": "x", "language": "fr", "training": {"replicas": 2}})
    assert recipe.training.replicas == 2
