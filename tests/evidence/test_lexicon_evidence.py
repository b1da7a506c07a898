"""Lexicons as evidence: against a direct loop, on words whose translation is known, and the wrong way round."""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

import tiny
from lingraft.errors import CorpusError
from lingraft.evidence import Provenance, check_direction, lexicon_counts, lexicon_evidence
from lingraft.evidence.alignment import Lexicon
from lingraft.evidence.lexicon import entry_weights
from lingraft.vocabulary import all_special_ids, train_tokenizer
from spelled import bert_like, gpt_like

NAN = math.nan


def lexicon(*entries: tuple) -> Lexicon:
    """English, foreign, and perhaps p(English | foreign), p(foreign | English), count."""
    rows = [(*entry, NAN, NAN, NAN)[:5] for entry in entries]
    english, foreign, *numbers = zip(*rows, strict=True) if rows else ((), (), (), (), ())
    return Lexicon(list(english), list(foreign), *(np.array(column, np.float32) for column in numbers))


def counted(*entries: tuple[str, str, float]) -> Lexicon:
    return lexicon(*((one, other, NAN, NAN, count) for one, other, count in entries))


def cipher_lexicon() -> Lexicon:
    return counted(*((word, tiny.cipher_word(word), 1000 / (k + 1)) for k, word in enumerate(tiny.words())))


def cipher_tokenizer(source: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    return train_tokenizer(source, [xx for _, xx in tiny.cipher_pairs()])


def cells(found, target, source) -> dict[tuple[str, str], float]:
    """(target token, source token) to its count."""
    table = found.tocoo()
    return {
        (target.convert_ids_to_tokens(int(row)), source.convert_ids_to_tokens(int(column))): float(count)
        for row, column, count in zip(table.row, table.col, table.data, strict=True)
    }


def pieces(tokenizer, text: str, before: str) -> list[int]:
    """The ids of a text, without what stands before it."""
    encoded = tokenizer(before + text, add_special_tokens=False, return_offsets_mapping=True)
    ids = list(encoded["input_ids"])
    if before == "1":
        ids = [index for index, (start, end) in zip(ids, encoded["offset_mapping"], strict=True) if start > 0]
    empty = {tokenizer.convert_tokens_to_ids(token) for token in ("Ġ", "▁")}
    return [] if all_special_ids(tokenizer).intersection(ids) else [index for index in ids if index not in empty]


def in_loops(entries: list[tuple[str, str, float]], source, target, kind: str, iterations: int = 4) -> dict:
    """The same counts as `lexicon_counts`, written as the loops that its docstring describes."""
    space = " " if kind == "bytebpe" else ""
    links = []
    occurrences = defaultdict(float)
    for one, other, weight in entries:
        big = other[:1].upper() + other[1:]
        capitalised = 0.1 if big != other else 0.0
        forms = [
            (one, other, space, 0.9 - capitalised),
            (one, other, "1" if kind != "wordpiece" else "", 0.1),
            (one[:1].upper() + one[1:], big, space, capitalised),
        ]
        written = [(pieces(source, e, space), pieces(target, f, before), share) for e, f, before, share in forms]
        # what cannot be written in another form is written in the first
        e, f, share = written[0]
        written[0] = (e, f, share + sum(share for e, f, share in written[1:] if not (e and f)))
        for e, f, share in written:
            if e and f and share:
                links.append((e, f, weight * share))
                for index in f:
                    occurrences[index] += weight * share
    counts = defaultdict(float)
    for e, f, weight in links:
        for i, column in enumerate(e):
            for j, row in enumerate(f):
                over = min((i + 1) / len(e), (j + 1) / len(f)) - max(i / len(e), j / len(f))
                counts[row, column] += weight * max(0.0, over) * len(f)
    for _ in range(iterations):
        of_row, of_column, new = defaultdict(float), defaultdict(float), defaultdict(float)
        for (row, column), count in counts.items():
            of_row[row] += count
            of_column[column] += count
        for e, f, weight in links:
            for row in f:
                for column in e:
                    # an English piece chooses among the foreign ones, a foreign piece among the English
                    one = counts[row, column] / of_row[row] / sum(counts[other, column] / of_row[other] for other in f)
                    two = counts[row, column] / of_column[column]
                    two /= sum(counts[row, other] / of_column[other] for other in e)
                    new[row, column] += weight * (one + two) / 2
        counts = new
    total = defaultdict(float)
    for (row, _), count in counts.items():
        total[row] += count
    return {
        (target.convert_ids_to_tokens(row), source.convert_ids_to_tokens(column)): count * occurrences[row] / total[row]
        for (row, column), count in counts.items()
        if count > 0
    }


@pytest.mark.parametrize("kind", sorted(tiny.TOKENIZERS))
def test_the_counts_are_those_of_direct_loops(kind: str) -> None:
    """Words of several pieces, phrases, many-to-many entries, repeated entries, names."""
    source = tiny.TOKENIZERS[kind]()
    target = cipher_tokenizer(source)
    words = tiny.words()
    entries = [(word, tiny.cipher_word(word), 7 / (k + 1)) for k, word in enumerate(words[:60])]
    entries += [(words[k], tiny.cipher_word(words[k + 3]), 0.25) for k in range(0, 40, 3)]
    entries += [(f"{words[k]} {words[k + 9]}", tiny.cipher_word(words[k + 1]), 1.5) for k in range(0, 20, 4)]
    entries += [(words[k], tiny.cipher(f"{words[k + 2]} {words[k]}"), 2.0) for k in range(0, 20, 5)]
    entries += entries[:2]
    entries += [("Bado", "Zéñî", 3.0)]
    found = cells(lexicon_counts(counted(*entries), source, target), target, source)
    expected = in_loops(entries, source, target, kind)
    assert found.keys() == expected.keys()
    for cell, count in expected.items():
        assert found[cell] == pytest.approx(count, rel=1e-5), cell


def test_a_word_of_one_piece_is_what_its_entries_say() -> None:
    source, target = bert_like(["house", "home", "cat"]), bert_like(["maison", "chat", "foyer"])
    found = lexicon_evidence(
        counted(("house", "maison", 6), ("home", "maison", 2), ("cat", "chat", 5), ("home", "foyer", 1)), source, target
    )
    assert found.kind == Provenance.lexicon
    assert found.strength.tolist() == [0, 0, 0, 0, 8, 5, 1]
    assert cells(found.matrix, target, source) == {
        ("maison", "house"): 0.75, ("maison", "home"): 0.25, ("chat", "cat"): 1, ("foyer", "home"): 1,
    }  # fmt: skip


def test_pieces_find_their_translation_over_all_entries() -> None:
    """Within "foreign policy" : "politique étrangère" position says the opposite of the truth."""
    source = bert_like(["foreign", "policy", "city"])
    target = bert_like(["politique", "étrangère", "ville"])
    both = ("foreign policy", "politique étrangère", 3)
    found = cells(
        lexicon_counts(
            counted(both, ("policy", "politique", 9), ("foreign", "étrangère", 9), ("city", "ville", 2)), source, target
        ),
        target,
        source,
    )
    assert found["politique", "policy"] > 20 * found.get(("politique", "foreign"), 0)
    assert found["étrangère", "foreign"] > 20 * found.get(("étrangère", "policy"), 0)
    assert found["ville", "city"] == pytest.approx(2)


@pytest.mark.parametrize("kind", sorted(tiny.TOKENIZERS))
def test_every_word_of_a_cipher_is_found(kind: str) -> None:
    """What is one token on both sides stands for its translation before anything else."""
    source = tiny.TOKENIZERS[kind]()
    target = cipher_tokenizer(source)
    matrix = lexicon_evidence(cipher_lexicon(), source, target).matrix
    space = " " if kind == "bytebpe" else ""
    checked = 0
    for word in tiny.words():
        one, other = pieces(source, word, space), pieces(target, tiny.cipher_word(word), space)
        if len(one) == len(other) == 1 and len(word) > 2:
            assert matrix[other[0]].argmax() == one[0], word
            checked += 1
    assert checked > 3


def test_a_row_is_normalised_and_its_strength_the_occurrences(any_tokenizer: PreTrainedTokenizerFast) -> None:
    target = cipher_tokenizer(any_tokenizer)
    found = lexicon_evidence(cipher_lexicon(), any_tokenizer, target)
    assert found.matrix.shape == (len(target), len(any_tokenizer))
    sums = np.asarray(found.matrix.sum(1)).ravel()
    np.testing.assert_allclose(sums, found.known, atol=1e-12)
    assert not found.known[sorted(all_special_ids(target))].any()
    assert not found.matrix[:, sorted(all_special_ids(any_tokenizer))].nnz
    assert found.known.mean() > 0.3


def test_words_stand_behind_a_space_and_in_small_shares_elsewhere() -> None:
    source = gpt_like(["Ġ", "t", "h", "Ġt", "Ġth", "T", "ĠT", "ĠTh"], ["Ġ t", "Ġt h", "Ġ T", "ĠT h"])
    target = gpt_like(["Ġ", "l", "a", "Ġl", "Ġla", "la", "L", "ĠL", "ĠLa", "1"],
                      ["Ġ l", "l a", "Ġl a", "Ġ la", "Ġ L", "ĠL a"])  # fmt: skip
    found = cells(lexicon_counts(counted(("th", "la", 10)), source, target), target, source)
    assert found == {
        ("Ġla", "Ġth"): pytest.approx(8),
        ("la", "Ġth"): pytest.approx(1),
        ("ĠLa", "ĠTh"): pytest.approx(1),
    }


def test_scripts_without_spaces_stand_without() -> None:
    """The bytes of one Han character and of Ġ; the rare one behind a space loses that space."""
    source = gpt_like(["Ġ", "m", "e", "Ġm", "Ġme"], ["Ġ m", "Ġm e"])
    target = gpt_like(["Ġ", "æ", "Ī", "ĳ", "æĪ", "æĪĳ", "1"], ["æ Ī", "æĪ ĳ"])
    found = cells(lexicon_counts(counted(("me", "我", 10)), source, target), target, source)
    assert found == {("æĪĳ", "Ġme"): pytest.approx(10)}


def test_without_counts_and_probabilities_the_vocabulary_says_which_sense_is_common() -> None:
    """The source's tokens are numbered by frequency; "rare" has none, and is as rare as can be."""
    source = bert_like(["the", "her", "ra", "##re"])
    words = lexicon(("the", "la"), ("her", "la"), ("her", "sa"), ("rare", "sa"))
    # ranks 0, 1, and behind the three that begin words; two translations of "her" share it
    the, her, rare = 1 / 3, 1 / 4, 1 / 6
    expected = np.array([the, her / 2, her / 2, rare])
    np.testing.assert_allclose(entry_weights(words, source), 4 * expected / expected.sum(), rtol=1e-6)


def test_probabilities_are_weighed_by_how_frequent_the_words_are() -> None:
    source = bert_like(["the", "her"])
    the, her = 1 / 3, 1 / 4
    given_english = lexicon(("the", "la", NAN, 0.8), ("her", "la", NAN, 0.5), ("her", "sa", NAN, 0.5))
    expected = np.array([0.8 * the, 0.5 * her, 0.5 * her])
    np.testing.assert_allclose(entry_weights(given_english, source), 3 * expected / expected.sum(), rtol=1e-6)
    both = lexicon(("the", "la", 0.7, 0.8), ("her", "la", 0.3, 0.5), ("her", "sa", 1.0, 0.5))
    la, sa = 0.8 * the + 0.5 * her, 0.5 * her
    expected = np.array([0.7 * la, 0.3 * la, sa])
    np.testing.assert_allclose(entry_weights(both, source), 3 * expected / expected.sum(), rtol=1e-6)


def test_counts_go_before_probabilities_and_the_rest_counts_one_an_entry() -> None:
    source = bert_like(["the", "her"])
    mixed = lexicon(("the", "la", 0.1, 0.1, 40), ("her", "la", 0.9, 0.9, 0), ("her", "sa"), ("the", "sa"))
    weights = entry_weights(mixed, source)
    assert weights[:2].tolist() == [40, 0]
    assert weights[2:].sum() == pytest.approx(2)


def test_what_cannot_be_written_and_what_is_no_word_is_passed_over() -> None:
    source, target = bert_like(["house", "cat"]), bert_like(["maison", "chat", "é", "##é"])
    found = lexicon_counts(
        counted(("house", "maison", 2), ("dog", "chat", 5), ("cat", "chien", 5), ("cat", "é" * 33, 5), ("", "chat", 1),
                ("cat", "chat", 0)),
        source, target,
    )  # fmt: skip
    assert cells(found, target, source) == {("maison", "house"): 2}
    assert found.shape == (len(target), len(source))


def test_a_lexicon_of_nothing_known_is_no_evidence() -> None:
    source, target = bert_like(["house"]), bert_like(["maison"])
    for nothing in (lexicon(), lexicon(("dog", "chien")), counted(("house", "maison", 0))):
        found = lexicon_evidence(nothing, source, target)
        assert found.matrix.shape == (5, 5)
        assert not found.known.any()


@settings(max_examples=25)
@given(
    st.lists(
        st.tuples(
            st.text("abé我 '", max_size=6), st.text("abé我 '", max_size=6),
            *3 * [st.sampled_from([0.0, 1e-30, 0.5, 1.0, NAN])],
        ),
        max_size=6,
    )
)  # fmt: skip
def test_any_lexicon_gives_finite_rows(entries: list[tuple]) -> None:
    source, target = tiny.bytebpe_tokenizer(), tiny.unigram_tokenizer()
    found = lexicon_evidence(lexicon(*entries), source, target)
    assert np.isfinite(found.matrix.data).all()
    assert (found.matrix.data >= 0).all()
    assert np.isfinite(found.strength).all()
    np.testing.assert_allclose(np.asarray(found.matrix.sum(1)).ravel(), found.known, atol=1e-9)


def test_the_wrong_way_round_is_refused(any_tokenizer: PreTrainedTokenizerFast) -> None:
    right = cipher_lexicon()
    check_direction(right, any_tokenizer)
    wrong = Lexicon(right.foreign, right.english, *3 * [right.count])
    message = r"Lexicon 'my\.tsv' seems to be the wrong way round: 0 % .*, and \d+ % in its second\..* change them over"
    with pytest.raises(CorpusError, match=message):
        lexicon_evidence(wrong, any_tokenizer, cipher_tokenizer(any_tokenizer), "Lexicon 'my.tsv'")


def test_few_words_and_words_in_common_show_no_direction(wordpiece: PreTrainedTokenizerFast) -> None:
    words = tiny.words()
    few = [(tiny.cipher_word(word), word) for word in words[:19]]
    check_direction(lexicon(*few), wordpiece)
    check_direction(lexicon(*((word, word) for word in words)), wordpiece)
    # English words that are rarer than the vocabulary, their translations hardly less so
    check_direction(lexicon(*((word + "x", word if k < 5 else word + "y") for k, word in enumerate(words))), wordpiece)
