"""The check behind every write: each way in which a written model is not the one meant."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny
from lingraft.errors import SelfCheckError
from lingraft.surgery import LanguageModel, load_model, save_model, self_check, with_masked_lm_head

TEXTS = tiny.english_lines(3)
EMBEDDINGS = "bert.embeddings.word_embeddings.weight"
DENSE = "bert.encoder.layer.1.output.dense.weight"


@pytest.fixture
def written(masked: LanguageModel, tmp_path: Path) -> Path:
    """The folder of the small BERT."""
    save_model(masked, tmp_path / "model")
    return tmp_path / "model"


def edit(folder: Path, name: str, change: Callable[[torch.Tensor], object]) -> None:
    """Changes one tensor of the weights in place."""
    weights = load_file(folder / "model.safetensors")
    change(weights[name])
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def test_a_good_folder_passes(masked: LanguageModel, written: Path) -> None:
    assert self_check(masked, written, TEXTS) == {"max_difference": 0.0}
    assert self_check(masked, written, []) == {"max_difference": 0.0}


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_a_row_that_is_zero_or_no_number_is_found(masked: LanguageModel, written: Path, value: float) -> None:
    edit(written, EMBEDDINGS, lambda rows: rows[123].fill_(value))
    edit(written, EMBEDDINGS, lambda rows: rows[200].fill_(value))
    with pytest.raises(SelfCheckError, match="2 embedding rows are zero or no numbers, first of token 123"):
        self_check(masked, written, TEXTS)


def test_only_the_padding_row_may_be_zero(masked: LanguageModel, written: Path) -> None:
    pad = masked.tokenizer.pad_token_id
    edit(written, EMBEDDINGS, lambda rows: rows[pad].zero_())
    with torch.no_grad():
        masked.model.get_input_embeddings().weight[pad].zero_()
    assert self_check(masked, written, TEXTS)["max_difference"] < 1e-4
    edit(written, EMBEDDINGS, lambda rows: rows[pad].fill_(float("nan")))
    with pytest.raises(SelfCheckError, match=f"first of token {pad}"):
        self_check(masked, written, TEXTS)


@pytest.mark.parametrize("value", [0.5, float("nan")])
def test_a_changed_weight_is_found(masked: LanguageModel, written: Path, value: float) -> None:
    edit(written, DENSE, lambda weight: weight[3].fill_(value))
    with pytest.raises(SelfCheckError, match="outputs after reading back differ by"):
        self_check(masked, written, TEXTS)


def test_numbers_that_are_none_on_both_sides_are_no_agreement(masked: LanguageModel, written: Path) -> None:
    edit(written, DENSE, lambda weight: weight.fill_(float("nan")))
    with torch.no_grad():
        masked.model.get_parameter(DENSE).fill_(float("nan"))
    with pytest.raises(SelfCheckError, match="differ by"):
        self_check(masked, written, TEXTS)


def test_one_bad_text_among_good_ones_is_enough(masked: LanguageModel, written: Path) -> None:
    ids = [set(masked.tokenizer(text).input_ids) for text in TEXTS]
    only_there = min(ids[1] - ids[0] - ids[2])
    edit(written, EMBEDDINGS, lambda rows: rows[only_there, 0].add_(1.0))
    headless = masked.with_model(masked.model.base_model)
    assert self_check(headless, written, [TEXTS[0], TEXTS[2]])["max_difference"] < 1e-4
    with pytest.raises(SelfCheckError, match="differ"):
        self_check(headless, written, TEXTS)


def test_a_changed_tokenizer_is_found(masked: LanguageModel, written: Path) -> None:
    n = len(masked.tokenizer)
    tiny.renumbered(masked.tokenizer, [*range(10), *reversed(range(10, n))]).save_pretrained(written)
    with pytest.raises(SelfCheckError, match="gives other ids"):
        self_check(masked, written, TEXTS)


def test_more_tokens_than_rows_are_found(masked: LanguageModel, written: Path) -> None:
    longer = tiny.rebuilt(masked.tokenizer)
    longer.add_tokens(["one", "two"])
    with pytest.raises(SelfCheckError, match="300 embedding rows, vocab_size 300, 302 tokens"):
        self_check(masked.with_model(masked.model, longer), written, TEXTS)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_missing_file_is_found(masked: LanguageModel, written: Path, name: str) -> None:
    (written / name).unlink()
    with pytest.raises(SelfCheckError, match="does not load"):
        self_check(masked, written, TEXTS)


def test_a_missing_tensor_is_found(masked: LanguageModel, written: Path) -> None:
    weights = load_file(written / "model.safetensors")
    del weights[DENSE]
    save_file(weights, written / "model.safetensors", {"format": "pt"})
    with pytest.raises(SelfCheckError, match=f"lacks 1 of the weights of its model, '{DENSE}'"):
        self_check(masked, written, TEXTS)


def test_a_config_of_another_vocabulary_is_found(masked: LanguageModel, written: Path) -> None:
    config = json.loads((written / "config.json").read_text(encoding="utf-8"))
    (written / "config.json").write_text(json.dumps(config | {"vocab_size": 299}), encoding="utf-8")
    with pytest.raises(SelfCheckError, match="does not load"):
        self_check(masked, written, TEXTS)


def test_a_sentence_encoder_with_a_head_is_compared_by_its_encoder(sentence_model_folder: Path, tmp_path: Path) -> None:
    source = load_model(sentence_model_folder)
    headed = source.with_model(with_masked_lm_head(source.model))
    save_model(headed, tmp_path / "model")
    assert self_check(headed, tmp_path / "model", TEXTS)["max_difference"] <= 1e-6
    shutil.copyfile(sentence_model_folder / "config.json", tmp_path / "model" / "config.json")
    edit(tmp_path / "model", DENSE, lambda weight: weight[3].fill_(0.5))
    with pytest.raises(SelfCheckError, match="differ"):
        self_check(headed, tmp_path / "model", TEXTS)
