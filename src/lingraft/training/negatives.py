"""English sentences of the steps before, which a translation is told apart from as from those of its own batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..corpus import TokenSequences
from .data import Array, LengthBatches


class Candidates(NamedTuple):
    """What a translation is to be found among, those of its own batch first, in its order.

    embeddings: unit vectors (k, width). sentences: int64 (k,), a hash of each one's tokens; on the host, so that
    nothing waits for a device.
    """

    embeddings: Tensor
    sentences: Array

    def only_right(self, scores: Tensor, right: Array) -> Tensor:
        """Scores (n, k) but for candidates that are the right one's sentence over again, which would not be wrong.

        right: int64 (n,), the number of each one's right candidate.
        """
        same = self.sentences[right, None] == self.sentences
        same[np.arange(right.size), right] = False
        return scores.masked_fill(torch.from_numpy(same).to(scores.device), float("-inf"))


class Negatives:
    """The English sentences of a step and of the newest before it, with the teacher's embeddings of them.

    A memory bank (Wu et al. 2018; of the batches before, Wang et al. 2020). There its vectors grow old, as their
    encoder moves on; here the English side is a teacher's that never changes, so they are exact and cost nothing
    but their product with a batch.

    english: the English side. batches: of all lines. size: how many sentences of the steps before there are at most,
    each once, however often the text has been read. teacher: unit embeddings, float32 (lines, width), of a step's
    batch; where a run goes on it is asked again about the steps before, so it has to answer the same.
    """

    def __init__(
        self, english: TokenSequences, batches: LengthBatches, size: int, teacher: Callable[[int], Tensor]
    ) -> None:
        self._english = english
        self._batches = batches
        self._size = size
        self._teacher = teacher
        #: by step
        self._known: dict[int, Candidates] = {}
        self._candidates: tuple[int, Candidates] | None = None

    def know(self, step: int, embeddings: Tensor) -> None:
        """Spares the teacher the question about a step that was run through it anyway."""
        hashes = [hash(self._english[line].tobytes()) for line in self._batches[step]]
        self._known[step] = Candidates(embeddings, np.array(hashes, np.int64))

    def __call__(self, step: int) -> Candidates:
        """What to choose from at a step."""
        if self._candidates is None or self._candidates[0] != step:
            parts = [self._of(step)]
            seen = set(parts[0].sentences.tolist())
            wanted, earlier = self._size, step
            oldest = step - self._batches.per_epoch
            while wanted > 0 and earlier > max(0, oldest):
                earlier -= 1
                known = self._of(earlier)
                first = {sentence: k for k, sentence in reversed(list(enumerate(known.sentences.tolist())))}
                new = sorted(k for sentence, k in first.items() if sentence not in seen)[:wanted]
                if len(new) < known.sentences.size:
                    known = Candidates(known.embeddings[new], known.sentences[new])
                seen.update(known.sentences.tolist())
                parts.append(known)
                wanted -= len(new)
            self._known = {number: known for number, known in self._known.items() if earlier <= number <= step}
            embeddings, sentences = zip(*parts, strict=True)
            self._candidates = step, Candidates(torch.cat(embeddings), np.concatenate(sentences))
        return self._candidates[1]

    def _of(self, step: int) -> Candidates:
        if step not in self._known:
            self.know(step, self._teacher(step))
        return self._known[step]
