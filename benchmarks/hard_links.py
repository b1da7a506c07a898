"""Links of two directions, as other aligners write them, put together by lingraft's own symmetrisation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from lingraft.evidence.alignment import LinkPosteriors, Links
from lingraft.evidence.alignment.symmetrize import METHODS, symmetrize

#: all of lingraft's methods but that of posteriors, which other aligners do not write
HEURISTICS = METHODS[1:]


def parsed(line: str) -> set[tuple[int, int]]:
    """The links (English position, foreign position) of a line ``0-0 1-2``."""
    return {(int(i), int(j)) for i, j in (link.split("-") for link in line.split())}


def symmetrized(
    forward: Sequence[Iterable[tuple[int, int]]],
    reverse: Sequence[Iterable[tuple[int, int]]],
    english_lengths: Sequence[int],
    foreign_lengths: Sequence[int],
    method: str,
) -> Links:
    """Both directions of every sentence pair, at most one link a foreign and at most one an English token."""
    sizes, english, directions = [], [], []
    for one, two, n in zip(forward, reverse, foreign_lengths, strict=True):
        sides = set(one), set(two)
        for side, links in enumerate(sides):
            if len({link[1 - side] for link in links}) < len(links):
                raise ValueError(f"a token has several links in one direction: {sorted(links)}")
        both = sorted((j, i) for i, j in set.union(*sides))
        sizes += np.bincount(np.array([j for j, _ in both], np.int64), minlength=n).tolist()
        english += [i for _, i in both]
        directions += [[(i, j) in links for links in sides] for j, i in both]
    posteriors = LinkPosteriors(
        _offsets(sizes), np.array(english, np.uint16), *np.array(directions, np.float32).reshape(-1, 2).T.copy()
    )
    return symmetrize(posteriors, _offsets(english_lengths), _offsets(foreign_lengths), method)


def _offsets(sizes: Sequence[int]) -> np.ndarray:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes, dtype=np.int64)])
