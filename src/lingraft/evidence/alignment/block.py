"""One block of the bitext: the first stage on it, its candidate links, and where they are kept meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from . import candidates, ibm
from .compiled import Array, Growing, Workers
from .hmm import Candidates, Pairs
from .settings import AlignerSettings

#: pieces of parallel work a block is cut into; fixed, so that sums do not depend on the number of threads
CHUNKS = 64
#: links a token has in one direction after the first stage, or hardly more
MOST_FOUND = 6


class Csr(NamedTuple):
    """Sparse, foreign types x English types: indptr int64, columns int32 (ascending in a row), values float32."""

    indptr: Array
    columns: Array
    values: Array

    @property
    def rows(self) -> Array:
        """The row of each entry, int32."""
        return np.repeat(np.arange(self.indptr.size - 1, dtype=np.int32), np.diff(self.indptr))


def bounds(weights: Array, chunks: int = CHUNKS) -> Array:
    """Cuts 0 .. weights.size - 1 into runs of about equal weight, given the running sum of the weights."""
    wanted = np.linspace(0, weights[-1], chunks + 1)[1:-1]
    return np.concatenate([[0], np.searchsorted(weights, wanted), [weights.size - 1]]).astype(np.int64)


@dataclass
class Block:
    """Sentence pairs that are worked on together.

    range: number of the first sentence pair in the whole bitext, and of that behind the last. arrays, after
    `find_candidates`: offsets, position and cell of the candidates; own, float32 (links,), what each link contributed
    to the counts, at first the product of the first stage's posteriors; place, int32 (cells of the block,), the number
    of each cell in the whole bitext; and where nothing but that stage is wanted, foreign_posterior and
    english_posterior.
    """

    pairs: Pairs
    range: tuple[int, int]
    arrays: dict[str, Array] = field(default_factory=dict)
    _file: Path | None = None

    @property
    def candidates(self) -> Candidates:
        return Candidates(self.arrays["offsets"], self.arrays["position"], self.arrays["cell"])

    @property
    def own(self) -> Array:
        return self.arrays["own"]

    @property
    def place(self) -> Array:
        return self.arrays["place"]

    @property
    def used_tokens(self) -> Array:
        """Foreign and English tokens of the pairs that have both, int64 (2,): those whose likelihood is looked at."""
        lengths = np.diff([self.pairs.foreign_offsets, self.pairs.english_offsets])
        result: Array = lengths[:, lengths.all(0)].sum(1)
        return result

    def sentence_bounds(self, chunks: int = CHUNKS) -> Array:
        """Cuts the sentence pairs into chunks of about equally many tokens."""
        return bounds(self.pairs.english_offsets + self.pairs.foreign_offsets, chunks)

    def drop(self, links: Array) -> None:
        """Takes the candidates where the mask is True out; bool, shape (links,)."""
        kept = ~links
        self.arrays["offsets"] = np.concatenate([[0], np.cumsum(kept, dtype=np.int64)])[self.arrays["offsets"]]
        for name in ("position", "cell", "own"):
            self.arrays[name] = self.arrays[name][kept]
        used = np.bincount(self.arrays["cell"], minlength=self.place.size) > 0
        self.arrays["cell"] = (np.cumsum(used, dtype=np.int32) - 1)[self.arrays["cell"]]
        self.arrays["place"] = self.place[used]

    def put_away(self, file: Path) -> None:
        """Keeps the arrays in a file until they are `at_hand`."""
        np.savez(file, **self.arrays)  # type: ignore[arg-type]
        self._file, self.arrays = file, {}

    @contextmanager
    def at_hand(self, change: bool = False) -> Iterator[dict[str, Array]]:
        """The arrays in memory; if they came from a file they go back to it where they are to be changed."""
        if self.arrays or not self._file:
            yield self.arrays
            return
        with np.load(self._file, allow_pickle=False) as stored:
            self.arrays = dict(stored)
        try:
            yield self.arrays
            if change:
                self.put_away(self._file)
        finally:
            self.arrays = {}


def cut(pairs: Pairs, block_tokens: int) -> list[Block]:
    """The bitext in blocks of whole sentence pairs of about ``block_tokens`` tokens."""
    running = pairs.english_offsets + pairs.foreign_offsets
    blocks = max(1, -(-int(running[-1]) // block_tokens))
    inner = np.searchsorted(running, np.linspace(0, running[-1], blocks + 1)[1:-1])
    result = []
    for first, last in pairwise([0, *inner.tolist(), running.size - 1]):
        e, f = pairs.english_offsets[first : last + 1], pairs.foreign_offsets[first : last + 1]
        english, foreign = pairs.english[e[0] : e[-1]], pairs.foreign[f[0] : f[-1]]
        result.append(Block(Pairs(english, e - e[0], foreign, f - f[0]), (first, last)))
    return result


@dataclass(frozen=True)
class Side:
    """One side of the whole bitext as the first stage wants it.

    totals: float64 (types,), expected links of each type under the position prior alone. positions: the position prior
    for a choice among the tokens of this side.
    """

    ids: Array
    offsets: Array
    frequency: Array
    totals: Array
    positions: ibm.Positions

    @property
    def types(self) -> int:
        return self.frequency.size


def prepare(pairs: Pairs, n_english: int, n_foreign: int, workers: Workers) -> tuple[Side, Side]:
    """English and foreign side of the whole bitext."""
    english, foreign = (pairs.english, pairs.english_offsets), (pairs.foreign, pairs.foreign_offsets)

    def side(ids: Array, offsets: Array, child_offsets: Array, types: int) -> Side:
        positions = ibm.tabulate(np.diff(offsets))
        pieces = np.linspace(0, offsets.size - 1, CHUNKS // 8 + 1).astype(np.int64)
        parts = workers.stream(
            lambda k: ibm.parent_totals(pieces[k], pieces[k + 1], child_offsets, ids, offsets, types, positions),
            CHUNKS // 8,
        )
        return Side(ids, offsets, np.bincount(ids, minlength=types), sum(parts, np.zeros(types)), positions)

    return side(*english, foreign[1], n_english), side(*foreign, english[1], n_foreign)


def find_candidates(
    block: Block, english: Side, foreign: Side, settings: AlignerSettings, prior: Csr, workers: Workers
) -> tuple[tuple[Array, Array], Array]:
    """Runs the first stage in both directions and puts the links worth considering into the block.

    Returns the pairs of types they link, CSR (foreign types x English types) indptr, columns; ``cell`` holds the rank
    of each link in its row. And the log-likelihoods in nats, foreign given English and English given foreign, float64
    (2,).
    """
    pairs, n_foreign = block.pairs, foreign.types
    to_english, likelihood_e = _direction(block, english, foreign, settings, _transposed(prior, english.types), workers)
    to_foreign, likelihood_f = _direction(block, foreign, english, settings, prior, workers)
    links, (position, types, one, other) = _merged(block, to_foreign, to_english, settings.prune_below, workers)
    del to_foreign, to_english
    offsets = np.concatenate([[0], np.cumsum(links, dtype=np.int64)])
    forward, backward = ibm.PROBABILITY[one], ibm.PROBABILITY[other]
    block.arrays |= {"offsets": offsets, "position": position, "cell": types, "own": forward * backward}
    if settings.method != "hmm":
        block.arrays |= {"foreign_posterior": forward, "english_posterior": backward}
    del one, other, forward, backward
    start, order = candidates.group_by_type(pairs.foreign, n_foreign)
    lengths, edges = np.zeros(n_foreign, np.int64), bounds(start)
    columns = workers.map(
        lambda k: candidates.rank_chunk(edges[k], edges[k + 1], start, order, offsets, types, english.types, lengths),
        CHUNKS,
    )
    cells = np.concatenate([[0], np.cumsum(lengths)]), np.concatenate(columns)
    return cells, np.array([likelihood_f, likelihood_e]) + block.used_tokens * np.log1p(-settings.null)


def _merged(
    block: Block, to_foreign: candidates.Found, to_english: candidates.Found, least: float, workers: Workers
) -> tuple[Array, tuple[Array, ...]]:
    """The number of links of each foreign token, and what `candidates.merge_chunk` returns, of the whole block."""
    edges, links = block.sentence_bounds(), np.zeros(block.pairs.foreign.size, np.int32)
    expected = to_foreign.position.size // 2
    merged = [Growing(kind, expected) for kind in (np.uint16, np.int32, np.uint8, np.uint8)]
    parts = workers.stream(
        lambda k: candidates.merge_chunk(edges[k], edges[k + 1], block.pairs, to_foreign, to_english, least, links),
        CHUNKS,
    )
    for part in parts:
        for array, piece in zip(merged, part, strict=True):
            array.append(piece)
    return links, tuple(array.finished() for array in merged)


def _direction(
    block: Block, child: Side, parent: Side, settings: AlignerSettings, prior: Csr, workers: Workers
) -> tuple[candidates.Found, float]:
    """The first stage in one direction: the links it finds in the block, and the log-likelihood as `ibm` gives it."""
    first, last = block.range
    tokens = int(child.offsets[last] - child.offsets[first])
    totals = parent.totals + np.bincount(prior.columns, prior.values, parent.types) + settings.alpha * child.types
    model = ibm.Model(
        parent.ids, child.frequency, parent.positions, (1 / np.maximum(totals, 1e-30)).astype(np.float32),
        settings.null / (1 - settings.null) / max(1, child.types), settings.alpha, float(settings.leave_one_out),
        *prior,
    )  # fmt: skip
    start, where = ibm.occurrences_by_type(
        child.ids, child.offsets, parent.offsets, parent.positions.start, child.frequency, first, last
    )
    edges, links = bounds(start), np.zeros(tokens, np.uint16)
    expected = MOST_FOUND * tokens
    position, posterior, likelihood = Growing(np.uint16, expected), Growing(np.uint8, expected), 0.0
    parts = workers.stream(lambda k: ibm.expect_chunk(edges[k], edges[k + 1], start, where, model, links), CHUNKS)
    for part in parts:
        position.append(part[0])
        posterior.append(part[1])
        likelihood += part[2]
    found = candidates.Found(links, candidates.starts_in_order(where, links), position.finished(), posterior.finished())
    return found, likelihood


def _transposed(matrix: Csr, columns: int) -> Csr:
    order = np.argsort(matrix.columns, kind="stable")
    lengths = np.bincount(matrix.columns, minlength=columns)
    return Csr(np.concatenate([[0], np.cumsum(lengths)]), matrix.rows[order], matrix.values[order])
