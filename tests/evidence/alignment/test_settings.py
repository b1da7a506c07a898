"""What the aligner can be told, and what it refuses."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest

from lingraft import AlignerSettings
from lingraft.errors import RecipeError
from lingraft.evidence.alignment.settings import FOR_TABLES, LONGEST
from lingraft.recipe import AlignmentRecipe, build_recipe

NOT_WHOLE = [2.5, "4", None, math.nan]
NO_NUMBER = ["0.1", None, math.nan, math.inf, -math.inf]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("method", value) for value in ("", "HMM", "ibm1", None, 4, ["hmm"])),
        *(("iterations", value) for value in (-1, 101, *NOT_WHOLE)),
        *(("alpha", value) for value in (0, -0.001, 10.001, *NO_NUMBER)),
        *(("null", value) for value in (0, 1, -0.1, 1.1, *NO_NUMBER)),
        *(("prune_below", value) for value in (1, -0.001, 1.5, *NO_NUMBER)),
        *(("leave_one_out", value) for value in ("no", None, 1, 0.0)),
        *(("max_tokens", value) for value in (0, -1, LONGEST + 1, math.inf, *NOT_WHOLE)),
        *(("block_tokens", value) for value in (0, -1, math.inf, *NOT_WHOLE)),
    ],
)
def test_an_impossible_value_is_named_with_what_is_possible(name, value):
    with pytest.raises(RecipeError, match=f"^The aligner's {name} is ") as caught:
        AlignerSettings(**{name: value})
    message = str(caught.value)
    assert f"is {value!r}; it must be " in message
    assert message.endswith(".")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("method", ["hmm", "ibm2"]),
        ("iterations", [0, 100]),
        ("alpha", [1e-9, 1, 10]),
        ("null", [1e-6, 0.999]),
        ("prune_below", [0, 0.0, 0.999]),
        ("leave_one_out", [True, False]),
        ("max_tokens", [1, LONGEST]),
        ("block_tokens", [1, 1 << 28]),
    ],
)
def test_the_ends_of_what_is_possible_are_possible(name, values):
    for value in values:
        assert getattr(AlignerSettings(**{name: value}), name) == value


def test_an_unknown_setting_is_refused():
    with pytest.raises(TypeError, match="null_prior"):
        AlignerSettings(null_prior=0.1)


def test_settings_do_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        AlignerSettings().alpha = 1  # type: ignore[misc]
    with pytest.raises(RecipeError, match="alpha"):
        dataclasses.replace(AlignerSettings(), alpha=-1)


def test_settings_survive_json():
    settings = AlignerSettings("ibm2", 7, 0.5, 0.25, 0.125, False, 77, 777)
    assert AlignerSettings(**json.loads(json.dumps(settings.as_dict()))) == settings


def test_the_recipe_has_the_defaults_for_tables():
    assert AlignerSettings(**AlignmentRecipe().model_dump()) == FOR_TABLES


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("iterations", [-1, 0, 100, 101]),
        ("alpha", [0, 1e-10, 1e-9, 10, 10.001]),
        ("null", [1e-7, 1e-6, 0.999, 1]),
        ("prune_below", [-0.001, 0, 0.999, 1]),
        ("max_tokens", [0, 1, LONGEST, LONGEST + 1]),
    ],
)
def test_the_recipe_takes_what_the_aligner_takes(name, values):
    for value in values:
        recipe = {"source": "m", "language": "fr", "evidence": {"alignment": {name: value}}}
        assert taken(AlignerSettings, **{name: value}) == taken(build_recipe, values=recipe), value


def taken(make, **arguments):
    try:
        make(**arguments)
    except RecipeError:
        return False
    return True
