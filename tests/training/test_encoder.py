"""The fast ways of computing a step against the plain ones, in double precision, on every family."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import transformers as tf
from torch.nn import functional as F

import tiny
from lingraft.evidence import build_table, encode
from lingraft.surgery import LanguageModel, from_transformers, graft, share_body
from lingraft.training import text_stream
from lingraft.training.encoder import embed_tokens, flop_forward, gather, head_logits, hidden_states
from lingraft.training.language_modelling import LanguageModelling, Side, causal_loss, masked_loss
from lingraft.training.masking import generator_for, mask_tokens

CPU = torch.device("cpu")
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
MASKED: dict[str, Callable[[int], tf.PreTrainedModel]] = {
    "bert": lambda n: tf.BertForMaskedLM(tf.BertConfig(vocab_size=n, **SMALL)),
    "roberta": lambda n: tf.RobertaForMaskedLM(tf.RobertaConfig(vocab_size=n, pad_token_id=1, **SMALL)),
    "xlm-roberta": lambda n: tf.XLMRobertaForMaskedLM(tf.XLMRobertaConfig(vocab_size=n, pad_token_id=1, **SMALL)),
    "electra": lambda n: tf.ElectraForMaskedLM(tf.ElectraConfig(vocab_size=n, embedding_size=8, **SMALL)),
    "distilbert": lambda n: tf.DistilBertForMaskedLM(
        tf.DistilBertConfig(vocab_size=n, dim=16, n_layers=2, n_heads=2, hidden_dim=24)
    ),
    "albert": lambda n: tf.AlbertForMaskedLM(tf.AlbertConfig(vocab_size=n, embedding_size=8, **SMALL)),
    "mpnet": lambda n: tf.MPNetForMaskedLM(tf.MPNetConfig(vocab_size=n, **SMALL)),
    "deberta": lambda n: tf.DebertaV2ForMaskedLM(
        tf.DebertaV2Config(vocab_size=n, relative_attention=True, pos_att_type=["p2c", "c2p"], **SMALL)
    ),
    "modernbert": lambda n: tf.ModernBertForMaskedLM(
        tf.ModernBertConfig(vocab_size=n, pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1, **SMALL)
    ),
}
CAUSAL: dict[str, Callable[[int], tf.PreTrainedModel]] = {
    "gpt2": lambda n: tf.GPT2LMHeadModel(tf.GPT2Config(vocab_size=n, n_embd=16, n_layer=2, n_head=2)),
    "llama": lambda n: tf.LlamaForCausalLM(tf.LlamaConfig(vocab_size=n, num_key_value_heads=1, **SMALL)),
    "gemma2": lambda n: tf.Gemma2ForCausalLM(tf.Gemma2Config(vocab_size=n, head_dim=8, num_key_value_heads=1, **SMALL)),
}
#: families whose last layer is computed at the predicted positions alone
SUBSET = {"bert", "roberta", "xlm-roberta", "electra", "distilbert"}


def make(family: str, n: int = 300) -> tf.PreTrainedModel:
    torch.manual_seed(0)
    return (MASKED | CAUSAL)[family](n).double().eval()


def ids_of(rows: int = 3, length: int = 12) -> torch.Tensor:
    return torch.randint(10, 300, (rows, length), generator=generator_for(CPU, 3))


@pytest.mark.parametrize("family", MASKED)
@pytest.mark.parametrize("padded", [False, True])
def test_the_last_layer_at_some_positions_is_the_whole_layer_there(family: str, padded: bool):
    model = make(family)
    ids = ids_of()
    positions = torch.tensor([[0, 3, 4], [1, 2, 9], [5, 6, 7]])
    mask = torch.ones_like(ids)
    mask[1, 10:] = 0
    embedded = embed_tokens(model, ids)
    given = mask if padded else None
    some = hidden_states(model, embedded, positions, given)
    whole = gather(model.base_model(input_ids=ids, attention_mask=given).last_hidden_state, positions)
    torch.testing.assert_close(some, whole, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(hidden_states(model, embedded, positions, given, whole_last_layer=True), whole)
    # nothing is left behind: the model computes all positions again
    assert hidden_states(model, embedded).shape[:2] == ids.shape


@pytest.mark.parametrize("family", sorted(SUBSET))
def test_the_last_layer_computes_no_more_than_it_has_to(family: str):
    model = make(family)
    rows: list[int] = []
    wide = [module for module in model.base_model.modules() if getattr(module, "out_features", 0) == 24]
    handle = wide[-1].register_forward_hook(lambda _m, given, _out: rows.append(given[0].shape[1]))
    hidden_states(model, embed_tokens(model, ids_of()), torch.tensor([[0, 3], [1, 2], [5, 6]]))
    handle.remove()
    assert rows == [2]


@pytest.mark.parametrize("family", [*MASKED, *CAUSAL])
def test_the_head_alone_gives_the_logits_of_the_model(family: str):
    model = make(family)
    ids = ids_of()
    logits = head_logits(model, hidden_states(model, embed_tokens(model, ids)))
    torch.testing.assert_close(logits, model(input_ids=ids).logits, rtol=1e-12, atol=1e-12)
    assert list(model.state_dict()) == list(make(family).state_dict())


@pytest.mark.parametrize("family", MASKED)
def test_the_gathered_loss_is_that_of_all_logits(family: str):
    model = make(family)
    batch = mask_tokens(ids_of(), torch.arange(300) < 10, 4, 0.2, generator_for(CPU, 5))
    each = masked_loss(model, batch)
    (each.sum() / batch.weights.sum()).backward()
    fast = gradients(model)
    model.zero_grad()
    logits = model(input_ids=batch.ids).logits.gather(1, batch.positions.unsqueeze(-1).expand(-1, -1, 300))
    full = F.cross_entropy(logits.flatten(0, 1), batch.labels.flatten())
    full.backward()
    torch.testing.assert_close(each.mean(), full, rtol=1e-12, atol=1e-12)
    same(fast, gradients(model))


@pytest.mark.parametrize("family", CAUSAL)
def test_the_causal_loss_is_that_of_transformers(family: str):
    model = make(family)
    ids = ids_of()
    wanted = F.cross_entropy(model(input_ids=ids).logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    torch.testing.assert_close(causal_loss(model, ids).mean(), wanted, rtol=1e-12, atol=1e-12)


def pair(family: str) -> tuple[LanguageModel, LanguageModel]:
    """A model and a graft of it onto its own vocabulary with other embeddings, sharing one body."""
    tokenizer = tiny.wordpiece_tokenizer() if family in MASKED else tiny.bytebpe_tokenizer()
    source = from_transformers(make(family, len(tokenizer)), tokenizer)
    target = graft(source, tokenizer, build_table(tokenizer, tokenizer))
    target.model.double()
    share_body(source.model, target.model)
    with torch.no_grad():
        target.model.get_input_embeddings().weight.add_(0.01)
    return source, target


def objective(source: LanguageModel, target: LanguageModel, batch_size: int = 4, **how: bool) -> LanguageModelling:
    text = text_stream(source, encode(source.tokenizer, tiny.english_lines(60)))
    return LanguageModelling(
        Side(source, text, 16), Side(target, text, 16), masked=source.kind == "masked", batch_size=batch_size,
        mask_rate=0.2, seed=1, device=CPU, **how,
    )  # fmt: skip


def gradients(*models: torch.nn.Module) -> list[torch.Tensor]:
    return [p.grad.clone() for model in models for p in model.parameters() if p.grad is not None]


def same(one: list[torch.Tensor], other: list[torch.Tensor], tolerance: float = 1e-10) -> None:
    assert len(one) == len(other) > 0
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("family", [*MASKED, *CAUSAL])
@pytest.mark.parametrize("both", [True, False])
def test_one_pass_over_both_languages_is_two_passes(family: str, both: bool):
    source, target = pair(family)
    found = []
    for how in ({}, {"one_pass": False, "whole_last_layer": True}):
        source.model.zero_grad()
        target.model.zero_grad()
        loss, losses = objective(source, target, **how).loss(2, both)
        loss.backward()
        assert sorted(losses) == (["loss_en", "loss_xx"] if both else ["loss_xx"])
        found.append((loss.detach(), gradients(source.model, target.model)))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-12, atol=1e-12)
    # the norms of Gemma compute in single precision whatever the model is in
    same(found[0][1], found[1][1], 1e-6 if family == "gemma2" else 1e-10)


def test_documents_apart_change_the_step_alike_in_one_pass_and_two():
    source, target = pair("bert")
    joined = objective(source, target).loss(2, True)[0]
    apart = [objective(source, target, apart=True, one_pass=one).loss(2, True)[0] for one in (True, False)]
    torch.testing.assert_close(apart[0], apart[1], rtol=1e-12, atol=1e-12)
    assert abs(joined - apart[0]) > 1e-6


@pytest.mark.parametrize("family", ["bert", "gpt2"])
@pytest.mark.parametrize("parts", [2, 3, 4, 9])
def test_micro_batches_add_up_to_the_batch(family: str, parts: int):
    source, target = pair(family)
    task = objective(source, target)
    loss, losses = task.loss(3, True)
    loss.backward()
    whole = gradients(source.model, target.model)
    source.model.zero_grad()
    target.model.zero_grad()
    summed = dict.fromkeys(losses, 0.0)
    for part in range(parts):
        share, named = task.loss(3, True, part, parts)
        if share.requires_grad:
            share.backward()
        for name, value in named.items():
            summed[name] += float(value)
    assert summed == pytest.approx({name: float(value) for name, value in losses.items()}, rel=1e-10)
    same(gradients(source.model, target.model), whole)


def test_a_step_sees_both_texts_and_counts_their_tokens(masked: LanguageModel):
    source, target = masked, masked
    task = objective(source, target)
    assert task.tokens(0, True) == 2 * task.tokens(0, False) == 2 * 4 * 16
    assert torch.isfinite(task.loss(0, True)[0])


def test_useful_operations_are_those_that_were_agreed_on():
    """BERT-base and BERT-large at 256 tokens with 15 % predicted and 32,000 tokens, forwards and backwards."""
    for (width, layers, heads), wanted in {(768, 12, 12): 560.6e6, (1024, 24, 16): 1917.9e6}.items():
        shape = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads}
        with torch.device("meta"):
            config = tf.BertConfig(vocab_size=32_000, intermediate_size=4 * width, **shape)
            model = tf.BertForMaskedLM(config)
        assert 3 * flop_forward(model, 256, 0.15) == pytest.approx(wanted, rel=2e-4)
