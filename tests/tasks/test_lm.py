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
from lingraft.errors import CorpusError, ModelError, RecipeError
from lingraft.surgery import LanguageModel, from_transformers
from lingraft.tasks import evaluate_lm
from lingraft.training.masking import Masked
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
    assert set(first) == {"task", "loss", "bits_per_byte", "n_tokens", "unknown_share", "intervals"}
    for name, (low, high) in first["intervals"].items():
        assert low <= first[name] <= high
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


def stream(model: LanguageModel, lines: list[str]) -> tuple[list[int], list[bool]]:
    """The begin token, where there is one, and the lines, each closed by the end token; and which are of the text."""
    tokenizer = model.tokenizer
    ids = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    ordinary = [False] * len(ids)
    for line in lines:
        tokens = tokenizer(line, add_special_tokens=False).input_ids
        ids += [*tokens, tokenizer.eos_token_id]
        ordinary += [True] * len(tokens) + [False]
    return ids, ordinary


@pytest.mark.parametrize("family", ["gpt2", "llama"])
@pytest.mark.parametrize("length", [16, 25, 64])
@pytest.mark.parametrize("opened", [True, False])
def test_a_causal_model_predicts_every_token_once_from_half_a_length(family: str, length: int, opened: bool) -> None:
    model = make(family)
    if not opened:
        model.tokenizer.bos_token = None
    for n in (1, 2, 3, 11, 12):
        lines = LINES[:n]
        ids, ordinary = stream(model, lines)
        total, count = 0.0, 0
        windows: dict[int, torch.Tensor] = {}  # nothing behind a place changes what is predicted there
        for place in range(1, len(ids)):
            start = 0
            while start + length <= place:
                start += length // 2
            assert start == 0 or place - start >= length / 2
            if ordinary[place]:
                if start not in windows:
                    with torch.inference_mode():
                        windows[start] = model.model(input_ids=torch.tensor([ids[start : start + length]])).logits[0]
                total -= float(windows[start][place - start - 1].log_softmax(-1)[ids[place]])
                count += 1
        scores = evaluate_lm(model, lines, length=length, batch_size=3)
        assert count == scores["n_tokens"] - (not opened)
        assert scores["loss"] == pytest.approx(total / count, rel=1e-5)


def test_a_single_token_with_nothing_before_it() -> None:
    model = make("gpt2")
    word = next(word for word in tiny.words() if len(model.tokenizer(word, add_special_tokens=False).input_ids) == 1)
    assert evaluate_lm(model, [word])["loss"] > 0
    model.tokenizer.bos_token = None
    scores = evaluate_lm(model, [word])
    assert (scores["loss"], scores["intervals"]["loss"]) == (0.0, [0.0, 0.0])


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_the_interval_of_a_short_text_is_not_drawn_to_zero(family: str) -> None:
    scores = evaluate_lm(make(family), LINES[:3])
    low, high = scores["intervals"]["loss"]
    assert 0.5 * scores["loss"] < low <= scores["loss"] <= high


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_the_causal_number_does_not_depend_on_the_batch(family: str) -> None:
    model = make(family)
    one, other = (evaluate_lm(model, LINES, length=32, batch_size=size)["loss"] for size in (1, 7))
    assert one == pytest.approx(other, rel=1e-5)


@pytest.mark.parametrize("family", ["bert", "roberta", "xlm-roberta"])
def test_the_masked_loss_is_that_of_the_hidden_tokens(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recomputed from what the model was given: the full logits, at the positions that are predicted."""
    from lingraft.tasks import lm

    seen: list[Masked] = []
    honest = lm.masked_loss

    def spy(network: Any, batch: Masked) -> torch.Tensor:
        seen.append(batch)
        return honest(network, batch)

    monkeypatch.setattr(lm, "masked_loss", spy)
    model = make(family)
    scores = evaluate_lm(model, LINES, length=24, batch_size=7)
    total, count, special = 0.0, 0, all_special_ids(model.tokenizer)
    for batch in seen:
        with torch.inference_mode():
            logits = model.model(input_ids=batch.ids).logits
        for row, (places, labels, weights) in enumerate(zip(*batch[1:], strict=True)):
            predicted = weights == 1
            assert predicted.sum() == max(1, round(0.15 * ordinary(batch, row, special)))
            total += float(F.cross_entropy(logits[row, places[predicted]], labels[predicted], reduction="sum"))
            count += int(predicted.sum())
            assert not set(labels[predicted].tolist()) & special
    assert scores["loss"] == pytest.approx(total / count, rel=1e-5)
    hidden = sum(int((batch.ids == model.tokenizer.mask_token_id).sum()) for batch in seen)
    assert 0.7 * count < hidden < 0.9 * count


def ordinary(batch: Masked, row: int, special: set[int]) -> int:
    """How many ordinary tokens stood in a row before masking."""
    return sum(
        token not in special for token in batch.ids[row].scatter(0, batch.positions[row], batch.labels[row]).tolist()
    )


def test_a_better_model_scores_better() -> None:
    model = make("gpt2")
    before = evaluate_lm(model, LINES, length=32)
    optimizer = torch.optim.Adam(model.model.parameters(), lr=3e-3)
    blocks = torch.tensor(stream(model, LINES)[0])[: 32 * 18].reshape(-1, 32)
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


# pseudo-log-likelihood


def blocks_of(model: LanguageModel, lines: list[str], length: int) -> list[list[int]]:
    """The running text as evaluation sees it: lines closed by the separator, blocks opened by the first token."""
    opening, closing = model.tokenizer.cls_token_id, model.tokenizer.sep_token_id
    ids: list[int] = []
    for line in lines:
        ids += [*model.tokenizer(line, add_special_tokens=False).input_ids, closing]
    return [[opening, *ids[start : start + length - 1]] for start in range(0, len(ids), length - 1)]


def naive(model: LanguageModel, lines: list[str], length: int) -> tuple[float, int]:
    """Loss of the ordinary tokens, one at a time, and how many they are."""
    special, total, count = all_special_ids(model.tokenizer), 0.0, 0
    for block in blocks_of(model, lines, length):
        for place, token in enumerate(block):
            if token in special:
                continue
            hidden = torch.tensor([block])
            hidden[0, place] = model.tokenizer.mask_token_id
            with torch.inference_mode():
                total -= float(model.model(input_ids=hidden).logits[0, place].log_softmax(-1)[token])
            count += 1
    return total, count


@pytest.mark.parametrize("family", ["bert", "bert-padded", "roberta", "xlm-roberta"])
@pytest.mark.parametrize("batch_size", [5, 16])
def test_pll_hides_every_token_once(family: str, batch_size: int) -> None:
    model = make(family)
    lines = LINES[:9]
    total, count = naive(model, lines, 21)
    scores = evaluate_lm(model, lines, length=21, batch_size=batch_size, method="pll")
    n_bytes = sum(len(line.encode()) for line in lines)
    assert count == scores["n_tokens"], "no token is unknown, so all are predicted"
    assert scores["loss"] == pytest.approx(total / count, rel=1e-5)
    assert scores["bits_per_byte"] == pytest.approx(total / math.log(2) / n_bytes, rel=1e-5)
    assert scores["unknown_share"] == 0


@pytest.mark.parametrize("method", ["fixed", "pll"])
def test_the_end_of_the_text_is_not_lost(method: Any) -> None:
    """Lines are added until the last block has had every length from one token on."""
    model = make("bert")
    seen = set()
    for n in range(1, 12):
        lines = LINES[:n]
        last = blocks_of(model, lines, 9)[-1]
        ordinary = set(last) - all_special_ids(model.tokenizer)
        seen.add(len(last))
        scores = evaluate_lm(model, lines, length=9, batch_size=3, method=method)
        if method == "pll":
            total, count = naive(model, lines, 9)
            assert scores["loss"] == pytest.approx(total / count, rel=1e-5)
        assert math.isfinite(scores["loss"])
        assert ordinary or len(last) == 2, "a block of special tokens only holds a separator"
    assert len(seen) > 4


@pytest.mark.parametrize("method", ["fixed", "pll"])
def test_a_single_token_without_special_tokens_around_it_is_predicted(method: Any) -> None:
    tokenizer = tiny.rebuilt(tiny.wordpiece_tokenizer(), post_processor=None)
    tokenizer.cls_token = tokenizer.sep_token = None
    model = from_transformers(tiny.bert(tokenizer), tokenizer)
    word = next(token for token in tiny.words() if len(tokenizer(token, add_special_tokens=False).input_ids) == 1)
    scores = evaluate_lm(model, [word], method=method)
    masked = torch.tensor([[tokenizer.mask_token_id]])
    token = tokenizer(word, add_special_tokens=False).input_ids[0]
    assert scores["n_tokens"] == 1
    if method == "pll":
        expected = -float(model.model(input_ids=masked).logits[0, 0].log_softmax(-1)[token].detach())
        assert scores["loss"] == pytest.approx(expected, rel=1e-5)
    assert scores["loss"] > 0


def test_the_fixed_masks_are_a_sample_of_the_pseudo_log_likelihood() -> None:
    model = make("bert")
    exact = evaluate_lm(model, LINES, length=32, method="pll")
    sample = evaluate_lm(model, LINES, length=32, mask_rate=0.05)
    assert sample["loss"] == pytest.approx(exact["loss"], rel=0.1)


@pytest.mark.parametrize("method", ["fixed", "pll"])
def test_unknown_tokens_are_told(wordpiece: PreTrainedTokenizerFast, method: Any) -> None:
    """They are not predicted, and count with the mean loss."""
    model = from_transformers(tiny.bert(wordpiece), wordpiece)
    lines = ["ba re 世 ka", "ba 世界 re"]
    ids = [token for line in lines for token in wordpiece(line, add_special_tokens=False).input_ids]
    unknown = ids.count(wordpiece.unk_token_id)
    assert unknown
    scores = evaluate_lm(model, lines, method=method)
    assert scores["unknown_share"] == pytest.approx(unknown / len(ids))
    assert scores["n_tokens"] == len(ids)
    if method == "pll":
        total, count = naive(model, lines, 64)
        assert count == len(ids) - unknown
        assert scores["loss"] == pytest.approx(total / count, rel=1e-5)


def test_pll_of_a_causal_model_is_refused() -> None:
    with pytest.raises(ModelError, match="causal model's loss is exact as it is"):
        evaluate_lm(make("gpt2"), LINES, method="pll")


def test_another_method_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"no method 'exact' .* fixed or pll was expected"):
        evaluate_lm(make("bert"), LINES, method="exact")  # type: ignore[arg-type]
