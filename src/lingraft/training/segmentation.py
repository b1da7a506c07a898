"""Other segmentations of the same text, so that the pieces of words are learnt and not only words as they stand.

A tokenizer that was trained on little text knows its frequent words by heart, and their pieces are hardly ever seen; a
word that it does not know is spelled by just these. Sampled segmentations train them: subword regularization (Kudo
2018; BPE-dropout, Provilkov et al. 2020; MaxMatch-dropout, Hiraoka 2022), here for every kind of tokenizer alike.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from ..vocabulary import token_cuts

Array = np.ndarray[Any, Any]


class Segmentations:
    """Samples segmentations: every token is, with a probability, replaced by two that spell it, and these again.

    The two are drawn from all there are (`token_cuts`). tokenizer: whose ids they are. rate: the probability.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, rate: float) -> None:
        self._rate = rate
        self._cuts = token_cuts(tokenizer)

    def sample(self, lines: list[Array], longest: int, random: np.random.Generator) -> list[Array]:
        """Lines of ids, each in a segmentation of its own; none gets longer than ``longest`` tokens by that.

        So of a line that is nearly as long only the first tokens are cut.
        """
        sizes = np.array([line.size for line in lines], np.int64)
        if not sizes.sum():
            return lines
        ids = np.concatenate(lines).astype(np.int64)
        line_of = np.repeat(np.arange(sizes.size), sizes)
        fresh = np.ones(ids.size, bool)  # a token that was left whole once stays so
        while True:
            cut = fresh & (self._cuts.number[ids] > 0)
            cut[cut] = random.random(int(cut.sum())) < self._rate
            room = np.maximum(longest - sizes, 0)
            done = np.concatenate([[0], np.cumsum(cut)])
            before = done[np.searchsorted(line_of, np.arange(sizes.size))]
            cut &= done[:-1] - before[line_of] < room[line_of]
            if not cut.any():
                break
            chosen = self._cuts.first[ids[cut]] + random.integers(self._cuts.number[ids[cut]])
            times = 1 + cut
            places = np.cumsum(times) - times
            ids, line_of, fresh = np.repeat(ids, times), np.repeat(line_of, times), np.repeat(cut, times)
            ids[places[cut]], ids[places[cut] + 1] = self._cuts.left[chosen], self._cuts.right[chosen]
            sizes = np.bincount(line_of, minlength=sizes.size)
        return np.split(ids, np.cumsum(sizes)[:-1])
