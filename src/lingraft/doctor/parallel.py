"""Whether the lines of a bitext translate each other, and whether they stand opposite each other.

The aligner learns translations from every second block of the sample and says how likely the foreign sentences of the
others are, given the English sentence beside them and, as a control, given one from elsewhere of about the same length.
*Agreement* is how much more often the sentence beside it wins than loses, from -1 to 1: a bitext that is shifted or
shuffled has 0, and a clean one nearly 1. What is judged was never learnt from, so no pair speaks for itself.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from transformers import PreTrainedTokenizerBase

from ..corpus import TokenSequences
from ..evidence import encode
from ..evidence.alignment import Training
from ..evidence.alignment.settings import FOR_TABLES
from .findings import Finding, percent
from .sampling import spread

Array = np.ndarray[Any, Any]

#: agreement below which the bitext is said to be weak, and below which it is worthless
WARNING, ERROR = 0.5, 0.2
#: the same for fewer pairs than `_FEW`, from which little can be learnt
FEW_WARNING, FEW_ERROR = 0.25, 0.1
#: how much larger the agreement with a neighbouring line must be for a bitext to count as shifted
SHIFT = 0.15
#: agreement of a tenth of the bitext, as a share of the best tenth's, below which that tenth is told
SECTION = 0.4
#: share of pairs with the same text on both sides from which on it is told
COPIED = 0.15

#: pairs that are looked at; with fewer than the last number nothing is said
_PAIRS, _FEW, _FEWEST = 4000, 500, 100
_CONTROLS = 4
#: share of the unigram distribution in the probability of a token
_UNIGRAM = 0.1
_NUMBER = re.compile(r"\d+")
_SECTIONS = 10


@dataclass(frozen=True)
class Agreement:
    """agreement: as above. sections: that of each tenth of the sample, in the order of the text. pairs: judged."""

    agreement: float
    sections: tuple[float, ...]
    pairs: int


def parallel_findings(
    pairs: Sequence[tuple[str, str]], blocks: Sequence[int], source: PreTrainedTokenizerBase,
    target: PreTrainedTokenizerBase, language: str, where: str, statistics: dict[str, float],
) -> list[Finding]:  # fmt: skip
    """Whether sentence pairs, in blocks of neighbours, are translations; puts what was measured into ``statistics``."""
    chosen = _evenly(pairs, blocks)
    pairs, numbers = [pairs[k] for k in chosen], np.array([blocks[k] for k in chosen])
    found = _copies(pairs, language, where, statistics)
    if len(pairs) < _FEWEST:
        return [
            *found,
            Finding(
                "few-pairs", "warning", f"{len(pairs)} sentence pairs are too few to tell whether they are parallel, "
                "and to learn from", "Give more sentence pairs, or a dictionary beside them (--lexicon).", language,
                where, {"pairs": len(pairs), "threshold": _FEWEST},
            ),
        ]  # fmt: skip
    english, foreign = encode(source, [pair[0] for pair in pairs]), encode(target, [pair[1] for pair in pairs])
    judge = _Judge(english, foreign, numbers, len(source), len(target))
    began = time.perf_counter()
    straight = judge.agreement(0)
    statistics |= {
        "agreement": straight.agreement, "length_correlation": _length_correlation(pairs),
        **_number_agreement(pairs), "pairs_judged": straight.pairs,
    }  # fmt: skip
    statistics["weakest_tenth"] = min(straight.sections, default=straight.agreement)
    few = len(pairs) < _FEW
    warning, error = (FEW_WARNING, FEW_ERROR) if few else (WARNING, ERROR)
    measures = {"agreement": straight.agreement, "threshold": warning}
    told = (
        f"agreement {straight.agreement:.2f} of at most 1, where a clean bitext has 0.8 or more and a shuffled one 0; "
        f"correlation of lengths {statistics['length_correlation']:.2f}"
    )
    if straight.agreement < max(warning, 1.2 * WARNING):
        shifted = {offset: judge.agreement(offset).agreement for offset in (-1, 1)}
        best = max(shifted, key=lambda offset: shifted[offset])
        statistics["agreement_shifted"] = shifted[best]
        if shifted[best] > straight.agreement + SHIFT and shifted[best] >= warning:
            line = "k + 1" if best > 0 else "k - 1"
            found.append(
                Finding(
                    "shifted", "error",
                    f"the sides are shifted: line k of English goes with line {line} of '{language}' "
                    f"(agreement {shifted[best]:.2f}), not with line k ({straight.agreement:.2f})",
                    "Find the line that one side lacks, usually the first or a title, and put the sides opposite each "
                    f"other: drop the first line of {'the foreign' if best > 0 else 'the English'} side and the last "
                    "one of the other.",
                    language, where, measures | {"shifted": shifted[best]},
                )
            )  # fmt: skip
            statistics["seconds_aligning"] = time.perf_counter() - began
            return found
    statistics["seconds_aligning"] = time.perf_counter() - began
    weak = _weak_tenths(straight, warning) if not few else []
    if weak:
        listed = ", ".join(f"{10 * k}-{10 * k + 10} % (agreement {straight.sections[k]:.2f})" for k in weak)
        found.append(
            Finding(
                "partly-parallel", "warning", f"a part of the bitext does not translate: {listed} of its lines",
                "Look at that part; from a missing line on, all lines behind it are shifted.", language, where,
                measures | {"weakest_tenth": min(straight.sections), "threshold_tenth": SECTION},
            )
        )  # fmt: skip
    elif straight.agreement < warning:
        worthless = straight.agreement < error
        found.append(
            Finding(
                "not-parallel", "error" if worthless else "warning",
                f"the lines {'do not translate' if worthless else 'often do not translate'} each other: {told}",
                "Look at some pairs: line k of one side must be the translation of line k of the other. Sentence-align "
                "the texts anew, or leave out the pairs that do not belong together.",
                language, where, measures,
            )
        )  # fmt: skip
    return found


def _weak_tenths(straight: Agreement, warning: float) -> list[int]:
    """The tenths of a bitext that agree far less than the best one, where that one is a bitext."""
    best = max(straight.sections, default=0.0)
    if len(straight.sections) < _SECTIONS or best < warning:
        return []
    return [k for k, value in enumerate(straight.sections) if value < SECTION * best]


def _evenly(pairs: Sequence[tuple[str, str]], blocks: Sequence[int]) -> list[int]:
    """Places of at most `_PAIRS` pairs with two sides, whole blocks at even distances."""
    filled = [k for k, pair in enumerate(pairs) if all(side.strip() for side in pair)]
    chosen = spread([blocks[k] for k in filled], _PAIRS)
    return [k for k in filled if blocks[k] in chosen]


def _copies(pairs: Sequence[tuple[str, str]], language: str, where: str, statistics: dict[str, float]) -> list[Finding]:
    """Pairs whose sides are the same text."""
    worded = [(one, other) for one, other in pairs if sum(map(str.isalpha, one)) > 3]
    share = sum(one.strip() == other.strip() for one, other in worded) / max(1, len(worded))
    statistics["copied"] = share
    if share < COPIED:
        return []
    return [
        Finding(
            "untranslated", "error" if share > 0.8 else "warning",
            f"{percent(share)} of the pairs have the same text on both sides", "Leave these pairs out: they teach that "
            f"English is '{language}'.", language, where, {"share": share, "threshold": COPIED},
        )
    ]  # fmt: skip


def _length_correlation(pairs: Sequence[tuple[str, str]]) -> float:
    """Pearson's correlation of the logarithms of the lengths in characters; 0 where all are equally long."""
    lengths = np.log([[max(1, len(side)) for side in pair] for pair in pairs])
    if (lengths.std(0) < 1e-9).any():
        return 0.0
    return float(np.corrcoef(lengths.T)[0, 1])


def _number_agreement(pairs: Sequence[tuple[str, str]]) -> dict[str, float]:
    """Of the pairs with a number on both sides the share that have the same ones, and that of mismatched pairs."""
    numbers = [tuple(sorted(_NUMBER.findall(side)) for side in pair) for pair in pairs]
    both = [(one, other) for one, other in numbers if one and other]
    if len(both) < 20:
        return {}
    same = sum(one == other for one, other in both) / len(both)
    control = sum(both[k][0] == both[k - len(both) // 2][1] for k in range(len(both))) / len(both)
    return {"same_numbers": same, "same_numbers_control": control}


class _Judge:
    """Learns from every second block and judges the others, and the other way round."""

    def __init__(
        self, english: TokenSequences, foreign: TokenSequences, blocks: Array, n_english: int, n_foreign: int
    ) -> None:
        self._english, self._foreign, self._blocks = english, foreign, blocks
        self._types = n_english, n_foreign
        self._fold = np.unique(blocks, return_inverse=True)[1] % 2

    def agreement(self, offset: int) -> Agreement:
        """Of each English line with the foreign line so many places further on in its block."""
        left = np.arange(len(self._english))
        right = left + offset
        inside = (right >= 0) & (right < left.size)
        left, right = left[inside], right[inside]
        same = self._blocks[left] == self._blocks[right]
        left, right = left[same], right[same]
        wins, places = [], []
        for fold in (0, 1):
            learnt = self._fold[left] == fold
            judged = ~learnt
            if not learnt.any() or not judged.any():
                continue
            probabilities, unigrams = self._learnt(left[learnt], right[learnt])
            won = self._wins(left[judged], right[judged], probabilities, unigrams)
            wins.append(won)
            places.append(left[judged])
        if not wins:
            return Agreement(0.0, (), 0)
        place, won = np.concatenate(places), np.concatenate(wins)
        ordered = won[np.argsort(place, kind="stable")]
        sections = tuple(float(2 * part.mean() - 1) for part in np.array_split(ordered, _SECTIONS) if part.size)
        return Agreement(float(2 * won.mean() - 1), sections, int(won.size))

    def _learnt(self, left: Array, right: Array) -> tuple[sparse.csr_matrix, Array]:
        """p(foreign | English), CSR (V_source, V_target), and the smoothed distribution of foreign tokens."""
        foreign = self._foreign.take(right)
        with Training(self._english.take(left), foreign, *self._types, FOR_TABLES) as training:
            indptr, columns, values = training.expected_links()
        n_english, n_foreign = self._types
        counts = sparse.csr_matrix((values.astype(np.float64), columns, indptr), shape=(n_foreign, n_english)).T.tocsr()
        totals = np.asarray(counts.sum(1)).ravel()
        unigrams = np.bincount(foreign.ids, minlength=n_foreign) + 0.5
        return sparse.csr_matrix(sparse.diags(1 / np.maximum(totals, 1.0)) @ counts), unigrams / unigrams.sum()

    def _wins(self, left: Array, right: Array, probabilities: sparse.csr_matrix, unigrams: Array) -> Array:
        """For every pair the share of controls that explain the foreign side less well, ties counted half."""
        english = _bags(self._english.take(left), self._types[0])
        lengths = np.maximum(np.asarray(english.sum(1)).ravel(), 1.0)
        expected = sparse.csr_matrix(sparse.diags(1 / lengths) @ english @ probabilities)
        foreign = _bags(self._foreign.take(right), self._types[1]).tocoo()
        own = _scores(foreign, expected, unigrams)
        order = np.argsort(lengths, kind="stable")
        won = np.zeros(left.size)
        controls = min(_CONTROLS, left.size - 1)
        for distance in range(1, controls + 1):
            control = np.empty_like(order)
            control[order] = np.roll(order, distance)
            score = _scores(foreign, expected[control], unigrams)
            won += np.where(own > score, 1.0, np.where(own == score, 0.5, 0.0))
        return won / max(1, controls)


def _bags(sequences: TokenSequences, types: int) -> sparse.csr_matrix:
    """How often each type is in each line, CSR (lines, types)."""
    bags = sparse.csr_matrix((np.ones(sequences.ids.size), sequences.ids, sequences.offsets), (len(sequences), types))
    bags.sum_duplicates()
    return bags


def _scores(foreign: sparse.coo_matrix, expected: sparse.csr_matrix, unigrams: Array) -> Array:
    """How much likelier each foreign line is beside an English one than alone: the log ratio."""
    likely = np.asarray(expected[foreign.row, foreign.col]).ravel()
    gain = foreign.data * np.log1p((1 - _UNIGRAM) / _UNIGRAM * likely / unigrams[foreign.col])
    return np.bincount(foreign.row, gain, foreign.shape[0])
