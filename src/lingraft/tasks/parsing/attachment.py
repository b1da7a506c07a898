"""Attachment scores of parsed sentences, counted as the evaluation of the CoNLL 2018 shared task counts them.

That is the script which Universal Dependencies still uses (Zeman et al. 2018, "CoNLL 2018 Shared Task: Multilingual
Parsing from Raw Text to Universal Dependencies", section 3.2). With the words of the gold standard as input every word
has its counterpart, precision and recall are the same, and

    UAS  share of the words with the right head
    LAS  share of the words with the right head and the right relation, of which only the universal part counts: what
         stands before the first colon, so that ``nmod`` for ``nmod:poss`` is right

The script counts punctuation. Older literature leaves it out; a word is punctuation then if its UPOS tag in the gold
standard is ``PUNCT``, whatever its relation and whatever was predicted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ...errors import CorpusError
from .treebank import UNKNOWN, Sentence

Array = np.ndarray[Any, Any]


class Parse(NamedTuple):
    """The tree of a sentence: for every word its head, counted from 1, 0 for the root, and its relation.

    heads, deprels: both as long as the sentence.
    """

    heads: tuple[int, ...]
    deprels: tuple[str, ...]


@dataclass(frozen=True)
class AttachmentCounts:
    """Counts for each sentence, int64 (sentences,): words; those with the right head; head and relation right.

    words, heads, labelled: these counts, in this order.

    A resample of the sentences, for an interval, is a choice of the same rows of all three.
    """

    words: Array
    heads: Array
    labelled: Array

    @property
    def n_words(self) -> int:
        """Words of all sentences."""
        return int(self.words.sum())

    @property
    def uas(self) -> float:
        """Unlabelled attachment score, in [0, 1]."""
        return float(self.heads.sum() / self.words.sum())

    @property
    def las(self) -> float:
        """Labelled attachment score, in [0, 1]."""
        return float(self.labelled.sum() / self.words.sum())


def universal(deprel: str) -> str:
    """The universal part of a relation: ``acl`` of ``acl:relcl``."""
    return deprel.partition(":")[0]


def count_attachments(
    gold: Sequence[Sentence], parsed: Sequence[Parse | Sentence], punct: bool = True, partial: bool = False
) -> AttachmentCounts:
    """How many words of each sentence are attached as in the gold standard.

    parsed: trees over the same words. punct: whether punctuation counts, see the module's docstring. partial: words of
    the gold standard may lack a head, and then do not count. Raises CorpusError when there are not equally many
    sentences or words, when a gold word lacks a head that must have one, and when no word counts.
    """
    if len(gold) != len(parsed):
        raise CorpusError(f"{len(parsed):,} parsed sentences were given for {len(gold):,} of the gold standard.")
    counts = np.zeros((3, len(gold)), np.int64)
    for k, (right, found) in enumerate(zip(gold, parsed, strict=True)):
        if len(right.heads) != len(found.heads):
            raise CorpusError(
                f"Sentence {k + 1} has {len(right.heads)} words in the gold standard, {len(found.heads)} in the parse; "
                "attachment scores need the same words."
            )
        if not partial and min(right.heads, default=0) < 0:
            raise CorpusError(
                f"Sentence {k + 1} of the gold standard has a word without a head; scores need whole trees."
            )
        for tag, head, other, deprel, given in zip(
            right.upos, right.heads, found.heads, right.deprels, found.deprels, strict=True
        ):
            if head != UNKNOWN and (punct or tag != "PUNCT"):
                attached = head == other
                counts[0, k] += 1
                counts[1, k] += attached
                counts[2, k] += attached and universal(deprel) == universal(given)
    if not counts[0].any():
        raise CorpusError("There is no word to be scored" + ("." if punct else " besides punctuation."))
    return AttachmentCounts(*counts)
