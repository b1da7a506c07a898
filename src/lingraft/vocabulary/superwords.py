"""Tokens for languages whose writing does not show where words end: of several characters, or several syllables.

Chinese has no spaces, and BERT's normaliser cuts it between all characters; Vietnamese has one after every syllable.
Such a piece belongs to many words, so what English words it is translated by says little, and no row can hold it. Here
a unigram model (Kudo 2018) learns tokens over characters, or over whole syllables, which may be words, parts of words,
or often several of them (superwords; Liu et al. 2025). A token has one form wherever it stands: with WordPiece's marks
most words would have two, and half of the text each. Where a word and its clitics are written as one
`lingraft.vocabulary.clitics` learns the tokens.
"""

from __future__ import annotations

import copy
import json
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Literal

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from ..corpus.scripts import MARK_RANGES, SPACELESS_RANGES, WORD_RUNS, is_latin_letter, is_without_spaces
from .clitics import has_proclitics, learn_words
from .tokens import backend_json
from .unigram import learn_unigram, spelling_pieces, with_wholes

#: what a text is written in that does not show its words: characters, syllables, or words with their clitics
Units = Literal["characters", "syllables", "clitics"]

#: of the words of a text in syllables so many have one group of vowels (Vietnamese 97 %; English 58, French 49 %), and
#: of fewer words nothing is concluded
_ONE_VOWEL, _FEWEST_WORDS = 0.85, 1000

#: about so many are looked at, of so many characters
_MOST_WORDS, _LENGTH = 100_000, 5

_VOWELS = re.compile("[aeiouy]+")

#: a token has at most so many: syllables; characters of Chinese and Japanese; letters of other scripts without spaces
_SYLLABLES, _CHARACTERS, _LETTERS = 2, 4, 16

#: these two begin here
_HAN = "\u2e80"

#: least pointwise mutual information, in nats, of two syllables that are one token
_COHESION = 4.0

#: more text is not learned from, in units: it takes about a minute
_MOST_UNITS = 4_000_000

#: share of a vocabulary that spells what it does not know as a whole
_SPELLING = 0.1

#: the longest of these pieces, in characters
_LONGEST_PIECE = 8

#: first of the code points for private use that stand for syllables while tokens are learned, and how many there are
_PRIVATE, _MOST_PRIVATE = 0xF0000, 0xFFFE

_MARK = "▁"
_UNKNOWN = "<unk>"

#: of a score
_DIGITS = 4


def units_of(lines: Sequence[str]) -> Units | None:
    """What a text is written in that does not show its words; None where it shows them."""
    some = lines[:: max(1, sum(map(len, lines)) // (_LENGTH * _MOST_WORDS))]
    if is_without_spaces(some):
        return "characters"
    words = syllables = 0
    for line in some:
        for word in unicodedata.normalize("NFD", line.lower()).split():
            letters = "".join(character for character in word if character.isalpha())
            latin = is_latin_letter(letters[:1] or " ")
            words += bool(letters)
            syllables += latin and len(_VOWELS.findall(letters)) < 2
    if words >= _FEWEST_WORDS and syllables > _ONE_VOWEL * words:
        return "syllables"
    return "clitics" if has_proclitics(some) else None


def unigram_units(tokenizer: PreTrainedTokenizerBase, lines: Sequence[str]) -> Units | None:
    """What of the new language the source's kind of tokens does not suit, so that a unigram model's are better.

    None where there is nothing. tokenizer: the source's. lines: text of the new language.
    """
    return units_of(lines) if backend_json(tokenizer)["model"]["type"] == "WordPiece" else None


def unigram_state(state: dict[str, Any], units: Units) -> dict[str, Any]:
    """A serialised WordPiece tokenizer as one of a unigram model, which is to be learned.

    What it decodes has no spaces where it joins characters, as it does not see any, and one behind every token of a
    word with clitics.
    """
    model = {"type": "Unigram", "vocab": [], "unk_id": 0, "byte_fallback": False}
    if units == "clitics":
        return state | {"pre_tokenizer": state["pre_tokenizer"] or {"type": "WhitespaceSplit"}, "model": model}
    pattern = _SPACELESS_RUN if units == "characters" else _SIGN
    split: dict[str, Any] = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    if units == "characters":
        decoder: dict[str, Any] = {"type": "Fuse"}
        parts = [state["pre_tokenizer"], split]
    else:
        decoder = {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": _MARK}, "content": " "},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        }
        # every word begins with the mark, behind a bracket as behind a space
        near_signs = split | {"pattern": {"Regex": rf"\s+(?={_SIGN})|(?<={_SIGN})\s+"}, "behavior": "Removed"}
        marked = {"type": "Metaspace", "replacement": _MARK, "prepend_scheme": "always", "split": False}
        parts = [near_signs, split, marked]
    return state | {
        "normalizer": _leaving_runs(state["normalizer"], units),
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [part for part in parts if part]},
        "decoder": decoder,
        "model": model,
    }


def _run(form: Callable[[int], str]) -> str:
    """The regular expression of a run of characters of scripts without spaces, with the marks that they carry."""
    first, more = (
        "".join(f"{form(low)}-{form(high)}" for low, high in ranges)
        for ranges in (SPACELESS_RANGES, SPACELESS_RANGES + MARK_RANGES)
    )
    return f"[{first}][{more}]*"


#: in Python, and in tokenizers, which have their own notation; and there what is no part of a word
_RUN = re.compile(_run(chr))
_SPACELESS_RUN = _run(lambda code: rf"\x{{{code:X}}}")
_SIGN = r"[^\p{L}\p{M}\p{N}\s]"


def _leaving_runs(normalizer: dict[str, Any] | None, units: Units) -> dict[str, Any] | None:
    """The normaliser without cuts between characters; for syllables a run of spaces is one, and none at the ends."""
    parts = [copy.deepcopy(normalizer)] if normalizer else []
    for part in [*parts, *(inner for whole in parts for inner in whole.get("normalizers", []))]:
        if part["type"] == "BertNormalizer":
            part["handle_chinese_chars"] = False
    if units == "syllables":
        parts += [
            {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "},
            {"type": "Strip", "strip_left": True, "strip_right": True},
        ]
    return {"type": "Sequence", "normalizers": parts} if len(parts) > 1 else parts[0] if parts else None


def sampled(lines: Sequence[str], units: Units) -> list[str]:
    """Evenly spaced lines of a text, so many as a model is learned from, and the characters that they lack."""
    total = sum(map(len, lines)) if units == "characters" else sum(line.count(" ") + 1 for line in lines)
    some = list(lines[:: max(1, -(-total // _MOST_UNITS))])
    return some + sorted(set().union(*lines) - set().union(*some))


def learn(
    state: dict[str, Any], lines: Sequence[str], size: int, unknown: str | None, units: Units, min_count: int = 2,
    known: Sequence[str] = (),
) -> dict[str, Any]:  # fmt: skip
    """The unigram model of a `unigram_state`.

    Of characters or syllables: tokens of whole ones, whole words of the rest, and what spells others. Of words with
    their clitics: see `learn_words`.

    size: how many at most. unknown: the unknown token, which is one of them. min_count: a syllable, or a word of the
    rest, has to be seen this often to be one. known: words and numbers that are tokens however often they occur.
    """
    text = _normalized(state, lines)
    if units == "clitics":
        return _with_vocabulary(state, unknown, learn_words(_words(state, text), size - 1, min_count, known))
    mark = "" if units == "characters" else _MARK
    spelled = {character for line in text for character in line if not character.isspace()}
    if units == "characters":
        texts = [run for line in text for run in _RUN.findall(line)]
        rest = Counter(word for line in text for word in _RUN.sub("\n", line).translate(WORD_RUNS).split())
        han = sum(character >= _HAN for run in texts for character in run)
        found = learn_unigram(texts, size, _CHARACTERS if 2 * han > sum(map(len, texts)) else _LETTERS) if texts else {}
        spelling = spelling_pieces(rest, spelled, int(_SPELLING * size), _LONGEST_PIECE)
    else:
        runs = [run.split() for line in text for run in line.translate(WORD_RUNS).split("\n")]
        words = Counter(word for run in runs for word in run)
        spelling = spelling_pieces(words, spelled, int(_SPELLING * size), _LONGEST_PIECE, mark)
        rest = Counter({word: n for word, n in words.items() if _NUMBER.search(word)})
        known = [word for word, n in (words - rest).items() if n >= min_count]
        known = sorted(known, key=lambda word: (-words[word], word))[: min(size, _MOST_PRIVATE)]
        code = {word: chr(_PRIVATE + k) for k, word in enumerate(known)}
        texts = [part for run in runs for part in "".join(code.get(word, " ") for word in run).split()]
        found = _cohesive(learn_unigram(texts, 2 * size, _SYLLABLES), texts) if texts else {}
        found = {"".join(mark + known[ord(unit) - _PRIVATE] for unit in token): s for token, s in found.items()}
    total = sum(map(len, texts)) + rest.total()
    whole = {mark + word: math.log(n / total) for word, n in rest.items() if n >= min_count} | found
    # what is known as a whole beats its spelling
    lowest = min(whole.values(), default=0.0)
    pieces = {piece: lowest + score for piece, score in spelling.items()}
    shared = [mark + word for word in known]
    tokens = with_wholes(pieces, dict.fromkeys(shared, lowest) | whole, shared, size - 1)
    return _with_vocabulary(state, unknown, tokens)


def _with_vocabulary(state: dict[str, Any], unknown: str | None, tokens: dict[str, float]) -> dict[str, Any]:
    """The model of a state with these tokens and their scores."""
    # as a trainer of the library has them: the unknown token first, the likeliest ones next
    vocabulary = [(unknown or _UNKNOWN, 0.0), *sorted(tokens.items(), key=_likeliest)]
    model: dict[str, Any] = state["model"]
    return model | {"vocab": [[token, round(score, _DIGITS)] for token, score in vocabulary]}


def _normalized(state: dict[str, Any], lines: Sequence[str]) -> list[str]:
    normalizer = _without_model(state).normalizer
    return [line if normalizer is None else normalizer.normalize_str(line) for line in lines]


def _words(state: dict[str, Any], text: Sequence[str]) -> Counter[str]:
    """What the state's pre-tokenizer makes of normalised lines."""
    pre_tokenizer = _without_model(state).pre_tokenizer
    return Counter(word for line in text for word, _ in pre_tokenizer.pre_tokenize_str(line))


def _without_model(state: dict[str, Any]) -> Tokenizer:
    blank: dict[str, Any] = {"model": {"type": "WordLevel", "vocab": {}, "unk_token": ""}, "added_tokens": []}
    return Tokenizer.from_str(json.dumps(state | blank | {"post_processor": None}))


def _cohesive(tokens: dict[str, float], texts: Sequence[str]) -> dict[str, float]:
    """The tokens without pairs whose pointwise mutual information is small (Church & Hanks 1990).

    Such are neighbours by chance or by grammar, as a noun and its preposition, and a parser's words are not joined so.

    texts: runs of units, a character each.
    """
    alone = Counter(unit for text in texts for unit in text)
    pairs = Counter(text[at : at + 2] for text in texts for at in range(len(text) - 1))
    total = alone.total()

    def cohesion(pair: str) -> float:
        return math.log(pairs[pair] * total / (alone[pair[0]] * alone[pair[1]]))

    return {token: score for token, score in tokens.items() if len(token) == 1 or cohesion(token) >= _COHESION}


def _likeliest(entry: tuple[str, float]) -> tuple[float, str]:
    return -entry[1], entry[0]


_NUMBER = re.compile(r"\d")
