from __future__ import annotations

import numpy as np
import pytest
import torch
from test_encoder import gradients, pair, same
from torch.nn import functional as F

import tiny
from lingraft.errors import RecipeError
from lingraft.evidence import encode
from lingraft.recipe import TrainingRecipe
from lingraft.surgery import LanguageModel
from lingraft.training import framed, language_model_trainer, resolve_training, text_stream
from lingraft.training.masking import Masked
from lingraft.training.objectives import Together
from lingraft.training.translation import TranslationModelling

CPU = torch.device("cpu")
FAMILIES = ["bert", "roberta", "distilbert", "albert", "modernbert"]


def objective(source: LanguageModel, target: LanguageModel, batch_size: int = 4) -> TranslationModelling:
    english, foreign = tiny.english_lines(30, seed=1), tiny.english_lines(30, seed=2, longest=7)
    texts = [framed(m, encode(m.tokenizer, lines)) for m, lines in ((source, english), (target, foreign))]
    return TranslationModelling(source, target, *texts, batch_size=batch_size, mask_rate=0.3, seed=3, device=CPU)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_pair_in_a_padded_batch_is_a_pair_alone(family: str):
    """Each row once more without padding, its embeddings and positions put together by hand."""
    source, target = pair(family)
    task = objective(source, target)
    batch = task._batch(0)
    hidden = task._hidden(batch)
    for row in range(4):
        rows = {side: (mask[row].bool(), masked.ids[row]) for side, (mask, masked) in batch.items()}
        ids = {side: tokens[there][None] for side, (there, tokens) in rows.items()}
        first = 2 if family == "roberta" else 0
        alone = target.model.base_model(
            inputs_embeds=torch.cat(
                [source.model.get_input_embeddings()(ids["en"]), target.model.get_input_embeddings()(ids["xx"])], 1
            ),
            position_ids=torch.cat([torch.arange(ids[side].shape[1]) for side in ("en", "xx")])[None] + first,
        ).last_hidden_state[0]
        n = ids["en"].shape[1]
        for side, start in (("en", 0), ("xx", n)):
            masked = batch[side][1]
            there = masked.weights[row] == 1
            assert there.any()
            wanted = alone[masked.positions[row][there] + start]
            torch.testing.assert_close(hidden[side][row][there], wanted, rtol=1e-9, atol=1e-9)


def test_the_loss_is_that_of_all_logits_and_adds_up_over_parts():
    source, target = pair("bert")
    task = objective(source, target)
    loss, losses = task.loss(0, True)
    loss.backward()
    whole = gradients(source.model, target.model)
    batch = task._batch(0)
    with torch.no_grad():
        hidden = task._hidden(batch)
        for side, model in (("en", source), ("xx", target)):
            masked: Masked = batch[side][1]
            there = masked.weights == 1
            logits = model.model.cls(hidden[side][there])
            assert float(losses[f"tlm_{side}"]) == pytest.approx(float(F.cross_entropy(logits, masked.labels[there])))
    for model in (source, target):
        model.model.zero_grad()
    for part in range(3):
        task.loss(0, True, part, 3)[0].backward()
    same(gradients(source.model, target.model), whole)


def test_the_share_of_hidden_tokens_is_that_of_the_row_not_of_the_padding():
    source, target = pair("bert")
    task = objective(source, target, batch_size=30)
    for side, (mask, masked) in task._batch(0).items():
        ordinary = mask.sum(1) - 2  # without [CLS] and [SEP]
        wanted = [max(1, round(0.3 * int(n))) for n in ordinary]
        assert masked.weights.sum(1).tolist() == wanted, side


def test_english_can_be_read_from_the_foreign_sentence():
    """Embeddings of the new language get a gradient from English tokens that are predicted."""
    source, target = pair("bert")
    task = objective(source, target)
    batch = task._batch(0)
    hidden = task._hidden(batch)["en"]
    hidden.sum().backward()
    embeddings = target.model.get_input_embeddings().weight.grad
    assert embeddings is not None
    assert embeddings.abs().sum() > 0


def test_together_is_the_weighted_sum():
    source, target = pair("bert")
    one, other = objective(source, target), objective(source, target, batch_size=6)
    task = Together([(1.0, one), (0.5, other)])
    loss, losses = task.loss(1, True)
    wanted = one.loss(1, True)[0] + 0.5 * other.loss(1, True)[0]
    torch.testing.assert_close(loss, wanted)
    assert sorted(losses) == ["tlm_en", "tlm_xx"]
    assert task.tokens(1, True) == one.tokens(1, True) + other.tokens(1, True)
    assert task.flop(1, True) == pytest.approx(one.flop(1, True) + other.flop(1, True))


def test_a_run_can_have_it(tmp_path, masked: LanguageModel):
    from lingraft.evidence import build_table
    from lingraft.surgery import graft

    target = graft(masked, masked.tokenizer, build_table(masked.tokenizer, masked.tokenizer))
    recipe = TrainingRecipe(objective="mlm", translation_weight=1.0, steps=4, batch_size=2, sequence_length=16)
    recipe = resolve_training(recipe, "masked")
    streams = [text_stream(model, encode(model.tokenizer, tiny.english_lines(40))) for model in (masked, target)]
    pairs = [(line, line) for line in tiny.english_lines(20)]
    report = language_model_trainer(masked, target, *streams, recipe, 0, tmp_path, pairs=pairs).run()
    assert {"loss_xx", "loss_en", "tlm_xx", "tlm_en"} <= set(report["history"][-1])
    assert np.isfinite([report["history"][-1][name] for name in ("tlm_xx", "tlm_en")]).all()


@pytest.mark.parametrize(
    ("key", "objective"), [("translation_weight", "clm"), ("token_weight", "mlm"), ("translation_weight", "none")]
)
def test_a_weight_that_would_do_nothing_is_refused(key: str, objective: str):
    with pytest.raises(RecipeError, match=key):
        resolve_training(
            TrainingRecipe(objective=objective, **{key: 1.0}), "causal" if objective == "clm" else "masked"
        )
