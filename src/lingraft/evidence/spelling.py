"""Evidence from how a token is written: the source has the same token, or can spell it."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable

import numpy as np
from scipy import sparse
from transformers import PreTrainedTokenizerBase

from ..vocabulary import (
    TokenIdentity,
    all_special_ids,
    backend_json,
    notation,
    plain_backend,
    special_ids,
    token_identities,
)
from .rows import Evidence
from .table import Provenance

#: strength of an overlap that cannot be a false friend; of a word of the same letters in both languages it is 1
CERTAIN = 20.0

#: the same where the letters are foreign to the source, which has them but knows next to nothing of them
STRANGE = 0.01


def spelling_evidence(source: PreTrainedTokenizerBase, target: PreTrainedTokenizerBase) -> tuple[Evidence, Evidence]:
    """Overlap and composition: target tokens that the source has too, and others that it can spell.

    Overlap is the same bytes at the same place in a word. Its strength is 1 for tokens with letters of the script that
    both mostly use, as they may be false friends. Letters of the target's script that the source only happens to have
    (the Han characters in an English vocabulary) count `STRANGE`. All others are `CERTAIN`: digits, punctuation, parts
    of a character, names in the source's own letters.

    Composition is the mean of the few pieces by which the source spells a token that it does not have. What it can only
    write letter by letter or not at all says nothing of a token. The strength is 1.
    """
    by_identity = {identity: index for index, identity in enumerate(token_identities(source)) if identity is not None}
    targets = _open_rows(target)
    shape = len(target), len(source)
    shared = [(row, identity) for row, identity in targets if identity in by_identity]
    new = [(row, identity) for row, identity in targets if identity not in by_identity]
    return _overlap(shared, new, by_identity, shape), _composition(new, source, shape)


def _overlap(
    shared: list[tuple[int, TokenIdentity]],
    new: list[tuple[int, TokenIdentity]],
    by_identity: dict[TokenIdentity, int],
    shape: tuple[int, int],
) -> Evidence:
    # what both have says little of the target: a Chinese vocabulary may hold more Latin letters than Han characters
    script = main_script(_text(identity) for _, identity in new) or main_script(_text(each) for _, each in shared)
    own = 1.0 if script == main_script(map(_text, by_identity)) else STRANGE
    strength = np.zeros(shape[0])
    for row, identity in shared:
        strength[row] = own if script in scripts_of(_text(identity) or "") else CERTAIN
    rows, columns = [row for row, _ in shared], [by_identity[identity] for _, identity in shared]
    matrix = sparse.csr_matrix((np.ones(len(shared)), (rows, columns)), shape=shape)
    return Evidence(Provenance.overlap, matrix, strength)


def _composition(
    new: list[tuple[int, TokenIdentity]], source: PreTrainedTokenizerBase, shape: tuple[int, int]
) -> Evidence:
    backend = plain_backend(source)
    # elsewhere a text is spelled as if a word started with it
    spaced = notation(backend_json(source)) == "bytelevel"
    forbidden = all_special_ids(source)
    rows: list[int] = []
    columns: list[int] = []
    weights: list[float] = []
    for row, identity in new:
        text = _text(identity)
        if text is None:
            continue
        pieces = backend.encode(" " + text if spaced and identity.starts_word else text, add_special_tokens=False).ids
        if pieces and not forbidden.intersection(pieces) and len(pieces) < max(2, len(text)):
            rows.extend([row] * len(pieces))
            columns.extend(pieces)
            weights.extend([1 / len(pieces)] * len(pieces))
    matrix = sparse.csr_matrix((weights, (rows, columns)), shape=shape, dtype=np.float64)
    strength = np.zeros(shape[0])
    strength[rows] = 1.0
    return Evidence(Provenance.composition, matrix, strength)


def main_script(texts: Iterable[str | None]) -> str | None:
    """The script that most of some texts have a letter of, by its name in Unicode; None without any letter."""
    counts = Counter(script for text in texts for script in set(scripts_of(text or "")))
    return counts.most_common(1)[0][0] if counts else None


def _open_rows(target: PreTrainedTokenizerBase) -> list[tuple[int, TokenIdentity]]:
    """The tokens that stand for text, and their identity."""
    closed = all_special_ids(target) | set(special_ids(target).values())
    named = enumerate(token_identities(target))
    return [(row, identity) for row, identity in named if identity is not None and row not in closed]


def _text(identity: TokenIdentity) -> str | None:
    """The text of a token; None for parts of a character."""
    if identity.lone_byte:
        return None
    try:
        return identity.text.decode()
    except UnicodeDecodeError:
        return None


def scripts_of(text: str) -> list[str]:
    """The script of every letter."""
    return [unicodedata.name(letter, "?").partition(" ")[0] for letter in text if letter.isalpha()]
