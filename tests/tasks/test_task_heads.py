"""A head for a task: the encoder comes along whole, whatever it was saved with, and the rest is drawn repeatably."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AlbertConfig,
    AlbertForMaskedLM,
    AutoModelForMultipleChoice,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    BertConfig,
    BertForMaskedLM,
    BertModel,
    DebertaV2Config,
    DebertaV2ForMaskedLM,
    DistilBertConfig,
    DistilBertForMaskedLM,
    ElectraConfig,
    ElectraForMaskedLM,
    ModernBertConfig,
    ModernBertForMaskedLM,
    MPNetConfig,
    MPNetForMaskedLM,
    RobertaConfig,
    RobertaModel,
    T5Config,
    T5EncoderModel,
    XLMRobertaConfig,
    XLMRobertaForMaskedLM,
)

import tiny
from lingraft.errors import ModelError
from lingraft.surgery import LanguageModel, from_transformers, load_model, save_model
from lingraft.tasks.heads import fresh_parameters, load_task_model, with_task_head

SHAPE = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
         "intermediate_size": 64, "max_position_embeddings": 66, "pad_token_id": 0}  # fmt: skip
MODELS: dict[str, tuple[Any, Any]] = {
    "albert": (AlbertForMaskedLM, AlbertConfig(embedding_size=16, **SHAPE)),
    "bert": (BertModel, BertConfig(**SHAPE)),
    "bert-head": (BertForMaskedLM, BertConfig(**SHAPE)),
    "deberta-v2": (DebertaV2ForMaskedLM, DebertaV2Config(**SHAPE)),
    "distilbert": (DistilBertForMaskedLM, DistilBertConfig(vocab_size=300, dim=32, n_layers=2, n_heads=4,
                                                           hidden_dim=64)),
    "electra": (ElectraForMaskedLM, ElectraConfig(embedding_size=16, **SHAPE)),
    "modernbert": (ModernBertForMaskedLM, ModernBertConfig(**{**SHAPE, "bos_token_id": 1, "eos_token_id": 2,
                                                             "cls_token_id": 1, "sep_token_id": 2})),
    "mpnet": (MPNetForMaskedLM, MPNetConfig(**SHAPE)),
    "roberta": (RobertaModel, RobertaConfig(**SHAPE)),
    "xlm-roberta": (XLMRobertaForMaskedLM, XLMRobertaConfig(**SHAPE)),
}  # fmt: skip
TASKS = {"token": AutoModelForTokenClassification, "sequence": AutoModelForSequenceClassification}


@pytest.fixture(params=MODELS)
def language_model(request, wordpiece) -> LanguageModel:
    """A model whose parameters are all away from their initial values."""
    make, config = MODELS[request.param]
    torch.manual_seed(0)
    model = make(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return from_transformers(model, wordpiece)


@pytest.fixture
def batch() -> torch.Tensor:
    """Four lines of ordinary ids."""
    return torch.randint(10, 300, (4, 16), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("task", TASKS)
@torch.inference_mode()
def test_the_encoder_comes_along_whole(language_model, batch, task):
    before = {name: value.clone() for name, value in language_model.model.state_dict().items()}
    model = with_task_head(language_model, TASKS[task], num_labels=5)
    assert not model.training
    assert type(model).__name__.endswith(TASKS[task].__name__.removeprefix("AutoModel"))
    old, new = language_model.model.base_model, model.base_model
    assert torch.equal(old(batch).last_hidden_state, new(batch).last_hidden_state)
    assert model(batch).logits.shape == ((4, 16, 5) if task == "token" else (4, 5))
    new.get_input_embeddings().weight.zero_()
    assert all(torch.equal(value, before[name]) for name, value in language_model.model.state_dict().items())
    fresh = set(fresh_parameters(model, language_model))
    copied = dict(old.named_parameters())
    for name, _ in model.named_parameters():
        assert name in fresh or name.removeprefix(model.base_model_prefix + ".") in copied
    assert all("pooler" in name or not name.startswith(model.base_model_prefix + ".") for name in fresh)
    assert any("classifier" in name for name in fresh)


def test_a_pooler_is_kept_where_there_is_one_and_drawn_where_not(wordpiece):
    with_pooler = from_transformers(tiny.bert(wordpiece, head=False), wordpiece)
    without = from_transformers(tiny.bert(wordpiece), wordpiece)
    model = with_task_head(with_pooler, AutoModelForSequenceClassification)
    assert torch.equal(model.bert.pooler.dense.weight, with_pooler.model.pooler.dense.weight)
    assert fresh_parameters(model, with_pooler) == ["classifier.weight", "classifier.bias"]
    model = with_task_head(without, AutoModelForSequenceClassification)
    assert fresh_parameters(model, without) == [
        "bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight", "classifier.bias",
    ]  # fmt: skip
    assert model.bert.pooler.dense.weight.std() > 0


def test_the_head_depends_on_the_seed_alone(wordpiece):
    source = from_transformers(tiny.bert(wordpiece), wordpiece)

    def drawn(seed: int) -> torch.Tensor:
        model = with_task_head(source, AutoModelForSequenceClassification, seed=seed)
        return torch.cat([model.classifier.weight.flatten(), model.bert.pooler.dense.weight.flatten()])

    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = drawn(1)
    assert torch.equal(torch.rand(3), expected), "torch's own random state is as it was"
    assert torch.equal(drawn(1), first)
    assert not torch.equal(drawn(2), first)


def test_the_config_is_changed_in_the_copy_alone(wordpiece, caplog):
    source = from_transformers(tiny.bert(wordpiece), wordpiece)
    with caplog.at_level(logging.INFO, "lingraft"):
        model = with_task_head(
            source, AutoModelForTokenClassification, id2label={0: "a", 1: "b", 2: "c"}, hidden_dropout_prob=0.3
        )
    assert (model.config.num_labels, model.config.hidden_dropout_prob) == (3, 0.3)
    assert (source.model.config.num_labels, source.model.config.hidden_dropout_prob) == (2, 0.1)
    assert "drawn at random, to be trained: classifier.weight, classifier.bias" in caplog.text


@pytest.mark.parametrize("folder", ["model_folder", "sentence_model_folder", "causal_model_folder"])
@torch.inference_mode()
def test_any_folder_serves(request, folder, batch):
    source = load_model(request.getfixturevalue(folder))
    model = with_task_head(source, AutoModelForTokenClassification)
    hidden = source.model.base_model(batch).last_hidden_state
    assert torch.equal(model.base_model(batch).last_hidden_state, hidden)


def test_a_sentence_encoder_saved_with_a_head_serves_too(sentence_model_folder, tmp_path):
    from lingraft.surgery import with_masked_lm_head

    source = load_model(sentence_model_folder)
    save_model(source.with_model(with_masked_lm_head(source.model)), tmp_path / "model")
    for head in (False, True):
        loaded = load_model(tmp_path / "model", head=head)
        model = with_task_head(loaded, AutoModelForTokenClassification)
        assert fresh_parameters(model, loaded) == ["classifier.weight", "classifier.bias"]


def test_an_architecture_without_the_task_is_refused(wordpiece):
    encoder = T5EncoderModel(T5Config(vocab_size=300, d_model=32, d_kv=8, d_ff=64, num_layers=1, num_heads=4))
    source = LanguageModel(encoder, wordpiece, "masked")
    with pytest.raises(ModelError, match=r"no form of T5EncoderModel .* '...ForMultipleChoice' of model type 't5'"):
        with_task_head(source, AutoModelForMultipleChoice)


def test_weights_that_are_not_of_the_config_are_refused(wordpiece):
    source = from_transformers(tiny.bert(wordpiece), wordpiece)
    source.model.config.vocab_size += 1
    with pytest.raises(ModelError, match=r"word_embeddings.weight' has the shape \(\d+, 32\); by its config"):
        with_task_head(source, AutoModelForTokenClassification)


@pytest.fixture
def task_folder(wordpiece, tmp_path) -> Path:
    """A sequence classifier on disk."""
    source = from_transformers(tiny.bert(wordpiece), wordpiece)
    with_task_head(source, AutoModelForSequenceClassification, num_labels=3).save_pretrained(tmp_path / "task")
    wordpiece.save_pretrained(tmp_path / "task")
    return tmp_path / "task"


@torch.inference_mode()
def test_a_task_model_is_read_back(task_folder, batch, wordpiece):
    model, tokenizer = load_task_model(task_folder, AutoModelForSequenceClassification)
    again = AutoModelForSequenceClassification.from_pretrained(task_folder).eval()
    assert torch.equal(model(batch).logits, again(batch).logits)
    assert (model.training, model.dtype) == (False, torch.float32)
    assert tokenizer("ba re").input_ids == wordpiece("ba re").input_ids


def test_what_is_no_model_of_the_task_is_refused(task_folder, model_folder, tmp_path):
    with pytest.raises(ModelError, match=r"is a BertForSequenceClassification; a '...ForTokenClassification'"):
        load_task_model(task_folder, AutoModelForTokenClassification)
    with pytest.raises(ModelError, match=r"is a BertForMaskedLM; a '...ForSequenceClassification'"):
        load_task_model(model_folder, AutoModelForSequenceClassification)
    with pytest.raises(ModelError, match="gone' does not exist"):
        load_task_model(tmp_path / "gone", AutoModelForSequenceClassification)
    weights = load_file(task_folder / "model.safetensors")
    save_file({k: v for k, v in weights.items() if "pooler" not in k}, task_folder / "model.safetensors",
              {"format": "pt"})  # fmt: skip
    with pytest.raises(ModelError, match=r"lacks 2 of the weights .* 'bert.pooler.dense.bias'"):
        load_task_model(task_folder, AutoModelForSequenceClassification)
    (task_folder / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(ModelError, match="could not be loaded as a model"):
        load_task_model(task_folder, AutoModelForSequenceClassification)
