"""Sentences that are already divided into words, as an encoder sees them: which subwords belong to which word."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from ..corpus import TokenSequences, clean
from ..errors import ModelError
from ..vocabulary import all_special_ids, frame, plain_backend, special_ids

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class WordPieces:
    """Sentences in pieces that fit into the encoder; most are one piece, and a piece ends where a word ends.

    ids: the subwords of every piece, special tokens around them included. first: for every word of a piece the place
    of its first subword in it. sentence: int64 (pieces,), the number of the sentence a piece is of, ascending; the
    pieces of a sentence follow each other.
    """

    ids: TokenSequences
    first: TokenSequences
    sentence: Array

    def __len__(self) -> int:
        return len(self.ids)


def encode_words(tokenizer: PreTrainedTokenizerBase, sentences: Sequence[Sequence[str]], max_length: int) -> WordPieces:
    """Every sentence's words, joined by spaces and encoded as running text is.

    A word that the tokenizer makes nothing of (a lone joiner, say) is the unknown token. max_length: subwords a piece
    may have, special tokens included; a longer sentence becomes several pieces, and of a single word that is longer
    only the first subwords are kept. Raises ModelError if there is no room beside the special tokens.
    """
    before, after = frame(tokenizer)
    room = max_length - len(before) - len(after)
    if room < 1:
        raise ModelError(f"A maximum length of {max_length} has no room for a subword beside the special tokens.")
    ids: list[list[int]] = []
    first: list[list[int]] = []
    owner: list[int] = []
    for number, words in enumerate(_subwords(tokenizer, sentences)):
        for piece in _pieces([word[:room] for word in words], room):
            starts = np.cumsum([len(before), *map(len, piece)])[:-1]
            ids.append([*before, *(subword for word in piece for subword in word), *after])
            first.append(starts.tolist())
            owner.append(number)
    return WordPieces(TokenSequences.from_lists(ids), TokenSequences.from_lists(first), np.asarray(owner, np.int64))


def _pieces(words: list[list[int]], room: int) -> Iterator[list[list[int]]]:
    """Runs of words with at most so many subwords together."""
    piece: list[list[int]] = []
    held = 0
    for word in words:
        if held + len(word) > room:
            yield piece
            piece, held = [], 0
        piece.append(word)
        held += len(word)
    if piece:
        yield piece


def _subwords(tokenizer: PreTrainedTokenizerBase, sentences: Sequence[Sequence[str]]) -> Iterator[list[list[int]]]:
    """For every sentence the subword ids of each of its words, at least one a word."""
    backend = plain_backend(tokenizer)
    # text that looks like a special token is none; Unigram finds it among its pieces all the same
    backend.encode_special_tokens = True
    special = all_special_ids(tokenizer)
    roles = special_ids(tokenizer)
    unknown = next((roles[role] for role in ("unk", "mask", "pad") if role in roles), 0)
    for start in range(0, len(sentences), 1000):
        cleaned = [[clean(word) for word in words] for words in sentences[start : start + 1000]]
        encodings = backend.encode_batch([_text(words)[0] for words in cleaned], add_special_tokens=False)
        for words, encoding in zip(cleaned, encodings, strict=True):
            ends = _text(words)[1]
            spelled: list[list[int]] = [[] for _ in words]
            # a token of a space alone belongs to the word behind it
            begins = np.asarray([offsets[0] for offsets in encoding.offsets], np.int64)
            owners = np.minimum(np.searchsorted(ends, begins, side="right"), len(words) - 1)
            for word, subword in zip(np.maximum.accumulate(owners).tolist(), encoding.ids, strict=True):
                spelled[word].append(unknown if subword in special else subword)
            yield [word or [unknown] for word in spelled]


def _text(words: list[str]) -> tuple[str, Array]:
    """The words joined by single spaces, empty ones left out, and where each ends; an empty one ends with the last."""
    text = " ".join(word for word in words if word)
    lengths = np.asarray([len(word) + 1 if word else 0 for word in words], np.int64)
    return text, np.cumsum(lengths) - 1
