"""Example sentences with their words linked, as the translation table has it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from ..corpus.scripts import is_spaceless
from ..evidence import TranslationTable
from ..evidence.vectors.training import words_of
from ..vocabulary import all_special_ids, plain_backend
from .translations import Array
from .written import has_letters, visible

#: sentences shown, and how many words each of their sides may have
SHOWN, FEWEST, MOST = 6, 4, 13

#: pairs that are looked at
_LOOKED_AT = 600

#: English tokens are told apart by their place: weights fall by e for so large a difference of relative positions
_SPREAD = 0.2

#: the weight of no translation at all, against probabilities of the table
_NULL = 0.02

#: links shown, by the geometric mean of both directions' posteriors
_SMALLEST = 0.2


@dataclass(frozen=True)
class LinkedPair:
    """Words of both sides, and links (English word, foreign word, weight from 0 to 1)."""

    english: tuple[str, ...]
    foreign: tuple[str, ...]
    links: tuple[tuple[int, int, float], ...]


@dataclass(frozen=True)
class _Side:
    words: tuple[str, ...]
    ids: Array
    #: for each token, which word it belongs to
    word: Array


def linked_examples(
    pairs: Sequence[tuple[str, str]],
    table: TranslationTable,
    source: PreTrainedTokenizerBase,
    target: PreTrainedTokenizerBase,
) -> list[LinkedPair]:
    """A handful of short sentence pairs from all over a bitext, linked; the same ones every time."""
    english = partial(_side, plain_backend(source), all_special_ids(source))
    foreign = partial(_side, plain_backend(target), all_special_ids(target))
    fitting: list[tuple[_Side, _Side]] = []
    for pair in pairs[:: max(1, len(pairs) // _LOOKED_AT)]:
        if max(map(len, pair)) < 200 and _is_sentence(pair[0]):
            sides = english(pair[0]), foreign(pair[1])
            if all(FEWEST <= len(side.words) <= MOST for side in sides):
                fitting.append(sides)
    places = np.linspace(0, len(fitting) - 1, min(SHOWN, len(fitting))).astype(int)
    return [_linked(fitting[place], table) for place in places]


def _is_sentence(text: str) -> bool:
    """Whether most of a text is words, and not a format of some program."""
    words = words_of(text)
    return sum(map(has_letters, words)) >= 0.7 * len(words) and not any(c in text for c in "{}<>$%|\\_=")


def _side(backend: Tokenizer, special: set[int], text: str) -> _Side:
    encoding = backend.encode(text, add_special_tokens=False)
    spans: list[tuple[int, int]] = []
    at = 0
    for word in words_of(text):
        at = text.index(word, at)
        spans.append((at, at + len(word)))
        at += len(word)
    cut: list[tuple[int, int]] = []
    for first, last in spans:
        # a run of Chinese or Thai is as many words as it has tokens
        inside = {(a, b) for a, b in encoding.offsets if first <= a < b <= last} if is_spaceless(text[first]) else ()
        cut += sorted(inside) or [(first, last)]
    ids: list[int] = []
    belongs: list[int] = []
    for token, (_, end) in zip(encoding.ids, encoding.offsets, strict=True):
        place = next((number for number, (first, last) in enumerate(cut) if first < end <= last), None)
        if place is not None and token not in special:
            ids.append(token)
            belongs.append(place)
    return _Side(tuple(visible(text[a:b]) for a, b in cut), np.array(ids, int), np.array(belongs, int))


def _linked(sides: tuple[_Side, _Side], table: TranslationTable) -> LinkedPair:
    """Links by p(source token | target token), normalised over each sentence in both directions."""
    english, foreign = sides
    weights = np.asarray(table.matrix[foreign.ids][:, english.ids].todense(), float)
    place_foreign, place_english = (
        (np.arange(side.ids.size) + 0.5) / max(1, side.ids.size) for side in (foreign, english)
    )
    weights *= np.exp(-np.abs(place_foreign[:, None] - place_english[None, :]) / _SPREAD)
    joint = np.sqrt(
        weights / (weights.sum(1, keepdims=True) + _NULL) * (weights / (weights.sum(0, keepdims=True) + _NULL))
    )
    best: dict[tuple[int, int], float] = {}
    for j, i in zip(*np.nonzero(joint >= _SMALLEST), strict=True):
        words = int(english.word[i]), int(foreign.word[j])
        best[words] = max(best.get(words, 0.0), float(joint[j, i]))
    return LinkedPair(english.words, foreign.words, tuple((i, j, weight) for (i, j), weight in sorted(best.items())))
