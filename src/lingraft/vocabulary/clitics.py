"""Tokens for languages that write clitics and the word they lean on as one, as Arabic and Hebrew do.

Before any Arabic noun may stand "and", a preposition and the article (و + ب + ال + كتاب), so of what stands between
spaces most is rare. WordPiece begins with the longest token that fits, which cuts elsewhere than behind the clitic,
and a word behind one is another token (``##كتاب``) than by itself. Here frequent words are tokens as they are, a
unigram model (Kudo 2018) of the different words finds what many of them share, of all ways to cut a word the likeliest
is taken, and a token has one form wherever it stands.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence

from ..corpus.scripts import WORD_RUNS
from .unigram import spelling_pieces, with_wholes

#: of a text's common words so many have to occur with a letter before them, which that many letters have to do (of
#: Arabic's the second does for 14 to 28 %, of those of English, French, Hindi, Russian and Vietnamese for 1 to 4); and
#: of fewer common words nothing is concluded
_PROCLITIC, _PROCLITICS, _FEWEST_WORDS = 0.12, 2, 100

#: what a common word is: so many times, of so many letters
_COMMON, _LETTERS = 10, 3

#: share of a vocabulary that is learned of the different words, and the longest of these pieces, in characters
_PIECES, _LONGEST_PIECE = 0.5, 12

#: rarer words are not tokens: what their pieces are translated by says more than so few links
_FEWEST_SEEN = 3

#: vowel points of Hebrew and Arabic
_UNPOINTED = re.compile("[\u0591-\u05c7\u064b-\u065f\u0670]")


def has_proclitics(lines: Iterable[str]) -> bool:
    """Whether a text's common words occur with the same letters before them, as only a clitic can before any word.

    Vowel points do not count. Where there are fewer than some fifteen thousand words nothing is found.
    """
    words = Counter(word for line in lines for word in _UNPOINTED.sub("", line.lower()).translate(WORD_RUNS).split())
    common = {word for word, n in words.items() if n >= _COMMON and len(word) >= _LETTERS and word.isalpha()}
    before = Counter(word[0] for word in words if word[1:] in common and word.isalpha())
    clitics = sum(n > _PROCLITIC * len(common) for n in before.values())
    return len(common) >= _FEWEST_WORDS and clitics >= _PROCLITICS


def learn_words(words: Counter[str], size: int, min_count: int, known: Sequence[str] = ()) -> dict[str, float]:
    """Frequent words and the pieces that spell others, with their scores as a unigram model has them.

    words: how often each occurs. size: tokens at most. min_count: a word has to be seen this often to be a token, and
    three times in any case. known: what is a token however often it occurs.
    """
    frequent = {word for word, n in words.items() if n >= max(min_count, _FEWEST_SEEN)}
    total = words.total()
    wholes = {word: math.log(max(words[word], 1) / total) for word in frequent.union(known)}
    return with_wholes(spelling_pieces(words, (), int(_PIECES * size), _LONGEST_PIECE), wholes, known, size)
