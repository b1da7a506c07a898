"""The translation table for people: frequent tokens, weak ones, and all of them for the search box."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..evidence import Provenance, encode
from ..vocabulary import all_special_ids
from .folder import LanguageFolder
from .written import has_letters, written_tokens

Array = np.ndarray[Any, Any]

#: rows of the two tables of tokens
FREQUENT, WEAKEST = 50, 30

#: English tokens shown of a row
_SHOWN = 4

#: a row that rests on less than this many expected links is weak
WEAK = 1.0


@dataclass(frozen=True)
class TokenRow:
    """A token and where its row came from.

    count, share: how often it is in the running text that was looked at, and its share of that. evidence: expected
    links. sources: English tokens with their probabilities.
    """

    id: int
    text: str
    count: int
    share: float
    provenance: str
    evidence: float
    sources: tuple[tuple[str, float], ...]


class Translations:
    """The tokens of a language with their rows."""

    def __init__(self, folder: LanguageFolder) -> None:
        self._folder = folder
        self.table = folder.table
        self.target = written_tokens(folder.tokenizer)
        self.source = written_tokens(folder.run.source_tokenizer)

    @cached_property
    def counts(self) -> Array:
        """How often each token is in the running text, int64 (V_target,); all 0 without any."""
        ids = encode(self._folder.tokenizer, self._folder.text).ids
        return np.bincount(ids, minlength=len(self.target))[: len(self.target)]

    @property
    def counted(self) -> bool:
        """Whether there was running text to count in."""
        return bool(self.counts.any())

    def sources(self, row: int, most: int = _SHOWN) -> tuple[tuple[str, float], ...]:
        """The English tokens with the largest probabilities of a row."""
        columns, values = self.largest(row, most)
        return tuple((self.source[column], float(value)) for column, value in zip(columns, values, strict=True))

    def largest(self, row: int, most: int) -> tuple[Array, Array]:
        """Columns and values of the largest entries of a row, the largest first."""
        first, last = self.table.matrix.indptr[row : row + 2]
        columns, values = self._sorted
        span = slice(first, min(last, first + most))
        return columns[span], values[span]

    @cached_property
    def _sorted(self) -> tuple[Array, Array]:
        """Columns and values of the table, those of a row by falling value."""
        matrix = self.table.matrix
        rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
        order = np.lexsort((matrix.indices, -matrix.data, rows))
        return matrix.indices[order], matrix.data[order]

    def row(self, token: int) -> TokenRow:
        """All that is shown of a token."""
        return TokenRow(
            token,
            self.target[token],
            int(self.counts[token]),
            float(self.counts[token] / max(1, self.counts.sum())),
            Provenance(int(self.table.provenance[token])).name,
            float(self.table.evidence[token]),
            self.sources(token),
        )

    @cached_property
    def by_frequency(self) -> Array:
        """Ids of all tokens that are not special, the most frequent first, int64; by id where nothing was counted."""
        order = np.argsort(-self.counts, kind="stable")
        return order[~np.isin(order, list(all_special_ids(self._folder.tokenizer)))]

    def frequent(self) -> list[TokenRow]:
        """The most frequent tokens of the running text."""
        return [self.row(int(token)) for token in self.by_frequency[:FREQUENT] if self.counts[token]]

    def weakest(self) -> list[TokenRow]:
        """The tokens that rest on next to nothing, those the running text needs most first."""
        open_rows = self.by_frequency
        weak = open_rows[(self.table.evidence[open_rows] < WEAK) & (self.counts[open_rows] > 0)]
        return [self.row(int(token)) for token in weak[:WEAKEST]]

    def words(self, most: int) -> list[int]:
        """The most frequent tokens that have letters and a row with evidence."""
        tokens = (int(t) for t in self.by_frequency if self.table.provenance[t] != Provenance.fallback)
        lettered = (token for token in tokens if has_letters(self.target[token]))
        return [token for token, _ in zip(lettered, range(most), strict=False)]

    def payload(self, limit: int) -> tuple[str, int]:
        """All tokens for the search box: compressed JSON in base64, at most ``limit`` bytes; and how many they are.

        Where it gets too long, first the less probable English tokens are left out, then the rarest tokens.
        """
        tokens = np.array(sorted(self.by_frequency.tolist()), np.int64)
        for most in (_SHOWN, 2, 1):
            packed = self._packed(tokens, most)
            if len(packed) <= limit:
                return packed, tokens.size
        while len(packed) > limit and tokens.size > 1:
            fewer = int(tokens.size * min(0.9, limit / len(packed)))
            tokens = np.sort(self.by_frequency[:fewer])
            packed = self._packed(tokens, 1)
        return packed, tokens.size

    def _packed(self, tokens: Array, most: int) -> str:
        columns, values, lengths = [], [], []
        for token in tokens:
            found, weights = self.largest(int(token), most)
            columns += found.tolist()
            values += [round(100 * float(weight)) for weight in weights]
            lengths.append(found.size)
        english = sorted(set(columns))
        place = {column: number for number, column in enumerate(english)}
        content = {
            "ids": _steps(tokens.tolist()),
            "texts": [self.target[token] for token in tokens],
            "provenance": "".join(str(int(self.table.provenance[token])) for token in tokens),
            "evidence": [_rounded(float(self.table.evidence[token])) for token in tokens],
            "counts": self.counts[tokens].tolist() if self.counted else [],
            "lengths": "".join(map(str, lengths)),
            "sources": [place[column] for column in columns],
            "percent": values,
            "english": [self.source[column] for column in english],
            "kinds": [kind.name for kind in Provenance],
        }
        text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
        return base64.b64encode(zlib.compress(text.encode("utf-8", "replace"), 9)).decode()


def _steps(ids: Sequence[int]) -> list[int]:
    """Each id less the one before, which takes less room."""
    return [number - before for number, before in zip(ids, [0, *ids], strict=False)]


def _rounded(number: float) -> float | int:
    """Three digits are enough to read."""
    short = float(f"{number:.3g}")
    return int(short) if short == int(short) else short
