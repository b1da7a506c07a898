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

#: Unicode breaks no word before a combining mark or one of the two joiners (UAX #29, rule WB4)
_MARKS = r"\p{M}\x{200C}\x{200D}"

#: variation selectors, which are marks too
_OF_EMOJI = set(map(chr, range(0xFE00, 0xFE10)))

#: letters in a pattern, and marks in one that knows of them
_LETTERS = re.compile(r"\\p(L|\{(L|Letter|Lo)\})")
_KNOWN = re.compile(r"\\p(M|\{(M[nce]?|Mark)\})")

#: an escape, the border of a character class, or any other character
_PIECE = re.compile(r"\\[pP]L|\\[pP]\{\^?\w+\}|\\.|\[\^?|\]|.", re.DOTALL)


def has_marks(lines: Iterable[str]) -> bool:
    """Whether any character of the text is a combining mark or joiner of words; those of emoji do not count."""
    characters: set[str] = set()
    for line in lines:
        characters.update(line)
    marks = {c for c in characters if unicodedata.category(c) in ("Mn", "Mc")} - _OF_EMOJI
    return bool(marks) or "\u200c" in characters


def _pattern(pattern: str) -> str:
    """The regular expression with combining marks and joiners wherever it takes letters, if it knows of none.

    Where it takes all but letters it is left: a mark that follows a sign, as in many an emoji, belongs to that.
    """
    if _KNOWN.search(pattern):
        return pattern
    pieces: list[str] = []
    classes: list[str] = []
    for piece in _PIECE.findall(pattern):
        if piece == "]" and classes:
            classes.pop()
        elif piece.startswith("["):
            classes.append(piece)
        elif _LETTERS.fullmatch(piece) and "[^" not in classes:
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
    """`keep_marks` for a pre-tokenizer, and whether the normaliser has to put a space before the text in its place."""
    if part is None:
        return None, False
    if part["type"] == "Sequence":
        if any(inner.get("use_regex") and inner["add_prefix_space"] for inner in part["pretokenizers"][1:]):
            return part, False  # puts a space before every piece of those before it, which nothing else does
        parts = [_kept(inner) for inner in part["pretokenizers"]]
        return {**part, "pretokenizers": [inner for inner, _ in parts]}, any(prefixed for _, prefixed in parts)
    if part["type"] == "Split" and "Regex" in part["pattern"]:
        return {**part, "pattern": {"Regex": _pattern(part["pattern"]["Regex"])}}, False
    if part["type"] == "ByteLevel" and part["use_regex"]:
        bytes_alone = {**part, "use_regex": False, "add_prefix_space": False}
        return {"type": "Sequence", "pretokenizers": [_split(_pattern(_GPT2)), bytes_alone]}, part["add_prefix_space"]
    return part, False
