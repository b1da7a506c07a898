"""Which tokens spell another one, two by two, whatever the tokenizer's notation."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerBase

from .tokens import TokenIdentity, backend_json, notation, token_identities

Array = np.ndarray[Any, Any]


class TokenCuts(NamedTuple):
    """All ways to cut a token between two of its characters that leave a token on both sides.

    number: int64 (tokens,), how many each token has; 0 for special tokens. first: int64 (tokens,), where a token's
    begin in the others. left, right: int64 (cuts,), the two tokens.
    """

    number: Array
    first: Array
    left: Array
    right: Array


def token_cuts(tokenizer: PreTrainedTokenizerBase) -> TokenCuts:
    """The cuts of every token id below ``len(tokenizer)``, each token's from its beginning to its end.

    Parts of a character are not cut, nor tokens that were added to the vocabulary, which a text either has or has not.
    tokenizer: of any kind; one of whole words has no cuts.
    """
    state = backend_json(tokenizer)
    style = notation(state)
    marks_starts, marks_ends = style != "suffix", style in ("suffix", "plain")
    added = {token["id"] for token in state["added_tokens"]}
    identities = [
        None if token in added or state["model"]["type"] == "WordLevel" else identity
        for token, identity in enumerate(token_identities(tokenizer))
    ]
    index: dict[TokenIdentity, int] = {}
    for token, identity in enumerate(identities):
        if identity is not None:
            index.setdefault(identity, token)
    number = np.zeros(len(identities), np.int64)
    pairs: list[tuple[int, int]] = []
    for token, identity in enumerate(identities):
        if identity is None or identity.lone_byte:
            continue
        text, mark = identity.text, identity.starts_word
        for place in range(1, len(text)):
            if text[place] & 0xC0 == 0x80:  # inside a character
                continue
            left = index.get(TokenIdentity(text[:place], mark and marks_starts))
            right = index.get(TokenIdentity(text[place:], mark and marks_ends))
            if style == "metaspace" and text[place:].startswith(b" "):  # between the words of a token of several
                right = index.get(TokenIdentity(text[place + 1 :], True))
            if left is not None and right is not None:
                pairs.append((left, right))
                number[token] += 1
    both = np.array(pairs, np.int64).reshape(-1, 2)
    return TokenCuts(number, np.cumsum(number) - number, both[:, 0], both[:, 1])
