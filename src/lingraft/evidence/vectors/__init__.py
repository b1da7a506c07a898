"""Word vectors of two languages as evidence: read or trained, brought into one space, and made vectors of tokens.

In the order of the data: `files` and `text` (vectors in and out), `training` (out of text), `alignment` (one space),
`subwords` (words to tokens), `similarity` (vectors to rows), `source` (all of it). Names are loaded when they are first
used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...lazy import lazy_names

if TYPE_CHECKING:
    from .alignment import AlignedVectors, align_vectors
    from .files import WordVectors, load_vectors, read_vectors, save_vectors, write_vectors
    from .similarity import similarity_rows, sparsemax
    from .source import vector_evidence
    from .subwords import token_vectors
    from .training import train_on_tokens, train_vectors, words_of

_HOMES = {
    "AlignedVectors": "alignment",
    "WordVectors": "files",
    "align_vectors": "alignment",
    "load_vectors": "files",
    "read_vectors": "files",
    "save_vectors": "files",
    "similarity_rows": "similarity",
    "sparsemax": "similarity",
    "token_vectors": "subwords",
    "train_on_tokens": "training",
    "train_vectors": "training",
    "vector_evidence": "source",
    "words_of": "training",
    "write_vectors": "files",
}

__all__ = [
    "AlignedVectors",
    "WordVectors",
    "align_vectors",
    "load_vectors",
    "read_vectors",
    "save_vectors",
    "similarity_rows",
    "sparsemax",
    "token_vectors",
    "train_on_tokens",
    "train_vectors",
    "vector_evidence",
    "words_of",
    "write_vectors",
]

__getattr__ = lazy_names(__name__, _HOMES)
