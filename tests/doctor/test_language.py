from __future__ import annotations

import pytest

from lingraft.corpus import read_lines
from lingraft.corpus.sample import sample_lines
from lingraft.doctor import language, scripts
from lingraft.evidence import BUILTIN, lexicon_text, read_lexicons

ENGLISH = [f"The old man opened the door and saw {k} children who were playing in the garden." for k in range(40)]
FRENCH = [f"Le vieil homme ouvrit la porte et vit {k} enfants qui jouaient dans le jardin." for k in range(40)]
RUSSIAN = [f"Старик открыл дверь и увидел {k} детей, которые играли в саду за домом." for k in range(40)]
CROATIAN = [f"Danas je lijep dan i {k} djece se igra u parku pored rijeke dok majke razgovaraju." for k in range(40)]
MALAY = [f"Hari ini cuaca sangat baik dan {k} orang kanak-kanak bermain di taman itu." for k in range(40)]
DANISH = [f"I dag er vejret godt, og {k} børn leger i parken ved floden, mens mødrene taler." for k in range(40)]
SIMPLIFIED = [f"今天天气很好，{k}个孩子在公园里玩，他们的妈妈们在旁边说话。" for k in range(40)]
TRADITIONAL = [f"今天天氣很好，{k}個孩子在公園裡玩，他們的媽媽們在旁邊說話。" for k in range(40)]


def codes(lines, tag):
    """Code and severity of what is found in lines that should be of a language, and what was measured."""
    statistics: dict[str, float] = {}
    found = language.language_findings(language.identify(lines, tag), tag, "here", statistics)
    if "error" not in [finding.severity for finding in found]:
        found += scripts.script_findings(lines, tag, "here", statistics)
    assert all(finding.language == tag and finding.where == "here" and finding.advice for finding in found)
    return {finding.code: finding.severity for finding in found}, statistics


@pytest.mark.parametrize(
    ("lines", "tag"),
    [(FRENCH, "fr"), (FRENCH, "fr-CA"), (RUSSIAN, "ru"), (SIMPLIFIED, "zh"), (SIMPLIFIED, "zh-CN"),
     (SIMPLIFIED, "cmn-Hans"), (TRADITIONAL, "zh-Hant"), (TRADITIONAL, "zh-TW"), (ENGLISH, "en"), (DANISH, "da")],
)  # fmt: skip
def test_text_in_its_language_is_nothing_to_speak_of(lines, tag):
    found, statistics = codes(lines, tag)
    assert found == {}
    assert statistics["own_language"] > 0.95


@pytest.mark.parametrize(
    ("lines", "tag"),
    [(CROATIAN, "hr"), (CROATIAN, "bs"), (CROATIAN, "sr-Latn"), (MALAY, "id"), (MALAY, "ms"), (DANISH, "nb"),
     (DANISH, "no")],
)  # fmt: skip
def test_close_languages_are_no_error(lines, tag):
    found, statistics = codes(lines, tag)
    assert set(found) <= {"close-language"}
    assert set(found.values()) <= {"info"}
    assert statistics["own_language"] > 0.95


def test_another_language_is_an_error_and_half_of_it_too():
    assert codes(RUSSIAN, "fr")[0] == {"language": "error"}
    mixed, statistics = codes(FRENCH + RUSSIAN, "fr")
    assert mixed["language"] == "error"
    assert statistics["own_language"] == pytest.approx(0.5, abs=0.1)
    assert codes(FRENCH + RUSSIAN[:12], "fr")[0]["language"] == "warning"


def test_english_as_target_and_some_english_lines():
    assert codes(ENGLISH, "fr")[0] == {"target-is-english": "error"}
    assert codes(FRENCH + ENGLISH[:9], "fr")[0] == {"much-english": "warning"}


def test_names_and_code_in_a_text_are_no_english():
    lines = [f"{line} https://example.org/{k} foo_bar(x={k})" for k, line in enumerate(RUSSIAN)]
    assert codes(lines, "ru")[0] == {}


def test_what_the_identifier_does_not_know_is_said_and_no_more():
    found, statistics = codes([f"ma bore la teki {k} sunu pela doro kimi lapo" for k in range(40)], "tlh")
    assert found == {"language-unknown": "info"}
    assert "own_language" not in statistics
    assert codes(ENGLISH, "tlh")[0] == {"target-is-english": "error"}


def test_hardly_any_text_is_no_reason_to_complain():
    assert codes(["Bonjour."], "fr")[0] == {"language-unclear": "info"}


def test_short_lines_are_read_together():
    words = " ".join(FRENCH[:20]).split()
    assert codes(words, "fr")[0] == {}
    assert codes(" ".join(RUSSIAN[:20]).split(), "fr")[0] == {"language": "error"}


def test_the_words_of_a_lexicon_are_of_their_language():
    lines = list(sample_lines(lexicon_text(read_lexicons([BUILTIN], "hi"), tokens=5_000), 20_000))
    assert codes(lines, "hi")[0] == {}


def test_the_two_ways_of_writing_chinese():
    assert codes(SIMPLIFIED, "zh-Hant")[0] == {"han-characters": "warning"}
    assert codes(TRADITIONAL, "zh-Hans")[0] == {"han-characters": "warning"}
    assert codes(TRADITIONAL, "zh-CN")[0] == {"han-characters": "warning"}
    # the bare tag says nothing of it
    assert codes(TRADITIONAL, "zh")[0] == {"han-characters": "info"}
    assert codes(SIMPLIFIED + TRADITIONAL, "zh-Hant")[1]["other_han"] == pytest.approx(0.5, abs=0.05)


def test_scripts():
    assert "script" in codes(CROATIAN, "sr-Cyrl")[0]
    assert "script" not in codes(CROATIAN, "sr-Latn")[0]
    mixed = [f"{line} {other[:20]}" for line, other in zip(FRENCH, RUSSIAN, strict=True)]
    assert codes(mixed, "fr")[0]["mixed-scripts"] == "warning"


def test_an_english_side_in_another_language():
    statistics: dict[str, float] = {}
    (found,) = language.english_findings(language.identify(FRENCH, "en"), "here", "fr", statistics)
    assert (found.code, found.severity) == ("english-side", "error")
    assert language.english_findings(language.identify(ENGLISH, "en"), "here", "fr", statistics) == []


def test_the_chinese_characters_are_pairs():
    assert len(scripts._SIMPLIFIED) == len(scripts._TRADITIONAL)
    assert not any(one == other for one, other in zip(scripts._SIMPLIFIED, scripts._TRADITIONAL, strict=True))


def test_reading_lines_is_what_the_identifier_sees(tmp_path):
    path = tmp_path / "text"
    path.write_text("".join(line + "\n" for line in FRENCH), encoding="utf-8")
    assert codes(list(read_lines(path)), "fr")[0] == {}
