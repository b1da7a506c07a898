"""A bounded part of a text of any length."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from hashlib import blake2b


def sample_lines(lines: Iterable[str], at_most_bytes: int) -> Iterator[str]:
    """The lines of a text, or of a long one about so many UTF-8 bytes of them, in their order.

    at_most_bytes: of UTF-8, a byte for every line end included.

    Which lines is a matter of a hash of their content: those with the smallest, so that the sample is spread over the
    whole text, however it is ordered, and the same whenever it is taken. Memory is bounded by the sample.
    """
    kept: list[tuple[int, int, str]] = []  # a heap, the largest hash on top
    total = 0
    for number, line in enumerate(lines):
        raw = line.encode()
        rank = int.from_bytes(blake2b(raw, digest_size=8).digest(), "big")
        heapq.heappush(kept, (-rank, number, line))
        total += len(raw) + 1
        while total > at_most_bytes and len(kept) > 2:
            total -= len(heapq.heappop(kept)[2].encode()) + 1
    yield from (line for _, _, line in sorted(kept, key=lambda entry: entry[1]))
