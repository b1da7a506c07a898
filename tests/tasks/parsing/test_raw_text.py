"""Text that is no treebank yet: tokenised, or raw."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lingraft.errors import CorpusError
from lingraft.tasks.parsing import read_conllu, read_text, split_words, write_conllu

SPLIT = {
    "The dog, I think, sleeps.": "The dog , I think , sleeps .",
    "don't  stop": "don't stop",
    "l’école d'été": "l’école d'été",
    "'quoted' dogs'": "' quoted ' dogs '",
    "3.14 or 10,000.5 at 10:30, no. 5.": "3.14 or 10,000.5 at 10:30 , no . 5 .",
    "a.b 1.b a,1 1'2": "a . b 1 . b a , 1 1 ' 2",
    "well-known (so-called)": "well - known ( so - called )",
    "wait... what?! --no": "wait ... what ? ! -- no",
    "col·lecció צה״ל": "col·lecció צה״ל",
    "हिन्दी में।": "हिन्दी में ।",
    "trường học": "trường học",
    "e\u0301te\u0301": "e\u0301te\u0301",
    "من‌خواهم": "من‌خواهم",
    "猫が好き。CD2枚": "猫 が 好 き 。 CD2 枚",
    "カメラを買う": "カメラ を 買 う",
    "ที่นี่": "ที่ นี่",
    "x²+y₂": "x² + y₂",
    "50% of $20": "50 % of $ 20",
    "❤️!": "❤️ !",
    "": "",
    " \t ": "",
}


@pytest.mark.parametrize("text", SPLIT)
def test_raw_text_is_split_into_words_and_punctuation(text):
    assert [word for word, _ in split_words(text)] == SPLIT[text].split()


@given(st.text(st.sampled_from("ab1٣'’.,:-!中の\u0e17\u0e35\u0301\u200d \t\u00a0\u2028")))
def test_nothing_but_white_space_is_lost(text):
    words = split_words(text)
    assert "".join(word for word, _ in words) == "".join(text.split())
    spaced = "".join(word + " " * space for word, space in words)
    assert spaced.split() == text.split()


def test_spaces_are_told(tmp_path):
    assert split_words("No, no ( yes )") == [
        ("No", False), (",", True), ("no", True), ("(", True), ("yes", True), (")", True)
    ]  # fmt: skip
    (tmp_path / "a.txt").write_text("Well, no.\n\n   \nYes  !\n", encoding="utf-8")
    write_conllu(read_text(tmp_path / "a.txt", tokenised=False), tmp_path / "a.conllu")
    assert (tmp_path / "a.conllu").read_text(encoding="utf-8") == (
        "# sent_id = 1\n# text = Well, no.\n"
        "1\tWell\t_\t_\t_\t_\t_\t_\t_\tSpaceAfter=No\n"
        "2\t,\t_\t_\t_\t_\t_\t_\t_\t_\n"
        "3\tno\t_\t_\t_\t_\t_\t_\t_\tSpaceAfter=No\n"
        "4\t.\t_\t_\t_\t_\t_\t_\t_\t_\n\n"
        "# sent_id = 2\n# text = Yes !\n"
        "1\tYes\t_\t_\t_\t_\t_\t_\t_\t_\n"
        "2\t!\t_\t_\t_\t_\t_\t_\t_\t_\n\n"
    )


def test_tokenised_text_keeps_its_words(tmp_path):
    (tmp_path / "a.txt").write_text("do n't stop-it .\n\u00a0a\u3000b \n", encoding="utf-8")
    first, second = read_text(tmp_path / "a.txt", tokenised=True)
    assert (first.forms, second.forms) == (("do", "n't", "stop-it", "."), ("a", "b"))
    assert first.lines[:2] == ("# sent_id = 1", "# text = do n't stop-it .")
    assert all(line.endswith("\t_") for line in first.lines[2:])
    write_conllu([first, second], tmp_path / "a.conllu")
    assert read_conllu(tmp_path / "a.conllu", trees=False) == [first, second]


def test_text_without_a_word_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("\n \n", encoding="utf-8")
    with pytest.raises(CorpusError, match="holds no word"):
        list(read_text(tmp_path / "a.txt", tokenised=False))
