"""The named recipes in ``recipes/`` are recipes, and say on what hardware and with what result."""

from __future__ import annotations

import importlib
import re
import shlex
import sys
from pathlib import Path

import pytest

from lingraft.cli import main
from lingraft.errors import StoppedError
from lingraft.recipe import build_recipe, read_recipe_file
from lingraft.training import resolve_training

RECIPES = sorted((Path(__file__).parents[1] / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_named_recipe_is_one(path: Path):
    recipe = build_recipe({"source": "model", "language": "fr", **read_recipe_file(path)})
    assert recipe.training.objective != "auto"
    text = path.read_text(encoding="utf-8")
    assert "# Hardware: " in text
    assert "# Expected: " in text
    assert f"recipes/{path.name}" in text


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_command_in_a_recipe_is_one(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """The command line of its comment, with files for the names in capitals, up to where a run would begin."""
    text = path.read_text(encoding="utf-8").replace("\\\n#", "")
    command = shlex.split(next(line for line in text.splitlines() if line.startswith("#     lingraft transfer"))[1:])
    places = {"LANG": "fr", "OUT": str(tmp_path), "recipes/" + path.name: str(path)}
    found = {}

    def stop(recipe, directory, on_progress):
        found["recipe"] = recipe
        raise StoppedError("far enough", 15)

    # the package's name `transfer` is the verb, not the module
    monkeypatch.setattr(importlib.import_module("lingraft.transfer"), "run_recipe", stop)
    monkeypatch.setattr(sys, "argv", [places.get(word, word) for word in command])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 128 + 15
    recipe = found["recipe"]
    assert recipe.languages == ("fr",)
    assert recipe.source == command[2]
    objective = recipe.training.objective
    kind = {"distill": "sentence", "clm": "causal"}.get(objective, "masked")
    assert resolve_training(recipe.training, kind).objective == objective


def test_predicted_hours_are_those_of_the_operation_count(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(RECIPES[0].parents[1] / "benchmarks"))
    from training_shapes import SHAPES, useful_flop

    sys.modules.pop("training_shapes")
    english = {"bert-base-cased": 28_996, "roberta-base": 50_265, "roberta-large": 50_265}
    for name, tokens in english.items():
        path = next(path for path in RECIPES if path.stem == f"ramen-{name}")
        recipe = build_recipe({"source": "m", "language": "fr", **read_recipe_file(path)})
        both = (tokens + recipe.vocabulary.size) / 2
        training = recipe.training
        work = useful_flop(SHAPES[name.split("-")[1]], both) * training.steps * 2 * training.batch_size * 256
        told = re.search(r"Predicted, not measured: ([\d.]+) hours", path.read_text(encoding="utf-8"))
        assert float(told[1]) == pytest.approx(work / (0.35 * 312e12 * 3600), abs=0.05)


def test_the_published_recipes_are_there():
    published = {"ramen-base", "ramen-large", "ramen-bert-base-cased", "ramen-roberta-base", "ramen-roberta-large"}
    assert published <= {path.stem for path in RECIPES}
    for path in RECIPES:
        if path.stem.startswith("ramen"):
            training = build_recipe({"source": "m", "language": "fr", **read_recipe_file(path)}).training
            assert (training.steps, training.batch_size, training.sequence_length) == (120_000, 72, 256)
            assert round(training.warmup_share * training.steps) == 4000
            assert (training.mask_scheme, training.mask_rate, training.clip) == ("90-10", 0.15, 5.0)
