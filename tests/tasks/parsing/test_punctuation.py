"""Punctuation marks hang where Universal Dependencies has them, and nowhere if too little is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees import random_tree

from lingraft.tasks.parsing.punctuation import attach_punctuation, is_punctuation
from lingraft.tasks.parsing.treebank import UNKNOWN


def attached(text: str, heads: str, deprels: str = "") -> list[int]:
    """Heads of a sentence whose marks have none yet; ``?`` is a head that is not known."""
    found = [UNKNOWN if head == "?" else int(head) for head in heads.split()]
    named = deprels.split() or ["dep" if head != UNKNOWN else "_" for head in found]
    before = list(found)
    attach_punctuation(found, named, text.split(), "punct")
    for form, old, new, deprel in zip(text.split(), before, found, named, strict=True):
        assert old == new or (is_punctuation(form) and deprel == "punct")
    return found


@pytest.mark.parametrize("mark", [*",.;:!?()[]«»“”\"'-–—…、。，؟،।¿", "``", "''", "...", "?!"])
def test_marks(mark):
    assert is_punctuation(mark)


@pytest.mark.parametrize("word", ["%", "&", "$", "+", "€", "1.5", "a", "#", "a.", "№", "·", "=", "5%"])
def test_words_and_symbols(word):
    assert not is_punctuation(word)


def test_the_last_marks_hang_on_the_root():
    assert attached("he came .", "2 0 ?") == [2, 0, 2]
    assert attached("he came ? !", "2 0 ? ?") == [2, 0, 2, 2]
    assert attached("he came .", "2 ? ?") == [2, UNKNOWN, UNKNOWN]


def test_a_comma_hangs_on_the_head_of_the_unit_that_it_separates():
    # behind: the conjunct, the relative clause
    assert attached("apples , red pears", "0 ? 4 1") == [0, 4, 4, 1]
    # before: the clause, or what it says
    assert attached("when he came , she left", "3 3 6 ? 6 0") == [3, 3, 6, 3, 6, 0]
    # on both sides: what follows
    assert attached("he , old , came", "5 ? 1 ? 0") == [5, 3, 1, 1, 0]


def test_a_comma_behind_a_clause_within_another_hangs_on_the_inner_one():
    # he said that, when she came, he left: the second comma
    text = "said that when came , left"
    assert attached(text, "0 6 4 6 ? 1") == [0, 6, 4, 6, 4, 1]


def test_a_mark_has_no_head_if_the_tree_does_not_tell():
    assert attached("apples , pears", "0 ? ?") == [0, UNKNOWN, UNKNOWN]
    assert attached("when came , she left", "2 ? ? 5 0") == [2, UNKNOWN, UNKNOWN, 5, 0]
    # both parts of the sentence are not known to belong together
    assert attached("he came , she left", "2 0 ? 5 ?") == [2, 0, UNKNOWN, 5, UNKNOWN]


def test_at_the_start_a_mark_hangs_on_what_follows():
    assert attached("— he came", "? 3 0") == [3, 3, 0]
    assert attached("— he came", "? 3 ?") == [UNKNOWN, 3, UNKNOWN]


def test_pairs_hang_on_the_head_of_what_is_between_them():
    assert attached("he said « old men » here", "2 0 ? 5 2 ? 2") == [2, 0, 5, 5, 2, 5, 2]
    assert attached('he said " old men " here', "2 0 ? 5 2 ? 2") == [2, 0, 5, 5, 2, 5, 2]
    assert attached("he ( ( old ) men ) left", "8 ? ? 6 ? 1 ? 0") == [8, 6, 4, 6, 4, 1, 6, 0]
    # the one that is known to hang on a word outside, or the only one
    assert attached("he said « men »", "2 0 ? ? ?") == [2, 0, 4, UNKNOWN, 4]
    assert attached("he said « old men »", "2 0 ? ? 2 ?") == [2, 0, 5, UNKNOWN, 2, 5]
    assert attached("he said « old men »", "2 0 ? ? ? ?") == [2, 0, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN]
    assert attached("er sagt » ja « nun", "2 0 ? 2 ? 2") == [2, 0, 4, 2, 4, 2]
    assert attached("he said « »", "2 0 ? ?") == [2, 0, UNKNOWN, UNKNOWN]


def test_what_is_never_closed_is_no_pair():
    assert attached("men ( old , left", "5 ? 1 ? 0") == [5, 3, 1, 1, 0]
    assert attached("« he ( left »", "? 4 ? 0 ?") == [4, 4, 2, 0, 4]


def test_a_dash_in_the_place_of_a_copula_hangs_on_the_predicate():
    athens = "Афины — древний город"
    assert attached(athens, "4 ? 4 0", "nsubj _ amod root") == [4, 4, 4, 0]
    assert attached(athens.replace("—", ","), "4 ? 4 0", "nsubj _ amod root") == [4, 1, 4, 0]
    assert attached(athens, "4 ? 4 0", "advcl _ amod root") == [4, 1, 4, 0]


def test_marks_alone_stay_as_they_are():
    assert attached(". , .", "? ? ?") == [UNKNOWN] * 3


@given(st.integers(1, 12), st.integers(0, 10_000), st.floats(0, 1))
def test_marks_hang_on_words_and_words_stay_where_they_are(n, seed, known):
    random = np.random.default_rng(seed)
    tree = random_tree(n, random)
    forms = [str(random.choice(["word", "word", ",", "(", ")", '"', "—"])) for _ in range(n)]
    marks = [is_punctuation(form) for form in forms]
    heads = [
        UNKNOWN if mark or (head and marks[head - 1]) or random.random() > known else head
        for head, mark in zip(tree, marks, strict=True)
    ]
    found, deprels = list(heads), ["_"] * n
    attach_punctuation(found, deprels, forms, "punct")
    for mark, before, head, deprel in zip(marks, heads, found, deprels, strict=True):
        assert head == before or mark
        assert (deprel == "punct") == (mark and head != UNKNOWN)
        assert head != 0 or not mark
        assert head <= 0 or not marks[head - 1]
