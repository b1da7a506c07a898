"""The named recipes in ``recipes/`` are recipes, and say on what hardware and with what result."""

from __future__ import annotations

from pathlib import Path

import pytest

from lingraft.recipe import build_recipe, read_recipe_file

RECIPES = sorted((Path(__file__).parents[1] / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_named_recipe_is_one(path: Path):
    recipe = build_recipe({"source": "model", "language": "fr", **read_recipe_file(path)})
    assert recipe.training.objective != "auto"
    text = path.read_text(encoding="utf-8")
    assert "# Hardware: " in text
    assert "# Expected: " in text
    assert f"recipes/{path.name}" in text


def test_the_published_recipes_are_there():
    assert {"ramen-base", "ramen-large"} <= {path.stem for path in RECIPES}
    for path in RECIPES:
        if path.stem.startswith("ramen"):
            training = build_recipe({"source": "m", "language": "fr", **read_recipe_file(path)}).training
            assert (training.steps, training.batch_size, training.sequence_length) == (120_000, 72, 256)
            assert round(training.warmup_share * training.steps) == 4000
            assert (training.mask_scheme, training.mask_rate, training.clip) == ("90-10", 0.15, 5.0)
