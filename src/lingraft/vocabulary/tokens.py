"""What a token is, whatever its tokenizer writes it like: its bytes, and whether it starts a word.

``##ing`` (WordPiece), ``Ġthe`` (byte-level BPE), ``▁the`` (SentencePiece) and ``the</w>`` (original BPE) are notations.
Two tokens of different tokenizers are the same when they stand for the same bytes at the same place in a word.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerBase

from ..errors import ModelError
from .special import all_special_ids

#: where nothing else says so, tokens have the mark of the beginning of words if so many do
_MARKED = 0.05

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class TokenIdentity(NamedTuple):
    """text: the bytes the token stands for, without the word boundary. starts_word: whether one precedes it.

    lone_byte: the token is one byte of a byte fallback, never to be confused with the ASCII letter of that value.
    """

    text: bytes
    starts_word: bool
    lone_byte: bool = False


def _byte_alphabet() -> dict[str, int]:
    """The printable stand-ins that byte-level BPE uses for the 256 bytes (Radford et al. 2019)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(b): b for b in printable} | {chr(256 + k): b for k, b in enumerate(others)}


_BYTES = _byte_alphabet()


def backend_json(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """The serialised fast tokenizer; ModelError if there is none."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ModelError(
            f"The tokenizer {type(tokenizer).__name__} has no fast (tokenizers) form, which lingraft works with."
        )
    result: dict[str, Any] = json.loads(backend.to_str())
    return result


def _mentions(part: Any, kind: str) -> bool:
    if isinstance(part, dict):
        return part.get("type") == kind or any(_mentions(value, kind) for value in part.values())
    return isinstance(part, list) and any(_mentions(value, kind) for value in part)


def notation(state: dict[str, Any]) -> str:
    """How a serialised tokenizer marks word positions: wordpiece, bytelevel, metaspace, suffix or plain."""
    model = state["model"]
    if model["type"] == "WordPiece":
        return "wordpiece"
    around = [state["pre_tokenizer"], state["decoder"], state["normalizer"]]
    if _mentions(around, "ByteLevel"):
        return "bytelevel"
    # a few tokens with the mark may be of a text that has the character
    tokens = model["vocab"] if isinstance(model["vocab"], dict) else [token for token, _ in model["vocab"]]
    if _mentions(around, "Metaspace") or sum(token.startswith("▁") for token in tokens) > _MARKED * len(tokens):
        return "metaspace"
    return "suffix" if model.get("end_of_word_suffix") else "plain"


def token_identities(tokenizer: PreTrainedTokenizerBase) -> list[TokenIdentity | None]:
    """The identity of every token id below ``len(tokenizer)``; None for special and unused ids."""
    state = backend_json(tokenizer)
    style = notation(state)
    model = state["model"]
    prefix = model.get("continuing_subword_prefix") or "##"
    suffix = model.get("end_of_word_suffix") or "</w>"
    special = all_special_ids(tokenizer)
    identities: list[TokenIdentity | None] = [None] * len(tokenizer)
    for token, index in tokenizer.get_vocab().items():
        if index in special or index >= len(identities):
            continue
        byte = _BYTE_TOKEN.fullmatch(token)
        if byte and model.get("byte_fallback"):
            identities[index] = TokenIdentity(bytes([int(byte[1], 16)]), False, True)
        elif style == "wordpiece":
            inside = token.startswith(prefix) and token != prefix
            identities[index] = TokenIdentity(token.removeprefix(prefix if inside else "").encode(), not inside)
        elif style == "bytelevel":
            raw = bytes(_BYTES[c] for c in token) if all(c in _BYTES for c in token) else token.encode()
            identities[index] = TokenIdentity(raw.removeprefix(b" "), raw.startswith(b" "))
        elif style == "metaspace":
            text = token.removeprefix("▁").replace("▁", " ")
            identities[index] = TokenIdentity(text.encode(), token.startswith("▁"))
        elif style == "suffix":
            # original BPE marks where a word ends, so a word-initial token cannot be told from an inner one
            identities[index] = TokenIdentity(token.removesuffix(suffix).encode(), token.endswith(suffix))
        else:
            # without marks a token is one form for both places; of those that another vocabulary has too most are words
            identities[index] = TokenIdentity(token.encode(), True)
    return identities


def lower_cases(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a tokenizer writes capitals as small letters before it cuts a text into tokens."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or backend.normalizer is None:
        return False
    # a normaliser may put something before the text too, as those of SentencePiece do
    written: str = backend.normalizer.normalize_str("A")
    return "a" in written and "A" not in written


def tokenizer_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """SHA-256 of all that decides how text becomes ids; padding and truncation do not count."""
    state = backend_json(tokenizer)
    state.pop("padding", None)
    state.pop("truncation", None)
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()
