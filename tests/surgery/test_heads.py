"""A masked-LM head for an encoder without one: it reads the hidden state as it is and leaves the encoder alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    BertConfig,
    BertModel,
    DebertaV2Config,
    DebertaV2Model,
    DistilBertConfig,
    DistilBertModel,
    MPNetConfig,
    MPNetModel,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
    XLMRobertaConfig,
    XLMRobertaModel,
)

import tiny
from lingraft.errors import ModelError
from lingraft.surgery import load_model, with_masked_lm_head

SHAPE = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
         "intermediate_size": 64, "max_position_embeddings": 66}  # fmt: skip
ENCODERS: dict[str, tuple[Any, Any]] = {
    "bert": (BertModel, BertConfig(**SHAPE)),
    "roberta": (RobertaModel, RobertaConfig(pad_token_id=0, **SHAPE)),
    "xlm-roberta": (XLMRobertaModel, XLMRobertaConfig(pad_token_id=0, **SHAPE)),
    "mpnet": (MPNetModel, MPNetConfig(**SHAPE)),
    "distilbert": (DistilBertModel, DistilBertConfig(vocab_size=300, dim=32, n_layers=2, n_heads=4, hidden_dim=64)),
    "deberta-v2": (DebertaV2Model, DebertaV2Config(**SHAPE)),
}


@pytest.fixture(params=ENCODERS)
def encoder(request: pytest.FixtureRequest) -> PreTrainedModel:
    """An encoder without head whose parameters are all away from their initial values."""
    torch.manual_seed(0)
    make, config = ENCODERS[request.param]
    model = make(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


@pytest.fixture
def batch() -> torch.Tensor:
    """Four lines of ordinary ids."""
    return torch.randint(10, 300, (4, 16), generator=torch.Generator().manual_seed(1))


@torch.inference_mode()
def test_it_predicts_the_nearest_embedding_of_the_normalised_hidden_state(
    encoder: PreTrainedModel, batch: torch.Tensor
) -> None:
    model = with_masked_lm_head(encoder)
    hidden = encoder(batch).last_hidden_state
    embeddings = encoder.get_input_embeddings().weight
    expected = F.layer_norm(hidden, hidden.shape[-1:]) @ embeddings.T
    logits = model(batch).logits
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)
    assert torch.equal(logits.argmax(-1), expected.argmax(-1))
    assert len(logits.argmax(-1).unique()) > 5, "not the same answer everywhere"


@torch.inference_mode()
def test_the_encoder_itself_becomes_the_base(encoder: PreTrainedModel, batch: torch.Tensor) -> None:
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    hidden = encoder(batch).last_hidden_state
    model = with_masked_lm_head(encoder)
    assert model.base_model is encoder
    assert model.get_output_embeddings().weight is encoder.get_input_embeddings().weight
    assert model.get_output_embeddings().bias.abs().max() == 0
    assert model.config.tie_word_embeddings
    assert not model.training
    assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())
    assert torch.equal(encoder(batch).last_hidden_state, hidden)


@torch.inference_mode()
def test_saved_it_loads_as_masked_model_and_as_encoder(
    encoder: PreTrainedModel, batch: torch.Tensor, tmp_path: Path
) -> None:
    model = with_masked_lm_head(encoder)
    model.save_pretrained(tmp_path)
    masked = AutoModelForMaskedLM.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(masked(batch).logits, model(batch).logits)
    bare = AutoModel.from_pretrained(tmp_path).eval()
    assert bare.state_dict().keys() == encoder.state_dict().keys()
    assert all(torch.equal(value, bare.state_dict()[name]) for name, value in encoder.state_dict().items())


@torch.inference_mode()
def test_the_pooler_is_kept(wordpiece: PreTrainedTokenizerFast, batch: torch.Tensor, tmp_path: Path) -> None:
    encoder = tiny.bert(wordpiece, head=False)
    pooled = encoder(batch).pooler_output
    with_masked_lm_head(encoder).save_pretrained(tmp_path)
    wordpiece.save_pretrained(tmp_path)
    assert torch.equal(AutoModel.from_pretrained(tmp_path).eval()(batch).pooler_output, pooled)
    assert load_model(tmp_path).kind == "masked"


def test_the_head_and_the_encoder_learn(encoder: PreTrainedModel, batch: torch.Tensor) -> None:
    model = with_masked_lm_head(encoder)
    F.cross_entropy(model(batch).logits.flatten(0, 1), batch.flatten()).backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None and "pooler" not in name]
    assert silent == []


def test_a_decoder_has_no_such_head(wordpiece: PreTrainedTokenizerFast) -> None:
    with pytest.raises(ModelError, match="GPT2Model has no masked-language-model form"):
        with_masked_lm_head(tiny.gpt2(wordpiece).transformer)
