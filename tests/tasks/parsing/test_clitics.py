"""Arabic words taken apart by what else occurs in the text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lingraft.tasks.parsing.clitics import ArabicClitics

#: how often the words of a small text occur
TEXT = {
    "بيت": 9, "بيته": 2, "وبيته": 1, "وفي": 2, "في": 20, "فيه": 3, "وقت": 8, "قت": 1, "بعد": 9, "عد": 2, "بعدها": 1,
    "الكتاب": 5, "للكتاب": 2, "بالكتاب": 7, "يكتب": 4, "سيكتب": 2, "وسيكتب": 1, "مدرسة": 6, "مدرسته": 3, "على": 9,
    "عليها": 4, "هناك": 5, "هنا": 9, "ذلك": 9, "ذل": 9, "لذلك": 2, "كان": 9, "ان": 9, "رئيس": 4, "كرئيس": 1, "سنة": 9,
    "له": 7, "وله": 3, "بها": 4, "وبها": 1, "كل": 20, "كلها": 6, "لها": 30, "كلما": 4, "لما": 9, "لكن": 8, "ولكن": 4,
    "كن": 5, "لله": 3, "الله": 3, "نادر": 1, "ونادر": 1, "وليد": 9, "يد": 3, "والدين": 50, "الدين": 3, "ولي": 9,
    "لي": 4, "بي": 2, "وحده": 5, "حد": 9,
}  # fmt: skip


@pytest.fixture(scope="module")
def clitics() -> ArabicClitics:
    return ArabicClitics(word for word, times in TEXT.items() for _ in range(times))


@pytest.mark.parametrize(
    "parts",
    [
        "بيت ه", "و بيت ه", "و في", "في ه", "ل لكتاب", "ب الكتاب", "س يكتب", "و س يكتب", "مدرست ه", "علي ها",
        "ك رئيس", "ل ه", "و ل ه", "و ب ها", "و ب الكتاب", "ل ذلك", "و هناك",
        "بعد ها", "و لكن", "كل ها",  # not ب عد ها, و ل كن, ك ل ها: the most frequent stem decides
    ],
)  # fmt: skip
def test_conjunctions_prepositions_and_pronouns_come_apart(clitics, parts):
    assert clitics.cut(parts.replace(" ", "")) == parts.split()


@pytest.mark.parametrize(
    "word",
    [
        "وقت", "بعد", "سنة",  # what is left hardly occurs, or never
        "وليد", "والدين", "ولي", "وحده",  # it occurs, and less often than the whole word, or only without its pronoun
        "كان", "كلما",  # too few letters behind the preposition for "like", however frequent
        "ونادر",  # seen once, which shows nothing
        "هناك", "ذلك", "لله",  # known to be whole
        "الكتابه",  # a noun has its article or a pronoun
        "و", "house", "كتاب،", "وَفي", "وفـي", "12", "",
    ],
)  # fmt: skip
def test_other_words_stay_whole(clitics, word):
    assert clitics.cut(word) == [word]


@given(
    st.sampled_from(["", "و", "ف", "ب", "ل", "ك", "س", "ول", "وب", "فس"]),
    st.sampled_from([*TEXT, "لكتاب"]) | st.text("وفبلكسيتنأالهمةىكرئ", max_size=6),
    st.sampled_from(["", "ه", "ها", "هم", "هما", "نا", "ك", "كم", "ي"]),
)
def test_the_parts_are_the_word(clitics, before, stem, behind):
    word = before + stem + behind
    parts = clitics.cut(word)
    assert "".join(parts) == word
    assert all(parts) or word == ""
    assert len(parts) <= 4


def test_it_is_the_text_that_decides():
    assert ArabicClitics(["وقت"] * 3 + ["قت"] * 4).cut("وقت") == ["و", "قت"]


def test_a_part_has_a_space_behind_it_where_its_word_had_one(clitics):
    words = [("وبيته", True), ("في", False), (".", True)]
    assert clitics.apart(words) == [("و", False), ("بيت", False), ("ه", True), ("في", False), (".", True)]
