"""A mean prediction that agrees with the text of the new language."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import (
    CodeGenConfig,
    CodeGenForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

import tiny
from lingraft.evidence import encode
from lingraft.surgery import LanguageModel, from_transformers, vocabulary_parameters
from lingraft.tasks import evaluate_lm
from lingraft.training import calibrate_output, text_stream
from lingraft.vocabulary import all_special_ids

LINES = tiny.english_lines(400)


def bias_of(model: LanguageModel) -> torch.Tensor:
    return vocabulary_parameters(model.model)["bias"].detach().clone()


def made(tokenizer: PreTrainedTokenizerFast, spread: float = 2.0) -> LanguageModel:
    """A random model with a bias that has nothing to do with any text."""
    model = from_transformers(tiny.bert(tokenizer), tokenizer)
    with torch.no_grad():
        bias = vocabulary_parameters(model.model)["bias"]
        bias.copy_(spread * torch.randn(bias.shape, generator=torch.Generator().manual_seed(1)))
    return model


def behind_a_mask(model: LanguageModel) -> np.ndarray:
    """Plain transformers' mean probabilities where each line has its middle word hidden, float (tokens,)."""
    tokenizer = model.tokenizer
    found = []
    for line in LINES[:100]:
        words = line.split()
        words[len(words) // 2] = tokenizer.mask_token
        batch = tokenizer(" ".join(words), return_tensors="pt")
        place = int((batch["input_ids"][0] == tokenizer.mask_token_id).nonzero()[0])
        with torch.inference_mode():
            found.append(model.model(**batch).logits[0, place].double().softmax(-1).numpy())
    return np.mean(found, axis=0)


def test_predictions_become_the_frequencies_of_the_text() -> None:
    tokenizer = tiny.wordpiece_tokenizer()
    model = made(tokenizer)
    text = encode(tokenizer, LINES * 100)  # enough for the prior to weigh little
    counts = np.bincount(text.ids, minlength=len(tokenizer))
    share = counts / counts.sum()
    seen = share > 0.002

    def error() -> float:
        return float(np.abs(np.log(behind_a_mask(model)[seen] / share[seen])).mean())

    before, bits = error(), evaluate_lm(model, LINES)["bits_per_byte"]
    done = calibrate_output(model, text_stream(model, text))
    assert done is not None
    assert done.tokens == text.ids.size
    assert done.divergence > 0.5
    assert before > 1.0
    assert error() < 0.2
    assert evaluate_lm(model, LINES)["bits_per_byte"] < bits - 0.2
    again = calibrate_output(model, text_stream(model, text))
    assert again is not None
    assert again.divergence < 0.05


def test_lines_are_as_good_as_their_stream_and_nothing_else_changes() -> None:
    tokenizer = tiny.wordpiece_tokenizer()
    model = made(tokenizer)
    other = model.with_model(copy.deepcopy(model.model))
    before = copy.deepcopy(model.model.state_dict())
    assert calibrate_output(model, LINES) == calibrate_output(other, text_stream(other, encode(tokenizer, LINES)))
    assert torch.equal(bias_of(model), bias_of(other))
    changed = {name for name, value in model.model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.endswith("bias") and before[name].shape == (len(tokenizer),) for name in changed)


def test_special_tokens_keep_their_bias() -> None:
    tokenizer = tiny.wordpiece_tokenizer()
    model = made(tokenizer)
    before = bias_of(model)
    calibrate_output(model, LINES)
    same = (bias_of(model) == before).numpy()
    special = np.isin(np.arange(len(tokenizer)), sorted(all_special_ids(tokenizer)))
    assert same[special].all()
    assert not same[~special].any()


def test_little_text_changes_little() -> None:
    tokenizer = tiny.wordpiece_tokenizer()
    small, large = made(tokenizer), made(tokenizer)
    before = bias_of(small)
    calibrate_output(small, LINES[:2])
    calibrate_output(large, LINES * 20)
    moved = [(bias_of(model) - before).abs().mean() for model in (small, large)]
    assert 0 < moved[0] < 0.2 * moved[1]


def granite(tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    """A decoder that divides its logits."""
    torch.manual_seed(0)
    config = GraniteConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4,
        intermediate_size=64, max_position_embeddings=128, logits_scaling=8.0, pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    return GraniteForCausalLM(config).eval()


def gemma2(tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    """A decoder that caps its logits."""
    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4,
        head_dim=8, intermediate_size=64, max_position_embeddings=128, final_logit_softcapping=4.0,
        pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    return Gemma2ForCausalLM(config).eval()


def biased(tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    """A decoder with an output bias."""
    torch.manual_seed(0)
    config = CodeGenConfig(
        vocab_size=len(tokenizer), n_embd=32, n_layer=2, n_head=4, n_positions=128, rotary_dim=4,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    return CodeGenForCausalLM(config).eval()


DECODERS: dict[str, Callable[[PreTrainedTokenizerFast], PreTrainedModel]] = {
    "gpt2, tied": tiny.gpt2,
    "llama, untied": tiny.llama,
    "llama, tied": lambda tokenizer: tiny.llama(tokenizer, tied=True),
    "granite": granite,
    "gemma2": gemma2,
    "codegen": biased,
}


def next_token(model: LanguageModel) -> np.ndarray:
    """Plain transformers' mean probabilities of what follows, at every place of some lines, float (tokens,)."""
    found = []
    for line in LINES[:100]:
        with torch.inference_mode():
            logits = model.model(**model.tokenizer(line, return_tensors="pt")).logits
        found.append(logits[0].double().softmax(-1))
    return torch.cat(found).mean(0).numpy()


@pytest.mark.parametrize("name", DECODERS)
def test_a_decoder_predicts_the_frequencies_of_the_text(name: str) -> None:
    tokenizer = tiny.bytebpe_tokenizer()
    made = tiny.with_common_part(DECODERS[name](tokenizer))
    model = from_transformers(made, tokenizer)
    text = encode(tokenizer, LINES * 100)
    share = np.bincount(text.ids, minlength=len(tokenizer)) / text.ids.size
    seen = share > 0.002

    def error() -> float:
        return float(np.abs(np.log(next_token(model)[seen] / share[seen])).mean())

    before, bits = error(), evaluate_lm(model, LINES)["bits_per_byte"]
    weights = {key: value.clone() for key, value in made.state_dict().items()}
    done = calibrate_output(model, text_stream(model, text))
    assert done is not None
    assert done.tokens == text.ids.size
    assert error() < 0.5 * before
    assert evaluate_lm(model, LINES)["bits_per_byte"] < bits - 0.2
    again = calibrate_output(model.with_model(copy.deepcopy(made)), text_stream(model, text))
    assert again is not None
    assert again.divergence < 0.2 * done.divergence
    changed = {key for key, value in made.state_dict().items() if not torch.equal(value, weights[key])}
    tied = {"transformer.wte.weight", "model.embed_tokens.weight"} if model.model.config.tie_word_embeddings else set()
    assert changed <= {"lm_head.weight", "lm_head.bias", *tied}
    assert ("lm_head.bias" in changed) == (name == "codegen") == ("lm_head.weight" not in changed)


@pytest.mark.parametrize("make", [tiny.gpt2, tiny.llama], ids=["gpt2", "llama"])
def test_a_decoder_whose_hidden_states_have_nothing_in_common_is_left_alone(make: type[PreTrainedModel]) -> None:
    tokenizer = tiny.bytebpe_tokenizer()
    model = from_transformers(make(tokenizer), tokenizer)
    before = copy.deepcopy(model.model.state_dict())
    assert calibrate_output(model, LINES) is None
    assert all(torch.equal(value, before[name]) for name, value in model.model.state_dict().items())


def test_special_tokens_keep_their_output_rows() -> None:
    tokenizer = tiny.bytebpe_tokenizer()
    model = from_transformers(tiny.with_common_part(tiny.llama(tokenizer)), tokenizer)
    before = model.model.lm_head.weight.detach().clone()
    calibrate_output(model, LINES)
    same = (model.model.lm_head.weight == before).all(1).numpy()
    special = np.isin(np.arange(len(tokenizer)), sorted(all_special_ids(tokenizer)))
    assert same[special].all()
    assert not same[~special].any()


def test_a_sentence_encoder_with_a_head_is_calibrated_too() -> None:
    tokenizer = tiny.wordpiece_tokenizer()
    model, encoder = made(tokenizer), replace(made(tokenizer), kind="sentence")
    assert calibrate_output(model, LINES) == calibrate_output(encoder, LINES) is not None
    assert torch.equal(bias_of(model), bias_of(encoder))


def test_without_head_or_text_there_is_nothing_to_do() -> None:
    tokenizer = tiny.wordpiece_tokenizer()
    assert calibrate_output(from_transformers(tiny.bert(tokenizer, head=False), tokenizer), LINES) is None
    model = made(tokenizer)
    before = bias_of(model)
    assert calibrate_output(model, []) is None
    assert torch.equal(bias_of(model), before)
    subwords = tiny.bytebpe_tokenizer()
    assert calibrate_output(from_transformers(tiny.llama(subwords), subwords), []) is None
