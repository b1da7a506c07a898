"""Batches as a function of (seed, step): any step can be rebuilt, so nothing of the order has to be saved."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..corpus import TokenSequences

Array = np.ndarray[Any, Any]

#: this many batches are drawn together and sorted by length, so that a batch has little padding
_POOL = 50


def hold_out(
    lines: list[str], share: float = 0.02, at_most: int = 500, at_most_bytes: int = 100_000
) -> tuple[list[str], list[str]]:
    """Splits lines into (training, held out) by a hash of their content, whatever their order.

    Held out are a share of the different lines, at most so many, and no more of these than fit in so many UTF-8 bytes.
    A line that occurs several times is on one side as a whole. At least one line stays on each side of a text with two
    different lines.
    """
    digests = {line: hashlib.blake2b(line.encode(), digest_size=8).digest() for line in dict.fromkeys(lines)}
    wanted = min(at_most, max(1, int(share * len(digests))), len(digests) - 1)
    chosen = sorted(digests, key=digests.__getitem__)[:wanted]
    sizes = np.cumsum([len(line.encode()) for line in chosen])
    held = set(chosen[: max(min(wanted, 1), int((sizes <= at_most_bytes).sum()))])
    return [line for line in lines if line not in held], [line for line in digests if line in held]


class LengthBatches:
    """Batches of line numbers with similar lengths; every epoch is another random order and drops no line."""

    def __init__(self, lengths: Array, batch_size: int, seed: int) -> None:
        self._lengths = lengths
        self._batch_size = min(batch_size, lengths.size)
        self._seed = seed
        self._epoch = -1
        self._batches: list[Array] = []
        self.per_epoch = -(-lengths.size // self._batch_size)

    def __getitem__(self, step: int) -> Array:
        """Line numbers of the batch at a step, int64, at most batch_size of them."""
        epoch, index = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            self._batches, self._epoch = self._shuffled(epoch), epoch
        return self._batches[index]

    def _shuffled(self, epoch: int) -> list[Array]:
        random = np.random.default_rng([self._seed, epoch])
        order = random.permutation(self._lengths.size)
        batches: list[Array] = []
        for start in range(0, order.size, self._batch_size * _POOL):
            pool = order[start : start + self._batch_size * _POOL]
            pool = pool[np.argsort(self._lengths[pool], kind="stable")]
            batches += [pool[k : k + self._batch_size] for k in range(0, pool.size, self._batch_size)]
        return [batches[k] for k in random.permutation(len(batches))]


def token_batches(lengths: Array, batch_tokens: int) -> Iterator[Array]:
    """Numbers of examples, int64, the longest first, in batches of at most so many tokens with their padding.

    A single example may be longer than that.
    """
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < order.size:
        stop = start + max(1, batch_tokens // max(1, int(lengths[order[start]])))
        yield order[start:stop]
        start = stop


class PackedBlocks:
    """Running text as blocks of equal length without padding.

    The lines stand one after the other, each closed by ``separator``; every block opens with ``start``, where the
    tokenizer has one. The last block is filled up from the beginning of the text, so no token is ever dropped.
    """

    def __init__(self, lines: TokenSequences, length: int, start: int | None, separator: int | None) -> None:
        closing = [] if separator is None else [separator]
        ends = np.repeat(lines.offsets[1:], len(closing))
        stream = np.insert(lines.ids, ends, np.tile(np.asarray(closing, np.int32), len(lines)))
        opening = [] if start is None else [start]
        body = length - len(opening)
        self.length = length
        self.n_blocks = max(1, -(-stream.size // body))
        #: tokens of the last block, opening included, that are not the beginning of the text over again
        self.last_length = len(opening) + (stream.size - 1) % body + 1 if stream.size else length
        filled = np.resize(stream, self.n_blocks * body).reshape(self.n_blocks, body)
        head = np.tile(np.asarray(opening, np.int32), (self.n_blocks, 1))
        self._order: tuple[tuple[int, int], Array] | None = None
        self.blocks: Array = np.concatenate([head, filled], axis=1).astype(np.int32)

    def batch(self, step: int, batch_size: int, seed: int) -> Array:
        """The blocks of a step, int32, shape (batch_size, length); epochs follow each other without a break."""
        positions = np.arange(step * batch_size, (step + 1) * batch_size)
        epochs, offsets = np.divmod(positions, self.n_blocks)
        chosen = np.empty(batch_size, np.int64)
        for epoch in np.unique(epochs):
            key = (seed, int(epoch))
            if self._order is None or self._order[0] != key:
                self._order = (key, np.random.default_rng(key).permutation(self.n_blocks))
            chosen[epochs == epoch] = self._order[1][offsets[epochs == epoch]]
        return self.blocks[chosen]


def pad(lines: list[Array], pad_id: int) -> tuple[Array, Array]:
    """Token ids int64 (lines, longest) and the attention mask of the same shape."""
    width = max(1, max(line.size for line in lines))
    ids = np.full((len(lines), width), pad_id, np.int64)
    mask = np.zeros((len(lines), width), np.int64)
    for row, line in enumerate(lines):
        ids[row, : line.size] = line
        mask[row, : line.size] = 1
    return ids, mask
