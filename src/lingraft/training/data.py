"""Batches as a function of (seed, step): any step can be rebuilt, so nothing of the order has to be saved."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from ..corpus import TokenSequences, TokenStream
from ..surgery import LanguageModel
from ..vocabulary import special_ids

Array = np.ndarray[Any, Any]

#: this many batches are drawn together and sorted by length, so that a batch has little padding
_POOL = 50


class LengthBatches:
    """Batches of line numbers with similar lengths; every epoch is another random order and drops no line."""

    def __init__(self, lengths: Array, batch_size: int, seed: int) -> None:
        self._lengths = lengths
        self._batch_size = min(batch_size, lengths.size)
        self._seed = seed
        self._epoch = -1
        self._batches: list[Array] = []
        #: how many there are, and how many batches they make
        self.lines: int = lengths.size
        self.per_epoch = -(-lengths.size // self._batch_size)

    def __getitem__(self, step: int) -> Array:
        """Line numbers of the batch at a step, int64, at most batch_size of them."""
        epoch, index = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            self._batches, self._epoch = self.epoch(epoch), epoch
        return self._batches[index]

    def epoch(self, epoch: int) -> list[Array]:
        """The batches of an epoch, from 0 on, in its order."""
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


def text_marks(tokenizer: PreTrainedTokenizerBase, *, causal: bool) -> tuple[int | None, int | None]:
    """Ids of the token that opens a block of running text and of the one that closes a line, where there are any.

    tokenizer: the model's. causal: whether the text is for a causal model.
    """
    roles = special_ids(tokenizer)
    if causal:
        return None, roles.get("eos")
    return roles.get("cls", roles.get("bos")), roles.get("sep", roles.get("eos"))


def text_stream(language_model: LanguageModel, text: TokenSequences) -> TokenStream:
    """Encoded lines as one stream, each closed by the token that separates lines for this model.

    text: the lines.
    """
    _, closing = text_marks(language_model.tokenizer, causal=language_model.kind == "causal")
    return TokenStream.of(text, closing, len(language_model.tokenizer))


#: rounds of `permuted`; every second one changes the column, the others the row
_ROUNDS = 8


def permuted(places: Array, size: int, *key: int) -> Array:
    """Where a pseudo-random permutation of range(size) puts these places, int64; other keys, another permutation.

    A Feistel network over the cells of a table that is just large enough (Black & Rogaway 2002, "Ciphers with
    arbitrary finite domains"): every round adds to one coordinate, modulo its range, a keyed hash of the other. What
    falls behind the end goes through again until it does not ("cycle walking"). So nothing is stored, however large
    the permutation is.
    """
    columns = max(1, math.isqrt(max(size - 1, 0)) + 1)
    rows = -(-size // columns)
    keys = np.random.SeedSequence(key).generate_state(_ROUNDS, np.uint64)
    result = np.array(places, np.int64)
    outside = np.arange(result.size)
    while outside.size:
        row, column = np.divmod(result[outside], columns)
        for number, secret in enumerate(keys):
            if number % 2:
                row = (row + _hashed(column, secret, rows)) % rows
            else:
                column = (column + _hashed(row, secret, columns)) % columns
        result[outside] = row * columns + column
        outside = outside[result[outside] >= size]
    return result


def _hashed(values: Array, key: np.uint64, size: int) -> Array:
    """A keyed hash of each value in range(size), int64: the finaliser of SplitMix64 (Steele et al. 2014)."""
    mixed = values.astype(np.uint64) + key
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((mixed ^ (mixed >> np.uint64(31))) % np.uint64(size)).astype(np.int64)


class PackedBlocks:
    """Running text as blocks of equal length without padding.

    Every block opens with the token ``start``, where there is one, and goes on with the text where the block before it
    ended; the last block is filled up from the beginning of the text, so no token is ever dropped. No block is made
    before it is asked for: what stays in memory does not grow with the text.
    """

    def __init__(self, stream: TokenStream, length: int, start: int | None) -> None:
        self._stream = stream
        self._start = start
        #: tokens of a block
        self.length = length
        self._body = length - (start is not None)
        self.n_blocks = max(1, -(-stream.size // self._body))
        #: tokens of the last block, opening included, that are not the beginning of the text over again
        self.last_length = length - self._body + (stream.size - 1) % self._body + 1 if stream.size else length

    def take(self, numbers: Array) -> Array:
        """The blocks of these numbers, int32, shape (numbers, length)."""
        text = self._stream.take(numbers * self._body, self._body)
        return text if self._start is None else np.insert(text, 0, self._start, axis=1)

    def batch(self, step: int, batch_size: int, seed: int) -> Array:
        """The blocks of a step, int32, shape (batch_size, length); epochs follow each other without a break.

        Every epoch is all blocks in another order, which is a function of the seed and the epoch alone.
        """
        epochs, places = np.divmod(np.arange(step * batch_size, (step + 1) * batch_size), self.n_blocks)
        for epoch in np.unique(epochs):
            places[epochs == epoch] = permuted(places[epochs == epoch], self.n_blocks, seed, int(epoch))
        return self.take(places)


def pad(lines: list[Array], pad_id: int) -> tuple[Array, Array]:
    """Token ids int64 (lines, longest) and the attention mask of the same shape."""
    width = max(1, max(line.size for line in lines))
    ids = np.full((len(lines), width), pad_id, np.int64)
    mask = np.zeros((len(lines), width), np.int64)
    for row, line in enumerate(lines):
        ids[row, : line.size] = line
        mask[row, : line.size] = 1
    return ids, mask
