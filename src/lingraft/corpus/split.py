"""Training and held-out lines of a text of any length, by content."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable


def _digest(raw: bytes) -> bytes:
    return hashlib.blake2b(raw, digest_size=8).digest()


class HeldOut:
    """The lines of a text that are not trained on: ``line in held_out``.

    They are chosen by a hash of their content, whatever their order: a share of the different lines, at most so many,
    and no more of these than fit in so many UTF-8 bytes. A line that occurs several times is on one side as a whole.
    At least one line stays on each side of a text with two different lines.

    lines: gone through once; what is kept of them is bounded by ``at_most / share`` digests of 8 bytes.
    """

    def __init__(
        self, lines: Iterable[str], share: float = 0.02, at_most: int = 500, at_most_bytes: int = 100_000
    ) -> None:
        # beyond so many different lines only the bound on their number counts, and it is for the smallest digests
        enough = math.ceil(at_most / share) + 1
        sizes: dict[bytes, int] = {}
        largest = b"\xff" * 8
        for line in lines:
            raw = line.encode()
            digest = _digest(raw)
            if digest <= largest:
                sizes[digest] = len(raw)
                if len(sizes) > 2 * enough:
                    sizes = {kept: sizes[kept] for kept in sorted(sizes)[:enough]}
                    largest = max(sizes)
        wanted = min(at_most, max(1, int(share * len(sizes))), len(sizes) - 1)
        chosen = sorted(sizes)[: max(wanted, 0)]
        self._digests: set[bytes] = set()
        total = 0
        for digest in chosen:
            total += sizes[digest]
            if total > at_most_bytes and self._digests:
                break
            self._digests.add(digest)

    def __contains__(self, line: str) -> bool:
        return _digest(line.encode()) in self._digests
