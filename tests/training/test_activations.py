from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import (
    AlbertConfig,
    AlbertForMaskedLM,
    BertConfig,
    BertForMaskedLM,
    DebertaV2Config,
    DebertaV2ForMaskedLM,
    DistilBertConfig,
    DistilBertForMaskedLM,
    ElectraConfig,
    ElectraForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    ModernBertConfig,
    ModernBertForMaskedLM,
    PreTrainedModel,
    RobertaConfig,
    RobertaForMaskedLM,
)

import lingraft
import tiny
from lingraft.errors import RecipeError
from lingraft.evidence import build_table, encode
from lingraft.recipe import TrainingRecipe
from lingraft.surgery import from_transformers, graft
from lingraft.training import language_model_trainer, resolve_training, text_stream
from lingraft.training.activations import checkpoint_activations
from lingraft.vocabulary import train_tokenizer

SHAPE = {
    "vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
    "max_position_embeddings": 40,
}  # fmt: skip

FAMILIES = {
    "bert": (BertConfig, BertForMaskedLM, SHAPE),
    "roberta": (RobertaConfig, RobertaForMaskedLM, SHAPE),
    "electra": (ElectraConfig, ElectraForMaskedLM, SHAPE | {"embedding_size": 32}),
    "distilbert": (
        DistilBertConfig, DistilBertForMaskedLM, {"vocab_size": 60, "dim": 32, "n_layers": 2, "n_heads": 4,
                                                  "hidden_dim": 64},
    ),
    "deberta": (DebertaV2Config, DebertaV2ForMaskedLM, SHAPE),
    "modernbert": (ModernBertConfig, ModernBertForMaskedLM, SHAPE | {
        "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2}),
    "gpt2": (GPT2Config, GPT2LMHeadModel, {"vocab_size": 60, "n_embd": 32, "n_layer": 2, "n_head": 4}),
    "llama": (LlamaConfig, LlamaForCausalLM, SHAPE),
}  # fmt: skip


def gradients(model: PreTrainedModel) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    ids = torch.randint(4, 60, (3, 12), generator=torch.Generator().manual_seed(0))
    loss = model(input_ids=ids, labels=ids).loss
    model.zero_grad()
    loss.backward()
    return loss.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_gradient_is_the_same_and_layers_are_computed_twice(family: str):
    config, kind, shape = FAMILIES[family]
    torch.manual_seed(0)
    model = kind(config(**shape)).eval()  # with the family's own dropout, which must stay asleep
    expected_loss, expected = gradients(model)
    checkpoint_activations(model)
    products = []
    linear = torch.nn.functional.linear

    def counted(*arguments, **named):
        products.append(torch._C._current_graph_task_id() != -1)  # whether a backward pass is under way
        return linear(*arguments, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.functional, "linear", counted)
        loss, found = gradients(model)
    if family != "gpt2":  # whose layers multiply by addmm
        assert sum(products) >= products.count(False) // 3
    assert torch.equal(loss, expected_loss)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-6, atol=1e-8)


def test_a_family_without_it_is_refused_before_anything_is_done(tmp_path: Path, bitext_file: Path):
    tokenizer = tiny.wordpiece_tokenizer()
    torch.manual_seed(0)
    model = AlbertForMaskedLM(AlbertConfig(**(SHAPE | {"embedding_size": 16, "vocab_size": len(tokenizer)})))
    with pytest.raises(RecipeError, match=r"transformers cannot do that with AlbertForMaskedLM\. Leave it out"):
        lingraft.transfer(
            (model, tokenizer), to="fr", out=tmp_path / "out", bitext=bitext_file,
            settings={"training.checkpoint_activations": True},
        )  # fmt: skip
    assert not (tmp_path / "out").exists()


def test_a_run_with_it_ends_with_the_same_weights(tmp_path: Path):
    weights = []
    english, foreign = (list(side) for side in zip(*tiny.cipher_pairs(40), strict=True))
    tokenizer = tiny.wordpiece_tokenizer()
    new_tokenizer = train_tokenizer(tokenizer, foreign)
    table = build_table(tokenizer, new_tokenizer)
    for checkpointed in (False, True):
        source = from_transformers(tiny.bert(tokenizer), tokenizer)
        target = graft(source, new_tokenizer, table)
        recipe = TrainingRecipe(
            objective="mlm", steps=6, batch_size=4, sequence_length=16, embeddings_share=0.5, precision="float32",
            checkpoint_activations=checkpointed, checkpoint_seconds=3600,
        )  # fmt: skip
        streams = [text_stream(m, encode(m.tokenizer, t)) for m, t in ((source, english), (target, foreign))]
        resolved = resolve_training(recipe, "masked")
        language_model_trainer(source, target, *streams, resolved, 0, tmp_path / str(checkpointed)).run()
        weights.append(torch.cat([p.detach().flatten() for p in source.model.parameters()]))
    torch.testing.assert_close(weights[0], weights[1], rtol=1e-5, atol=1e-7)
