"""Model cards: the format of the hub, the same for the same run, nothing private in them, and no markup of data."""

from __future__ import annotations

import copy
import json
import shutil

import pytest
import yaml
from huggingface_hub import ModelCard
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from sentence_transformers import SentenceTransformer

import lingraft
from lingraft.cache import folder_digest
from lingraft.recipe import build_recipe
from lingraft.report import base_license, model_card
from lingraft.report.card import plain

LICENSED = "---\nlicense: apache-2.0\nlanguage: en\n---\n# The base model's own card\n"


@pytest.fixture(scope="module")
def run(tmp_path_factory, sentence_model_folder, bitext_file, heldout_file):
    """A run of a licensed sentence encoder, its folder and its result."""
    folder = tmp_path_factory.mktemp("card")
    shutil.copytree(sentence_model_folder, folder / "base")
    (folder / "base" / "README.md").write_text(LICENSED, encoding="utf-8")
    result = lingraft.transfer(
        folder / "base", to="zh-Hant", out=folder / "out", bitext=bitext_file, eval_bitext=heldout_file,
        objective="none",
    )  # fmt: skip
    return folder / "out", result


def card_of(run, language="zh-Hant", base_card=None, **changes):
    """The text of a card for the run, with other values in its recipe (by dotted keys)."""
    out, result = run
    values = result.recipe.model_dump(mode="json")
    for key, value in changes.items():
        *sections, last = key.split("__")
        inner = values
        for name in sections:
            inner = inner[name]
        inner[last] = value
    return model_card(out / "target", build_recipe(values), result.run, language, base_card)


def test_a_card_of_the_new_language_says_all_that_the_hub_reads(run):
    out, result = run
    card = ModelCard.load(out / "target" / "README.md")
    assert card.data.language == ["zh"]
    assert card.data.language_bcp47 == ["zh-Hant"]
    assert card.data.license == "apache-2.0"
    assert card.data.library_name == "sentence-transformers"
    assert card.data.pipeline_tag == "sentence-similarity"
    assert "base_model" not in card.data.to_dict()  # a folder here is no repository
    retrieval = result.scores["grafted"]["retrieval"]
    told = {score.metric_name: score.metric_value for score in card.data.eval_results}
    assert told["English to zh-Hant"] == pytest.approx(retrieval["en_to_xx"], abs=1e-4)
    assert told["zh-Hant to English"] == pytest.approx(retrieval["xx_to_en"], abs=1e-4)
    for said in ("bitext.tsv", "400 pairs", "2002.07306", "was not trained", "SentenceTransformer(", "apache-2.0"):
        assert said in card.text


def test_the_english_card_says_that_nothing_of_the_model_changed(run):
    out, _ = run
    card = ModelCard.load(out / "source" / "README.md")
    assert card.data.language == ["en"]
    assert card.data.license == "apache-2.0"
    assert "unchanged" in card.text
    assert card.data.eval_results is None
    assert "own card" not in card.text


def test_nothing_private_is_in_a_card(run):
    out, _ = run
    for folder in ("target", "source"):
        text = (out / folder / "README.md").read_text(encoding="utf-8")
        assert str(out.parent) not in text
        assert all(part not in text for part in out.parts[1:-1])


def test_a_run_that_is_repeated_has_the_same_cards(run):
    out, _ = run
    before = [(out / folder / "README.md").read_bytes() for folder in ("target", "source")]
    (out / "run.json").unlink()
    lingraft.resume(out)
    assert [(out / folder / "README.md").read_bytes() for folder in ("target", "source")] == before


def test_a_card_does_not_change_what_a_model_is(run, sentence_model_folder):
    out, _ = run
    assert folder_digest(out / "source") == folder_digest(sentence_model_folder)
    inside = folder_digest(out / "target")
    (out / "target" / "1_Pooling" / "README.md").write_text("of a part", encoding="utf-8")
    changed = folder_digest(out / "target")
    (out / "target" / "1_Pooling" / "README.md").unlink()
    assert changed != inside
    assert SentenceTransformer(str(out / "target")).encode(["x"]).shape == (1, 32)


def test_a_base_model_of_the_hub_is_named_and_linked(run):
    card = card_of(run, source="org/encoder")
    assert ModelCard(card).data.base_model == "org/encoder"
    assert "[org/encoder](https://huggingface.co/org/encoder)" in card
    cached = card_of(run, source="/cache/models--org--encoder/snapshots/0123abc")
    assert ModelCard(cached).data.base_model == "org/encoder"


@pytest.mark.parametrize(
    ("architecture", "loader", "pipeline"),
    [
        ("BertForMaskedLM", "AutoModelForMaskedLM", "fill-mask"),
        ("GPT2LMHeadModel", "AutoModelForCausalLM", "text-generation"),
        ("ElectraForPreTraining", "AutoModelForPreTraining", "feature-extraction"),
        ("BertModel", "AutoModel", "feature-extraction"),
    ],
)
def test_every_kind_of_model_is_loaded_by_its_class(run, tmp_path, architecture, loader, pipeline):
    (tmp_path / "config.json").write_text(json.dumps({"architectures": [architecture]}), encoding="utf-8")
    _, result = run
    scores = copy.deepcopy(result.run) | {"scores": {"grafted": {"lm_xx": {"bits_per_byte": 1.25}}}}
    card = ModelCard(model_card(tmp_path, result.recipe, scores, "zh-Hant"))
    assert f"model = {loader}.from_pretrained(" in card.text
    assert card.data.pipeline_tag == pipeline
    assert card.data.library_name == "transformers"
    assert [score.metric_value for score in card.data.eval_results] == [1.25]


def test_a_trained_model_says_how_it_was_trained_and_with_whom(run):
    out, result = run
    recipe = build_recipe(
        result.recipe.model_dump(mode="json")
        | {
            "language": ["fr", "hi"], "evidence": {"bitext": {"fr": ["hf:org/pairs:fr", "/data/me/b.tsv"]}},
            "evaluation": {}, "corpus": {"text": {"hi": ["hf:org/text"]}, "source_text": ["/data/me/en.txt"]},
            "training": {
                "objective": "mlm", "batch_size": 8, "learning_rate": 1e-4, "embedding_learning_rate": 1e-3,
                "embeddings_share": 0.5,
            },
        }
    )  # fmt: skip
    told = result.run
    both = {key: {"fr": told[key], "hi": told[key]} for key in ("vocabulary", "table", "scores")}
    training = {"steps": 2000, "embedding_steps": 1000, "tokens": 123456}
    report = told | both | {"training": training, "corpus": {"fr": told["corpus"], "hi": told["corpus"]}}
    card = ModelCard(model_card(out / "target", recipe, report, "fr"))
    assert "together with English, `hi`" in card.text
    assert "2,000 steps, 1,000 of them on new embeddings alone, 123,456 tokens, batches of 8" in card.text
    assert "/data" not in card.text
    assert card.data.datasets == ["org/pairs"]
    english = ModelCard(model_card(out / "source", recipe, report, None))
    assert english.data.datasets == ["org/pairs", "org/text"]
    assert "after training together with `fr`, `hi`" in english.text


def test_the_licence_of_a_base_model_is_taken_from_its_card_alone():
    assert base_license(None) == base_license("# no front matter\nlicense: mit\n") == {}
    assert base_license("---\nlicense: [unclosed\n---\n") == {}
    assert base_license("---\n- a list\n---\n") == {}
    assert base_license("---\nlicense:\n- mit\n- apache-2.0\n---\n") == {}  # which of them is not known
    assert base_license("---\nlicense: 'x\n\n# heading'\n---\n") == {}
    own = {"license": "other", "license_name": "gemma", "license_link": "https://example.org/terms"}
    assert base_license(f"---\n{yaml.safe_dump(own | {'license_size': 3})}---\n") == own


def test_without_a_licence_the_card_says_what_to_do(run):
    card = card_of(run, evidence__lexicon=["builtin"])
    assert "license" not in ModelCard(card).data.to_dict()
    assert "licence is not known to lingraft. Check it" in card
    assert "CC BY-SA 4.0" in card


HOSTILE = "a|b](javascript:x)<script>alert(1)</script>`*_\n# b https://x.yz www.x.yz @me ---.tsv"


@settings(max_examples=50)
@given(text=st.one_of(st.just(HOSTILE), st.text("ab#*_`[]()<>!|\\\n\r-+=1.)&~$:/@ ", max_size=30)))
def test_text_of_data_is_shown_and_is_no_markup(text):
    """A heading and a table cell, as cards have them, come back as the text with its spaces collapsed."""
    markdown = MarkdownIt("gfm-like", {"linkify": False})
    shown = " ".join(text.split())
    found = markdown.parse(f"{plain(text)}\n")
    allowed = {"paragraph_open", "paragraph_close", "inline"}
    assert {token.type for token in found} <= allowed
    inside = [child for token in found for child in token.children or ()]
    assert {child.type for child in inside} <= {"text", "text_special"}
    assert "".join(child.content for child in inside) == shown
    cells = markdown.parse(f"| a | b |\n|---|---|\n| {plain(text)} | x |\n")
    row = [token for token in cells if token.type == "inline"][2:]
    assert ["".join(child.content for child in token.children) for token in row] == [shown, "x"]


def test_hostile_names_stay_names(run):
    card = card_of(run, evidence__bitext=[f"/data/{HOSTILE.replace('/', '')}"], source="/models/x\n---\nlicense: mit")
    assert "license" not in ModelCard(card).data.to_dict()
    assert "<script" not in card
    assert "\n---\nlicense" not in card
