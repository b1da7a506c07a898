from __future__ import annotations

import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lingraft.errors import RecipeError
from lingraft.recipe import Recipe, budget_seconds, build_recipe, put, read_recipe_file, set_key

LEAST = {"source": "model", "language": "fr"}


def with_key(key, value):
    values = dict(LEAST)
    put(values, key, value)
    return values


def refusal(values):
    with pytest.raises(RecipeError) as caught:
        build_recipe(values)
    return str(caught.value)


def test_yaml_gives_the_same_recipe_back():
    values = {
        "source": "models/été", "language": "zh-hant", "seed": 7, "corpus": {"text": ["a.txt", "b c.txt"]},
        "vocabulary": {"size": 5000}, "evidence": {"bitext": ["en.txt,zh.txt"], "alignment": {"alpha": 0.25}},
        "training": {"objective": "mlm", "budget": "1h30m", "learning_rate": 3e-5},
        "evaluation": {"bitext": "held.tsv"},
    }  # fmt: skip
    recipe = build_recipe(values)
    assert build_recipe(yaml.safe_load(recipe.to_yaml())) == recipe
    assert recipe.corpus.text == ("a.txt", "b c.txt")
    assert recipe.evidence.alignment.alpha == 0.25
    assert recipe.language == "zh-Hant"


SEVERAL = {
    "source": "m", "language": ["fr", "zh-hant"],
    "corpus": {"text": {"ZH_hant": ["zh.txt"]}, "source_text": ["en.txt"]},
    "vocabulary": {"tokenizer": {"fr": "folder"}, "size": 500},
    "evidence": {"bitext": {"fr": ["a.tsv", "b.tsv"], "zh-Hant": ["c.tsv"]}}, "evaluation": {"bitext": {"fr": "h.tsv"}},
}  # fmt: skip


def test_a_recipe_of_several_languages_says_for_each_what_is_its():
    recipe = build_recipe(SEVERAL)
    assert build_recipe(yaml.safe_load(recipe.to_yaml())) == recipe
    assert (recipe.language, recipe.several) == (("fr", "zh-Hant"), True)
    french, chinese = (recipe.given(language) for language in recipe.languages)
    assert (french.bitext, french.text, french.eval_bitext, french.tokenizer) == (
        ("a.tsv", "b.tsv"), (), "h.tsv", "folder",
    )  # fmt: skip
    assert (chinese.bitext, chinese.text, chinese.eval_bitext, chinese.tokenizer) == (
        ("c.tsv",), ("zh.txt",), None, None,
    )  # fmt: skip
    assert french.source_text == chinese.source_text == ()
    assert build_recipe({**SEVERAL, "language": "fr, zh-Hant"}) == recipe


def test_of_one_language_both_forms_are_one_recipe():
    evidence = {"bitext": ["a.tsv"], "lexicon": ["w.tsv", "builtin"], "vectors": "en.vec,fr.vec"}
    plain = {**LEAST, "evidence": evidence, "evaluation": {"bitext": "h.tsv"}}
    named = {"source": "model", "language": ["fr"], "evidence": {key: {"fr": value} for key, value in evidence.items()},
             "evaluation": {"bitext": {"fra": "h.tsv"}}}  # fmt: skip
    assert build_recipe(named) == build_recipe(plain)
    assert build_recipe(named).to_yaml() == build_recipe(plain).to_yaml()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"language": ["fr", "fra"]}, "'language': 'fr' is given twice; give every language once"),
        ({"language": ["fr", "en"]}, "'language': 'en' is the source model's language"),
        ({"language": []}, "'language': a language tag or a list of them was expected"),
        ({"language": False}, "'language': a language tag or a list of them was expected, like fr or [fr, hi]"),
        ({"language": ["fr", 5]}, "'language': a language tag or a list of them was expected"),
        ({"language": "fr"}, "Recipe: 'evidence.bitext' is given for zh-Hant, and the run's languages are fr;"),
        ({"evidence": {"bitext": {"fr": "a.tsv"}}}, "'evidence.bitext.fr': should be a valid tuple"),
        ({"evidence": {"bitext": {"french": ["a.tsv"]}}}, "'evidence.bitext': 'french' is no BCP 47 language tag"),
        ({"evidence": {"bitext": ["a.tsv"]}}, "(fr, zh-Hant); say which language it belongs to, as in evidence.bitext"),
        ({"evaluation": {"bitext": "a.tsv"}}, "'evaluation.bitext' is given without a language"),
        ({"vocabulary": {"tokenizer": "a"}}, "'vocabulary.tokenizer' is given without a language"),
        ({"vocabulary": {"tokenizer": {"fr": "a", "zh-Hant": "b"}, "size": 99}}, "with given tokenizers leave it out"),
    ],
)
def test_what_several_languages_cannot_have_is_refused(changes, told):
    assert told in refusal({**SEVERAL, **changes})


def test_yaml_holds_every_key_defaults_included():
    written = yaml.safe_load(build_recipe(LEAST).to_yaml())
    assert list(written) == list(Recipe.model_fields)
    for name, field in Recipe.model_fields.items():
        if isinstance(written[name], dict):
            assert list(written[name]) == list(field.annotation.model_fields)


def test_a_recipe_does_not_change():
    recipe = build_recipe(LEAST)
    with pytest.raises(ValueError, match="frozen"):
        recipe.seed = 3


@pytest.mark.parametrize("key", ["source", "language"])
def test_what_is_missing_is_named(key):
    assert f"'{key}' is missing" in refusal({name: value for name, value in LEAST.items() if name != key})


@pytest.mark.parametrize(
    ("key", "known"),
    [
        ("sauce", ["source", "language", "evidence", "seed"]),
        ("training.learning_rat", ["learning_rate", "steps", "budget"]),
        ("vocabulary.vocab_size", ["size", "tokenizer", "min_count"]),
        ("evidence.alignment.alhpa", ["alpha", "iterations", "null"]),
    ],
)
def test_an_unknown_key_is_named_with_the_known_ones(key, known):
    message = refusal(with_key(key, 1))
    assert f"unknown key '{key}'" in message
    listed = message.partition("known there are ")[2].rstrip(".").split(", ")
    assert set(known) <= set(listed)
    assert key.rpartition(".")[2] not in listed


def test_all_problems_are_told_at_once():
    message = refusal({**LEAST, "sauce": 1, "seed": -1, "training": {"step": 5}})
    assert all(part in message for part in ("'sauce'", "'seed'", "'training.step'"))


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("seed", -1, "greater than or equal to 0"),
        ("seed", 2**32, "less than 4294967296"),
        ("seed", "many", "integer"),
        ("vocabulary.size", 15, "greater than or equal to 16"),
        ("vocabulary.size", "big", "integer"),
        ("training.steps", 0, "greater than or equal to 1"),
        ("training.objective", "nsp", "'auto', 'mlm', 'distill', 'clm' or 'none'"),
        ("training.mask_rate", 1.0, "less than 1"),
        ("training.learning_rate", 0, "greater than 0"),
        ("training.embeddings_share", 1.5, "less than or equal to 1"),
        ("training.precision", "fp8", "'auto', 'float32', 'bf16' or 'fp16'"),
        ("training.budget", 90, "string"),
        ("evidence.alignment.null", 1.0, "less than or equal to 0.999"),
        ("evidence.bitext", "a.tsv", "tuple"),
        ("corpus.max_chars", 3, "greater than or equal to 10"),
        ("corpus", 3, "dictionary"),
    ],
)
def test_an_impossible_value_is_named_with_what_was_given_and_what_is_allowed(key, value, allowed):
    message = refusal(with_key(key, value))
    assert f"'{key}': " in message
    assert allowed in message
    assert f"(given: {value!r})" in message


@pytest.mark.parametrize("tag", ["french", "xx", "", "12", "f", "fr-"])
def test_what_is_no_language_tag_is_refused(tag):
    message = refusal({**LEAST, "language": tag})
    assert f"'{tag}' is no BCP 47 language tag" in message
    assert "zh-Hant" in message


@pytest.mark.parametrize(
    ("given_tag", "tag"),
    [("fr", "fr"), ("FR", "fr"), ("zh-hant", "zh-Hant"), ("zh_Hant_tw", "zh-Hant-TW"), ("fra", "fr"), ("sw", "sw")],
)
def test_language_tags_take_their_standard_form(given_tag, tag):
    assert build_recipe({**LEAST, "language": given_tag}).language == tag


@pytest.mark.parametrize(
    "lengths",
    [{"steps": 5, "budget": "5m"}, {"steps": 5, "tokens": 100}, {"tokens": 100, "budget": "5m"},
     {"steps": 5, "tokens": 100, "budget": "5m"}],
)  # fmt: skip
def test_only_one_of_steps_tokens_and_budget_says_how_long(lengths):
    message = refusal({**LEAST, "training": lengths})
    assert " and ".join(lengths) in message
    assert "only one of steps, tokens and budget" in message


@pytest.mark.parametrize("length", [{}, {"steps": 5}, {"tokens": 100}, {"budget": "5m"}])
def test_each_of_them_alone_will_do(length):
    training = build_recipe({**LEAST, "training": length}).training
    assert {name for name in ("steps", "tokens", "budget") if getattr(training, name) is not None} == set(length)


def test_a_given_tokenizer_has_its_size():
    assert "size is for a tokenizer that is trained" in refusal(
        {**LEAST, "vocabulary": {"tokenizer": "folder", "size": 500}}
    )


@pytest.mark.parametrize(
    ("budget", "seconds"),
    [("90m", 5400), ("1h30m", 5400), ("45s", 45), ("1.5h", 5400), ("0.5s", 0.5), ("1h1m1s", 3661), (" 10m ", 600)],
)
def test_budgets_in_seconds(budget, seconds):
    assert budget_seconds(budget) == pytest.approx(seconds)


@given(st.integers(0, 99), st.integers(0, 999), st.integers(1, 9999))
def test_the_parts_of_a_budget_add_up(hours, minutes, seconds):
    assert budget_seconds(f"{hours}h{minutes}m{seconds}s") == hours * 3600 + minutes * 60 + seconds


@pytest.mark.parametrize(
    "budget", ["", "90", "m", "0m", "0h0m0s", "-5m", "5 m", "5min", "30s1h", "1d", "1e3s", "5m\n5s"]
)
def test_what_is_no_budget_is_refused_as_given(budget):
    with pytest.raises(ValueError, match="is no time budget"):
        budget_seconds(budget)
    message = refusal(with_key("training.budget", budget))
    assert "'training.budget'" in message
    assert f"'{budget}' is no time budget" in message


@given(st.text("0123456789.hms -", max_size=8))
def test_a_budget_is_a_positive_time_or_refused(text):
    try:
        seconds = budget_seconds(text)
    except ValueError:
        return
    assert seconds > 0
    assert re.fullmatch(r"\s*([\d.]+[hms])+\s*", text)


@pytest.mark.parametrize(
    ("assignment", "value"),
    [
        ("training.batch_size=32", 32), ("training.learning_rate=1.0e-4", 1e-4), ("training.budget=1h30m", "1h30m"),
        ("training.budget='90'", "90"), ("corpus.text=[a.txt, b.txt]", ["a.txt", "b.txt"]), ("seed=5", 5),
        ("vocabulary.size=null", None), ("training.steps=", None), ("evaluation.bitext=a=b.tsv", "a=b.tsv"),
        (" seed =5", 5),
    ],
)  # fmt: skip
def test_set_reads_its_value_as_yaml(assignment, value):
    values = {}
    set_key(values, assignment)
    inner = values
    for name in assignment.partition("=")[0].strip().split("."):
        inner = inner[name]
    assert inner == value
    assert type(inner) is type(value)


@pytest.mark.parametrize("learning_rate", ["1e-4", "5E-5", "0.001"])
def test_rates_may_be_set_in_any_notation(learning_rate):
    values = dict(LEAST)
    set_key(values, f"training.learning_rate={learning_rate}")
    assert build_recipe(values).training.learning_rate == float(learning_rate)


@pytest.mark.parametrize("assignment", ["training.batch_size", "=5", " =5", ""])
def test_set_without_key_or_value_is_refused_as_given(assignment):
    with pytest.raises(RecipeError, match="--set takes KEY=VALUE") as caught:
        set_key({}, assignment)
    assert f"'{assignment}'" in str(caught.value)


def test_set_with_a_value_that_is_no_yaml_is_refused():
    with pytest.raises(RecipeError, match=re.escape("--set corpus.text: '[a.txt' is no YAML value")):
        set_key({}, "corpus.text=[a.txt")


def test_putting_makes_sections_and_keeps_what_is_there():
    values = {"training": {"steps": 5}}
    put(values, "training.batch_size", 8)
    put(values, "evidence.alignment.alpha", 0.5)
    assert values == {"training": {"steps": 5, "batch_size": 8}, "evidence": {"alignment": {"alpha": 0.5}}}


def test_putting_into_what_is_no_section_is_refused():
    with pytest.raises(RecipeError, match=r"'seed\.of\.what' cannot be set, 'seed' is not a section"):
        put({"seed": 3}, "seed.of.what", 1)


def test_a_recipe_file_reads_as_a_mapping(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("source: model\nlanguage: fr\ntraining:\n  steps: 5\n", encoding="utf-8")
    assert read_recipe_file(path) == {"source": "model", "language": "fr", "training": {"steps": 5}}


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "holds no mapping"), (b"- a\n- b\n", "holds no mapping"), (b"a: [1", "cannot be read"),
     (b"a: \xff", "cannot be read"), (b"a: 1\na: \0", "cannot be read")],
)  # fmt: skip
def test_a_file_that_is_no_recipe_is_named(tmp_path, content, reason):
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    with pytest.raises(RecipeError, match=reason) as caught:
        read_recipe_file(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_recipe_file_is_named(tmp_path):
    with pytest.raises(RecipeError, match="does not exist") as caught:
        read_recipe_file(tmp_path / "gone.yaml")
    assert str(tmp_path / "gone.yaml") in str(caught.value)
