"""Training: the first stage block by block, then EM of the hidden Markov model over all of them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...corpus.sequences import TokenSequences
from ...errors import CorpusError
from . import hmm
from .block import Block, Csr, cut, find_candidates, prepare
from .candidates import look_up, places, ranks_to_cells, union
from .compiled import Array, Workers
from .settings import AlignerSettings
from .symmetrize import LinkPosteriors

#: (share of the work done, what is being done and how well)
Progress = Callable[[float, str], None]

#: jumps further than this share a weight with others of about the same length
EXACT_JUMPS = 15
#: jump weights start as exp(-slope * |distance from the next position|) + a floor
INITIAL_JUMP_SLOPE, JUMP_FLOOR = 0.1, 0.001
#: pseudo-observations of each child type without parent
NULL_SMOOTHING = 0.1
#: pieces a block is cut into for the E-step, each with counts of its own for all cells
SENTENCE_CHUNKS = 16


@dataclass
class Parameters:
    """The hidden Markov model.

    counts: CSR (foreign types x English types) indptr, columns, float32 expected links. foreign_null, english_null:
    float32 (types,), distributions of tokens without counterpart. foreign_jumps, english_jumps: float32 (2 c + 1,) as
    in `hmm`, foreign given English and English given foreign.
    """

    counts: Csr
    foreign_null: Array
    english_null: Array
    foreign_jumps: Array
    english_jumps: Array


class Expectation(NamedTuple):
    """What an E-step over one block found; sums over its chunks, in their order.

    posterior: float32 (links,), the product of both directions, or of foreign given English where ``other``, English
    given foreign, is not empty. foreign_null, english_null: float64 (types,), tokens without counterpart. The rest as
    in `hmm.expect_chunk`.
    """

    posterior: Array
    other: Array
    foreign_null: Array
    english_null: Array
    jumped: Array
    exposed: Array
    log_likelihood: Array
    counts: Array


def jump_weights(jumped: Array, exposed: Array) -> Array:
    """New jump weights, float32 (2 c + 1,), from expected jumps and exposures (as differences, one longer).

    A weight is its count over its exposure: how often it took part in a choice, each time over the choice's normaliser.
    This is the minorise-maximise update of choices among varying alternatives (Hunter 2004, "MM algorithms for
    generalized Bradley-Terry models"), which never lowers the likelihood. Long jumps share weights in buckets that grow
    by half an octave. Each bucket begins with `JUMP_FLOOR` of one jump in one exposure, so that no weight dies out.
    """
    centre = jumped.size // 2
    distance = centre - np.arange(jumped.size)
    length = np.maximum(np.abs(distance), 1)
    far = EXACT_JUMPS + 1 + np.floor(2 * np.log2(length / EXACT_JUMPS)).astype(np.int64)
    _, bucket = np.unique(np.where(length > EXACT_JUMPS, np.sign(distance) * far, distance), return_inverse=True)
    exposure = np.maximum(np.bincount(bucket, np.cumsum(exposed)[:-1]), 0)
    weights = ((np.bincount(bucket, jumped) + JUMP_FLOOR) / (exposure + 1))[bucket]
    result: Array = (weights / weights.max()).astype(np.float32)
    return result


class Training:
    """The aligner at work on one bitext; a context manager, because blocks may wait in a temporary folder.

    settings: hyperparameters, by default those of `AlignerSettings`. threads: by default one for each core; the result
    is the same. on_progress: called with the share that is done (0 to 1) and a note for people. english, foreign: line
    k of one is the translation of line k of the other; ids are below n_english, n_foreign. start: parameters to begin
    with: their counts are added to those of this bitext, their jumps and nulls are kept (of types they do not know,
    nothing is known). prior: further pseudo-counts, of a lexicon.
    """

    def __init__(
        self,
        english: TokenSequences,
        foreign: TokenSequences,
        n_english: int,
        n_foreign: int,
        settings: AlignerSettings | None = None,
        start: Parameters | None = None,
        prior: Csr | None = None,
        threads: int | None = None,
        on_progress: Progress | None = None,
    ) -> None:
        self.settings = settings or AlignerSettings()
        self._types = n_english, n_foreign
        self._start = start
        self._prior = _sum([matrix for matrix in (start and start.counts, prior) if matrix], n_foreign)
        self._prior_totals = (
            np.bincount(self._prior.columns, self._prior.values, n_english),
            np.bincount(self._prior.rows, self._prior.values, n_foreign),
        )
        if max(english.ids.size, foreign.ids.size) >= 1 << 31:
            raise CorpusError(
                f"The bitext has {max(english.ids.size, foreign.ids.size):,} tokens on one side; at most 2,147,483,647 "
                "can be aligned at once. Split it, and align the later parts with the model of the first."
            )
        self._pairs = hmm.Pairs(english.ids, english.offsets, foreign.ids, foreign.offsets)
        self.blocks = cut(self._pairs, self.settings.block_tokens)
        self._longest = int(max(english.lengths.max(initial=0), foreign.lengths.max(initial=0)))
        self._on_progress = on_progress
        self.log_likelihood: list[tuple[float, float]] = []
        self._stack = ExitStack()
        self.workers = self._stack.enter_context(Workers(threads))
        try:
            self._run()
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> Training:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _run(self) -> None:
        iterations = self.settings.iterations if self.settings.method == "hmm" else 0
        # the first stage takes about as long as three iterations
        self._steps = 3 + iterations + 1
        self._first_stage()
        for iteration in range(iterations):
            self._iterate(iteration)

    def _report(self, done: float, likelihood: Array) -> None:
        self._likelihood = likelihood
        if self._on_progress:
            self._on_progress(done / self._steps, f"log-likelihood {likelihood[0]:.3f} {likelihood[1]:.3f}")

    def _first_stage(self) -> None:
        n_english, n_foreign = self._types
        folder = None
        if len(self.blocks) > 1:
            folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="lingraft-align-")))
        pattern = np.zeros(n_foreign + 1, np.int64), np.zeros(0, np.int32)
        local: list[tuple[Array, Array]] = []
        likelihood, tokens = np.zeros(2), np.zeros(2)
        sides = prepare(self._pairs, n_english, n_foreign, self.workers)
        for number, block in enumerate(self.blocks):
            cells, both = find_candidates(block, *sides, self.settings, self._prior, self.workers)
            likelihood += both
            tokens += block.used_tokens
            if folder:
                block.put_away(folder / f"{number}.npz")
            pattern = union(*pattern, *cells)
            local.append(cells)
            self._report(3 * (number + 1) / len(self.blocks), likelihood / np.maximum(tokens, 1))
        counts = np.zeros(pattern[1].size)
        for block, cells in zip(self.blocks, local, strict=True):
            with block.at_hand(change=True) as arrays:
                arrays["place"] = places(*cells, *pattern)
                ranks_to_cells(block.pairs.foreign, arrays["offsets"], cells[0], arrays["cell"])
                counts[block.place] += np.bincount(arrays["cell"], arrays["own"], block.place.size)
        self._initialise(Csr(*pattern, counts.astype(np.float32)))

    def _initialise(self, counts: Csr) -> None:
        n_english, n_foreign = self._types
        self._in_prior = look_up(counts.indptr, counts.columns, *self._prior)
        centre = self._longest + hmm.MARGIN
        if self._start:
            self.parameters = Parameters(
                counts, _extended(self._start.foreign_null, n_foreign), _extended(self._start.english_null, n_english),
                _recentred(self._start.foreign_jumps, centre), _recentred(self._start.english_jumps, centre),
            )  # fmt: skip
            return
        distance = np.abs(centre - 1 - np.arange(2 * centre + 1))
        jumps = (np.exp(-INITIAL_JUMP_SLOPE * distance) + JUMP_FLOOR).astype(np.float32)
        self.parameters = Parameters(
            counts,
            np.full(n_foreign, 1 / max(1, n_foreign), np.float32),
            np.full(n_english, 1 / max(1, n_english), np.float32),
            jumps,
            jumps,
        )

    def _directions(self) -> tuple[hmm.Direction, hmm.Direction]:
        """The parameters as the E-step wants them, but for what the links of a block contributed to them."""
        p, alpha, (n_english, n_foreign) = self.parameters, self.settings.alpha, self._types
        counts, (in_english, in_foreign) = p.counts.values, self._prior_totals
        english_totals = np.bincount(p.counts.columns, counts, n_english) + in_english + alpha * n_foreign
        foreign_totals = np.bincount(p.counts.rows, counts, n_foreign) + in_foreign + alpha * n_english
        known, nothing = counts + self._in_prior, np.zeros(0, np.float32)
        return (
            hmm.Direction(known, nothing, _inverse(english_totals), p.foreign_null, p.foreign_jumps),
            hmm.Direction(known, nothing, _inverse(foreign_totals), p.english_null, p.english_jumps),
        )

    def _expect(self, block: Block, directions: tuple[hmm.Direction, hmm.Direction], agree: bool) -> Expectation:
        """E-step on a block whose arrays are at hand."""
        pairs, edges, s = block.pairs, block.sentence_bounds(SENTENCE_CHUNKS), self.settings
        n_english, n_foreign = self._types
        own = block.own if s.leave_one_out else np.zeros_like(block.own)
        known = directions[0].counts[block.place]  # of both
        to_foreign, to_english = (direction._replace(counts=known, own=own) for direction in directions)
        posterior = np.zeros(block.own.size, np.float32)
        other = np.zeros(0 if agree else block.own.size, np.float32)
        foreign_null = np.zeros(pairs.foreign.size, np.float32)
        english_null = np.zeros(pairs.english.size, np.float32)
        parts = self.workers.stream(
            lambda k: hmm.expect_chunk(
                edges[k], edges[k + 1], pairs, block.candidates, to_foreign, to_english, s.alpha,
                s.null, agree, agree and not self._start, posterior, other, foreign_null, english_null,
            ),
            SENTENCE_CHUNKS,
        )  # fmt: skip
        jumped, exposed = np.zeros((2, to_foreign.jumps.size)), np.zeros((2, to_foreign.jumps.size + 1))
        likelihood, counts = np.zeros(2), np.zeros(to_foreign.counts.size if agree else 0)
        for part in parts:
            jumped += part[0]
            exposed += part[1]
            likelihood += part[2:4]
            counts += part[4]
        nulls = (
            np.bincount(pairs.foreign, foreign_null, n_foreign), np.bincount(pairs.english, english_null, n_english)
        )  # fmt: skip
        return Expectation(posterior, other, *nulls, jumped, exposed, likelihood, counts)

    def _iterate(self, iteration: int) -> None:
        p, directions = self.parameters, self._directions()
        total: list[Array] = []
        counts, tokens = np.zeros(p.counts.values.size), np.zeros(2)
        for number, block in enumerate(self.blocks):
            with block.at_hand(change=True) as arrays:
                found = self._expect(block, directions, agree=True)
                arrays["own"] = found.posterior
                counts[block.place] += found.counts
                if iteration == 0:
                    block.drop(found.posterior < self.settings.prune_below)
            rest = found[2:-1]
            total = [a + b for a, b in zip(total, rest, strict=True)] if total else list(rest)
            tokens += block.used_tokens
            per_token = total[4] / np.maximum(tokens, 1)
            self._report(3 + iteration + (number + 1) / len(self.blocks), per_token)
        self.log_likelihood.append((float(per_token[0]), float(per_token[1])))
        foreign_null, english_null, jumped, exposed, _ = total
        p.counts = p.counts._replace(values=counts.astype(np.float32))
        if not self._start:
            p.foreign_null, p.english_null = _distribution(foreign_null), _distribution(english_null)
            p.foreign_jumps = jump_weights(jumped[0], exposed[0])
            p.english_jumps = jump_weights(jumped[1], exposed[1])

    def posteriors(self) -> Iterator[tuple[hmm.Pairs, LinkPosteriors]]:
        """Block by block, in the order of the text, the posteriors of both directions under the final parameters."""
        directions = self._directions()
        for number, block in enumerate(self.blocks):
            with block.at_hand() as arrays:
                if self.settings.method == "hmm":
                    found = self._expect(block, directions, agree=False)
                    both = found.posterior, found.other
                else:
                    both = arrays["foreign_posterior"], arrays["english_posterior"]
                yield block.pairs, LinkPosteriors(arrays["offsets"], arrays["position"], *both)
            self._report(self._steps - 1 + (number + 1) / len(self.blocks), self._likelihood)

    def learned(self) -> Parameters:
        """The final parameters, with the counts they were started from added to those of this bitext."""
        p = self.parameters
        counts = _sum([p.counts, self._start.counts], self._types[1]) if self._start else p.counts
        return Parameters(counts, p.foreign_null, p.english_null, p.foreign_jumps, p.english_jumps)

    def expected_links(self) -> Csr:
        """Expected links between types: the mean of both directions' posteriors, under the final parameters.

        For a translation table the mean is better than the product by which links are trained and chosen: what only one
        direction finds is evidence too (docs/results.md).
        """
        counts = self.parameters.counts
        total = np.zeros(counts.values.size)
        for block, (_, posteriors) in zip(self.blocks, self.posteriors(), strict=True):
            mean = (posteriors.foreign_posterior + posteriors.english_posterior) / 2
            total[block.place] += np.bincount(block.candidates.cell, mean, block.place.size)
        return counts._replace(values=total.astype(np.float32))


def _sum(matrices: list[Csr], rows: int) -> Csr:
    """The sum of CSR matrices that may have fewer rows than wanted."""
    result = Csr(np.zeros(rows + 1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32))
    for matrix in matrices:
        indptr = np.concatenate([matrix.indptr, np.full(rows + 1 - matrix.indptr.size, matrix.indptr[-1])])
        padded = Csr(indptr, matrix.columns, matrix.values)
        pattern = union(result.indptr, result.columns, padded.indptr, padded.columns)
        result = Csr(*pattern, look_up(*pattern, *result) + look_up(*pattern, *padded))
    return result


def _extended(null: Array, types: int) -> Array:
    """A null distribution over more types; those that are new get the least weight there is."""
    new = np.full(types - null.size, null.min(initial=1.0), np.float32)
    both = np.concatenate([null, new])
    result: Array = (both / both.sum()).astype(np.float32)
    return result


def _recentred(jumps: Array, centre: int) -> Array:
    """Jump weights for shorter or longer sentences; longer jumps than known are as rare as the longest known."""
    old = jumps.size // 2
    at = np.clip(np.arange(-centre, centre + 1) + old, 0, jumps.size - 1)
    return jumps[at].astype(np.float32)


def _inverse(totals: Array) -> Array:
    return (1 / np.maximum(totals, 1e-30)).astype(np.float32)


def _distribution(mass: Array) -> Array:
    smoothed = mass + NULL_SMOOTHING
    result: Array = (smoothed / smoothed.sum()).astype(np.float32)
    return result
