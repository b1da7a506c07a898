"""How close word alignments are to those that people made: precision, recall and alignment error rate.

Och & Ney (2003), "A Systematic Comparison of Various Statistical Alignment Models", section 5: a gold alignment has
links that are *sure* (S) and links that are merely *possible* (P, which includes S). For the links A of an aligner

    precision = |A & P| / |A|      recall = |A & S| / |S|      AER = 1 - (|A & S| + |A & P|) / (|A| + |S|)

with all numbers summed over the sentences. Lower AER is better; 0 is reached by any A between S and P.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ...corpus import read_lines
from ...errors import CorpusError, RecipeError

Link: TypeAlias = tuple[int, int]

_ITEM = re.compile(r"([0-9]{1,9})([-?])([0-9]{1,9})(?::(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)?")

#: random numbers drawn at once by the bootstrap
_DRAWS = 1 << 20


class SentenceLinks(NamedTuple):
    """Links (English position, foreign position) of one sentence pair; the possible ones do not repeat the sure."""

    sure: frozenset[Link]
    possible: frozenset[Link]


#: a file, or the links of every sentence pair
Hypothesis: TypeAlias = "str | PathLike[str] | Iterable[SentenceLinks | Iterable[Link]]"
#: a file, or the sure and the possible links of every sentence pair
Gold: TypeAlias = "str | PathLike[str] | Iterable[SentenceLinks | tuple[Iterable[Link], Iterable[Link]]]"


@dataclass(frozen=True)
class AlignmentScore:
    """Precision, recall and alignment error rate (AER), each in [0, 1], over so many sentence pairs."""

    precision: float
    recall: float
    aer: float
    sentences: int

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def read_alignment(path: str | PathLike[str]) -> list[SentenceLinks]:
    """Reads a file of alignments in Pharaoh format, one line for each sentence pair.

    A line holds links separated by white space, or nothing: ``i-j`` for a sure and ``i?j`` for a possible link of the
    English token i and the foreign token j, counted from 0. A link may end in ``:`` and its posterior, which is
    ignored. A link that is given as both is sure.

    Raises CorpusError when the file cannot be read or an item has another form, naming the line.
    """
    path = Path(path)
    lines = []
    for number, line in enumerate(read_lines(path), 1):
        links: dict[str, set[Link]] = {"-": set(), "?": set()}
        for item in line.split():
            match = _ITEM.fullmatch(item)
            if match is None:
                raise CorpusError(
                    f"'{path}': line {number} holds '{item[:40]}', which is no link; write links as i-j (sure) or i?j "
                    "(possible), positions counted from 0, separated by spaces."
                )
            links[match[2]].add((int(match[1]), int(match[3])))
        lines.append(SentenceLinks(frozenset(links["-"]), frozenset(links["?"] - links["-"])))
    return lines


def score_alignment(hypothesis: Hypothesis, gold: Gold) -> AlignmentScore:
    """Precision, recall and AER of an alignment; the formulas are in the module's docstring.

    hypothesis: name of a file that ``read_alignment`` understands, or for every sentence pair its links (English
    position, foreign position); where a file marks links as possible, they are links like all others. gold: name of a
    file, or for every sentence pair its sure and its possible links; whether the possible repeat the sure is
    indifferent. A link that is given twice counts once.

    Without links there is nothing to divide by: precision is 1 where the hypothesis has no link (none is wrong), recall
    is 1 where the gold has no sure link (none is missed), and AER is 0 where neither has one.

    Raises CorpusError when a file cannot be read, when both do not hold equally many sentence pairs, when they hold
    none, or when something given is no link.
    """
    counts = _counts(hypothesis, gold)
    predicted, sure, of_possible, of_sure = counts.sum(0).tolist()
    return AlignmentScore(
        precision=of_possible / predicted if predicted else 1.0,
        recall=of_sure / sure if sure else 1.0,
        aer=float(_error_rates(counts.sum(0, keepdims=True))[0]),
        sentences=len(counts),
    )


def bootstrap_interval(
    hypothesis: Hypothesis, gold: Gold, samples: int = 1000, seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """Confidence interval (low, high) of the AER: percentiles over samples of the sentence pairs with replacement.

    hypothesis, gold: as for ``score_alignment``, which says what is raised. samples: how many to draw, at least 1.
    seed: of the random numbers. level: share of the samples that lie inside, > 0 and < 1.

    Raises RecipeError for other values of samples and level.
    """
    if samples < 1:
        raise RecipeError(f"{samples} bootstrap samples were asked for; at least 1 is needed.")
    if not 0 < level < 1:
        raise RecipeError(f"the confidence level is {level}; it must lie between 0 and 1, as 0.95 does.")
    counts = _counts(hypothesis, gold)
    random = np.random.default_rng(seed)
    rates = np.empty(samples)
    block = max(1, _DRAWS // len(counts))
    for first in range(0, samples, block):
        drawn = random.integers(0, len(counts), (min(block, samples - first), len(counts)))
        rates[first : first + block] = _error_rates(np.stack([column[drawn].sum(1) for column in counts.T], 1))
    low, high = np.quantile(rates, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _error_rates(counts: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """AER of every row of counts, shape (rows, 4), columns as in `_counts`."""
    predicted, sure, of_possible, of_sure = counts.T
    total = predicted + sure
    return np.where(total > 0, 1 - (of_sure + of_possible) / np.maximum(total, 1), 0.0)


def _counts(hypothesis: Hypothesis, gold: Gold) -> np.ndarray[Any, Any]:
    """int64, shape (sentence pairs, 4): |A|, |S|, |A & P|, |A & S|."""
    ours, theirs = _predicted(hypothesis), _gold(gold)
    if len(ours) != len(theirs):
        raise CorpusError(
            f"{_name(hypothesis, 'the hypothesis')} has {len(ours):,} lines and {_name(gold, 'the gold alignment')} "
            f"has {len(theirs):,}; line k of both must be of the same sentence pair, and one without links is empty."
        )
    if not ours:
        raise CorpusError("there are no sentence pairs to score; at least one is needed.")
    rows = [(len(a), len(s), len(a & (s | p)), len(a & s)) for a, (s, p) in zip(ours, theirs, strict=True)]
    return np.array(rows, np.int64)


def _name(given: Hypothesis | Gold, otherwise: str) -> str:
    return f"'{given}'" if isinstance(given, (str, PathLike)) else otherwise


def _predicted(hypothesis: Hypothesis) -> list[frozenset[Link]]:
    """The links of every sentence pair of a hypothesis."""
    lines = read_alignment(hypothesis) if isinstance(hypothesis, (str, PathLike)) else hypothesis
    return [
        line.sure | line.possible if isinstance(line, SentenceLinks) else _links(line, f"sentence pair {number}")
        for number, line in enumerate(lines, 1)
    ]


def _gold(gold: Gold) -> list[SentenceLinks]:
    """Sure and possible links of every sentence pair of a gold alignment."""
    if isinstance(gold, (str, PathLike)):
        return read_alignment(gold)
    return [
        line if isinstance(line, SentenceLinks) else _sure_and_possible(line, f"sentence pair {number} of the gold")
        for number, line in enumerate(gold, 1)
    ]


def _sure_and_possible(line: Any, where: str) -> SentenceLinks:
    if not isinstance(line, (tuple, list)) or len(line) != 2:
        raise CorpusError(f"{where} is {str(line)[:60]}; two sets were expected, of its sure and its possible links.")
    return SentenceLinks(_links(line[0], where), _links(line[1], where))


def _links(line: Any, where: str) -> frozenset[Link]:
    """The links of one sentence pair; CorpusError for anything but pairs of whole numbers from 0 up."""
    try:
        links = frozenset((operator.index(i), operator.index(j)) for i, j in line)
    except (TypeError, ValueError):
        links = frozenset([(-1, -1)])
    if any(i < 0 or j < 0 for i, j in links):
        raise CorpusError(
            f"{where} is {str(line)[:60]}; links were expected, each a pair of whole numbers from 0 up (English "
            "position, foreign position)."
        )
    return links
