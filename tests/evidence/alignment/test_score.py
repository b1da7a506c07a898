from __future__ import annotations

import gzip
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lingraft.errors import CorpusError, RecipeError
from lingraft.evidence.alignment import score as module
from lingraft.evidence.alignment.score import (
    AlignmentScore,
    SentenceLinks,
    bootstrap_interval,
    read_alignment,
    score_alignment,
)
from lingraft.evidence.alignment.symmetrize import Links

link_sets = st.frozensets(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=8)
#: per sentence pair: links of the aligner, sure links, possible links
scored = st.lists(st.tuples(link_sets, link_sets, link_sets), min_size=1, max_size=6)


def write(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


@given(scored)
def test_scores_are_those_of_the_definition(lines: list[tuple[frozenset, frozenset, frozenset]]) -> None:
    a = {(k, link) for k, (ours, _, _) in enumerate(lines) for link in ours}
    s = {(k, link) for k, (_, sure, _) in enumerate(lines) for link in sure}
    p = s | {(k, link) for k, (_, _, possible) in enumerate(lines) for link in possible}
    found = score_alignment([line[0] for line in lines], [line[1:] for line in lines])
    assert found.sentences == len(lines)
    assert found.precision == (float(Fraction(len(a & p), len(a))) if a else 1.0)
    assert found.recall == (float(Fraction(len(a & s), len(s))) if s else 1.0)
    error = 1 - Fraction(len(a & s) + len(a & p), len(a) + len(s)) if a or s else 0
    assert found.aer == pytest.approx(float(error), abs=1e-15)


@settings(deadline=None)  # writes files
@given(scored)
def test_files_and_lists_give_the_same(
    tmp_path_factory: pytest.TempPathFactory, lines: list[tuple[frozenset, frozenset, frozenset]]
) -> None:
    folder = tmp_path_factory.mktemp("scores")
    ours = write(folder / "ours", *(" ".join(f"{i}-{j}:0.5" for i, j in line[0]) for line in lines))
    gold = write(
        folder / "gold",
        *("\t".join([*(f"{i}-{j}" for i, j in sure), *(f"{i}?{j}" for i, j in p)]) for _, sure, p in lines),
    )
    expected = score_alignment([list(line[0]) for line in lines], [line[1:] for line in lines])
    assert score_alignment(ours, str(gold)) == expected
    assert score_alignment(read_alignment(ours), read_alignment(gold)) == expected
    assert read_alignment(gold) == [(sure, possible - sure) for _, sure, possible in lines]


def test_a_worked_example() -> None:
    # A = {00, 11, 21, 22}, S = {00, 11, 33}, P = S + {21}: |A & S| = 2, |A & P| = 3
    found = score_alignment([[(0, 0), (1, 1), (2, 1), (2, 2)]], [({(0, 0), (1, 1), (3, 3)}, {(2, 1)})])
    assert found == AlignmentScore(precision=0.75, recall=2 / 3, aer=1 - 5 / 7, sentences=1)
    assert found.as_dict() == {"precision": 0.75, "recall": 2 / 3, "aer": 1 - 5 / 7, "sentences": 1}


def test_anything_between_sure_and_possible_is_without_error() -> None:
    gold = [({(0, 0)}, {(0, 0), (1, 1), (2, 2)})]
    for ours in ([(0, 0)], [(0, 0), (2, 2)], [(0, 0), (1, 1), (2, 2), (0, 0)]):
        assert score_alignment([ours], gold) == AlignmentScore(1.0, 1.0, 0.0, 1)


def test_without_links_nothing_is_wrong_and_nothing_is_missed() -> None:
    assert score_alignment([[]], [(set(), set())]) == AlignmentScore(1.0, 1.0, 0.0, 1)
    assert score_alignment([[]], [({(0, 0)}, set())]) == AlignmentScore(1.0, 0.0, 1.0, 1)
    assert score_alignment([[(0, 0)]], [(set(), set())]) == AlignmentScore(0.0, 1.0, 1.0, 1)
    assert score_alignment([[(0, 0)]], [(set(), {(0, 0)})]) == AlignmentScore(1.0, 1.0, 0.0, 1)


def test_links_of_the_aligner_can_be_scored() -> None:
    links = Links(np.array([0, 1, 1]), np.array([2], np.uint16), np.array([0], np.uint16), np.array([0.5], np.float32))
    assert score_alignment(links, [({(2, 0)}, set()), (set(), set())]).aer == 0
    arrays = [np.array([[2, 0]]), np.empty((0, 2), np.int64)]
    assert score_alignment(arrays, iter([({(2, 0)}, set()), (set(), set())])).aer == 0


def test_reading(tmp_path: Path) -> None:
    path = write(tmp_path / "gold", "0-1  2?3\t4-5:0.25", "", "1?1 1-1 7-7:1 8-8:1e-05 9-9:.5")
    assert read_alignment(path) == [
        SentenceLinks(frozenset({(0, 1), (4, 5)}), frozenset({(2, 3)})),
        (set(), set()),
        ({(1, 1), (7, 7), (8, 8), (9, 9)}, set()),
    ]
    packed = tmp_path / "gold.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert read_alignment(packed) == read_alignment(str(path))


@pytest.mark.parametrize("item", ["1", "1-", "-1-2", "1-2-3", "a-b", "1:2", "0-0:", "0-0:x", "1-2,", "٣-٤", "1p2"])
def test_items_of_another_form_are_refused(tmp_path: Path, item: str) -> None:
    path = write(tmp_path / "gold", "0-0", f"0-0 {item} 1-1")
    with pytest.raises(CorpusError) as caught:
        read_alignment(path)
    assert str(path) in str(caught.value)
    assert f"line 2 holds '{item}'" in str(caught.value)


def test_different_numbers_of_lines_are_refused(tmp_path: Path) -> None:
    ours, gold = write(tmp_path / "ours", "0-0", "", ""), write(tmp_path / "gold", "0-0", "0-0")
    with pytest.raises(CorpusError, match=r"ours' has 3 lines and '.*gold' has 2"):
        score_alignment(ours, gold)
    with pytest.raises(CorpusError, match=r"ours' has 3 lines and the gold alignment has 1"):
        score_alignment(ours, [(set(), set())])
    with pytest.raises(CorpusError, match=r"the hypothesis has 1 lines and '.*gold' has 2"):
        bootstrap_interval([[]], gold)
    with pytest.raises(CorpusError, match="no sentence pairs"):
        score_alignment([], [])


@pytest.mark.parametrize("line", [[(0, -1)], [(0, 1, 2)], [0, 1], ["0-0"], "0-0", [(0.0, 1)], [("0", "1")], None, 3])
def test_things_that_are_no_links_are_refused(line: object) -> None:
    with pytest.raises(CorpusError, match=r"sentence pair 2 is .*; links were expected"):
        score_alignment([[], line], [(set(), set())] * 2)  # type: ignore[list-item]
    with pytest.raises(CorpusError, match=r"sentence pair 1 of the gold is .*; links were expected"):
        score_alignment([[]], [(set(), line)])  # type: ignore[list-item]


@pytest.mark.parametrize("line", [{(0, 0)}, [(0, 0)], [set(), set(), set()], None, "0-0"])
def test_gold_lines_have_two_sets(line: object) -> None:
    with pytest.raises(CorpusError, match="two sets were expected"):
        score_alignment([[]], [line])  # type: ignore[list-item]


def test_missing_and_empty_files(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="does not exist"):
        score_alignment(tmp_path / "none", [(set(), set())])
    (tmp_path / "empty").touch()
    with pytest.raises(CorpusError, match="is empty"):
        score_alignment([[]], tmp_path / "empty")


def random_lines(n: int) -> tuple[list, list]:
    random = np.random.default_rng(3)
    gold = [({(k, k) for k in range(random.integers(1, 9))}, {(0, 1)}) for _ in range(n)]
    ours = [{(i, j + int(random.random() < 0.3)) for i, j in sure} for sure, _ in gold]
    return ours, gold


def test_bootstrap_agrees_with_resampled_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, gold = random_lines(12)
    # every sample is drawn on its own, as a loop would
    monkeypatch.setattr(module, "_DRAWS", 1)
    random = np.random.default_rng(7)
    rates = []
    for _ in range(50):
        drawn = random.integers(0, 12, (1, 12))[0]
        rates.append(score_alignment([ours[k] for k in drawn], [gold[k] for k in drawn]).aer)
    expected = np.quantile(rates, [0.1, 0.9])
    np.testing.assert_allclose(bootstrap_interval(ours, gold, samples=50, seed=7, level=0.8), expected)


def test_bootstrap_interval_surrounds_the_score() -> None:
    ours, gold = random_lines(200)
    aer = score_alignment(ours, gold).aer
    low, high = bootstrap_interval(ours, gold)
    assert 0 < low < aer < high < 1
    assert bootstrap_interval(ours, gold) == (low, high) != bootstrap_interval(ours, gold, seed=1)
    narrow = bootstrap_interval(ours, gold, level=0.5)
    assert low < narrow[0] < narrow[1] < high
    # standard error of a ratio of sums (delta method), times the normal quantile
    counts = np.array(
        [[2 * len(a & s) + len(a & (p - s)), len(a) + len(s)] for a, (s, p) in zip(ours, gold, strict=True)]
    )
    residuals = counts[:, 0] - (1 - aer) * counts[:, 1]
    expected = 2 * 1.96 * np.sqrt((residuals**2).sum()) / counts[:, 1].sum()
    assert high - low == pytest.approx(expected, rel=0.15)


def test_bootstrap_of_nothing_and_of_one() -> None:
    assert bootstrap_interval([[]], [(set(), set())]) == (0.0, 0.0)
    assert bootstrap_interval([[(0, 0)]], [(set(), set())], samples=1) == (1.0, 1.0)
    with pytest.raises(RecipeError, match="at least 1"):
        bootstrap_interval([[]], [(set(), set())], samples=0)
    for level in (0.0, 1.0, float("nan")):
        with pytest.raises(RecipeError, match="between 0 and 1"):
            bootstrap_interval([[]], [(set(), set())], level=level)
