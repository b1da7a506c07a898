"""All evidence put together: which rows nothing may touch, and how the others are mixed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse
from transformers import PreTrainedTokenizerFast

import tiny
from lingraft.evidence import TRUST, Evidence, Provenance, Trust, bitext_counts, bitext_evidence, build_table
from lingraft.surgery import from_transformers, graft
from lingraft.vocabulary import all_special_ids, special_ids, tokenizer_hash, train_tokenizer
from spelled import bert_like, row

MODELS = {"wordpiece": tiny.bert, "bytebpe": tiny.roberta, "bytefallback": tiny.llama, "unigram": tiny.xlm_roberta}


@pytest.fixture
def target(any_tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """A tokenizer of the cipher language of the same kind as ``any_tokenizer``."""
    return train_tokenizer(any_tokenizer, [xx for _, xx in tiny.cipher_pairs()])


def test_every_row_sums_to_one_or_is_empty(
    any_tokenizer: PreTrainedTokenizerFast, target: PreTrainedTokenizerFast
) -> None:
    counts, _ = bitext_counts(tiny.cipher_pairs(), any_tokenizer, target)
    table = build_table(any_tokenizer, target, [bitext_evidence(counts, any_tokenizer)])
    sums = np.asarray(table.matrix.sum(1)).ravel()
    assert table.matrix.shape == (len(target), len(any_tokenizer))
    np.testing.assert_allclose(sums, table.provenance != Provenance.fallback, atol=1e-5)
    assert {"bitext", "special"} <= set(table.shares())
    closed = np.isin(table.provenance, [Provenance.special, Provenance.fallback])
    leaning = table.provenance == Provenance.backoff
    assert (table.evidence > 0)[~leaning].tolist() == (~closed)[~leaning].tolist()
    table.check_tokenizers(any_tokenizer, target)
    assert (table.source_hash, table.target_hash) == (tokenizer_hash(any_tokenizer), tokenizer_hash(target))


def test_special_rows_stand_for_their_role_whatever_is_counted(
    any_tokenizer: PreTrainedTokenizerFast, target: PreTrainedTokenizerFast
) -> None:
    """Even when every special token of either side seems to be linked to everything."""
    counts = sparse.csr_matrix(np.full((len(target), len(any_tokenizer)), 7.0))
    table = build_table(any_tokenizer, target, [bitext_evidence(counts, any_tokenizer)])
    source_roles = special_ids(any_tokenizer)
    for role, index in special_ids(target).items():
        assert table.provenance[index] == Provenance.special
        assert table.matrix[index].toarray().nonzero()[1].tolist() == [source_roles[role]]
        assert table.evidence[index] == 0
    unnamed = all_special_ids(target) - set(special_ids(target).values())
    for index in unnamed:  # these go by their text
        same = any_tokenizer.convert_tokens_to_ids(target.convert_ids_to_tokens(index))
        assert table.matrix[index].toarray().nonzero()[1].tolist() == [same]
        assert table.provenance[index] == Provenance.special
    ordinary = sorted(set(range(len(target))) - all_special_ids(target))
    assert table.matrix[ordinary].nnz
    assert not table.matrix[ordinary][:, sorted(all_special_ids(any_tokenizer))].nnz


def test_roles_match_though_ids_and_spelling_differ() -> None:
    source, target = tiny.bytebpe_tokenizer(), tiny.wordpiece_tokenizer()
    table = build_table(source, target)
    assert row(table, target, source, "[CLS]") == ("special", {"<s>": 1.0})
    assert row(table, target, source, "[SEP]") == ("special", {"</s>": 1.0})
    assert row(table, target, source, "[MASK]") == ("special", {"<mask>": 1.0})
    assert row(table, target, source, "[unused1]") == ("fallback", {})


def test_a_role_the_source_does_not_fill_is_left_open() -> None:
    source, target = bert_like(["a"]), tiny.wordpiece_tokenizer()
    assert source.mask_token is None
    counts = sparse.csr_matrix(np.ones((len(target), len(source))))
    table = build_table(source, target, [bitext_evidence(counts, source)])
    assert row(table, target, source, "[MASK]") == ("fallback", {})


def evidence(kind: str, rows: list[list[float]], *strength: float) -> Evidence:
    """Rows behind four special tokens' empty ones, over five source tokens of which four are special."""
    width = len(rows[0])
    matrix = np.zeros((4 + len(rows), 4 + width))
    matrix[4:, 4:] = rows
    return Evidence(Provenance[kind], sparse.csr_matrix(matrix), np.array([0.0, 0, 0, 0, *strength]))


def test_rows_are_means_by_what_their_observations_are_worth() -> None:
    source, target = bert_like(["a", "b"]), bert_like(["x", "y", "z"])
    known = [
        evidence("bitext", [[1, 0], [1, 0], [0, 0]], 3, 100, 0),
        evidence("lexicon", [[0, 1], [0, 1], [0, 1]], 7, 0.5, 0.25),
        evidence("vectors", [[0.5, 0.5], [0, 0], [1, 0]], 10, 0, 5),
    ]
    trust = dict(TRUST) | {Provenance.lexicon: Trust(most=2.0), Provenance.vectors: Trust(0.1)}
    table = build_table(source, target, known, trust)
    # weights: 3, 2 (of 7), 1; 100, 0.5; 0.25, 0.5
    expected = [[3.5 / 6, 2.5 / 6], [100 / 100.5, 0.5 / 100.5], [0.5 / 0.75, 0.25 / 0.75]]
    np.testing.assert_allclose(table.matrix[4:, 4:].toarray(), expected, rtol=1e-6)
    assert [Provenance(kind).name for kind in table.provenance[4:]] == ["bitext", "bitext", "vectors"]
    assert table.evidence[4:].tolist() == [6, 100.5, 0.75]
    reverse = build_table(source, target, known[::-1], trust)
    np.testing.assert_allclose(reverse.matrix.toarray(), table.matrix.toarray(), rtol=1e-6)


def test_a_source_that_is_not_trusted_changes_nothing() -> None:
    source, target = bert_like(["a", "b"]), bert_like(["x", "y"])
    known = [evidence("bitext", [[0.9, 0.1], [0, 0]], 3, 0), evidence("vectors", [[0, 1], [0, 1]], 5, 5)]
    table = build_table(source, target, known, dict(TRUST) | {Provenance.vectors: Trust(0.0, 0.0)})
    without = build_table(source, target, known[:1])
    assert (table.matrix != without.matrix).nnz == 0
    assert table.provenance.tolist() == without.provenance.tolist()
    assert row(table, target, source, "y") == ("fallback", {})


def test_links_outweigh_how_a_token_is_written_where_they_are_many() -> None:
    source, target = bert_like(["cat", "coin"]), bert_like(["chat", "coin"])
    many = build_table(source, target, [evidence("bitext", [[1, 0], [1, 0]], 50, 99)])
    assert row(many, target, source, "coin") == ("bitext", {"cat": pytest.approx(0.99), "coin": pytest.approx(0.01)})
    few = build_table(source, target, [evidence("bitext", [[1, 0], [1, 0]], 50, 0.25)])
    assert row(few, target, source, "coin") == ("overlap", {"cat": pytest.approx(0.2), "coin": pytest.approx(0.8)})


def test_a_token_that_a_decoder_has_is_copied() -> None:
    source, target = bert_like(["cat", "coin"]), bert_like(["chat", "coin"])
    table = build_table(source, target, [evidence("bitext", [[1, 0], [1, 0]], 50, 1e6)], copy_shared=True)
    assert row(table, target, source, "coin") == ("overlap", {"coin": 1.0})
    assert row(table, target, source, "chat") == ("bitext", {"cat": 1.0})
    assert table.evidence[4:].tolist() == [50, 1e6 + 1], "what it rests on stays what it is"


def test_letters_of_a_script_foreign_to_a_decoder_are_what_they_are_to_it() -> None:
    source, target = bert_like(["cat", "क", "dog"]), bert_like(["क", "कल", "कम", "आज"])
    known = [evidence("bitext", [[1, 0, 0], [0, 0, 1], [0, 0, 1], [0, 0, 1]], 1e9, 5, 5, 5)]
    assert row(build_table(source, target, known), target, source, "क")[0] == "bitext"
    table = build_table(source, target, known, copy_shared=True)
    assert row(table, target, source, "क") == ("overlap", {"क": 1.0})


def test_evidence_of_other_vocabularies_is_a_mistake() -> None:
    source, target = bert_like(["a", "b"]), bert_like(["x"])
    with pytest.raises(ValueError, match=r"\(6, 6\) for vocabularies of \(5, 6\)"):
        build_table(source, target, [evidence("bitext", [[1, 0], [1, 0]], 1, 1)])


def test_a_permuted_vocabulary_gives_the_permuted_rows(any_tokenizer: PreTrainedTokenizerFast) -> None:
    order = np.random.default_rng(0).permutation(len(any_tokenizer))
    target = tiny.renumbered(any_tokenizer, order)
    table = build_table(any_tokenizer, target)
    assert (table.provenance != Provenance.fallback).all()
    permutation = sparse.csr_matrix((np.ones(order.size), (range(order.size), order)))
    assert (table.matrix != permutation).nnz == 0
    source = from_transformers(tiny.llama(any_tokenizer), any_tokenizer)
    grafted = graft(source, target, table)
    for read in (lambda model: model.get_input_embeddings(), lambda model: model.get_output_embeddings()):
        old, new = read(source.model).weight, read(grafted.model).weight
        assert torch.equal(new, old[torch.from_numpy(order)])


@pytest.mark.parametrize("kind_of_evidence", ["bitext", "overlap"])
@pytest.mark.parametrize("kind", MODELS)
def test_the_same_language_grafted_onto_itself_changes_nothing(kind: str, kind_of_evidence: str) -> None:
    tokenizer = tiny.TOKENIZERS[kind]()
    lines = tiny.english_lines()
    known: list[Evidence] = []
    if kind_of_evidence == "bitext":
        counts, _ = bitext_counts([(line, line) for line in lines], tokenizer, tokenizer)
        known.append(bitext_evidence(counts, tokenizer))
    table = build_table(tokenizer, tokenizer, known)
    assert (kind_of_evidence == "bitext") == (table.shares().get("bitext", 0) > 0.3)
    source = from_transformers(MODELS[kind](tokenizer), tokenizer)
    grafted = graft(source, tokenizer, table)
    supported = torch.from_numpy(table.provenance != Provenance.fallback)
    for line in tiny.english_lines(3, seed=1):
        batch = tokenizer(line, return_tensors="pt").input_ids
        with torch.inference_mode():
            before, after = source.model(batch).logits, grafted.model(batch).logits
        torch.testing.assert_close(after[..., supported], before[..., supported], atol=1e-5, rtol=0)
