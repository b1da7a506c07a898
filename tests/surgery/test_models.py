"""Reading and writing models: the kind from the checkpoint, the same outputs after it, and clear refusals."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoTokenizer,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    PreTrainedTokenizerFast,
)

import tiny
from lingraft.errors import ModelError
from lingraft.evidence import build_table
from lingraft.surgery import (
    LanguageModel,
    copy_pipeline,
    from_sentence_transformer,
    from_transformers,
    graft,
    load_model,
    load_tokenizer,
    resolve_model,
    save_model,
    transformer_folder,
    vocabulary_parameters,
    with_masked_lm_head,
)
from lingraft.vocabulary import special_ids, tokenizer_hash, train_tokenizer

#: the model, its tokenizer, what plain transformers loads it with, the kind, and whether the head is tied
FAMILIES: dict[str, tuple[Any, str, Any, str, bool]] = {
    "bert": (tiny.bert, "wordpiece", AutoModelForMaskedLM, "masked", True),
    "roberta": (tiny.roberta, "bytebpe", AutoModelForMaskedLM, "masked", True),
    "xlm-roberta": (tiny.xlm_roberta, "unigram", AutoModelForMaskedLM, "masked", True),
    "gpt2": (tiny.gpt2, "bytebpe", AutoModelForCausalLM, "causal", True),
    "llama": (tiny.llama, "bytefallback", AutoModelForCausalLM, "causal", False),
    "llama-tied": (lambda t: tiny.llama(t, tied=True), "bytefallback", AutoModelForCausalLM, "causal", True),
}
LINES = [xx for _, xx in tiny.cipher_pairs(100)]


def grafted(family: str) -> LanguageModel:
    """A model of the family under a tokenizer of the cipher language."""
    make, kind, *_ = FAMILIES[family]
    english = tiny.TOKENIZERS[kind]()
    foreign = train_tokenizer(english, LINES)
    return graft(from_transformers(make(english), english), foreign, build_table(english, foreign))


@pytest.mark.parametrize("family", FAMILIES)
@torch.inference_mode()
def test_plain_transformers_loads_what_was_written(family: str, tmp_path: Path) -> None:
    *_, auto, _, tied = FAMILIES[family]
    written = grafted(family)
    save_model(written, tmp_path / "model")
    model = auto.from_pretrained(tmp_path / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    assert type(model) is type(written.model)
    assert tokenizer_hash(tokenizer) == tokenizer_hash(written.tokenizer)
    for line in LINES[:4]:
        batch = tokenizer(line, return_tensors="pt").input_ids
        assert batch[0].tolist() == written.tokenizer(line).input_ids
        torch.testing.assert_close(model(batch).logits, written.model(batch).logits)
    assert (model.get_output_embeddings().weight is model.get_input_embeddings().weight) == tied
    assert model.config.vocab_size == len(tokenizer) == model.get_input_embeddings().num_embeddings
    for role, identifier in special_ids(tokenizer).items():
        assert getattr(model.config, f"{role}_token_id", None) in (None, identifier)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_was_written_is_read_back_whole(family: str, tmp_path: Path) -> None:
    *_, kind, _ = FAMILIES[family]
    written = grafted(family)
    save_model(written, tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert (loaded.kind, loaded.max_length, loaded.folder) == (kind, written.max_length, tmp_path / "model")
    assert loaded.has_head
    assert not loaded.model.training
    state = loaded.model.state_dict()
    assert state.keys() == written.model.state_dict().keys()
    assert all(torch.equal(state[name], value) for name, value in written.model.state_dict().items())


def test_texts_fit_into_the_positions_of_the_model() -> None:
    for make, kind, *_ in FAMILIES.values():
        tokenizer = tiny.TOKENIZERS[kind]()
        tokenizer.model_max_length = 10**30  # as where the tokenizer's file does not say
        model = from_transformers(make(tokenizer), tokenizer)
        assert model.max_length == 64
        ids = torch.full((1, model.max_length), 40)
        assert model.embed(ids, torch.ones_like(ids)).isfinite().all()


def test_the_kind_is_read_from_the_checkpoint_not_from_its_name(
    wordpiece: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    folder = tmp_path / "gpt2-sentence-transformers"
    save_model(from_transformers(tiny.bert(wordpiece), wordpiece), folder)
    assert load_model(str(folder)).kind == "masked"
    folder = tmp_path / "bert-base"
    save_model(from_transformers(tiny.gpt2(wordpiece), wordpiece), folder)
    assert load_model(str(folder)).kind == "causal"


def test_an_encoder_without_head_is_read_without_one(wordpiece: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    encoder = tiny.bert(wordpiece, head=False)
    save_model(from_transformers(encoder, wordpiece), tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert (loaded.kind, loaded.has_head) == ("masked", False)
    assert set(vocabulary_parameters(loaded.model)) == {"input"}


def test_a_sentence_encoder_keeps_its_pipeline(sentence_model_folder: Path, tmp_path: Path) -> None:
    source = load_model(sentence_model_folder)
    assert source.kind == "sentence"
    foreign = train_tokenizer(source.tokenizer, LINES)
    target = graft(source, foreign, build_table(source.tokenizer, foreign))
    save_model(target, tmp_path / "model")
    encoder = SentenceTransformer(str(tmp_path / "model"), device="cpu")
    assert [type(module).__name__ for module in encoder] == ["Transformer", "Pooling", "Normalize"]
    batch = foreign(LINES[:5], padding=True, return_tensors="pt")
    with torch.inference_mode():
        own = target.embed(batch.input_ids, batch.attention_mask)
    np.testing.assert_allclose(encoder.encode(LINES[:5]), own, atol=1e-6)
    assert load_model(tmp_path / "model").kind == "sentence"
    assert AutoModel.from_pretrained(tmp_path / "model").config.vocab_size == len(foreign)


def test_a_sentence_encoder_with_a_head_is_read_either_way(sentence_model_folder: Path, tmp_path: Path) -> None:
    source = load_model(sentence_model_folder)
    save_model(source.with_model(with_masked_lm_head(source.model)), tmp_path / "model")
    assert (load_model(tmp_path / "model").kind, load_model(tmp_path / "model", head=True).kind) == (
        "sentence",
        "masked",
    )
    assert load_model(tmp_path / "model", head=True).has_head
    plain = SentenceTransformer(str(sentence_model_folder), device="cpu").encode(LINES[:3])
    np.testing.assert_allclose(SentenceTransformer(str(tmp_path / "model"), device="cpu").encode(LINES[:3]), plain)


def test_a_sentence_encoder_whose_config_names_a_head_that_was_not_saved(
    sentence_model_folder: Path, tmp_path: Path
) -> None:
    # all-mpnet-base-v2 is such a model: its config is that of the masked model that it was trained from
    shutil.copytree(sentence_model_folder, tmp_path / "model")
    config = tmp_path / "model" / "config.json"
    content = json.loads(config.read_text(encoding="utf-8"))
    content["architectures"] = ["BertForMaskedLM"]
    config.write_text(json.dumps(content), encoding="utf-8")
    for head in (False, True):
        loaded = load_model(tmp_path / "model", head=head)
        assert (loaded.kind, loaded.has_head) == ("sentence", False)
    ours, theirs = (
        load_model(tmp_path / "model").model.state_dict(),
        load_model(sentence_model_folder).model.state_dict(),
    )
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())


@pytest.fixture
def nested_sentence_folder(sentence_model_folder: Path, tmp_path: Path) -> Path:
    """A sentence encoder whose transformer lies in a folder of its own, as older ones do."""
    folder = tmp_path / "nested"
    shutil.copytree(sentence_model_folder, folder)
    inner = folder / "0_Transformer"
    inner.mkdir()
    for path in [*folder.iterdir()]:
        if path.is_file() and path.name not in ("modules.json", "config_sentence_transformers.json"):
            path.rename(inner / path.name)
    modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    modules[0]["path"] = "0_Transformer"
    (folder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    return folder


def test_a_transformer_in_a_folder_of_its_own_is_found(
    nested_sentence_folder: Path, sentence_model_folder: Path
) -> None:
    top, nested = load_model(sentence_model_folder), load_model(nested_sentence_folder)
    assert (nested.kind, nested.max_length, nested.folder) == ("sentence", top.max_length, nested_sentence_folder)
    for name, value in top.model.state_dict().items():
        assert torch.equal(nested.model.state_dict()[name], value)
    assert tokenizer_hash(load_tokenizer(nested_sentence_folder)) == tokenizer_hash(top.tokenizer)
    assert transformer_folder(nested_sentence_folder) == nested_sentence_folder / "0_Transformer"
    assert transformer_folder(sentence_model_folder) == sentence_model_folder


def test_a_transformer_in_a_folder_of_its_own_is_written_there(nested_sentence_folder: Path, tmp_path: Path) -> None:
    source = load_model(nested_sentence_folder)
    foreign = train_tokenizer(source.tokenizer, LINES)
    target = graft(source, foreign, build_table(source.tokenizer, foreign))
    save_model(target, tmp_path / "model")
    assert not list((tmp_path / "model").glob("*.safetensors"))
    with torch.inference_mode():
        batch = foreign(LINES[:5], padding=True, return_tensors="pt")
        own = target.embed(batch.input_ids, batch.attention_mask)
    encoder = SentenceTransformer(str(tmp_path / "model"), device="cpu")
    np.testing.assert_allclose(encoder.encode(LINES[:5]), own, atol=1e-6)
    assert load_model(tmp_path / "model").model.config.vocab_size == len(foreign)
    save_model(source.with_model(with_masked_lm_head(source.model)), tmp_path / "head")
    assert load_model(tmp_path / "head", head=True).kind == "masked"


def test_a_transformer_outside_its_folder_is_refused(nested_sentence_folder: Path) -> None:
    modules = json.loads((nested_sentence_folder / "modules.json").read_text(encoding="utf-8"))
    modules[0]["path"] = "../elsewhere"
    (nested_sentence_folder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    with pytest.raises(ModelError, match=r"names the path '../elsewhere' outside its folder"):
        load_model(nested_sentence_folder)


def test_a_sentence_encoder_of_unknown_folder_cannot_be_written(sentence_model_folder: Path, tmp_path: Path) -> None:
    encoder = SentenceTransformer(str(sentence_model_folder), device="cpu")
    with pytest.raises(ModelError, match="folder of the sentence encoder is not known"):
        save_model(from_sentence_transformer(encoder), tmp_path / "model")


@pytest.mark.parametrize("path", ["../outside", "1_Pooling/../../outside", "/etc"])
def test_modules_outside_the_folder_are_refused(sentence_model_folder: Path, tmp_path: Path, path: str) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("secret")
    source = tmp_path / "source"
    shutil.copytree(sentence_model_folder, source)
    modules = json.loads((source / "modules.json").read_text(encoding="utf-8"))
    modules[1]["path"] = path
    (source / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    (tmp_path / "target").mkdir()
    with pytest.raises(ModelError, match="outside its folder"):
        copy_pipeline(source, tmp_path / "target")
    assert not list(tmp_path.glob("target/**/secret"))


def changed_config(**changes: Any) -> Callable[[Path], None]:
    """Changes the config of a folder; None takes a key away."""

    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8")) | changes
        kept = {name: value for name, value in config.items() if value is not None}
        (folder / "config.json").write_text(json.dumps(kept), encoding="utf-8")

    return change


def without_tensor(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["bert.encoder.layer.0.output.dense.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def truncated(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:2000])


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no weights": (lambda f: (f / "model.safetensors").unlink(), r"has no weights: no \.safetensors file was found\.$"),
    "only pickles": (
        lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"),
        r"pytorch_model\.bin is a pickle; save it as safetensors first, or have it read with --allow-pickle",
    ),
    "no config": (lambda f: (f / "config.json").unlink(), r"has no config\.json"),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "No tokenizer could be read"),
    "broken config": (lambda f: (f / "config.json").write_text("{"), "could not be loaded as a model"),
    "broken tokenizer": (lambda f: (f / "tokenizer.json").write_text("{}"), "No tokenizer could be read"),
    "truncated weights": (truncated, "could not be loaded as a model"),
    "half the weights": (without_tensor, r"lacks 1 of the weights of its model, 'bert\.encoder\.layer\.0"),
    "other vocabulary": (changed_config(vocab_size=299), "could not be loaded as a model"),
    "unknown type": (changed_config(model_type="nope"), "could not be loaded as a model"),
    "no architecture": (changed_config(architectures=None, model_type="t5"), "is a model of unnamed architecture"),
    "encoder-decoder": (changed_config(architectures=["T5ForConditionalGeneration"]), "a T5ForConditionalGeneration"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_folders_that_cannot_be_used_say_why(model_folder: Path, tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    assert load_model(folder).kind == "masked"
    break_it, reason = DAMAGE[damage]
    break_it(folder)
    with pytest.raises(ModelError, match=reason) as refusal:
        load_model(folder)
    assert str(folder) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_sentence_encoder_without_tokenizer_is_refused(sentence_model_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(sentence_model_folder, tmp_path / "model")
    (tmp_path / "model" / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match="No tokenizer could be read"):
        load_model(tmp_path / "model")


@pytest.mark.parametrize("task", [BertForSequenceClassification, BertForTokenClassification, BertForQuestionAnswering])
def test_task_models_are_refused_by_name(wordpiece: PreTrainedTokenizerFast, tmp_path: Path, task: Any) -> None:
    model = task(tiny.bert(wordpiece).config)
    model.save_pretrained(tmp_path)
    wordpiece.save_pretrained(tmp_path)
    expected = f"is a {task.__name__}; a masked or causal language model"
    with pytest.raises(ModelError, match=expected):
        load_model(tmp_path)
    with pytest.raises(ModelError, match=expected):
        from_transformers(model, wordpiece)


def test_no_code_of_a_checkpoint_is_run(model_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    changed_config(model_type="custom", auto_map={"AutoConfig": "evil.Config", "AutoModel": "evil.Model"})(folder)
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\nclass Config: ...\n")
    with pytest.raises(ModelError, match="could not be loaded"):
        load_model(folder)
    assert not (tmp_path / "ran").exists()


def test_names_that_lead_nowhere(model_folder: Path, tmp_path: Path) -> None:
    assert resolve_model(str(model_folder)) == model_folder
    for missing in (str(tmp_path / "missing"), "./missing", "../a/missing"):
        with pytest.raises(ModelError, match=r"missing' does not exist; a model folder or a Hugging Face id \(OWNER"):
            resolve_model(missing)
    with pytest.raises(ModelError, match=r"config\.json' is a file; a model folder or a Hugging Face id was expected"):
        resolve_model(str(model_folder / "config.json"))
    (tmp_path / "recipe.yaml").touch()
    (tmp_path / "fr" / "target").mkdir(parents=True)
    with pytest.raises(ModelError, match=r"is the folder of a run, not of a model; give '.*/fr/target' \(the new lang"):
        resolve_model(str(tmp_path))
    with pytest.raises(ModelError, match="No tokenizer could be read from"):
        load_tokenizer(tmp_path)


def test_the_mean_over_text_is_the_embedding_of_a_plain_model(masked: LanguageModel) -> None:
    ids, mask = torch.tensor([[7, 30, 31, 8, 0, 0]]), torch.tensor([[1, 1, 1, 1, 0, 0]])
    with torch.inference_mode():
        embedded = masked.embed(ids, mask)
        hidden = masked.model.base_model(input_ids=ids[:, :4]).last_hidden_state
    torch.testing.assert_close(embedded, hidden.mean(1))


def test_a_decoder_keeps_no_keys_and_values_of_the_text_it_embeds() -> None:
    tokenizer = tiny.bytebpe_tokenizer()
    model = from_transformers(tiny.gpt2(tokenizer), tokenizer)
    kept: list[Any] = []
    model.model.base_model.register_forward_hook(lambda *given: kept.append(given[-1].past_key_values))
    ids = torch.tensor([[5, 6, 7]])
    with torch.inference_mode():
        model.embed(ids, torch.ones_like(ids))
    assert kept == [None]


def test_an_empty_text_has_a_finite_embedding() -> None:
    for family in FAMILIES:
        model = grafted(family)
        ids, mask = torch.tensor([[40, 41], [40, 40]]), torch.tensor([[1, 1], [0, 0]])
        with torch.inference_mode():
            assert model.embed(ids, mask).isfinite().all()


@pytest.mark.parametrize("kind", ["encoder", "sentence"])
def test_a_pooler_that_was_not_saved_is_not_made_up(kind, tmp_path, sentence_model_folder):
    tokenizer = tiny.wordpiece_tokenizer()
    folder = tmp_path / "model"
    if kind == "sentence":
        shutil.copytree(sentence_model_folder, folder)
    else:
        tiny.bert(tokenizer, head=False).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    assert load_model(folder).model.pooler is not None
    weights = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in weights.items() if "pooler" not in name}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    loaded = load_model(folder)
    assert loaded.model.pooler is None
    copied = from_transformers(loaded.model, tokenizer) if kind == "encoder" else loaded
    save_model(copied, tmp_path / "again")
    assert load_file(tmp_path / "again" / "model.safetensors").keys() == kept.keys()
