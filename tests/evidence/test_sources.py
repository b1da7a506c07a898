"""Rows of the table out of each kind of evidence, and which kind goes first."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

import tiny
from lingraft.evidence import Provenance, TranslationTable, bitext_counts, build_table, encode
from lingraft.evidence.alignment import AlignerSettings
from lingraft.surgery import from_transformers, graft
from lingraft.vocabulary import all_special_ids, special_ids, tokenizer_hash, train_tokenizer

MODELS = {"wordpiece": tiny.bert, "bytebpe": tiny.roberta, "bytefallback": tiny.llama, "unigram": tiny.xlm_roberta}


@pytest.fixture
def target(any_tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """A tokenizer of the cipher language of the same kind as ``any_tokenizer``."""
    return train_tokenizer(any_tokenizer, [xx for _, xx in tiny.cipher_pairs()])


def bert_like(words: list[str]) -> PreTrainedTokenizerFast:
    """A WordPiece tokenizer with these tokens behind the special ones."""
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    model = {"type": "WordPiece", "vocab": {token: k for k, token in enumerate([*specials, *words])},
             "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100}  # fmt: skip
    return _tokenizer(model, {"type": "BertPreTokenizer"}, specials)


def gpt_like(words: list[str], merges: list[str], specials: tuple[str, ...] = ("[PAD]",)) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer with these tokens behind the special ones."""
    model = {"type": "BPE", "vocab": {token: k for k, token in enumerate([*specials, *words])}, "merges": merges}
    pre = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return _tokenizer(model, pre, list(specials))


def llama_like(words: list[str]) -> PreTrainedTokenizerFast:
    """A SentencePiece BPE with byte fallback with these tokens behind the special one."""
    model = {"type": "BPE", "vocab": {token: k for k, token in enumerate(["[PAD]", *words])}, "merges": [],
             "byte_fallback": True}  # fmt: skip
    pre = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    return _tokenizer(model, pre, ["[PAD]"])


def _tokenizer(model: dict[str, Any], pre: dict[str, Any], specials: list[str]) -> PreTrainedTokenizerFast:
    added = [
        {"id": k, "content": token, "special": True, "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False} for k, token in enumerate(specials)
    ]  # fmt: skip
    state = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
             "pre_tokenizer": pre, "post_processor": None, "decoder": None, "model": model}  # fmt: skip
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)),
        **{f"{token[1:-1].lower()}_token": token for token in specials},
    )


def row(table: TranslationTable, target: PreTrainedTokenizerFast, source: PreTrainedTokenizerFast, token: str) -> Any:
    """The row of a target token as (provenance, {source token: weight})."""
    index = target.convert_tokens_to_ids(token)
    cells = table.matrix[index].tocoo()
    weights = {source.convert_ids_to_tokens(int(k)): float(w) for k, w in zip(cells.col, cells.data, strict=True)}
    return Provenance(table.provenance[index]).name, weights


def test_every_row_sums_to_one_or_is_empty(
    any_tokenizer: PreTrainedTokenizerFast, target: PreTrainedTokenizerFast
) -> None:
    counts, _ = bitext_counts(tiny.cipher_pairs(), any_tokenizer, target)
    table = build_table(any_tokenizer, target, counts)
    sums = np.asarray(table.matrix.sum(1)).ravel()
    assert table.matrix.shape == (len(target), len(any_tokenizer))
    np.testing.assert_allclose(sums, table.provenance != Provenance.fallback, atol=1e-5)
    assert {"bitext", "special"} <= set(table.shares())
    assert (table.evidence > 0).tolist() == (table.provenance == Provenance.bitext).tolist()
    table.check_tokenizers(any_tokenizer, target)
    assert (table.source_hash, table.target_hash) == (tokenizer_hash(any_tokenizer), tokenizer_hash(target))


def test_special_rows_stand_for_their_role_whatever_is_counted(
    any_tokenizer: PreTrainedTokenizerFast, target: PreTrainedTokenizerFast
) -> None:
    """Even when every special token of either side seems to be linked to everything."""
    counts = sparse.csr_matrix(np.full((len(target), len(any_tokenizer)), 7.0))
    table = build_table(any_tokenizer, target, counts)
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
    assert row(build_table(source, target, counts), target, source, "[MASK]") == ("fallback", {})


def test_bitext_goes_before_overlap_and_is_normalised() -> None:
    source, target = bert_like(["house", "cat", "mat"]), bert_like(["maison", "cat", "mat"])
    counts = sparse.lil_matrix((len(target), len(source)))
    counts[4, [4, 5]] = 3, 1
    counts[5, 4] = 2
    counts[6, 4] = 0.4
    table = build_table(source, target, counts.tocsr(), min_count=0.5)
    assert row(table, target, source, "maison") == ("bitext", {"house": 0.75, "cat": 0.25})
    assert row(table, target, source, "cat") == ("bitext", {"house": 1.0})
    assert row(table, target, source, "mat") == ("overlap", {"mat": 1.0}), "too little evidence"
    assert table.evidence.tolist() == [0, 0, 0, 0, 4, 2, 0]


def test_overlap_is_on_bytes_and_on_the_place_in_the_word() -> None:
    source = gpt_like(["Ġthe", "the", "Ã", "©", "Ã©", "ĠÃ©", "%"], [])
    target = bert_like(["the", "##the", "##é", "é", "##Ã", "%", "##%"])
    table = build_table(source, target)
    assert row(table, target, source, "the") == ("overlap", {"Ġthe": 1.0})
    assert row(table, target, source, "##the") == ("overlap", {"the": 1.0})
    assert row(table, target, source, "##é") == ("overlap", {"Ã©": 1.0})
    assert row(table, target, source, "é") == ("overlap", {"ĠÃ©": 1.0})
    assert row(table, target, source, "##Ã")[0] != "overlap", "a letter, not the byte that is written like it"
    assert row(table, target, source, "##%") == ("overlap", {"%": 1.0})
    assert row(table, target, source, "%")[0] != "overlap", "the source has it inside words only"


def test_parts_of_a_character_overlap_only_with_the_same_part() -> None:
    source = gpt_like(["ä", "¸", "Ń", "ä¸"], [])
    target = gpt_like(["ä¸", "å", "ä"], [])
    table = build_table(source, target)
    assert row(table, target, source, "ä¸") == ("overlap", {"ä¸": 1.0})
    assert row(table, target, source, "ä") == ("overlap", {"ä": 1.0})
    assert row(table, target, source, "å") == ("fallback", {})


def test_a_fallback_byte_is_never_the_letter_of_that_value() -> None:
    source, target = bert_like(["a", "##a"]), llama_like(["<0x61>", "a", "▁a"])
    table = build_table(source, target)
    assert row(table, target, source, "<0x61>") == ("fallback", {})
    assert row(table, target, source, "a") == ("overlap", {"##a": 1.0})
    both = build_table(llama_like(["a", "<0x61>"]), target)
    assert row(both, target, llama_like(["a", "<0x61>"]), "<0x61>") == ("overlap", {"<0x61>": 1.0})


def test_composition_is_the_mean_of_the_pieces() -> None:
    source = bert_like(["foot", "##ball", "##er", "x", "##y", "##z"])
    target = bert_like(["footballer", "foot", "##foot", "xyz", "footé"])
    table = build_table(source, target)
    third = pytest.approx(1 / 3)
    assert row(table, target, source, "footballer") == ("composition", {"foot": third, "##ball": third, "##er": third})
    assert row(table, target, source, "##foot") == ("composition", {"foot": 1.0})
    assert row(table, target, source, "foot") == ("overlap", {"foot": 1.0})
    assert row(table, target, source, "xyz") == ("fallback", {}), "spelled letter by letter"
    assert row(table, target, source, "footé") == ("fallback", {}), "the source has to write the unknown token"


def test_a_piece_that_occurs_twice_weighs_twice() -> None:
    source = bert_like(["bon", "##bon", "##s"])
    target = bert_like(["bonbonbons", "bon"])
    table = build_table(source, target)
    assert row(table, target, source, "bonbonbons") == ("composition", {"bon": 0.25, "##bon": 0.5, "##s": 0.25})


def test_composition_starts_a_word_where_the_token_does() -> None:
    letters = [*"fotbal", "Ġ"]
    merges = ["f o", "fo o", "foo t", "Ġ foot", "b a", "ba l", "bal l"]
    source = gpt_like([*letters, *(merge.replace(" ", "") for merge in merges)], merges)
    target = bert_like(["football", "##football"])
    table = build_table(source, target)
    assert row(table, target, source, "football") == ("composition", {"Ġfoot": 0.5, "ball": 0.5})
    assert row(table, target, source, "##football") == ("composition", {"foot": 0.5, "ball": 0.5})


def test_nothing_known_is_fallback() -> None:
    source, target = bert_like(["a"]), bert_like(["слово"])
    table = build_table(source, target)
    assert row(table, target, source, "слово") == ("fallback", {})
    assert table.shares() == {"fallback": 0.2, "special": 0.8}


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


@pytest.mark.parametrize("evidence", ["bitext", "overlap"])
@pytest.mark.parametrize("kind", MODELS)
def test_the_same_language_grafted_onto_itself_changes_nothing(kind: str, evidence: str) -> None:
    tokenizer = tiny.TOKENIZERS[kind]()
    lines = tiny.english_lines()
    counts = bitext_counts([(line, line) for line in lines], tokenizer, tokenizer)[0] if evidence == "bitext" else None
    table = build_table(tokenizer, tokenizer, counts)
    assert (evidence == "bitext") == (table.shares().get("bitext", 0) > 0.3)
    source = from_transformers(MODELS[kind](tokenizer), tokenizer)
    grafted = graft(source, tokenizer, table)
    known = torch.from_numpy(table.provenance != Provenance.fallback)
    for line in tiny.english_lines(3, seed=1):
        batch = tokenizer(line, return_tensors="pt").input_ids
        with torch.inference_mode():
            before, after = source.model(batch).logits, grafted.model(batch).logits
        torch.testing.assert_close(after[..., known], before[..., known], atol=1e-5, rtol=0)


def test_words_find_their_translation() -> None:
    source = tiny.wordpiece_tokenizer(700)
    pairs = tiny.cipher_pairs(600)
    target = train_tokenizer(source, [xx for _, xx in pairs])
    table = build_table(source, target, bitext_counts(pairs, source, target)[0])
    vocabulary = source.get_vocab()
    translations = {tiny.cipher_word(word): vocabulary[word] for word in tiny.words() if word in vocabulary}
    whole = {word: index for word, index in target.get_vocab().items() if word in translations}
    found = [int(table.matrix[index].argmax()) == translations[word] for word, index in whole.items()]
    assert len(found) > 100
    assert np.mean(found) > 0.9


def test_pairs_with_a_long_side_are_left_out_and_counted(wordpiece: PreTrainedTokenizerFast) -> None:
    pairs = tiny.cipher_pairs(20)
    long = " ".join(line for line, _ in pairs)
    target = train_tokenizer(wordpiece, [xx for _, xx in pairs])
    settings = AlignerSettings(max_tokens=60)
    counts, left_out = bitext_counts([*pairs, (long, "é"), ("a", tiny.cipher(long))], wordpiece, target, settings)
    expected, none = bitext_counts(pairs, wordpiece, target, settings)
    assert (left_out, none) == (2, 0)
    assert (counts != expected).nnz == 0


def test_encoding_has_no_special_tokens_padding_or_truncation(any_tokenizer: PreTrainedTokenizerFast) -> None:
    any_tokenizer(["a"], padding="max_length", truncation=True, max_length=4)  # leaves both set in the backend
    lines = [tiny.english_lines(1)[0], "", "ba"]
    encoded = encode(any_tokenizer, lines)
    expected = [any_tokenizer(line, add_special_tokens=False).input_ids for line in lines]
    assert [encoded[k].tolist() for k in range(3)] == expected
    assert len(expected[0]) > 4
