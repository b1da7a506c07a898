from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import tiny
from lingraft.corpus import TokenSequences
from lingraft.evidence import build_table, encode
from lingraft.surgery import LanguageModel, from_transformers, graft, load_model, share_body
from lingraft.training import text_stream
from lingraft.training.objectives import Distillation, LanguageModelling, Side, causal_loss, framed, masked_loss

CPU = torch.device("cpu")


def pair_of_models(language_model: LanguageModel) -> tuple[LanguageModel, LanguageModel]:
    """The model and a graft of it onto its own vocabulary, with one body."""
    table = build_table(language_model.tokenizer, language_model.tokenizer)
    target = graft(language_model, language_model.tokenizer, table)
    share_body(language_model.model, target.model)
    return language_model, target


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_loss_at_gathered_positions_is_the_loss_of_all_logits(family: str):
    tokenizer = tiny.wordpiece_tokenizer() if family == "bert" else tiny.bytebpe_tokenizer()
    model = getattr(tiny, family)(tokenizer).double()
    random = np.random.default_rng(0)
    ids = random.integers(10, len(tokenizer), (4, 16))
    positions = np.sort(random.choice(64, 9, replace=False))
    labels = random.integers(0, len(tokenizer), 9)
    loss = masked_loss(model, ids, positions, labels, CPU)
    loss.backward()
    gathered = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    logits = model(input_ids=torch.from_numpy(ids)).logits.reshape(64, -1)
    full = F.cross_entropy(logits[positions].float(), torch.from_numpy(labels))
    full.backward()
    assert loss.item() == pytest.approx(full.item(), abs=1e-6)
    everything = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(torch.allclose(a, b, atol=1e-9) for a, b in zip(gathered, everything, strict=True))
    # the hook is gone again
    assert model(input_ids=torch.from_numpy(ids)).logits.shape[:2] == (4, 16)


def test_causal_loss_is_that_of_transformers():
    tokenizer = tiny.bytebpe_tokenizer()
    model = tiny.gpt2(tokenizer)
    ids = np.random.default_rng(0).integers(5, len(tokenizer), (3, 20))
    batch = torch.from_numpy(ids)
    assert causal_loss(model, ids, CPU).item() == pytest.approx(
        model(input_ids=batch, labels=batch).loss.item(), abs=1e-5
    )


def test_one_step_is_the_sum_of_both_languages(masked: LanguageModel):
    source, target = pair_of_models(masked)
    text = text_stream(source, encode(source.tokenizer, tiny.english_lines(60)))
    objective = LanguageModelling(
        Side(source, text, 16), Side(target, text, 16), masked=False, batch_size=3, mask_rate=0.15, seed=1, device=CPU
    )
    objective.backward(0, both=True)
    weight = source.model.base_model.encoder.layer[0].output.dense.weight
    both = weight.grad.clone()
    expected = torch.zeros_like(both)
    for number, model in enumerate((target, source)):
        weight.grad = None
        ids = Side(model, text, 16).blocks.batch(0, 3, 1 + number)
        causal_loss(model.model, ids, CPU).backward()
        expected += weight.grad
    torch.testing.assert_close(both, expected)


def test_masked_step_depends_on_seed_and_step_alone(masked: LanguageModel):
    source, target = pair_of_models(masked)
    text = text_stream(source, encode(source.tokenizer, tiny.english_lines(60)))

    def loss(step: int, seed: int) -> float:
        objective = LanguageModelling(
            Side(source, text, 16), Side(target, text, 16), masked=True, batch_size=3, mask_rate=0.15, seed=seed,
            device=CPU,
        )  # fmt: skip
        return float(objective.backward(step, both=True)["loss_xx"])

    assert loss(4, 1) == loss(4, 1)
    assert loss(4, 1) != loss(5, 1)
    assert loss(4, 1) != loss(4, 2)


@pytest.fixture
def encoder(sentence_model_folder) -> LanguageModel:
    return load_model(sentence_model_folder)


def distillation(source: LanguageModel, target: LanguageModel, contrast: float, batch_size: int = 8) -> Distillation:
    lines = tiny.english_lines(40)
    texts = [framed(model, encode(model.tokenizer, lines)) for model in (source, target)]
    return Distillation(
        source, target, *texts, batch_size=batch_size, contrast=contrast, temperature=0.05, seed=0, device=CPU
    )


def test_distilling_a_model_into_itself_has_nothing_to_learn(encoder: LanguageModel):
    losses = distillation(encoder, encoder, contrast=0.0).backward(0, both=True)
    assert float(losses["loss_xx"]) == pytest.approx(0, abs=1e-5)
    assert float(losses["loss_en"]) == pytest.approx(0, abs=1e-5)
    assert float(losses["cosine_xx"]) == pytest.approx(1, abs=1e-5)


def test_the_teacher_stays_where_it_was(encoder: LanguageModel):
    source, target = pair_of_models(encoder)
    objective = distillation(source, target, contrast=1.0)
    with torch.no_grad():
        for parameter in source.model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    losses = objective.backward(0, both=True)
    assert float(losses["loss_en"]) > 1e-4
    assert all(p.grad is None for p in objective._teacher.model.parameters())


def test_contrast_adds_the_cross_entropy_within_the_batch(encoder: LanguageModel):
    source, target = pair_of_models(encoder)
    plain = float(distillation(source, target, contrast=0.0).backward(0, both=False)["loss_xx"])
    with_contrast = float(distillation(source, target, contrast=1.0).backward(0, both=False)["loss_xx"])
    alone = float(distillation(source, target, contrast=1.0, batch_size=1).backward(0, both=False)["loss_xx"])
    assert with_contrast > plain
    assert np.isfinite(alone)


def test_framed_cuts_to_the_limit_and_keeps_the_special_tokens(masked: LanguageModel):
    limit = masked.max_length
    text = framed(masked, TokenSequences.from_lists([[20] * (limit + 50), [], [21]]))
    cls, sep = masked.tokenizer.cls_token_id, masked.tokenizer.sep_token_id
    assert text.lengths.tolist() == [limit, 2, 3]
    assert all(text[k][0] == cls and text[k][-1] == sep for k in range(3))


def test_roberta_positions_leave_room_for_padding():
    tokenizer = tiny.bytebpe_tokenizer()
    model = from_transformers(tiny.roberta(tokenizer), tokenizer)
    text = framed(model, TokenSequences.from_lists([[20] * 200]))
    ids = torch.from_numpy(text[0].astype(np.int64))[None]
    with torch.inference_mode():
        assert model.embed(ids, torch.ones_like(ids)).isfinite().all()
