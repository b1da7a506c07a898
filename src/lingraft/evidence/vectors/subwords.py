"""From vectors of words to vectors of a tokenizer's tokens."""

from __future__ import annotations

from itertools import chain

import numpy as np
from scipy import sparse
from transformers import PreTrainedTokenizerBase

from ...corpus.scripts import is_spaceless
from ...vocabulary import all_special_ids, plain_backend
from ..alignment.compiled import Array
from .files import WordVectors

#: words that are segmented at once
_BATCH = 10_000


def token_vectors(
    vectors: WordVectors, tokenizer: PreTrainedTokenizerBase, limit: int | None = 50_000
) -> tuple[Array, Array]:
    """Vectors of tokens: the mean over the words that contain a token, by frequency (Tran 2020, equation 4).

    u_t = sum of p(w) u_w over the words w in whose segmentation t occurs, over the sum of their p(w). p(w) is in
    proportion to the word's count, or to 1 / rank where there are no counts. limit: how many of the most frequent words
    are taken (the paper's 50,000), None for all.

    Words are segmented as they stand in running text, behind other text (see `segmented`), so that word-initial and
    inner tokens are told apart by id, and in the case the tokenizer gives them. A token that occurs twice in a word
    counts once.

    Returns the vectors, float32, shape (V, d) with V = ``len(tokenizer)``, and the occurrences of words that contain a
    token, float64, shape (V,) (of `WordVectors.frequencies`, so estimates where the vectors come without counts).
    Special tokens and tokens of no word have zeros in both.
    """
    words, matrix, counts = vectors.words[:limit], vectors.matrix[:limit], vectors.frequencies[:limit]
    pieces = segmented(words, tokenizer)
    lengths = np.fromiter(map(len, pieces), np.int64, len(pieces))
    tokens = np.fromiter(chain.from_iterable(pieces), np.int64, int(lengths.sum()))
    keep = ~np.isin(tokens, list(all_special_ids(tokenizer)))
    of_word = np.repeat(np.arange(len(words)), lengths)[keep]
    shape = (len(tokenizer), len(words))
    contains = sparse.csr_matrix((counts[of_word], (tokens[keep], of_word)), shape=shape)
    mass = np.asarray(contains.sum(axis=1)).ravel()
    shares = sparse.diags(1 / np.where(mass > 0, mass, 1.0)) @ contains
    return np.asarray(shares.astype(np.float32) @ matrix, np.float32), mass


def segmented(words: list[str], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """The token ids of every word in running text, each once, ascending.

    A word is segmented behind a letter and a space, and what belongs to these two is taken away. What stands in text
    without a space before it is segmented behind a character of its kind too and gets the tokens of both: words that
    begin with a character of a script without spaces, and words that begin with neither a letter nor a digit.
    """
    found: list[set[int]] = [set() for _ in words]
    backend = plain_backend(tokenizer)
    forms = [(k, "a ") for k in range(len(words))]
    forms += [(k, attached) for k, word in enumerate(words) if (attached := _attached(word))]
    for start in range(0, len(forms), _BATCH):
        some = forms[start : start + _BATCH]
        encodings = backend.encode_batch([before + words[k] for k, before in some], add_special_tokens=False)
        for (k, _), encoding in zip(some, encodings, strict=True):
            # the space belongs to the word, the character before it does not, nor a token that has both
            found[k].update(
                token for token, (first, last) in zip(encoding.ids, encoding.offsets, strict=True) if first and last > 1
            )
    return [sorted(tokens) for tokens in found]


def _attached(word: str) -> str:
    """What stands right before a word that needs no space, or nothing for other words."""
    if is_spaceless(word[0]):
        return "。"
    return "" if word[0].isalnum() else "a"
