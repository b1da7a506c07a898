"""What is known of a token by the tokens that it is a piece of."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from transformers import PreTrainedTokenizerFast

import tiny
from lingraft.evidence import Evidence, Provenance, bitext_counts, bitext_evidence, build_table
from lingraft.evidence.backoff import backoff_evidence, pieces_of
from lingraft.vocabulary import token_cuts, token_identities, train_tokenizer
from spelled import bert_like, row

TARGET = bert_like(["мойдом", "твойдом", "мой", "твой", "##дом", "дом", "щ"])
SOURCE = bert_like(["my", "your", "house", "home", "the"])


def counted(cells: dict[tuple[str, str], float]) -> Evidence:
    """Evidence of a bitext."""
    counts = sparse.dok_matrix((len(TARGET), len(SOURCE)))
    for (foreign, english), links in cells.items():
        counts[TARGET.convert_tokens_to_ids(foreign), SOURCE.convert_tokens_to_ids(english)] = links
    return Evidence.from_counts(Provenance.bitext, counts.tocsr())


def test_a_piece_that_was_never_seen_has_the_mean_of_its_wholes_each_with_one_vote() -> None:
    evidence = counted({("мойдом", "my"): 50.0, ("мойдом", "house"): 50.0, ("твойдом", "house"): 2.0})
    table = build_table(SOURCE, TARGET, [evidence])
    assert row(table, TARGET, SOURCE, "##дом") == ("backoff", {"my": pytest.approx(0.25), "house": pytest.approx(0.75)})
    assert row(table, TARGET, SOURCE, "твой") == ("backoff", {"house": pytest.approx(1.0)})
    assert row(table, TARGET, SOURCE, "дом") == ("fallback", {}), "it is a piece of nothing: another place in the word"
    assert row(table, TARGET, SOURCE, "щ") == ("fallback", {})
    assert table.evidence[TARGET.convert_tokens_to_ids("##дом")] == 0, "nothing was observed of it"
    assert table.evidence[TARGET.convert_tokens_to_ids("мойдом")] == pytest.approx(100.0)


def test_what_was_seen_of_a_piece_outweighs_its_wholes_by_its_links() -> None:
    """Three links to home, and one for all wholes together."""
    evidence = counted({("мойдом", "house"): 9.0, ("##дом", "home"): 3.0})
    table = build_table(SOURCE, TARGET, [evidence])
    wanted = {"home": pytest.approx(0.75), "house": pytest.approx(0.25)}
    assert row(table, TARGET, SOURCE, "##дом") == ("bitext", wanted)


def test_less_than_a_link_is_less_than_a_vote() -> None:
    evidence = counted({("мойдом", "my"): 0.25, ("твойдом", "house"): 7.0})
    table = build_table(SOURCE, TARGET, [evidence])
    assert row(table, TARGET, SOURCE, "##дом")[1] == {"my": pytest.approx(0.2), "house": pytest.approx(0.8)}


def test_spelling_alone_is_no_vote_and_a_token_that_the_source_has_needs_none() -> None:
    source = bert_like(["football", "foot", "##ball", "##er"])
    target = bert_like(["football", "footballer", "foot", "##baller", "##ball"])
    counts = sparse.csr_matrix((len(target), len(source)))
    assert "backoff" not in build_table(source, target, [Evidence.from_counts(Provenance.bitext, counts)]).shares()
    seen = sparse.dok_matrix(counts.shape)
    seen[target.convert_tokens_to_ids("football"), source.convert_tokens_to_ids("##er")] = 9.0
    table = build_table(source, target, [Evidence.from_counts(Provenance.bitext, seen.tocsr())])
    assert row(table, target, source, "foot") == ("overlap", {"foot": 1.0})
    assert row(table, target, source, "##ball") == ("overlap", {"##ball": 1.0})


def test_every_kind_of_tokenizer_by_brute_force(any_tokenizer: PreTrainedTokenizerFast) -> None:
    """Each token against every pair of other tokens whose bytes make it."""
    pairs = tiny.cipher_pairs(150)
    target = train_tokenizer(any_tokenizer, [xx for _, xx in pairs])
    evidence = bitext_evidence(bitext_counts(pairs, any_tokenizer, target)[0], any_tokenizer)
    found = backoff_evidence(target, np.ones(len(target), bool), evidence.matrix, evidence.strength)
    dense, votes = evidence.matrix.toarray(), np.minimum(evidence.strength, 1.0)
    wanted, number = np.zeros_like(dense), np.zeros(len(target))
    for whole, cuts in enumerate(brute_cuts(target)):
        for piece in {piece for pair in cuts for piece in pair}:
            wanted[piece] += votes[whole] * dense[whole]
            number[piece] += votes[whole]
    wanted /= np.maximum(number, 1e-12)[:, None]
    wanted[wanted < 0.003] = 0
    wanted /= np.maximum(wanted.sum(1), 1e-12)[:, None]
    assert number.sum() > 0
    np.testing.assert_allclose(found.strength, number, rtol=1e-9)
    np.testing.assert_allclose(found.matrix.toarray(), wanted, atol=1e-9)


def brute_cuts(tokenizer: PreTrainedTokenizerFast) -> list[list[tuple[int, int]]]:
    identities = token_identities(tokenizer)
    ends = "</w>" in tokenizer.backend_tokenizer.to_str()
    first: dict = {}
    for index, identity in enumerate(identities):
        if identity is not None:
            first.setdefault(identity, index)
    result = []
    for identity in identities:
        found = []
        for left, one in first.items():
            if identity is None or identity.lone_byte or left.lone_byte or not left.text:
                continue
            rest = identity.text[len(left.text) :]
            if not identity.text.startswith(left.text) or not rest or rest[0] & 0xC0 == 0x80:
                continue
            if left.starts_word != (identity.starts_word and not ends):
                continue
            right = identity._replace(text=rest, starts_word=identity.starts_word and ends)
            if right in first:
                found.append((one, first[right]))
        result.append(found)
    return result


def test_cuts_are_all_there_are(any_tokenizer: PreTrainedTokenizerFast) -> None:
    cuts = token_cuts(any_tokenizer)
    assert cuts.number.sum() > 50
    for token, wanted in enumerate(brute_cuts(any_tokenizer)):
        part = slice(cuts.first[token], cuts.first[token] + cuts.number[token])
        assert sorted(zip(cuts.left[part], cuts.right[part], strict=True)) == sorted(wanted)


def test_added_tokens_are_neither_cut_nor_pieces() -> None:
    tokenizer = bert_like(["мой", "##дом"])
    tokenizer.add_tokens(["мойдом", "твойдом", "твой"])
    assert token_cuts(tokenizer).number.sum() == 0


def test_pieces_of_what_is_known() -> None:
    known = np.zeros(len(TARGET), bool)
    known[TARGET.convert_tokens_to_ids("твойдом")] = True
    assert TARGET.convert_ids_to_tokens(np.flatnonzero(pieces_of(TARGET, known)).tolist()) == ["твой", "##дом"]
