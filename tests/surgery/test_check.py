"""The check behind every write: each way in which a written model is not the one meant."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny
from lingraft.errors import SelfCheckError
from lingraft.surgery import (
    LanguageModel,
    check,
    from_transformers,
    load_model,
    norm_bounds,
    save_model,
    self_check,
    with_masked_lm_head,
)

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


def change_config(folder: Path, **changes: Any) -> None:
    """Changes the config of a folder."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | changes), encoding="utf-8")


def test_a_good_folder_passes(masked: LanguageModel, written: Path) -> None:
    norms = masked.model.get_input_embeddings().weight[10:].norm(dim=1)  # behind the special tokens
    for texts, count in ((TEXTS, 5), ([], 2)):
        found = self_check(masked, written, texts, norm_bounds(masked))
        assert (found["max_difference"], found["texts"]) == (0.0, count)
        assert found["norms"] == pytest.approx(
            {"min": norms.min().item(), "median": norms.median().item(), "max": norms.max().item()}
        )
    assert self_check(masked, written, TEXTS)["max_difference"] == 0.0


def test_what_is_remembered_of_a_model_is_enough(masked: LanguageModel, written: Path) -> None:
    expected = check.expected_of(masked, TEXTS)
    assert check.check_folder(expected, written) == self_check(masked, written, TEXTS)
    with torch.no_grad():
        masked.model.get_input_embeddings().weight.zero_()
    assert check.check_folder(expected, written)["max_difference"] == 0.0
    edit(written, DENSE, lambda weight: weight[3, 4].add_(1e-6))
    with pytest.raises(SelfCheckError, match=r"dense\.weight' reads back otherwise"):
        check.check_folder(expected, written)


def test_outputs_are_kept_of_the_first_tokens_alone(
    masked: LanguageModel, written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "_LONGEST", 5)
    expected = check.expected_of(masked, [" ".join(TEXTS)])
    assert {tuple(out.shape[:2]) for outputs in expected.outputs for out in outputs} == {(1, 5)}
    assert check.check_folder(expected, written)["texts"] == 3


@pytest.mark.parametrize(("value", "what"), [(0.0, "zero"), (float("nan"), "no numbers"), (float("inf"), "no numbers")])
def test_a_row_that_is_zero_or_no_number_is_found(
    masked: LanguageModel, written: Path, value: float, what: str
) -> None:
    edit(written, EMBEDDINGS, lambda rows: rows[123].fill_(value))
    edit(written, EMBEDDINGS, lambda rows: rows[200].fill_(value))
    with pytest.raises(SelfCheckError, match=f"2 rows of the input embeddings are {what}, first of token 123"):
        self_check(masked, written, TEXTS)


@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_an_outlier_in_norm_is_found(masked: LanguageModel, written: Path, factor: float) -> None:
    with torch.no_grad():
        masked.model.get_input_embeddings().weight[150] *= factor
    edit(written, EMBEDDINGS, lambda rows: rows[150].mul_(factor))
    fresh = masked.with_model(tiny.bert(masked.tokenizer))
    with pytest.raises(SelfCheckError, match=r"1 rows of the input embeddings are outliers.*first of token 150"):
        self_check(masked, written, TEXTS, norm_bounds(fresh))
    edit(written, EMBEDDINGS, lambda rows: rows[150].mul_(factor))
    with pytest.raises(SelfCheckError, match="outliers"):  # of which the rows themselves speak
        self_check(masked, written, TEXTS)


def test_the_rows_of_special_tokens_may_be_what_they_are_in_the_source(masked: LanguageModel, written: Path) -> None:
    for token, factor in ((masked.tokenizer.pad_token_id, 0.0), (masked.tokenizer.mask_token_id, 1e4)):
        edit(written, EMBEDDINGS, lambda rows, token=token, factor=factor: rows[token].mul_(factor))
        with torch.no_grad():
            masked.model.get_input_embeddings().weight[token] *= factor
    assert self_check(masked, written, TEXTS)["max_difference"] < 1e-4
    edit(written, EMBEDDINGS, lambda rows: rows[token].fill_(float("nan")))
    with pytest.raises(SelfCheckError, match=f"no numbers, first of token {token}"):
        self_check(masked, written, TEXTS)


@pytest.mark.parametrize("value", [0.5, float("nan")])
def test_a_changed_weight_is_found(masked: LanguageModel, written: Path, value: float) -> None:
    edit(written, DENSE, lambda weight: weight[3].fill_(value))
    with pytest.raises(SelfCheckError, match=re.escape("1.output.dense.weight' reads back otherwise")):
        self_check(masked, written, TEXTS)


def test_the_smallest_change_of_a_row_is_found(masked: LanguageModel, written: Path) -> None:
    edit(written, EMBEDDINGS, lambda rows: rows[40, 3].copy_(torch.nextafter(rows[40, 3], torch.tensor(9.0))))
    with pytest.raises(SelfCheckError, match=r"word_embeddings\.weight' reads back otherwise"):
        self_check(masked, written, [])


def test_numbers_that_are_none_on_both_sides_are_no_agreement(masked: LanguageModel, written: Path) -> None:
    edit(written, DENSE, lambda weight: weight.fill_(float("nan")))
    with torch.no_grad():
        masked.model.get_parameter(DENSE).fill_(float("nan"))
    with pytest.raises(SelfCheckError, match="otherwise"):
        self_check(masked, written, TEXTS)


def test_weights_of_another_type_are_found(masked: LanguageModel, written: Path) -> None:
    masked.model.bfloat16().float()
    weights = {name: value.bfloat16() for name, value in load_file(written / "model.safetensors").items()}
    save_file(weights, written / "model.safetensors", {"format": "pt"})
    with pytest.raises(SelfCheckError, match=r"weights are torch\.bfloat16; torch\.float32 was meant"):
        self_check(masked, written, TEXTS)


def test_a_config_that_computes_otherwise_is_found(masked: LanguageModel, written: Path) -> None:
    change_config(written, hidden_act="relu")
    with pytest.raises(SelfCheckError, match="outputs after reading back differ by"):
        self_check(masked, written, TEXTS)


@pytest.mark.parametrize("identifier", [7, None])
def test_a_special_id_that_was_not_meant_is_found(masked: LanguageModel, written: Path, identifier: int | None) -> None:
    change_config(written, pad_token_id=identifier)
    with pytest.raises(SelfCheckError, match=f"the config has pad_token_id {identifier}; 0 was meant, of 300 tokens"):
        self_check(masked, written, TEXTS)


def test_a_special_id_beyond_the_vocabulary_is_found(masked: LanguageModel, tmp_path: Path) -> None:
    masked.model.config.bos_token_id = 300
    save_model(masked, tmp_path / "model")
    with pytest.raises(SelfCheckError, match="bos_token_id 300; 300 was meant, of 300 tokens"):
        self_check(masked, tmp_path / "model", TEXTS)


def test_a_special_token_that_is_read_as_text_is_found(
    masked: LanguageModel, written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, identifier = next((t, k) for t, k in masked.tokenizer.get_vocab().items() if t.startswith("##"))
    monkeypatch.setattr(check, "all_special_ids", lambda _: {0, identifier})
    with pytest.raises(SelfCheckError, match=re.escape(f"the special token '{token}', {identifier}, is read as [")):
        self_check(masked, written, TEXTS)


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
    change_config(written, vocab_size=299)
    with pytest.raises(SelfCheckError, match="does not load"):
        self_check(masked, written, TEXTS)


def test_a_sentence_encoder_is_compared_with_its_head_too(sentence_model_folder: Path, tmp_path: Path) -> None:
    source = load_model(sentence_model_folder)
    headed = source.with_model(with_masked_lm_head(source.model))
    save_model(headed, tmp_path / "model")
    assert self_check(headed, tmp_path / "model", TEXTS)["max_difference"] <= 1e-6
    head = "cls.predictions.transform.dense.weight"
    edit(tmp_path / "model", head, lambda weight: weight[3].fill_(0.5))
    with pytest.raises(SelfCheckError, match=f"'{head}' reads back otherwise"):
        self_check(headed, tmp_path / "model", TEXTS)


def test_a_pipeline_that_pools_otherwise_is_found(sentence_model_folder: Path, tmp_path: Path) -> None:
    source = load_model(sentence_model_folder)
    save_model(source, tmp_path / "model")
    path = next((tmp_path / "model").glob("*Pooling/config.json"))
    config = path.read_text(encoding="utf-8")
    path.write_text(config.replace('"mean"', '"cls"'), encoding="utf-8")
    assert path.read_text(encoding="utf-8") != config
    with pytest.raises(SelfCheckError, match="differ"):
        self_check(source, tmp_path / "model", TEXTS)


def loud(seed: int = 0) -> LanguageModel:
    """A decoder whose logits are in the tens of thousands, where float32 itself is off by more than 1e-4."""
    tokenizer = tiny.bytebpe_tokenizer()
    model = tiny.llama(tokenizer, seed=seed)
    with torch.no_grad():
        model.lm_head.weight.mul_(1e5)
    return from_transformers(model, tokenizer)


def test_a_model_that_was_trained_with_another_attention_kernel_passes(tmp_path: Path) -> None:
    model = loud()
    save_model(model, tmp_path / "model")
    model.model.set_attn_implementation("eager")  # as training has it on a CPU
    assert float(model.model(torch.tensor([[5, 6, 7]])).logits.detach().abs().max()) > 1e3
    assert self_check(model, tmp_path / "model", TEXTS)["max_difference"] == 0.0


def test_outputs_agree_as_far_as_their_size_allows(tmp_path: Path) -> None:
    model = loud()
    save_model(model, tmp_path / "model")
    expected = check.expected_of(model, TEXTS)
    for share, passes in ((3e-5, True), (3e-4, False)):
        moved = [[output + share * output.abs().max() for output in outputs] for outputs in expected.outputs]
        if passes:
            found = check.check_folder(replace(expected, outputs=moved), tmp_path / "model")
            assert found["max_difference"] > 1e-2  # told as it is
        else:
            with pytest.raises(SelfCheckError, match="outputs after reading back differ by"):
                check.check_folder(replace(expected, outputs=moved), tmp_path / "model")
