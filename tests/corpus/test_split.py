from __future__ import annotations

import hashlib
import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from lingraft.corpus import HeldOut


def chosen(lines: list[str], share: float = 0.02, at_most: int = 500, at_most_bytes: int = 100_000) -> set[str]:
    """The rule of `HeldOut` on a text that is in memory."""
    different = sorted(set(lines), key=lambda line: hashlib.blake2b(line.encode(), digest_size=8).digest())
    wanted = min(at_most, max(1, int(share * len(different))), len(different) - 1)
    sizes = [len(line.encode()) for line in different[: max(wanted, 0)]]
    fitting = [k for k in range(len(sizes)) if k == 0 or sum(sizes[: k + 1]) <= at_most_bytes]
    return {different[k] for k in fitting}


@given(st.lists(st.text("abcé", max_size=3), max_size=60))
def test_lines_go_by_content_alone(lines: list[str]):
    held = HeldOut(lines)
    sides = {line for line in lines if line in held}, {line for line in lines if line not in held}
    assert sides[0] == chosen(lines)
    assert sides[0] == {line for line in lines if line in HeldOut(lines[::-1])}
    if len(set(lines)) > 1:
        assert all(sides)


@given(
    st.lists(st.integers(0, 3000), max_size=800), st.sampled_from([0.02, 0.3, 1.0]), st.integers(1, 20),
    st.integers(1, 60),
)  # fmt: skip
def test_what_is_forgotten_on_the_way_changes_nothing(
    numbers: list[int], share: float, at_most: int, at_most_bytes: int
):
    """With few lines wanted, digests that cannot be among them are thrown away again and again."""
    lines = [f"line {number}" for number in numbers]
    held = HeldOut(iter(lines), share, at_most, at_most_bytes)
    assert {line for line in lines if line in held} == chosen(lines, share, at_most, at_most_bytes)


def test_lines_and_bytes_are_bounded():
    lines = [f"{k} " + "x" * 100 for k in range(1000)]

    def held(lines: list[str], **how: float) -> list[str]:
        chosen = HeldOut(lines, **how)  # type: ignore[arg-type]
        return [line for line in lines if line in chosen]

    assert len(held(lines, share=0.5, at_most=70)) == 70
    assert sum(map(len, held(lines, share=0.5, at_most_bytes=2000))) <= 2000
    assert len(held(["a" * 500_000, "b" * 500_000])) == 1


def test_memory_does_not_grow_with_the_text():
    def peak(n: int) -> int:
        tracemalloc.start()
        HeldOut((f"line {number}" for number in range(n)), share=0.5, at_most=200)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak

    peak(100)
    # about 100 kB, and 3.8 MB were every digest kept: room for what other threads of the process allocate meanwhile
    assert peak(40_000) < 1_000_000
