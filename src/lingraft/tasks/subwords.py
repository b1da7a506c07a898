"""Words into the subwords an encoder reads, and where each word's are found in a batch.

A sentence is encoded as running text, its words cleaned as training text is and separated by spaces, as its tokenizer
was made for. Two things are never lost in silence: a word of which the tokenizer leaves nothing gets the token for
unknown words, and a sentence longer than the encoder can read is read in windows. Text that looks like a special token
is text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from ..corpus import clean
from ..errors import ModelError
from ..vocabulary import all_special_ids, frame, plain_backend, special_ids

Array = np.ndarray[Any, Any]

#: tokens that are a space and nothing else; they tell nothing about the word they stand before
_SPACES = ("▁", "Ġ")

#: sentences that the tokenizer encodes at once; what it returns is large
_BLOCK = 1000


class Subwords(NamedTuple):
    """One sentence without special tokens. ids: int64 (tokens,). starts, ends: int64 (words,), the tokens of each word.

    Tokens between two words' are spaces, which are read but belong to none.
    """

    ids: Array
    starts: Array
    ends: Array


class Window(NamedTuple):
    """A part of a sentence: the tokens [start, end), in which the words [first, last) are looked up."""

    start: int
    end: int
    first: int
    last: int


@dataclass(frozen=True)
class WordBatch:
    """Sentences as an encoder reads them; all int64.

    input_ids, attention_mask: (rows, tokens), one row for each window. first: (words of all sentences,), position of a
    word's first token among all of ``rows * tokens``; count: how many it has there. lengths: (sentences,), words of
    each. starts: (sentences,), the row with which a sentence begins.
    """

    input_ids: Tensor
    attention_mask: Tensor
    first: Tensor
    count: Tensor
    lengths: Tensor
    starts: Tensor

    def to(self, device: torch.device) -> WordBatch:
        """The same on another device."""
        return WordBatch(*(tensor.to(device) for tensor in vars(self).values()))


class SubwordEncoder:
    """Encodes words with a tokenizer. max_length: tokens the encoder reads at once, special ones included."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, max_length: int) -> None:
        self.tokenizer = tokenizer
        self._backend = plain_backend(tokenizer)
        self._backend.encode_special_tokens = True
        # Unigram finds special tokens among its pieces all the same
        self._special = np.asarray(sorted(all_special_ids(tokenizer)), np.int64)
        self._before, self._after = (np.asarray(ids, np.int64) for ids in frame(tokenizer))
        self._pad = tokenizer.pad_token_id or 0
        roles = special_ids(tokenizer)
        # not by the padding token if it can be helped: some models count their positions by it
        self._unknown = next((roles[role] for role in ("unk", "mask", "eos", "bos", "pad") if role in roles), 0)
        spaces = (self._backend.token_to_id(token) for token in _SPACES)
        self._spaces = np.asarray([token for token in spaces if token is not None], np.int64)
        self._room = max_length - self._before.size - self._after.size
        if self._room < 1:
            raise ModelError(f"The model reads {max_length} tokens at once, special ones included; that holds no word.")

    def encode(self, sentences: Sequence[Sequence[str]]) -> list[Subwords]:
        """The subwords of sentences, each given as its words; every word has at least one."""
        found: list[Subwords] = []
        for start in range(0, len(sentences), _BLOCK):
            cleaned = [[clean(word) for word in words] for words in sentences[start : start + _BLOCK]]
            texts = [" ".join(word for word in words if word) for words in cleaned]
            encodings = self._backend.encode_batch(texts, add_special_tokens=False)
            found += [
                self._subwords(words, np.asarray(encoding.ids, np.int64), encoding.offsets)
                for words, encoding in zip(cleaned, encodings, strict=True)
            ]
        return found

    def _subwords(self, words: Sequence[str], ids: Array, offsets: list[tuple[int, int]]) -> Subwords:
        ids = np.where(np.isin(ids, self._special), self._unknown, ids)
        # by its last character a token with a leading space is told to belong to the word behind the space
        last = np.asarray(offsets, np.int64).reshape(-1, 2)[:, 1] - 1
        # an empty word is not in the text and ends where the one before it ends
        borders = np.cumsum([len(word) + 1 if word else 0 for word in words]) - 1
        word = np.minimum(np.searchsorted(borders, last, side="right"), len(words) - 1)
        word = np.maximum.accumulate(word)
        missing = np.flatnonzero(np.bincount(word, minlength=len(words)) == 0)
        if missing.size:
            places = np.searchsorted(word, missing)
            ids, word = np.insert(ids, places, self._unknown), np.insert(word, places, missing)
        edges = np.searchsorted(word, np.arange(len(words) + 1))
        starts, ends = edges[:-1], edges[1:]
        if self._spaces.size:
            starts = starts + (np.isin(ids[starts], self._spaces) & (ends - starts > 1))
        return Subwords(ids, starts, ends)

    def windows(self, sentence: Subwords) -> list[Window]:
        """The parts in which a sentence is read: one, or overlapping ones that begin and end with a word.

        Neighbours share about a quarter of what the encoder reads at once; the words they share are looked up half in
        the one and half in the other, so that each is seen with words on both sides. Of a word that is longer than a
        window by itself, only as many tokens as fit in one are read.
        """
        n, tokens = sentence.ends.size, sentence.ids.size
        if tokens <= self._room:
            return [Window(0, tokens, 0, n)]
        ends = sentence.ends
        begins = np.concatenate([[0], ends[:-1]])
        # the space before a word is read with it where there is room for both
        begins = np.where(ends - begins > self._room, sentence.starts, begins)
        spans: list[tuple[int, int]] = []
        first = last = 0
        while last < n:
            if spans:
                # so far back as to share a quarter, but not so far that the next word does not fit
                least = max(int(ends[last - 1]) - self._room // 4, int(ends[last]) - self._room)
                first = min(max(int(np.searchsorted(begins, least)), first + 1), last)
            last = max(int(np.searchsorted(ends, begins[first] + self._room, side="right")), first + 1)
            spans.append((first, last))
        middles = [0, *((later[0] + earlier[1] + 1) // 2 for earlier, later in pairwise(spans)), n]
        return [
            Window(int(begins[span[0]]), min(int(ends[span[1] - 1]), int(begins[span[0]]) + self._room), *owned)
            for span, owned in zip(spans, pairwise(middles), strict=True)
        ]

    def batch(self, sentences: Sequence[Subwords]) -> WordBatch:
        """Sentences put together, padded to the longest of their windows."""
        windows = [self.windows(sentence) for sentence in sentences]
        rows = sum(map(len, windows))
        before, after = self._before.size, self._after.size
        width = before + after + max((window.end - window.start for parts in windows for window in parts), default=0)
        ids = np.full((rows, width), self._pad, np.int64)
        mask = np.zeros((rows, width), np.int64)
        first: list[Array] = []
        count: list[Array] = []
        row = 0
        for sentence, parts in zip(sentences, windows, strict=True):
            for window in parts:
                size = before + window.end - window.start
                ids[row, :before] = self._before
                ids[row, before:size] = sentence.ids[window.start : window.end]
                ids[row, size : size + after] = self._after
                mask[row, : size + after] = 1
                starts = sentence.starts[window.first : window.last]
                first.append(starts - window.start + row * width + before)
                count.append(np.minimum(sentence.ends[window.first : window.last], window.end) - starts)
                row += 1
        begins = np.cumsum([0, *map(len, windows[:-1])])
        lengths = np.asarray([sentence.ends.size for sentence in sentences])
        arrays = (ids, mask, np.concatenate(first), np.concatenate(count), lengths, begins)
        return WordBatch(*(torch.from_numpy(array) for array in arrays))
