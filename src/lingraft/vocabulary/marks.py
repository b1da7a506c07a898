"""Patterns that cut a text into words without cutting words at their vowel signs.

Byte-level tokenizers take words from a regular expression made for English: GPT-2's ``\\p{L}+`` and those of its
successors. A vowel sign of Hindi, Tamil or Thai is no letter to Unicode (``\\p{L}``) but a combining mark (``\\p{M}``),
so that they cut हिन्दी into ह, ि, न, ्, द, ी, and no token can ever hold the whole word.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Any

from transformers import PreTrainedTokenizerBase

from .tokens import backend_json

#: what ByteLevel cuts by where its state says no more than ``use_regex`` (Radford et al. 2019, the code's pattern)
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"

#: Unicode breaks no word before a combining mark or a joiner (UAX #29, rule WB4)
_MARKS, _JOINERS = r"\p{M}\x{200C}\x{200D}", "\u200c\u200d"

#: an escape, the border of a character class, or any other character
_PIECE = re.compile(r"\\[pP]\{\^?\w+\}|\\.|\[\^?|\]|.", re.DOTALL)


def has_marks(lines: Iterable[str]) -> bool:
    """Whether any character of the text is a combining mark or one of the two joiners."""
    characters: set[str] = set()
    for line in lines:
        characters.update(line)
    return any(unicodedata.category(c).startswith("M") or c in _JOINERS for c in characters)


def _pattern(pattern: str) -> str:
    """The regular expression with combining marks and joiners wherever it takes letters, if it knows of none.

    Where it takes all but letters it is left: a mark that follows a sign, as in many an emoji, belongs to that.
    """
    if re.search(r"\\p\{M", pattern):
        return pattern
    pieces: list[str] = []
    classes: list[str] = []
    for piece in _PIECE.findall(pattern):
        if piece == "]" and classes:
            classes.pop()
        elif piece.startswith("["):
            classes.append(piece)
        elif piece == r"\p{L}" and "[^" not in classes:
            piece = piece + _MARKS if classes else f"[{piece}{_MARKS}]"
        pieces.append(piece)
    return "".join(pieces)


def cuts_at_marks(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the tokenizer's own pattern cuts words at their combining marks."""
    state = backend_json(tokenizer)
    return keep_marks(state) is not state


def _split(pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def keep_marks(state: dict[str, Any]) -> dict[str, Any]:
    """A serialised tokenizer whose pre-tokenizer leaves marks in words; the given one if it does so already."""
    pre_tokenizer, prefixed = _kept(state["pre_tokenizer"])
    if pre_tokenizer == state["pre_tokenizer"]:
        return state
    changed = {**state, "pre_tokenizer": pre_tokenizer}
    if prefixed:  # after the split every word would get the space; a text that begins with one gets no other
        space = {"type": "Prepend", "prepend": " "}
        once = {"type": "Replace", "pattern": {"Regex": r"\A  "}, "content": " "}
        own = [state["normalizer"]] if state["normalizer"] else []
        changed["normalizer"] = {"type": "Sequence", "normalizers": [*own, space, once]}
    return changed


def _kept(part: dict[str, Any] | None) -> tuple[dict[str, Any] | None, bool]:
    """The same of a pre-tokenizer, and whether it no longer puts a space before the text that has to be there."""
    if part is None:
        return None, False
    if part["type"] == "Sequence":
        parts = [_kept(inner) for inner in part["pretokenizers"]]
        return {**part, "pretokenizers": [inner for inner, _ in parts]}, any(prefixed for _, prefixed in parts)
    if part["type"] == "Split" and "Regex" in part["pattern"]:
        return {**part, "pattern": {"Regex": _pattern(part["pattern"]["Regex"])}}, False
    if part["type"] == "ByteLevel" and part["use_regex"]:
        bytes_alone = {**part, "use_regex": False, "add_prefix_space": False}
        return {"type": "Sequence", "pretokenizers": [_split(_pattern(_GPT2)), bytes_alone]}, part["add_prefix_space"]
    return part, False
