"""A vocabulary under a model: rows as the table says, ids as the tokenizer says, and nothing else changed."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from scipy import sparse
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerFast

import tiny
from lingraft.errors import ModelError, TableError
from lingraft.evidence import Provenance, TranslationTable, bitext_counts, bitext_evidence, build_table
from lingraft.surgery import BALANCE, TABLE_METHODS, LanguageModel, from_transformers, graft, mix_rows, share_body
from lingraft.surgery import vocabulary_parameters as parts_of
from lingraft.vocabulary import special_ids, tokenizer_hash, train_tokenizer

FAMILIES: dict[str, tuple[Any, str, dict[str, Any], set[str]]] = {
    "bert": (tiny.bert, "wordpiece", {}, {"input", "bias"}),
    "bert-padded": (tiny.bert, "wordpiece", {"padding": 5}, {"input", "bias"}),
    "bert-headless": (tiny.bert, "wordpiece", {"head": False}, {"input"}),
    "roberta": (tiny.roberta, "bytebpe", {}, {"input", "bias"}),
    "xlm-roberta": (tiny.xlm_roberta, "unigram", {}, {"input", "bias"}),
    "gpt2": (tiny.gpt2, "bytebpe", {}, {"input"}),
    "llama": (tiny.llama, "bytefallback", {}, {"input", "output"}),
    "llama-tied": (tiny.llama, "bytefallback", {"tied": True}, {"input"}),
}


class Case(NamedTuple):
    """A source model, a tokenizer of the cipher language whose special ids are elsewhere, and the table between."""

    name: str
    source: LanguageModel
    tokenizer: PreTrainedTokenizerFast
    table: TranslationTable


def test_a_graft_may_take_over_what_the_source_has(case: Case) -> None:
    own = LanguageModel(copy.deepcopy(case.source.model), case.source.tokenizer, case.source.kind)
    theirs = {id(parameter): parameter for parameter in own.model.parameters()}
    apart = graft(own, case.tokenizer, case.table, seed=3)
    taken = graft(own, case.tokenizer, case.table, seed=3, take_over=True)
    expected, found = (dict(each.model.named_parameters()) for each in (apart, taken))
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    sized = {id(parameter) for parameter in parts_of(taken.model).values()}
    assert {id(each) for each in found.values() if id(each) not in sized} < theirs.keys()
    assert not sized & theirs.keys()
    assert not {id(each) for each in expected.values()} & theirs.keys(), "without it nothing is shared"
    assert {parameter.device.type for parameter in own.model.parameters()} == {"meta"}


def noisy(model: PreTrainedModel) -> PreTrainedModel:
    """With every parameter, those that start at zero too, off its place."""
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model


@pytest.fixture(scope="module", params=FAMILIES)
def case(request: pytest.FixtureRequest) -> Case:
    make, kind, options, _ = FAMILIES[request.param]
    english = tiny.TOKENIZERS[kind]()
    pairs = tiny.cipher_pairs(200)
    foreign = train_tokenizer(english, [xx for _, xx in pairs])
    order = np.random.default_rng(2).permutation(len(foreign)).tolist()
    pad = foreign.pad_token_id  # stays: RoBERTa numbers positions from it on
    order[order.index(pad)], order[pad] = order[pad], pad
    foreign = tiny.renumbered(foreign, order)
    table = build_table(english, foreign, [bitext_evidence(bitext_counts(pairs[:20], english, foreign)[0], english)])
    assert table.shares()["fallback"] > 0.02
    return Case(request.param, from_transformers(noisy(make(english, **options)), english), foreign, table)


def test_which_parts_have_a_row_a_token(case: Case) -> None:
    assert set(parts_of(case.source.model)) == FAMILIES[case.name][3]
    rows = case.source.model.config.vocab_size
    found = {id(parameter) for parameter in parts_of(case.source.model).values()}
    sized = {id(parameter) for parameter in case.source.model.parameters() if rows in parameter.shape}
    assert found == sized


def test_every_known_row_is_the_mixture_of_the_table(case: Case) -> None:
    grafted = graft(case.source, case.tokenizer, case.table)
    known = case.table.provenance != Provenance.fallback
    assert set(parts_of(grafted.model)) == FAMILIES[case.name][3]
    for name, before in parts_of(case.source.model).items():
        after = parts_of(grafted.model)[name].detach().numpy()
        assert after.shape == (len(case.tokenizer), *before.shape[1:])
        old = before.detach().numpy()[: len(case.source.tokenizer)]
        expected = case.table.matrix.toarray() @ old
        if before.ndim > 1:  # part of the way, in logarithms, to the mean norm of the source's rows
            several = np.flatnonzero(np.diff(case.table.matrix.indptr) > 1)
            goal = np.linalg.norm(old[np.unique(case.table.matrix.indices)], axis=1).mean()
            lacking = goal / np.linalg.norm(expected[several], axis=1, keepdims=True)
            expected[several] *= lacking ** BALANCE[case.source.kind]
        np.testing.assert_allclose(after[known], expected[known], rtol=1e-5, atol=1e-6)


def test_special_rows_are_copied_by_role(case: Case) -> None:
    grafted = graft(case.source, case.tokenizer, case.table)
    old, new = special_ids(case.source.tokenizer), special_ids(case.tokenizer)
    assert old != new
    for name, before in parts_of(case.source.model).items():
        after = parts_of(grafted.model)[name]
        assert all(torch.equal(after[new[role]], before[old[role]]) for role in new)


def test_tying_is_kept(case: Case) -> None:
    model = graft(case.source, case.tokenizer, case.table).model
    if model.get_output_embeddings() is not None:
        tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
        assert tied == ("output" not in FAMILIES[case.name][3])
    leftovers = [name for name, p in model.named_parameters() if case.source.model.config.vocab_size in p.shape]
    assert leftovers == []


def test_config_and_generation_config_follow_the_tokenizer(case: Case) -> None:
    grafted = graft(case.source, case.tokenizer, case.table)
    assert grafted.model.config.vocab_size == len(case.tokenizer)
    configs = [(case.source.model.config, grafted.model.config)]
    if case.source.kind == "causal":
        configs.append((case.source.model.generation_config, grafted.model.generation_config))
    new = special_ids(case.tokenizer)
    for before, after in configs:
        for role in ("pad", "bos", "eos"):
            expected = None if getattr(before, f"{role}_token_id") is None else new[role]
            assert getattr(after, f"{role}_token_id") == expected


def test_lists_of_ids_and_foreign_ids_in_the_config() -> None:
    english = tiny.bytefallback_tokenizer()
    foreign = tiny.renumbered(english, [*range(4, len(english)), *range(4)])
    source = from_transformers(tiny.llama(english), english)
    source.model.generation_config.eos_token_id = [english.eos_token_id, 77]
    source.model.config.pad_token_id = english.eos_token_id  # as many decoders are published
    grafted = graft(source, foreign, build_table(english, foreign))
    assert grafted.model.generation_config.eos_token_id == [foreign.eos_token_id]  # 77 is another token's now
    assert grafted.model.config.pad_token_id == foreign.eos_token_id
    assert source.model.generation_config.eos_token_id == [english.eos_token_id, 77]


def test_the_source_is_untouched(case: Case) -> None:
    weights = copy.deepcopy(case.source.model.state_dict())
    config, fingerprint = case.source.model.config.to_dict(), tokenizer_hash(case.source.tokenizer)
    grafted = graft(case.source, case.tokenizer, case.table)
    with torch.no_grad():
        for parameter in grafted.model.parameters():
            parameter.zero_()
    assert case.source.model.config.to_dict() == config
    assert tokenizer_hash(case.source.tokenizer) == fingerprint
    assert all(torch.equal(weights[name], value) for name, value in case.source.model.state_dict().items())


def test_everything_else_is_the_sources(case: Case) -> None:
    grafted = graft(case.source, case.tokenizer, case.table)
    own = {id(parameter) for parameter in parts_of(grafted.model).values()}
    rest = {name: p for name, p in grafted.model.named_parameters(remove_duplicate=False) if id(p) not in own}
    assert len(rest) > 10
    assert all(torch.equal(p, case.source.model.get_parameter(name)) for name, p in rest.items())
    assert (grafted.kind, grafted.max_length) == (case.source.kind, case.source.max_length)
    assert grafted.tokenizer is case.tokenizer
    assert not grafted.model.training


def test_padding_rows_of_the_source_take_no_part() -> None:
    english = tiny.wordpiece_tokenizer()
    source = from_transformers(tiny.bert(english, padding=7), english)
    with torch.no_grad():
        for parameter in parts_of(source.model).values():
            parameter[len(english) :] = 1e6
    target = train_tokenizer(english, ["中文字 日本語"] * 3)
    table = build_table(english, target)
    assert table.shares()["fallback"] > 0
    for method in TABLE_METHODS:
        for parameter in parts_of(graft(source, target, table, method).model).values():
            assert parameter.shape[0] == len(target)
            assert parameter.abs().max() < 10


def blank_table(n: int, columns: int, special: int = 0) -> TranslationTable:
    """Nothing known of n target tokens, but that the first are the source's first by role."""
    rows = sparse.csr_matrix((np.ones(special), (range(special), range(special))), shape=(n, columns), dtype=np.float32)
    provenance = np.where(np.arange(n) < special, Provenance.special, Provenance.fallback).astype(np.uint8)
    return TranslationTable(rows, provenance, np.zeros(n, np.float32), "", "")


def test_rows_without_evidence_have_the_sources_mean_and_spread() -> None:
    random = np.random.default_rng(0)
    scale, shift = random.uniform(0.01, 2, 16), random.normal(size=16)
    source = torch.from_numpy((random.normal(size=(500, 16)) * scale + shift).astype(np.float32))
    n = 20_000
    drawn = mix_rows(source, blank_table(n, 500), np.random.default_rng(1))
    mean, spread = source.mean(0), source.std(0, correction=0)
    # six standard errors of the mean and of the standard deviation of n draws from a normal
    assert ((drawn.mean(0) - mean).abs() < 6 * spread / n**0.5).all()
    assert ((drawn.std(0) / spread - 1).abs() < 6 / (2 * n) ** 0.5).all()
    correlation = np.corrcoef(drawn.T.numpy()) - np.eye(16)
    assert np.abs(correlation).max() < 6 / n**0.5
    assert len(torch.unique(drawn[:, 0])) > 0.99 * n


def test_a_bias_without_evidence_is_the_mean_bias() -> None:
    bias = torch.tensor([1.0, 2.0, 6.0, 100.0])
    made = mix_rows(bias, blank_table(5, 3, special=1), np.random.default_rng(0))
    assert made.tolist() == [1, 3, 3, 3, 3]


def test_method_mean_sets_every_ordinary_row_to_the_mean(case: Case) -> None:
    special = case.table.provenance == Provenance.special
    grafted = graft(case.source, case.tokenizer, case.table, "mean")
    for name, before in parts_of(case.source.model).items():
        rows = before.detach()[: len(case.source.tokenizer)]
        after = parts_of(grafted.model)[name].detach()
        torch.testing.assert_close(after[~special], rows.mean(0).expand_as(after[~special]))
        picked = torch.from_numpy(case.table.matrix[special].toarray()) @ rows
        torch.testing.assert_close(after[special], picked)


def test_method_random_knows_special_rows_only(case: Case) -> None:
    special = case.table.provenance == Provenance.special
    first, second = (parts_of(graft(case.source, case.tokenizer, case.table, "random", seed).model) for seed in (0, 1))
    rows = parts_of(case.source.model)["input"].detach()[: len(case.source.tokenizer)]
    assert torch.equal(first["input"][special], second["input"][special])
    assert not torch.isclose(first["input"], second["input"])[~special].all(1).any()
    spread = first["input"][~special].std(0).mean() / rows.std(0).mean()
    assert 0.85 < spread < 1.15
    mixed = torch.from_numpy(case.table.matrix.toarray()) @ rows
    assert not torch.isclose(first["input"], mixed)[~special].all(1).any()


def test_the_seed_decides_the_rows_without_evidence(case: Case) -> None:
    known = case.table.provenance != Provenance.fallback
    one, same, other = (graft(case.source, case.tokenizer, case.table, seed=seed).model for seed in (3, 3, 4))
    assert all(torch.equal(one.state_dict()[name], value) for name, value in same.state_dict().items())
    rows, others = parts_of(one)["input"], parts_of(other)["input"]
    assert torch.equal(rows[known], others[known])
    assert not torch.isclose(rows, others)[~known].all(1).any()


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_table_for_other_tokenizers_is_refused(case: Case, side: str) -> None:
    tokenizers = {"source": case.source.tokenizer, "target": case.tokenizer}
    tokenizers[side] = tiny.rebuilt(tokenizers[side], decoder=None)
    source = case.source.with_model(case.source.model, tokenizers["source"])
    with pytest.raises(TableError, match=f"another {side} tokenizer"):
        graft(source, tokenizers["target"], case.table)


def test_a_table_wider_than_the_model_is_refused() -> None:
    with pytest.raises(TableError, match="4 embedding rows and the table 5 columns"):
        mix_rows(torch.ones(4, 2), blank_table(3, 5), np.random.default_rng(0))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_rows_keep_their_type(dtype: torch.dtype) -> None:
    rows = torch.randn(6, 4).to(dtype)
    made = mix_rows(rows, blank_table(6, 6, special=6), np.random.default_rng(0))
    assert made.dtype == dtype
    assert torch.equal(made, rows)


def test_the_token_at_the_old_padding_id_can_learn() -> None:
    """nn.Embedding gives its padding row no gradient; in the new vocabulary that row is another's."""
    english = tiny.wordpiece_tokenizer()
    foreign = tiny.renumbered(english, [*range(10, len(english)), *range(10)])
    source = from_transformers(tiny.bert(english), english)
    assert (english.pad_token_id, source.model.get_input_embeddings().padding_idx) == (0, 0)
    model = graft(source, foreign, build_table(english, foreign)).model
    model.base_model(torch.tensor([[0, foreign.pad_token_id, 12]])).last_hidden_state.square().sum().backward()
    gradient = model.get_input_embeddings().weight.grad
    assert gradient[0].abs().sum() > 0
    assert gradient[foreign.pad_token_id].abs().sum() == 0


@pytest.mark.parametrize("family", ["roberta", "xlm-roberta"])
def test_a_moved_padding_token_is_refused_where_positions_hang_on_it(family: str) -> None:
    make, kind, *_ = FAMILIES[family]
    english = tiny.TOKENIZERS[kind]()
    foreign = tiny.renumbered(english, [1, 0, *range(2, len(english))])
    source = from_transformers(make(english), english)
    with pytest.raises(ModelError, match=r"positions from the id of its padding token, 1, .* at 0"):
        graft(source, foreign, build_table(english, foreign))


def shared(case: Case) -> tuple[PreTrainedModel, PreTrainedModel]:
    """Copies of the source and its graft with one body."""
    owner, follower = copy.deepcopy(case.source.model), graft(case.source, case.tokenizer, case.table).model
    share_body(owner, follower)
    return owner, follower


def test_the_shared_body_is_one_set_of_objects(case: Case) -> None:
    owner, follower = shared(case)
    own = {id(parameter) for parameter in parts_of(follower).values()}
    owners = {id(parameter) for parameter in parts_of(owner).values()}
    assert not own & {id(parameter) for parameter in owner.parameters()}
    for name, parameter in follower.named_parameters(remove_duplicate=False):
        if id(parameter) not in own:
            assert parameter is owner.get_parameter(name), name
            assert id(parameter) not in owners
    output = follower.get_output_embeddings()
    if output is not None and "output" not in FAMILIES[case.name][3]:
        assert output.weight is follower.get_input_embeddings().weight


@pytest.mark.parametrize("through", [0, 1], ids=["owner", "follower"])
def test_a_step_through_either_model_moves_both(case: Case, through: int) -> None:
    models: tuple[nn.Module, ...] = shared(case)
    batch = torch.tensor([[11, 12, 13, 14]])
    before = [model(batch)[0].detach() for model in models]
    body = {id(p) for p in models[0].parameters()} & {id(p) for p in models[1].parameters()}
    trained = [parameter for parameter in models[through].parameters() if id(parameter) in body]
    models[through](batch)[0].square().sum().backward()
    torch.optim.SGD(trained, lr=1e-2).step()
    after = [model(batch)[0].detach() for model in models]
    assert all((new - old).abs().max() > 1e-4 for new, old in zip(after, before, strict=True))
