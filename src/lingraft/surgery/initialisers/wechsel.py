"""WECHSEL (Minixhofer, Paischer & Rekabsaz 2022, "WECHSEL: Effective initialization of subword embeddings ...").

Word vectors of both languages are brought into one space by orthogonal Procrustes on a bilingual dictionary. A
subword's vector is the mean of the words that contain it, weighted by their frequency (the paper's way where the
vectors know nothing of character n-grams). A target subword becomes the mean of its k = 10 nearest source subwords by
cosine, weighted by a softmax at temperature 0.1. What has no vector is drawn with the source's mean and standard
deviation.

Held against the package wechsel 0.0.4 with ``use_subword_info=False``; the differences: words of the dictionary are
looked up with spaces at their ends taken off, special tokens are copied by role instead of by their text, source tokens
that are special or have no vector are nobody's neighbours, and the output bias is mixed as the rows are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse
from scipy.linalg import orthogonal_procrustes
from transformers import PreTrainedTokenizerBase

from ...errors import CorpusError
from ...evidence import Provenance
from ...evidence.alignment import Lexicon
from ...evidence.rows import Evidence
from ...evidence.vectors import WordVectors, similarity_rows
from ...vocabulary import all_special_ids, plain_backend
from .interface import Initialisation, InitialiserInputs
from .rows import table_of

Array = np.ndarray[Any, Any]

NEIGHBOURS = 10
TEMPERATURE = 0.1

#: words that are segmented at once
_BATCH = 10_000


def subword_vectors(vectors: WordVectors, tokenizer: PreTrainedTokenizerBase) -> tuple[Array, Array]:
    """The vectors of all tokens, float64 (V, d), and the frequency they rest on, float64 (V,), 0 without a word.

    A word counts for every different token of its segmentation, at the beginning of a text and behind a space, in
    proportion to its frequency.
    """
    frequency = vectors.frequencies
    backend = plain_backend(tokenizer)
    rows: list[int] = []
    columns: list[int] = []
    for start in range(0, len(vectors.words), _BATCH):
        words = vectors.words[start : start + _BATCH]
        for before in ("", " "):
            found = backend.encode_batch_fast([before + word for word in words], add_special_tokens=False)
            for number, encoding in enumerate(found, start):
                ids = set(encoding.ids)
                rows.extend(ids)
                columns.extend([number] * len(ids))
    contains = sparse.csr_matrix(
        (frequency[np.array(columns, np.int64)], (rows, columns)), shape=(len(tokenizer), len(vectors.words))
    )
    mass = np.asarray(contains.sum(axis=1)).ravel()
    mass[sorted(all_special_ids(tokenizer))] = 0
    share = sparse.diags(np.divide(1, mass, out=np.zeros(mass.size), where=mass > 0))
    return np.asarray(share @ (contains @ vectors.matrix.astype(np.float64))), mass


def dictionary_rotation(english: WordVectors, foreign: WordVectors, lexicon: Lexicon) -> tuple[Array, int]:
    """The orthogonal W, float64 (d, d), with English vectors times W near the foreign ones, and the pairs behind it.

    A pair of the dictionary counts for every combination of its words as they are, in lower case and with a capital of
    which both have vectors. CorpusError if none has.
    """
    left_index = {word: k for k, word in enumerate(english.words)}
    right_index = {word: k for k, word in enumerate(foreign.words)}
    left: list[int] = []
    right: list[int] = []
    for one, other in zip(lexicon.english, lexicon.foreign, strict=True):
        for english_form in (one, one.lower(), one.title()):
            for foreign_form in (other, other.lower(), other.title()):
                if english_form in left_index and foreign_form in right_index:
                    left.append(left_index[english_form])
                    right.append(right_index[foreign_form])
    if not left:
        raise CorpusError(
            f"Of the {len(lexicon):,} entries of the dictionary none has a vector on both sides, so the word vectors "
            "cannot be aligned. Is it a dictionary, English first, of the languages of the vectors?"
        )
    rotation, _ = orthogonal_procrustes(
        english.matrix[left].astype(np.float64), foreign.matrix[right].astype(np.float64)
    )
    return rotation, len(left)


def wechsel(
    source: PreTrainedTokenizerBase, target: PreTrainedTokenizerBase, inputs: InitialiserInputs
) -> Initialisation:
    """WECHSEL from word vectors of both languages and a dictionary."""
    english, foreign, lexicon = inputs.english_vectors, inputs.foreign_vectors, inputs.lexicon
    if english is None or foreign is None or lexicon is None:
        raise ValueError("WECHSEL works from word vectors of both languages and a dictionary")
    rotation, _ = dictionary_rotation(english, foreign, lexicon)
    source_vectors, _ = subword_vectors(english, source)
    target_vectors, mass = subword_vectors(foreign, target)
    rows = similarity_rows(
        target_vectors, source_vectors @ rotation, activation="softmax", neighbours=NEIGHBOURS, temperature=TEMPERATURE
    )
    known = np.asarray(rows.sum(axis=1)).ravel() > 0
    return Initialisation(table_of(source, target, [Evidence(Provenance.vectors, rows, mass * known)]), "normal")
