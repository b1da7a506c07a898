"""Language modelling: the loss is transformers' own, the unit bits per byte, and the number always the same."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from transformers import PreTrainedTokenizerFast

import tiny
from lingraft.errors import CorpusError, ModelError
from lingraft.surgery import LanguageModel, from_transformers
from lingraft.tasks import evaluate_lm
from lingraft.vocabulary import all_special_ids

FAMILIES: dict[str, tuple[Any, str]] = {
    "bert": (tiny.bert, "wordpiece"),
    "bert-padded": (lambda tokenizer: tiny.bert(tokenizer, padding=12), "wordpiece"),
    "roberta": (tiny.roberta, "bytebpe"),
    "xlm-roberta": (tiny.xlm_roberta, "unigram"),
    "gpt2": (tiny.gpt2, "bytebpe"),
    "llama": (tiny.llama, "bytefallback"),
}
LINES = tiny.english_lines(60, seed=7)


def make(family: str) -> LanguageModel:
    build, kind = FAMILIES[family]
    tokenizer = tiny.TOKENIZERS[kind]()
    model = build(tokenizer)
    torch.manual_seed(3)
    with torch.no_grad():  # predictions that differ from token to token
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return from_transformers(model, tokenizer)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_number_twice_whatever_the_random_state(family: str) -> None:
    model = make(family)
    torch.manual_seed(0)
    np.random.seed(0)
    first = evaluate_lm(model, LINES)
    torch.manual_seed(1)
    assert evaluate_lm(model, LINES) == first
    assert set(first) == {"task", "loss", "bits_per_byte", "n_tokens", "unknown_share"}
    assert math.isfinite(first["loss"])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_uniform_model_needs_the_logarithm_of_its_vocabulary(family: str) -> None:
    model = make(family)
    head = model.model.get_output_embeddings()
    with torch.no_grad():
        head.weight.zero_()
        if head.bias is not None:
            head.bias.zero_()
    scores = evaluate_lm(model, LINES)
    n_tokens = sum(len(model.tokenizer(line, add_special_tokens=False).input_ids) for line in LINES)
    n_bytes = sum(len(line.encode()) for line in LINES)
    assert scores["n_tokens"] == n_tokens
    assert scores["loss"] == pytest.approx(math.log(model.model.config.vocab_size), rel=1e-6)
    assert scores["bits_per_byte"] == pytest.approx(
        math.log2(model.model.config.vocab_size) * n_tokens / n_bytes, rel=1e-6
    )


def test_bytes_are_counted_not_characters(wordpiece: PreTrainedTokenizerFast) -> None:
    """The uncased tokenizer sees the same tokens in both texts, one of which has twice the bytes for its vowels."""
    model = from_transformers(tiny.bert(wordpiece), wordpiece)
    plain, accented = ["ba re ka"] * 9, ["bà ré kâ"] * 9
    one, two = evaluate_lm(model, plain), evaluate_lm(model, accented)
    assert (one["loss"], one["n_tokens"]) == (two["loss"], two["n_tokens"])
    assert one["bits_per_byte"] * 8 == pytest.approx(two["bits_per_byte"] * 11)


def stream(model: LanguageModel, lines: list[str]) -> list[int]:
    """The lines one after the other, each closed by the end token."""
    ids: list[int] = []
    for line in lines:
        ids += [*model.tokenizer(line, add_special_tokens=False).input_ids, model.tokenizer.eos_token_id]
    return ids


@pytest.mark.parametrize("family", ["gpt2", "llama"])
@pytest.mark.parametrize("length", [16, 50])
def test_the_causal_loss_is_transformers_own(family: str, length: int) -> None:
    model = make(family)
    ids = stream(model, LINES)
    blocks = [torch.tensor([ids[k : k + length]]) for k in range(0, len(ids), length)]
    assert len(blocks) % 7 > 1, "a last batch of another size"
    assert 1 < blocks[-1].shape[1] < length, "a last block of another length, in which nothing is read twice"
    total = 0.0
    for block in blocks:
        with torch.inference_mode():
            total += float(model.model(input_ids=block, labels=block).loss) * (block.shape[1] - 1)
    expected = total / sum(block.shape[1] - 1 for block in blocks)
    scores = evaluate_lm(model, LINES, length=length, batch_size=7)
    assert scores["loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_the_causal_number_does_not_depend_on_the_batch(family: str) -> None:
    model = make(family)
    one, other = (evaluate_lm(model, LINES, length=32, batch_size=size)["loss"] for size in (1, 7))
    assert one == pytest.approx(other, rel=1e-5)


@pytest.mark.parametrize("family", ["bert", "roberta", "xlm-roberta"])
def test_the_masked_loss_is_that_of_the_hidden_tokens(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recomputed from what the model was given: the full logits, at the positions that are predicted."""
    from lingraft.tasks import lm

    seen: list[tuple[Any, Any, Any]] = []
    honest = lm.masked_loss

    def spy(network: Any, ids: Any, positions: Any, labels: Any, device: Any) -> torch.Tensor:
        seen.append((ids.copy(), positions.copy(), labels.copy()))
        return honest(network, ids, positions, labels, device)

    monkeypatch.setattr(lm, "masked_loss", spy)
    model = make(family)
    scores = evaluate_lm(model, LINES, length=24, batch_size=7)
    total, count, special = 0.0, 0, sorted(all_special_ids(model.tokenizer))
    original = np.concatenate([ids.reshape(-1) for ids, _, _ in seen])
    for ids, positions, labels in seen:
        with torch.inference_mode():
            logits = model.model(input_ids=torch.from_numpy(ids).long()).logits.flatten(0, 1)[positions]
        total += float(F.cross_entropy(logits, torch.from_numpy(labels).long(), reduction="sum"))
        count += labels.size
        assert not set(labels.tolist()) & set(special)
        assert labels.size == round(0.15 * (~np.isin(restored(ids, positions, labels), special)).sum())
    assert scores["loss"] == pytest.approx(total / count, rel=1e-5)
    hidden = (original == model.tokenizer.mask_token_id).sum()
    assert 0.7 * count < hidden < 0.9 * count


def restored(ids: Any, positions: Any, labels: Any) -> Any:
    """The ids as they were before masking."""
    flat = ids.reshape(-1).copy()
    flat[positions] = labels
    return flat


def test_a_better_model_scores_better() -> None:
    model = make("gpt2")
    before = evaluate_lm(model, LINES, length=32)
    optimizer = torch.optim.Adam(model.model.parameters(), lr=3e-3)
    blocks = torch.tensor(stream(model, LINES))[: 32 * 18].reshape(-1, 32)
    for _ in range(15):
        optimizer.zero_grad()
        model.model(input_ids=blocks, labels=blocks).loss.backward()
        optimizer.step()
    after = evaluate_lm(model, LINES, length=32)
    assert after["bits_per_byte"] < 0.8 * before["bits_per_byte"]
    assert after["n_tokens"] == before["n_tokens"]


def test_texts_longer_than_the_model_are_cut_into_blocks_it_can_take() -> None:
    model = make("roberta")
    assert evaluate_lm(model, LINES, length=10_000) == evaluate_lm(model, LINES, length=model.max_length)


def test_a_model_without_head_is_refused(wordpiece: PreTrainedTokenizerFast) -> None:
    with pytest.raises(ModelError, match="no language-modelling head"):
        evaluate_lm(from_transformers(tiny.bert(wordpiece, head=False), wordpiece), LINES)


def test_a_masked_model_without_mask_token_is_refused() -> None:
    tokenizer = tiny.bytefallback_tokenizer()
    with pytest.raises(ModelError, match="no mask token"):
        evaluate_lm(from_transformers(tiny.bert(tokenizer), tokenizer), LINES)


@pytest.mark.parametrize("lines", [[], [""], ["世界"]])
def test_text_without_a_token_is_refused(wordpiece: PreTrainedTokenizerFast, lines: list[str]) -> None:
    with pytest.raises(CorpusError):
        evaluate_lm(from_transformers(tiny.bert(wordpiece), wordpiece), lines)
