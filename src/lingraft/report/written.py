"""How tokens are written for people, and what they are written with."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from ..corpus.scripts import is_spaceless
from ..evidence.spelling import scripts_of
from ..vocabulary import backend_json, notation, token_identities

#: stands where a word goes on
HYPHEN = "-"

#: names of scripts as the first word of a letter's name has them, where that is no name of a script
_SCRIPTS = {"CJK": "Han", "IDEOGRAPHIC": "Han", "HALFWIDTH": "Kana", "FULLWIDTH": "Latin"}


def written_tokens(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Every token as text, by id: ``-ing`` inside a word, bytes that are no whole characters as ``⟨e0 a4⟩``."""
    style = notation(backend_json(tokenizer))
    names = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    shown = []
    for identity, name in zip(token_identities(tokenizer), names, strict=True):
        if identity is None:
            shown.append(visible(str(name)))
            continue
        try:
            text = identity.text.decode()
        except UnicodeDecodeError:
            shown.append(f"⟨{identity.text.hex(' ')}⟩")
            continue
        if identity.lone_byte:
            shown.append(f"⟨{identity.text.hex()}⟩")
        elif identity.starts_word or not _joins(text):
            shown.append(visible(text) or "␠")
        else:
            shown.append(visible(text) + HYPHEN if style == "suffix" else HYPHEN + _carried(visible(text)))
    return shown


def _carried(text: str) -> str:
    """A text that may begin with a combining mark, which a hyphen cannot carry; a dotted circle can."""
    return f"◌{text}" if unicodedata.category(text[0]).startswith("M") else text


def _joins(text: str) -> bool:
    """Whether a text inside a word is a part of one: punctuation, digits and scripts without spaces are not."""
    return any(unicodedata.category(c)[0] in "LM" for c in text) and not any(map(is_spaceless, text))


def visible(text: str) -> str:
    """The text with signs in the place of control characters."""
    return "".join(chr(0x2400 + ord(c)) if ord(c) < 32 else "␡" if ord(c) == 127 else c for c in text)


def has_letters(text: str) -> bool:
    """Whether there is a letter in a text, outside of the ``⟨⟩`` of bare bytes."""
    return not text.startswith("⟨") and any(c.isalpha() for c in text)


def script_of(text: str) -> str:
    """The script of most letters of a token, by its Unicode name; what it is made of where it has none."""
    if text.startswith("⟨"):
        return "parts of characters"
    names = Counter(scripts_of(text))
    if names:
        name = names.most_common(1)[0][0]
        return _SCRIPTS.get(name, name.capitalize())
    return "digits" if any(c.isdigit() for c in text) else "signs"


def script_shares(texts: Sequence[str], counts: Sequence[int]) -> dict[str, float]:
    """Share of each script among tokens that are there so many times, the largest first."""
    totals: Counter[str] = Counter()
    for text, count in zip(texts, counts, strict=True):
        if count:
            totals[script_of(text)] += count
    return {name: number / totals.total() for name, number in totals.most_common()}
