"""The lexicons that come with the package, and text made of a lexicon's words for languages without any other text."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import langcodes
import numpy as np

from ..corpus.scripts import is_spaceless
from ..errors import RecipeError
from .alignment.lexicon import Lexicon, read_lexicon

Array = np.ndarray[Any, Any]

_FOLDER = files("lingraft") / "data" / "lexicons"
_NAME = re.compile(r"en-([a-z]+)\.tsv\.xz")

#: words of a line of `lexicon_text`, and after how many of them it has a comma
_LINE_WORDS, _CLAUSE_WORDS = 20, 9

#: punctuation that most scripts share
_MARKS = ".,?!:;-–—'\"’‘“”«»()[]/%&+=*#@…°€$£"
#: what goes with Han characters and kana; their names do not say so
_IDEOGRAPHIC = "。，、；：？！「」『』《》〈〉（）【】“”·—…～"

#: every number and mark stands in the text so often: more than a vocabulary's usual least count
_TIMES = 5

#: a script that makes a smaller share of the characters is foreign to the language
_SCRIPT_SHARE = 0.01


def builtin_languages() -> tuple[str, ...]:
    """Language subtags for which the package has a lexicon, in alphabetical order."""
    found = (_NAME.fullmatch(entry.name) for entry in _FOLDER.iterdir())
    return tuple(sorted(match[1] for match in found if match))


def has_builtin(language: str) -> bool:
    """Whether the package has a lexicon of the language of a BCP 47 tag (of ``fr-CA``: of French)."""
    return _base(language) in builtin_languages()


def builtin_file(language: str) -> Path:
    """The file of the package's lexicon of a language; RecipeError where there is none, or for a tag that is none."""
    if not has_builtin(language):
        raise RecipeError(
            f"There is no built-in lexicon for '{language}', only for {', '.join(builtin_languages())}. Give a lexicon "
            "file (two or more tab-separated columns, English first) or a bitext."
        )
    return Path(str(_FOLDER / f"en-{_base(language)}.tsv.xz"))


def builtin_lexicon(language: str) -> Lexicon:
    """The package's lexicon of a language, with both probabilities made of its counts.

    language: a BCP 47 tag; of ``fr-CA`` or ``zh-Hans`` the language itself is looked up. Chinese is mostly in
    simplified characters. Raises RecipeError for a language without a lexicon, or a tag that is none.
    """
    return with_probabilities(read_lexicon(builtin_file(language)))


def _base(language: str) -> str | None:
    return langcodes.get(language).language if langcodes.tag_is_valid(language) else None


def with_probabilities(lexicon: Lexicon) -> Lexicon:
    """The lexicon with p(English | foreign) and p(foreign | English) as shares of its counts, which must be known."""
    count = lexicon.count.astype(np.float64)
    shares = []
    for side in (lexicon.foreign, lexicon.english):
        of_word = np.unique(side, return_inverse=True)[1]
        shares.append((count / np.maximum(np.bincount(of_word, count)[of_word], 1e-300)).astype(np.float32))
    return replace(lexicon, english_given_foreign=shares[0], foreign_given_english=shares[1])


def lexicon_text(lexicon: Lexicon, seed: int = 0, tokens: int = 400_000) -> list[str]:
    """Lines of a lexicon's foreign words in random order, to train a tokenizer on where there is no text.

    A word occurs in proportion to the sum of its counts (1 where unknown), once at least; tokens: words in all, about.
    Lines begin with a capital letter and end with a full stop, as sentences do. Scripts without spaces are written
    without, frequent words and others by turns, so that hardly any two words stand together often enough to be taken
    for one. The last lines hold digits, numbers, years, Latin letters and the punctuation of the lexicon's scripts,
    which lexicons lack. The same lexicon and seed give the same lines.
    """
    random = np.random.default_rng(seed)
    counts: defaultdict[str, float] = defaultdict(float)
    for word, count in zip(lexicon.foreign, np.nan_to_num(lexicon.count, nan=1.0).tolist(), strict=True):
        counts[word] += count
    words = sorted(counts)
    frequency = np.array([counts[word] for word in words])
    times = np.maximum(1, np.rint(frequency * (tokens / max(frequency.sum(), 1e-300)))).astype(np.int64)
    spaceless = np.array([any(map(is_spaceless, word[:1])) for word in words])
    scripts = _scripts("".join(words))
    lines: list[str] = []
    for chosen, space in ((spaceless, ""), (~spaceless, " ")):
        drawn = np.repeat(np.flatnonzero(chosen), times[chosen])
        random.shuffle(drawn)
        if not space:
            drawn = _by_turns(drawn, times)
        lines += _lines([words[k] for k in drawn.tolist()], space)
    return lines + _TIMES * list(_signs(scripts))


def _by_turns(drawn: Array, times: Array) -> Array:
    """Words that are frequent, and the others, in turn; both in the order given."""
    rank = np.argsort(np.argsort(-times[drawn], kind="stable"))
    frequent = rank < drawn.size // 2
    ordered = np.empty_like(drawn)
    half = np.count_nonzero(frequent)
    ordered[1 : 2 * half : 2] = drawn[frequent]
    ordered[0 : 2 * half : 2] = drawn[~frequent][:half]
    ordered[2 * half :] = drawn[~frequent][half:]
    return ordered


def _lines(words: Sequence[str], space: str) -> Iterator[str]:
    comma, stop = (", ", ".") if space else ("，", "。")
    for start in range(0, len(words), _LINE_WORDS):
        line = words[start : start + _LINE_WORDS]
        clauses = (line[:_CLAUSE_WORDS], line[_CLAUSE_WORDS:])
        # a word that ends with an apostrophe has lost a vowel before the next
        text = comma.join(space.join(clause).replace("' ", "'") for clause in clauses if clause)
        yield text[:1].upper() + text[1:] + stop


def _scripts(text: str) -> list[str]:
    """The scripts of a text as the names of their characters begin, those that are too rare left out."""
    counts: Counter[str] = Counter()
    for character, count in Counter(text).items():
        if unicodedata.category(character)[0] in "LM":
            counts[unicodedata.name(character, "?").split()[0]] += count
    least = _SCRIPT_SHARE * counts.total()
    return sorted(script for script, count in counts.items() if count >= least)


def _signs(scripts: list[str]) -> Iterator[str]:
    """Lines of digits, numbers, Latin letters and punctuation."""
    yield " ".join(map(str, range(101)))
    yield " ".join(map(str, range(1800, 2051)))
    yield " ".join(str(k * unit) for unit in (100, 1000, 10_000, 100_000) for k in range(1, 11))
    yield " ".join(_MARKS)
    letters = "abcdefghijklmnopqrstuvwxyz"
    for case in (letters, letters.upper(), letters[::-1], letters[::-1].upper()):
        yield case
        yield " ".join(case)
    names = tuple(f"{script}{rest}" for script in scripts for rest in (" ", "-INDIC "))
    own = [c for c in _native() if unicodedata.name(c).startswith(names)]
    if {"CJK", "HIRAGANA", "KATAKANA"}.intersection(scripts):
        own += _IDEOGRAPHIC
    if own:
        yield " ".join(own)
        yield "".join(own)


@lru_cache
def _native() -> tuple[str, ...]:
    """Every digit and mark of punctuation beyond Latin-1."""
    return tuple(c for c in map(chr, range(0x100, 0x10000)) if unicodedata.category(c) in ("Nd", "Po"))
