"""Bilingual lexicons as evidence: words become rows of subwords through the segmentations of both tokenizers.

An entry (English word e, foreign word f) is worth so many occurrences:

1. its count, where the lexicon has one;
2. p(e | f) p(f), where it has p(e | f);
3. p(f | e) p(e) otherwise, by Bayes' rule; a word list, which has no p(f | e), takes every translation of an English
   word for equally likely.

p(e) is what the source's tokenizer knows of English: vocabularies are numbered by frequency, so by Zipf's law a word is
worth 1 / rank. p(f) is the sum of p(f | e) p(e). This also keeps rare senses small: that "the" is a translation of a
word says more than that "tho" is one. Without counts an entry is worth one occurrence on average.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from transformers import PreTrainedTokenizerBase

from ..corpus import TokenSequences
from ..corpus.scripts import is_spaceless
from ..errors import CorpusError
from ..vocabulary import all_special_ids, backend_json, notation, plain_backend, token_identities
from .alignment.lexicon import Lexicon
from .rows import Evidence
from .table import Provenance

Array = np.ndarray[Any, Any]

#: shares of a word's occurrences that begin a sentence, and that follow another character than a space (an elision, a
#: quote); where words are written without spaces it is the latter that is the rule
_CAPITALISED, _GLUED = 0.1, 0.1

#: an entry with more pieces than this on a side is a text and no word
_MAX_PIECES = 32

#: iterations of EM between the pieces of the entries
_ITERATIONS = 4

#: ranks are counted from here (Mandelbrot), as the first few words are less frequent than Zipf's law says
_FIRST_RANK = 3

#: fewer different words than this on a side do not show a language
_MIN_WORDS = 20
#: how much larger a share of English words the second column needs for the lexicon to be the wrong way round
_MARGIN = 0.05


class _Form(NamedTuple):
    """A way in which words stand in running text, and how often: ``share`` is by word."""

    english: list[str]
    foreign: list[str]
    glued: bool
    share: Array


def lexicon_evidence(
    lexicon: Lexicon, source: PreTrainedTokenizerBase, target: PreTrainedTokenizerBase, name: str = "The lexicon"
) -> Evidence:
    """p(source token | target token) out of a lexicon.

    name: what the lexicon is called in errors. The strength of a row is the expected number of occurrences of the token
    in the entries, see `lexicon_counts`. Raises CorpusError for a lexicon that is the wrong way round.
    """
    check_direction(lexicon, source, name)
    return Evidence.from_counts(Provenance.lexicon, lexicon_counts(lexicon, source, target))


def lexicon_counts(
    lexicon: Lexicon, source: PreTrainedTokenizerBase, target: PreTrainedTokenizerBase
) -> sparse.csr_matrix:
    """Expected co-occurrences of subwords, CSR float64 (V_target, V_source); a row's sum is the token's occurrences.

    lexicon: of words and phrases.

    Every entry is segmented by both tokenizers as in running text: behind a space, and in small shares at the beginning
    of a sentence (capitalised) and behind another character. Which pieces of an entry belong together is found by EM
    over all entries (IBM model 1 in both directions, Brown et al. 1993, started from the pieces' relative positions),
    each with its weight. Entries of more than 32 pieces on a side, and of characters that a tokenizer does not have,
    are passed over.
    """
    of_source, of_target = _Segmenter(source), _Segmenter(target)
    weights = _weights(lexicon, of_source)
    shares: list[Array] = []
    sides: list[tuple[TokenSequences, TokenSequences]] = []
    for form in _forms(lexicon):
        side = of_source.pieces(form.english), of_target.pieces(form.foreign, form.glued)
        same = next((k for k, known in enumerate(sides) if all(map(_equal, side, known))), None)
        if same is not None:  # an uncased tokenizer
            shares[same] = shares[same] + form.share
            continue
        # where there are no capitals, words begin sentences as they are
        written = (side[0].lengths > 0) & (side[1].lengths > 0)
        if shares:
            shares[0] = shares[0] + np.where(written, 0.0, form.share)
        sides.append(side)
        shares.append(form.share)
    english, foreign = (_joined([side[k] for side in sides]) for k in (0, 1))
    return _composed(
        english, foreign, np.concatenate([weights * share for share in shares]), (len(target), len(source))
    )


def entry_weights(lexicon: Lexicon, source: PreTrainedTokenizerBase) -> Array:
    """Expected occurrences of every entry, float64 (entries,); the rule is that of the module's docstring."""
    return _weights(lexicon, _Segmenter(source))


def _weights(lexicon: Lexicon, source: _Segmenter) -> Array:
    backward, forward, count = (
        column.astype(np.float64)
        for column in (lexicon.english_given_foreign, lexicon.foreign_given_english, lexicon.count)
    )
    counted = ~np.isnan(count)
    if counted.all():
        return count
    translations = Counter(lexicon.english)
    uniform = 1 / np.array([translations[word] for word in lexicon.english], np.float64)
    joint = np.where(np.isnan(forward), uniform, forward) * _frequencies(lexicon.english, source)
    of_foreign = np.unique(lexicon.foreign, return_inverse=True)[1]
    frequency = np.bincount(of_foreign, joint)[of_foreign]
    weights = np.where(np.isnan(backward), joint, backward * frequency)
    rest = weights[~counted].sum()
    scale = np.count_nonzero(~counted) / rest if rest > 0 else 0.0
    return np.where(counted, np.nan_to_num(count), weights * scale)


def _frequencies(words: list[str], source: _Segmenter) -> Array:
    """p(word) up to a factor, float64 (words,): by the rank of its token, or as the rarest where it has none."""
    begins = np.array([known is not None and known.starts_word and len(known.text) > 1 for known in source.identities])
    rank = np.cumsum(begins) - begins
    pieces = source.pieces(words)
    ranks = np.full(len(words), np.count_nonzero(begins), np.float64)
    single = pieces.lengths == 1
    ranks[single] = rank[pieces.ids[pieces.offsets[:-1][single]]]
    frequencies: Array = 1 / (ranks + _FIRST_RANK)
    return frequencies


def _forms(lexicon: Lexicon) -> list[_Form]:
    english, foreign = lexicon.english, lexicon.foreign
    spaceless = np.array([any(map(is_spaceless, word[:1])) for word in foreign])
    glued = np.where(spaceless, 1 - _GLUED, _GLUED)
    capital = [word[:1].upper() + word[1:] for word in foreign]
    capitalised = np.where([big != word for big, word in zip(capital, foreign, strict=True)], _CAPITALISED, 0.0)
    return [
        _Form(english, foreign, False, 1 - glued - capitalised),
        _Form(english, foreign, True, glued),
        _Form([word[:1].upper() + word[1:] for word in english], capital, False, capitalised),
    ]


class _Segmenter:
    """A tokenizer's pieces of words that stand in running text."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._backend = plain_backend(tokenizer)
        self._style = notation(backend_json(tokenizer))
        self.identities = token_identities(tokenizer)
        self._forbidden = all_special_ids(tokenizer)
        # a space of its own says nothing of the word behind it
        empty = {index for index, known in enumerate(self.identities) if known is not None and not known.text}
        self._nothing = self._forbidden | empty

    def pieces(self, words: list[str], glued: bool = False) -> TokenSequences:
        """Ids of the pieces of every word behind a space, or (glued) behind a character that words are never one with.

        No pieces where the tokenizer cannot write the word, or not without the character before it.
        """
        # elsewhere a word is spelled the same wherever it stands
        glued = glued and self._style in ("bytelevel", "metaspace")
        before = "1" if glued else " " if self._style == "bytelevel" else ""
        different = {word: k for k, word in enumerate(dict.fromkeys(words))}
        texts = [before + word for word in different]
        found: list[list[int]] = []
        for start in range(0, len(texts), 10_000):
            chunk = texts[start : start + 10_000]
            if glued:
                encodings = self._backend.encode_batch(chunk, add_special_tokens=False)
                found += [_behind_first(encoding.ids, encoding.offsets) for encoding in encodings]
            else:
                found += [e.ids for e in self._backend.encode_batch_fast(chunk, add_special_tokens=False)]
        by_word = TokenSequences.from_lists(map(self._usable, found))
        return _taken(by_word, np.array([different[word] for word in words], np.int64))

    def _usable(self, ids: list[int]) -> list[int]:
        if len(ids) > _MAX_PIECES or not self._forbidden.isdisjoint(ids):
            return []
        return ids if self._nothing.isdisjoint(ids) else [index for index in ids if index not in self._nothing]


def _taken(sequences: TokenSequences, lines: Array) -> TokenSequences:
    """The lines of these numbers, which may occur several times."""
    lengths = sequences.lengths[lines]
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    return TokenSequences(sequences.ids[_ranges(sequences.offsets[:-1][lines], lengths)], offsets)


def _equal(one: TokenSequences, other: TokenSequences) -> bool:
    return np.array_equal(one.ids, other.ids) and np.array_equal(one.offsets, other.offsets)


def _behind_first(ids: list[int], offsets: list[tuple[int, int]]) -> list[int]:
    """The pieces behind the first character of a text, none where a piece holds that and more."""
    if any(start < 1 < end for start, end in offsets):
        return []
    return [index for index, (start, end) in zip(ids, offsets, strict=True) if start >= 1 and end > start]


def _joined(parts: list[TokenSequences]) -> TokenSequences:
    lengths = np.concatenate([part.lengths for part in parts])
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    return TokenSequences(np.concatenate([part.ids for part in parts]), offsets)


def _composed(
    english: TokenSequences, foreign: TokenSequences, weights: Array, shape: tuple[int, int]
) -> sparse.csr_matrix:
    """Expected links between the pieces of entries, scaled to the occurrences of the foreign pieces."""
    m, n = english.lengths, foreign.lengths
    used = np.flatnonzero((m > 0) & (n > 0) & (weights > 0))
    m, n, weights = m[used], n[used], weights[used]
    # a link for every pair of pieces of an entry, the English piece changing fastest
    size = m * n
    entry = np.repeat(np.arange(used.size), size)
    within = np.arange(entry.size) - np.repeat(np.cumsum(size) - size, size)
    j, i = within // m[entry], within % m[entry]
    rows = foreign.ids[foreign.offsets[:-1][used][entry] + j].astype(np.int64)
    columns = english.ids[english.offsets[:-1][used][entry] + i].astype(np.int64)
    cells, cell = np.unique(rows * shape[1] + columns, return_inverse=True)
    row, column = cells // shape[1], cells % shape[1]
    # the number of a foreign piece, and of an English one, among those of all entries
    piece = np.repeat(np.cumsum(n) - n, size) + j
    english_piece = np.repeat(np.cumsum(m) - m, size) + i
    worth = weights[entry]
    posterior = _overlap(i, j, m[entry], n[entry])
    counts = np.bincount(cell, worth * posterior, cells.size)
    for _ in range(_ITERATIONS):
        to_english = (counts / np.bincount(row, counts)[row])[cell]
        to_foreign = (counts / np.bincount(column, counts)[column])[cell]
        posterior = (
            to_english / np.bincount(english_piece, to_english)[english_piece]
            + to_foreign / np.bincount(piece, to_foreign)[piece]
        ) / 2  # fmt: skip
        counts = np.bincount(cell, worth * posterior, cells.size)
    occurrences = np.bincount(foreign.ids[_ranges(foreign.offsets[:-1][used], n)], np.repeat(weights, n), shape[0])
    scale = occurrences / np.maximum(np.bincount(row, counts, shape[0]), 1e-300)
    matrix = sparse.csr_matrix((counts * scale[row], (row, column)), shape=shape)
    matrix.eliminate_zeros()
    return matrix


def _overlap(i: Array, j: Array, m: Array, n: Array) -> Array:
    """How much of piece j of n lies over piece i of m, both words being of length 1; sums to 1 over i."""
    shared = np.minimum((i + 1) / m, (j + 1) / n) - np.maximum(i / m, j / n)
    result: Array = n * np.maximum(shared, 0.0)
    return result


def _ranges(starts: Array, lengths: Array) -> Array:
    """All numbers of the ranges [start, start + length), one range after the other."""
    ends = np.cumsum(lengths)
    numbers: Array = np.arange(ends[-1] if ends.size else 0) + np.repeat(starts - (ends - lengths), lengths)
    return numbers


def check_direction(lexicon: Lexicon, source: PreTrainedTokenizerBase, name: str = "The lexicon") -> None:
    """Raises CorpusError if it is the second column that is English.

    name: of the lexicon, for the message.

    English is what the source's tokenizer has whole words for, without any letter beyond ASCII (some tokenizers strip
    accents); the share of such words among the different words of either column is compared.
    """
    segmenter = _Segmenter(source)
    shares = [_english_share(side, segmenter) for side in (lexicon.english, lexicon.foreign)]
    if None in shares:
        return
    first, second = (share or 0.0 for share in shares)
    if second > first + _MARGIN:
        raise CorpusError(
            f"{name} seems to be the wrong way round: {100 * first:.0f} % of the words in its first column are words "
            f"of the English model's vocabulary, and {100 * second:.0f} % in its second. The first column has to be "
            "English, the second the new language: change them over."
        )


def _english_share(side: list[str], source: _Segmenter) -> float | None:
    """The share of English among the different words of a column, None where they are too few."""
    words = sorted({word for entry in side for word in entry.split()})
    if len(words) < _MIN_WORDS:
        return None
    pieces = source.pieces(words)
    ascii_words = np.array([word.isascii() for word in words])
    return float(((pieces.lengths == 1) & ascii_words).mean())
