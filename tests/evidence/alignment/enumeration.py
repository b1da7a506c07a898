"""The hidden Markov model by the enumeration of all alignments, and the kernels with arguments built from the same."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lingraft.corpus import TokenSequences
from lingraft.evidence.alignment import hmm
from lingraft.evidence.alignment.hmm import Candidates, Direction, Pairs

Floats = np.ndarray
Lines = list[list[int]]


@dataclass
class Sentence:
    """One direction of one sentence pair.

    probability: (children, parents), p(child | parent), 0 where there is no candidate. null: (children,), probability
    of the child and of having no parent. jumps: weight of every jump, by distance. stay: prior of having no parent.
    """

    probability: Floats
    null: Floats
    jumps: dict[int, float]
    stay: float

    @property
    def shape(self) -> tuple[int, int]:
        return self.probability.shape  # type: ignore[return-value]

    def normaliser(self, state: int) -> float:
        return sum(self.jumps[i - (state - 1)] for i in range(self.shape[1]))


class Truth(NamedTuple):
    """Expectations; exposed: by distance, how often the jump was a choice, each time over the choice's normaliser."""

    posterior: Floats
    null: Floats
    log_likelihood: float
    jumped: dict[int, float]
    left: Floats
    exposed: dict[int, float]


def enumerate_alignments(sentence: Sentence) -> Truth:
    """Every alignment, one after the other: each child has no parent or one of its candidates."""
    n, m = sentence.shape
    choices = [[None, *np.flatnonzero(sentence.probability[j]).tolist()] for j in range(n)]
    normaliser = [sentence.normaliser(state) for state in range(m + 1)]
    posterior, null, left = np.zeros((n, m)), np.zeros(n), np.zeros(m + 1)
    jumped = dict.fromkeys(sentence.jumps, 0.0)
    total = 0.0
    for alignment in itertools.product(*choices):
        weight, state, moves = 1.0, 0, []
        for j, i in enumerate(alignment):
            if i is None:
                weight *= sentence.null[j]
                continue
            distance = i - (state - 1)
            weight *= (1 - sentence.stay) * sentence.jumps[distance] / normaliser[state] * sentence.probability[j, i]
            moves.append((state, distance))
            state = i + 1
        total += weight
        for j, i in enumerate(alignment):
            if i is None:
                null[j] += weight
            else:
                posterior[j, i] += weight
        for origin, distance in moves:
            left[origin] += weight
            jumped[distance] += weight
    left /= total
    exposed = dict.fromkeys(sentence.jumps, 0.0)
    for state, i in itertools.product(range(m + 1), range(m)):
        exposed[i - (state - 1)] += left[state] / normaliser[state]
    return Truth(
        posterior / total, null / total, float(np.log(total)), {d: c / total for d, c in jumped.items()}, left, exposed
    )


def step_by_step(sentence: Sentence) -> tuple[Floats, float]:
    """Posteriors and log-likelihood in 64 bits, by matrices from state to state."""
    n, m = sentence.shape
    start = np.arange(m + 1)[:, None]
    jump = np.vectorize(sentence.jumps.__getitem__)(np.arange(m)[None] - (start - 1))
    jump *= (1 - sentence.stay) / jump.sum(1, keepdims=True)
    forward, backward, likelihood = np.zeros((n + 1, m + 1)), np.ones((n + 1, m + 1)), 0.0
    forward[0, 0] = 1
    steps = []
    for j in range(n):
        steps.append(np.diag(np.full(m + 1, sentence.null[j])))
        steps[j][:, 1:] += jump * sentence.probability[j]
        forward[j + 1] = forward[j] @ steps[j]
        likelihood += np.log(forward[j + 1].sum())
        forward[j + 1] /= forward[j + 1].sum()
    posterior = np.zeros((n, m))
    for j in reversed(range(n)):
        here = forward[j][:, None] * jump * sentence.probability[j] * backward[j + 1, 1:]
        total = forward[j] @ steps[j] @ backward[j + 1]
        posterior[j] = here.sum(0) / total
        backward[j] = steps[j] @ backward[j + 1]
        backward[j] /= backward[j].max()
    return posterior, likelihood


def by_distance(jumps: dict[int, float]) -> Floats:
    """The layout of the kernels: descending distance, with a margin at either end."""
    centre = max(jumps) + hmm.MARGIN
    return np.array([jumps.get(centre - x, 0.0) for x in range(2 * centre + 1)], np.float32)


def from_layout(row: Floats) -> dict[int, float]:
    return {row.size // 2 - x: float(value) for x, value in enumerate(row)}


def leaving(jumps: dict[int, float], parents: int, stay: float) -> Floats:
    """For every state the probability of having a parent over the normaliser of the jumps."""
    row, result = by_distance(jumps), np.zeros(parents + 1, np.float32)
    hmm.leaving(row, row.size // 2, np.float32(stay), result)
    return result


def forward_backward(sentence: Sentence, count_jumps: bool = True) -> tuple[Truth, Floats, Floats]:
    """Runs the kernel; the only place that knows its arguments. Also the raw jump counts and states left."""
    n, m = sentence.shape
    jumps = by_distance(sentence.jumps)
    child, parent = np.nonzero(sentence.probability)
    rows = np.concatenate([[0], np.cumsum(np.bincount(child, minlength=n))]).astype(np.int64)
    null = sentence.null.astype(np.float32)
    wide = max(n, m) + 8
    posterior, exposed = np.zeros(parent.size, np.float32), np.zeros(jumps.size + 1)
    jumped, left = np.zeros(jumps.size, np.float32), np.zeros(wide)
    likelihood = hmm.forward_backward(
        rows, parent.astype(np.int64), sentence.probability[child, parent].astype(np.float32), null, jumps,
        np.float32(sentence.stay), m, np.zeros(wide, np.float32), left, np.zeros((n + 1, wide), np.float32),
        np.zeros((4, wide), np.float32), posterior, jumped, exposed, count_jumps,
    )  # fmt: skip
    dense = np.zeros((n, m))
    dense[child, parent] = posterior
    left = left[: m + 1]
    return Truth(dense, null, likelihood, from_layout(jumped), left, {}), jumped, left


class Bitext(NamedTuple):
    """A small bitext, its candidates (all links whose cell is wanted) and the number of each cell."""

    english: Lines
    foreign: Lines
    pairs: Pairs
    candidates: Candidates
    number: dict[tuple[int, int], int]
    types: int


def all_candidates(english: Lines, foreign: Lines, types: int, density: float, seed: int) -> Bitext:
    """Every pair of types is a cell with probability ``density``, every link of such a cell a candidate."""
    random = np.random.default_rng(seed)
    number: dict[tuple[int, int], int] = {}
    for cell in itertools.product(range(types), range(types)):
        if random.random() < density:
            number[cell] = len(number)
    offsets, position, cell_of_link = [0], [], []
    for e, f in zip(english, foreign, strict=True):
        for c in f:
            for i, p in enumerate(e):
                if (c, p) in number:
                    position.append(i)
                    cell_of_link.append(number[c, p])
            offsets.append(len(position))
    e_text, f_text = TokenSequences.from_lists(english), TokenSequences.from_lists(foreign)
    pairs = Pairs(e_text.ids, e_text.offsets, f_text.ids, f_text.offsets)
    links = Candidates(np.array(offsets, np.int64), np.array(position, np.uint16), np.array(cell_of_link, np.int32))
    return Bitext(english, foreign, pairs, links, number, types)


class Expected(NamedTuple):
    """What `hmm.expect_chunk` gives; nulls are summed by type, jumps and exposures as they come."""

    foreign: Floats
    english: Floats
    foreign_null: Floats
    english_null: Floats
    jumped: Floats
    exposed: Floats
    log_likelihood: tuple[float, float]
    sums: Floats


def expect(
    bitext: Bitext, to_foreign: Direction, to_english: Direction, alpha: float, null: float, agree: bool = False
) -> Expected:
    """Runs the E-step in two chunks; the only place that knows its arguments."""
    pairs, links = bitext.pairs, bitext.candidates.position.size
    posterior, other = np.zeros(links, np.float32), np.zeros(0 if agree else links, np.float32)
    nulls = np.zeros(pairs.foreign.size, np.float32), np.zeros(pairs.english.size, np.float32)
    middle, last = len(bitext.english) // 2, len(bitext.english)
    parts = [
        hmm.expect_chunk(
            first, end, pairs, bitext.candidates, to_foreign, to_english, alpha, null, agree, True, posterior,
            other, *nulls,
        )
        for first, end in ((0, middle), (middle, last))
    ]  # fmt: skip
    jumped, exposed, f, e, sums = (sum(part[k] for part in parts) for k in range(5))
    return Expected(
        posterior, other, np.bincount(pairs.foreign, nulls[0], bitext.types),
        np.bincount(pairs.english, nulls[1], bitext.types), jumped, exposed, (f, e), sums,
    )  # fmt: skip


def random_lines(seed: int, pairs: int, types: int, longest: int, shortest: int = 0) -> Lines:
    random = np.random.default_rng(seed)
    return [random.integers(0, types, random.integers(shortest, longest + 1)).tolist() for _ in range(pairs)]


def exponential(longest: int, slope: float = 0.1) -> Floats:
    """Weights as those the aligner starts with; all equal for a slope of 0."""
    centre = longest + hmm.MARGIN
    return np.exp(-slope * np.abs(centre - 1 - np.arange(2 * centre + 1))).astype(np.float32)
