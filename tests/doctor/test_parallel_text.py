from __future__ import annotations

import pytest

import tiny
from lingraft.doctor.parallel import parallel_findings
from lingraft.doctor.sampling import BLOCK
from lingraft.vocabulary import train_tokenizer


@pytest.fixture(scope="module")
def judged():
    """Looks at pairs: codes with severities, and what was measured."""
    source = tiny.wordpiece_tokenizer()
    target = train_tokenizer(source, [other for _, other in tiny.cipher_pairs(1200)])

    def judge(pairs):
        statistics: dict[str, float] = {}
        blocks = [k // BLOCK for k in range(len(pairs))]
        found = parallel_findings(pairs, blocks, source, target, "fr", "here", statistics)
        return {finding.code: finding.severity for finding in found}, statistics

    return judge


@pytest.fixture(scope="module")
def pairs():
    return tiny.cipher_pairs(1200)


def shifted(pairs, by):
    english, foreign = zip(*pairs, strict=True)
    return list(
        zip(english[:-by], foreign[by:], strict=True) if by > 0 else zip(english[-by:], foreign[:by], strict=True)
    )


def test_translations_agree(judged, pairs):
    found, statistics = judged(pairs)
    assert found == {}
    assert statistics["agreement"] > 0.9
    assert statistics["weakest_tenth"] > 0.8
    assert statistics["length_correlation"] > 0.9
    assert judged(pairs)[1]["agreement"] == statistics["agreement"]


@pytest.mark.parametrize("by", [-1, 1])
@pytest.mark.parametrize("number", [300, 1200])
def test_a_shift_by_one_line_is_found_with_its_direction(judged, pairs, by, number):
    found, statistics = judged(shifted(pairs[:number], by))
    assert found == {"shifted": "error"}
    assert abs(statistics["agreement"]) < 0.2
    assert statistics["agreement_shifted"] > 0.6


def test_the_direction_of_a_shift_is_told_right(pairs):
    source = tiny.wordpiece_tokenizer()
    target = train_tokenizer(source, [other for _, other in pairs])
    # the first foreign line is missing: line k of English goes with line k - 1
    given = shifted(pairs[:400], 1)
    blocks = [k // BLOCK for k in range(len(given))]
    (found,) = parallel_findings(given, blocks, source, target, "fr", "here", {})
    assert "line k of English goes with line k - 1" in found.found
    assert "first line of the English side" in found.advice


def test_a_shift_from_the_middle_on_is_found_with_its_place(judged, pairs):
    found, statistics = judged(pairs[:800] + shifted(pairs[800:], 1))
    assert found == {"partly-parallel": "warning"}
    assert statistics["weakest_tenth"] < 0.3


@pytest.mark.parametrize("number", [200, 1200])
def test_sentences_from_elsewhere_are_worthless(judged, pairs, number):
    other = [foreign for _, foreign in tiny.cipher_pairs(1200, seed=9)]
    found, statistics = judged([(one, other[k]) for k, (one, _) in enumerate(pairs[:number])])
    assert found == {"not-parallel": "error"}
    assert abs(statistics["agreement"]) < 0.2


def test_few_pairs_are_told_and_few_more_are_not(judged, pairs):
    assert judged(pairs[:50])[0] == {"few-pairs": "warning"}
    assert judged(pairs[:160])[0] == {}


def test_copies(judged, pairs):
    copied = [(one, one) if k % 4 == 0 else (one, other) for k, (one, other) in enumerate(pairs)]
    assert judged(copied)[0]["untranslated"] == "warning"
    assert judged([(one, one) for one, _ in pairs])[0]["untranslated"] == "error"


def test_numbers_are_compared(judged, pairs):
    numbered = [(f"{one} {k}", f"{other} {k}") for k, (one, other) in enumerate(pairs[:200])]
    statistics = judged(numbered)[1]
    assert statistics["same_numbers"] == 1
    assert statistics["same_numbers_control"] == 0
