"""A tokenised bitext into ids, and links into text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ...corpus import TokenSequences, check_readable, read_blocks, split_bitext
from ...corpus.clean import check_columns, check_lengths
from ...errors import CorpusError
from .compiled import Array, Growing, compiled
from .words import Vocabulary, cut, join, take_apart

#: pairs of Python objects that are worked on at once
_PAIRS = 1 << 13


@dataclass(frozen=True)
class EncodedBitext:
    """A bitext as ids; line k of one side is the translation of line k of the other.

    english, foreign: what is aligned, *units*: the tokens, or what characters were made of. english_word_of_unit,
    foreign_word_of_unit: int32, shape (units,), for every unit the number, within its line, of the token it is a part
    of; None where the tokens are the units. malformed: how many lines of a TSV were made empty pairs because they did
    not have exactly two columns.
    """

    english: TokenSequences
    foreign: TokenSequences
    english_words: Vocabulary
    foreign_words: Vocabulary
    english_word_of_unit: Array | None = None
    foreign_word_of_unit: Array | None = None
    malformed: int = 0


class _Side:
    """One side of a bitext while it is read."""

    def __init__(self, vocabulary: Vocabulary | None, characters: bool) -> None:
        self.words = vocabulary.copy() if vocabulary else Vocabulary()
        self._characters = characters
        self.lines = 0
        self._ids, self._word_of_unit = Growing(np.int32, 0), Growing(np.int32, 0)
        self._lengths: list[Array] = [np.zeros(1, np.int64)]

    def add(self, block: bytes, starts: Array, ends: Array, lengths: Array) -> None:
        """Tokens by their spans in a block of UTF-8 bytes, and how many of them each line has."""
        if self._characters:
            starts, ends, lengths, word_of_unit = take_apart(block, starts, ends, lengths)
            self._word_of_unit.append(word_of_unit)
        self._ids.append(self.words.encode_spans(block, starts, ends))
        self._lengths.append(lengths)
        self.lines += lengths.size

    def finish(self) -> tuple[TokenSequences, Array | None]:
        """The units, and the word of each if characters were taken apart; to be called once."""
        sequences = TokenSequences(self._ids.finished(), np.cumsum(np.concatenate(self._lengths)))
        return sequences, self._word_of_unit.finished() if self._characters else None


def _encoded(english: _Side, foreign: _Side, malformed: int) -> EncodedBitext:
    left, english_word_of_unit = english.finish()
    right, foreign_word_of_unit = foreign.finish()
    return EncodedBitext(
        left, right, english.words, foreign.words, english_word_of_unit, foreign_word_of_unit, malformed
    )


def read_tokenised(
    name: str,
    *,
    lowercase: bool = True,
    characters: bool = False,
    extend: tuple[Vocabulary, Vocabulary] | None = None,
    block_size: int = 1 << 20,
) -> EncodedBitext:
    """Reads and encodes a tokenised bitext; line k of the result is line k of the file, also where it is empty.

    name: a TSV of two columns (English, foreign), or EN_FILE,XX_FILE; plain or compressed UTF-8. A token is a run of
    anything but ASCII white space. lowercase: by `str.lower`. characters: the characters of scripts written without
    spaces (Han, kana, Thai, Lao, Khmer, Myanmar) are units of their own, see `words.take_apart`. extend: vocabularies
    (English, foreign) whose ids the words keep; new words come behind them, in copies. block_size: about how many bytes
    of a file are worked on at once.

    Raises CorpusError for whatever `lingraft.corpus.read_bitext` refuses: a file that is missing, empty, damaged or not
    UTF-8 text, two files of different length, more than 1 % of TSV lines without exactly two columns.
    """
    paths = split_bitext(name)
    for path in paths:
        check_readable(path)
    left, right = extend or (None, None)
    english, foreign = _Side(left, characters), _Side(right, characters)
    malformed = 0
    if len(paths) == 2:
        for side, path in ((english, paths[0]), (foreign, paths[1])):
            for block in read_blocks(path, block_size):
                if lowercase:
                    block = block.lower() if block.isascii() else block.decode().lower().encode()
                side.add(block, *cut(block))
        check_lengths(paths, (english.lines, foreign.lines))
    else:
        malformed = _read_tsv(paths[0], english, foreign, lowercase, block_size)
    return _encoded(english, foreign, malformed)


def _read_tsv(path: Path, english: _Side, foreign: _Side, lowercase: bool, block_size: int) -> int:
    """Reads both sides; how many lines have neither two columns nor nothing but white space."""
    malformed = 0
    first = (0, 0)
    for block in read_blocks(path, block_size):
        text = block.decode()
        lines = (text.lower() if lowercase else text).split("\n")
        left, right = [], []
        for number, line in enumerate(lines[:-1], english.lines + 1):
            columns = line.split("\t")
            if len(columns) == 2:
                left.append(columns[0])
                right.append(columns[1])
                continue
            left.append("")
            right.append("")
            if line.strip():
                first = first if malformed else (number, len(columns))
                malformed += 1
        for side, texts in ((english, left), (foreign, right)):
            column = "\n".join([*texts, ""]).encode()
            side.add(column, *cut(column))
    check_columns(path, malformed, english.lines, *first)
    return malformed


def encode_pairs(
    pairs: Iterable[tuple[str | Sequence[str], str | Sequence[str]]],
    *,
    lowercase: bool = True,
    characters: bool = False,
    extend: tuple[Vocabulary, Vocabulary] | None = None,
) -> EncodedBitext:
    """Encodes pairs (English, foreign) as `read_tokenised` does those of a file.

    A string is split at ASCII white space; any other sequence of strings is taken as tokens, whatever they hold.
    Raises CorpusError for text that has no UTF-8 form.
    """
    left, right = extend or (None, None)
    english, foreign = _Side(left, characters), _Side(right, characters)
    rest = iter(pairs)
    while batch := list(islice(rest, _PAIRS)):
        for number, pair in enumerate(batch, english.lines + 1):
            # a string has a length and parts too
            given: Any = pair
            if isinstance(given, str) or not isinstance(given, Sequence) or len(given) != 2:
                raise CorpusError(
                    f"Pair {number} is {given!r:.80}; expected were two sentences, (English, foreign). To align files, "
                    "give their names as one string, 'EN_FILE,XX_FILE'."
                )
        for column, side in enumerate((english, foreign)):
            lines = [_tokens(pair[column], lowercase, number) for number, pair in enumerate(batch, side.lines + 1)]
            block, starts, ends = join(token for line in lines for token in line)
            side.add(block, starts, ends, np.array([len(line) for line in lines], np.int64))
    return _encoded(english, foreign, 0)


def _tokens(line: str | Sequence[str], lowercase: bool, number: int) -> list[bytes]:
    try:
        if isinstance(line, str):
            # bytes.split takes ASCII white space only, str.split all of Unicode's
            return (line.lower() if lowercase else line).encode().split()
        return [(token.lower() if lowercase else token).encode() for token in line]
    except (AttributeError, TypeError):
        raise CorpusError(
            f"Pair {number} holds {line!r:.80}; a sentence is a string or a list of strings, its tokens."
        ) from None
    except UnicodeEncodeError as error:
        raise CorpusError(
            f"Pair {number} holds half a surrogate pair, {error.object[error.start]!r}, which no UTF-8 text can hold. "
            "Decode the text again with its true encoding."
        ) from None


@compiled(inline="always")
def _write_number(text: Array, at: int, number: int | np.int64) -> int:
    """Writes a number so that it starts at a place, and returns the place behind it."""
    end = at + 1
    power = 10
    while number >= power:
        end += 1
        power *= 10
    for k in range(end - 1, at, -1):
        text[k] = 48 + number % 10
        number //= 10
    text[at] = 48 + number
    return end


@compiled()
def _format_links(pair_offsets: Array, english: Array, foreign: Array, posterior: Array, text: Array) -> int:
    # looked up, because dividing costs more than all the rest
    decimals = np.empty((1001, 6), np.uint8)
    for k in range(1001):
        decimals[k] = (58, 48 + k // 1000, 46, 48 + k // 100 % 10, 48 + k // 10 % 10, 48 + k % 10)
    at = 0
    for pair in range(pair_offsets.size - 1):
        for link in range(pair_offsets[pair], pair_offsets[pair + 1]):
            at = _write_number(text, at, np.int64(english[link]))
            text[at] = 45
            at = _write_number(text, at + 1, np.int64(foreign[link]))
            if posterior.size:
                # exact in float64, so that a tie is a tie; rint takes it to the even neighbour, as Python does
                share = min(np.float64(posterior[link]), 1.0)
                row = np.int64(np.rint(share * 1000.0)) if share > 0.0 else 0
                for k in range(6):
                    text[at + k] = decimals[row, k]
                at += 6
            text[at] = 32
            at += 1
        # the line end takes the place of the space behind the last link
        at -= pair_offsets[pair] < pair_offsets[pair + 1]
        text[at] = 10
        at += 1
    return at


def format_links(pair_offsets: Array, english: Array, foreign: Array, posterior: Array | None = None) -> bytes:
    """Links in the Pharaoh format: a line for each pair, ``i-j`` for each of its links, a space between two.

    pair_offsets: int64, shape (pairs + 1,); the links of pair k are those from ``pair_offsets[k]`` up to
    ``pair_offsets[k + 1]``. english, foreign: token numbers from 0, any type of integer, shape (links,). posterior:
    float32 in [0, 1], shape (links,); with it a link reads ``i-j:0.873``, always with three decimals.
    """
    links, pairs = int(pair_offsets[-1] - pair_offsets[0]), pair_offsets.size - 1
    digits = sum(len(str(numbers.max(initial=0))) for numbers in (english, foreign))
    text = np.empty(links * (digits + (2 if posterior is None else 8)) + pairs, np.uint8)
    nothing = np.empty(0, np.float32)
    size = _format_links(pair_offsets, english, foreign, nothing if posterior is None else posterior, text)
    return text[:size].tobytes()
