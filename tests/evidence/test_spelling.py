"""What the writing of a token says of it: overlap and composition."""

from __future__ import annotations

import pytest

from lingraft.evidence import build_table
from lingraft.evidence.spelling import CERTAIN, STRANGE, main_script, spelling_evidence
from spelled import bert_like, gpt_like, llama_like, row


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


def test_only_words_in_letters_of_the_target_language_may_be_false_friends() -> None:
    source = bert_like(["chat", "42", "!", "##ing", "été"])
    french = bert_like(["chat", "42", "!", "##ing", "maison"])
    assert spelling_evidence(source, french)[0].strength[4:].tolist() == [1, CERTAIN, CERTAIN, 1, 0]
    russian = bert_like(["chat", "42", "дом", "рука", "голова"])
    assert spelling_evidence(source, russian)[0].strength[4:].tolist() == [CERTAIN, CERTAIN, 0, 0, 0]


def test_letters_that_the_source_only_happens_to_have_count_next_to_nothing() -> None:
    source = bert_like(["house", "garden", "д", "中", "42"])
    russian, chinese = bert_like(["д", "дом", "голова", "42", "中"]), bert_like(["中", "文", "house", "42", "龍"])
    assert spelling_evidence(source, russian)[0].strength[4:].tolist() == [STRANGE, 0, 0, CERTAIN, CERTAIN]
    assert spelling_evidence(source, chinese)[0].strength[4:].tolist() == [STRANGE, 0, CERTAIN, CERTAIN, 0]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [(["ab", "ц"], "LATIN"), (["12", "ий", "!"], "CYRILLIC"), (["漢字", "a"], "CJK"), (["1", ""], None), ([], None)],
)
def test_the_script_is_that_of_most_letters(texts: list[str], expected: str | None) -> None:
    assert main_script(texts) == expected
