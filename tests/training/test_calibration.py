"""An output bias that agrees with the text of the new language."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

import tiny
from lingraft.evidence import encode
from lingraft.surgery import LanguageModel, from_transformers, vocabulary_parameters
from lingraft.tasks import evaluate_lm
from lingraft.training import calibrate_bias, text_stream
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
    done = calibrate_bias(model, text_stream(model, text))
    assert done is not None
    assert done.tokens == text.ids.size
    assert done.divergence > 0.5
    assert before > 1.0
    assert error() < 0.2
    assert evaluate_lm(model, LINES)["bits_per_byte"] < bits - 0.2
    again = calibrate_bias(model, text_stream(model, text))
    assert again is not None
    assert again.divergence < 0.05


def test_lines_are_as_good_as_their_stream_and_nothing_else_changes() -> None:
    tokenizer = tiny.wordpiece_tokenizer()
    model = made(tokenizer)
    other = model.with_model(copy.deepcopy(model.model))
    before = copy.deepcopy(model.model.state_dict())
    assert calibrate_bias(model, LINES) == calibrate_bias(other, text_stream(other, encode(tokenizer, LINES)))
    assert torch.equal(bias_of(model), bias_of(other))
    changed = {name for name, value in model.model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.endswith("bias") and before[name].shape == (len(tokenizer),) for name in changed)


def test_special_tokens_keep_their_bias() -> None:
    tokenizer = tiny.wordpiece_tokenizer()
    model = made(tokenizer)
    before = bias_of(model)
    calibrate_bias(model, LINES)
    same = (bias_of(model) == before).numpy()
    special = np.isin(np.arange(len(tokenizer)), sorted(all_special_ids(tokenizer)))
    assert same[special].all()
    assert not same[~special].any()


def test_little_text_changes_little() -> None:
    tokenizer = tiny.wordpiece_tokenizer()
    small, large = made(tokenizer), made(tokenizer)
    before = bias_of(small)
    calibrate_bias(small, LINES[:2])
    calibrate_bias(large, LINES * 20)
    moved = [(bias_of(model) - before).abs().mean() for model in (small, large)]
    assert 0 < moved[0] < 0.2 * moved[1]


@pytest.mark.parametrize("make", [tiny.gpt2, tiny.llama], ids=["gpt2", "llama"])
def test_causal_models_are_left_alone(make: type[PreTrainedModel]) -> None:
    tokenizer = tiny.bytebpe_tokenizer()
    model = from_transformers(make(tokenizer), tokenizer)
    before = copy.deepcopy(model.model.state_dict())
    assert calibrate_bias(model, LINES) is None
    assert all(torch.equal(value, before[name]) for name, value in model.model.state_dict().items())


def test_a_sentence_encoder_with_a_head_is_calibrated_too() -> None:
    tokenizer = tiny.wordpiece_tokenizer()
    model, encoder = made(tokenizer), replace(made(tokenizer), kind="sentence")
    assert calibrate_bias(model, LINES) == calibrate_bias(encoder, LINES) is not None
    assert torch.equal(bias_of(model), bias_of(encoder))


def test_without_head_or_text_there_is_nothing_to_do() -> None:
    tokenizer = tiny.wordpiece_tokenizer()
    assert calibrate_bias(from_transformers(tiny.bert(tokenizer, head=False), tokenizer), LINES) is None
    model = made(tokenizer)
    before = bias_of(model)
    assert calibrate_bias(model, []) is None
    assert torch.equal(bias_of(model), before)
