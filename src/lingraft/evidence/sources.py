"""All evidence that somebody has of a language, gathered for the table."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from transformers import PreTrainedTokenizerBase

from .alignment import AlignerSettings, BitextAligner, Lexicon
from .alignment.lexicon import joined_lexicons
from .alignment.settings import FOR_TABLES
from .alignment.text import encode_pairs
from .bitext import MIN_COUNT, bitext_counts, bitext_evidence
from .lexicon import lexicon_evidence
from .rows import Evidence

if TYPE_CHECKING:
    from .vectors import WordVectors

#: of more pairs than this the words that word vectors are aligned on come from the first so many
_ANCHOR_PAIRS = 100_000


@dataclass(frozen=True)
class Sources:
    """What correspondences are learnt from: any of these, or none.

    pairs: sentence pairs, English first. lexicons: word translations by the name they are known by. vectors: word
    vectors of English and of the new language. settings: of the aligner. min_count: rows of a bitext with fewer
    expected links are left empty.
    """

    pairs: Sequence[tuple[str, str]] = ()
    lexicons: dict[str, Lexicon] | None = None
    vectors: tuple[WordVectors, WordVectors] | None = None
    settings: AlignerSettings = FOR_TABLES
    min_count: float = MIN_COUNT

    def gather(
        self,
        source: PreTrainedTokenizerBase,
        target: PreTrainedTokenizerBase,
        on_progress: Callable[[float, str], None] | None = None,
    ) -> tuple[list[Evidence], dict[str, Any]]:
        """The rows of every source, and what is to be told of them.

        source, target: the tokenizers. on_progress: called with the share that is done (0 to 1) and a note for people.

        Raises CorpusError for a lexicon that is the wrong way round or vectors that cannot be aligned.
        """
        told: dict[str, Any] = {}
        found: list[Evidence] = []
        for name, lexicon in (self.lexicons or {}).items():
            found.append(lexicon_evidence(lexicon, source, target, f"Lexicon '{name}'"))
            told.setdefault("lexicon_entries", {})[name] = len(lexicon)
        if self.pairs:
            counts, too_long = bitext_counts(list(self.pairs), source, target, self.settings, on_progress)
            found.append(bitext_evidence(counts, source, self.min_count))
            told["pairs_too_long"] = too_long
        if self.vectors:
            from .vectors import align_vectors, vector_evidence

            if on_progress:
                on_progress(1.0, "word vectors")
            aligned = align_vectors(*self.vectors, self._anchors())
            found.append(vector_evidence(source, target, aligned))
            told["vectors"] = {
                "words": [len(aligned.english), len(aligned.foreign)], "anchors": aligned.anchors,
                "kind": aligned.kind, "similarity": aligned.similarity,
                # share of held-out anchors whose nearest word is their translation; JSON knows no NaN
                "precision": None if math.isnan(aligned.precision) else aligned.precision,
            }  # fmt: skip
        return found, told

    def _anchors(self) -> Lexicon | None:
        """Words that translate each other, on which vectors are aligned: the lexicons', else those of the bitext."""
        if self.lexicons:
            return joined_lexicons(list(self.lexicons.values()))
        if self.pairs:
            encoded = encode_pairs(self.pairs[:_ANCHOR_PAIRS], lowercase=True, characters=True)
            with BitextAligner(encoded, characters=True) as aligner:
                return aligner.lexicon()
        return None
