"""The memory of a step stays with the process, and goes back when training ends."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from lingraft.machine import glibc
from lingraft.training import memory
from lingraft.training.memory import memory_kept

SCRIPT = """
import resource
import torch
from lingraft.training.memory import memory_kept

SIZE = 48 << 20  # more than any threshold that glibc comes to by itself

def faults(times, size=SIZE):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        torch.zeros(size, dtype=torch.uint8).add_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    with open("/proc/self/statm") as stream:
        return int(stream.read().split()[1]) * resource.getpagesize()

outside = faults(4)
with memory_kept(torch.device("cpu")):
    first, inside, held = faults(3), faults(8), resident()
given_back = held - resident()
# larger than any hole that the heap may still have, so it needs a mapping of its own
print(outside, first, inside, given_back, faults(4, 8 * SIZE))
"""


def measured(**environment: str) -> list[int]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], check=True, capture_output=True, text=True, env={"PATH": "", **environment}
    )
    return [int(number) for number in done.stdout.split()]


@pytest.mark.skipif(glibc() is None, reason="the C library is not glibc")
def test_freed_memory_is_taken_again_and_goes_back_in_the_end():
    outside, first, inside, given_back, afterwards = measured()
    block = outside / 4  # every one is new
    assert first >= 0.9 * block
    assert inside < 1.5 * block  # of eight at most one, where something small had come to lie in its place
    assert given_back > 40 << 20
    assert afterwards > 3.5 * 8 * block  # as if nothing had been set


@pytest.mark.skipif(glibc() is None, reason="the C library is not glibc")
def test_settings_of_the_environment_stay():
    outside, _, inside, *_ = measured(MALLOC_MMAP_THRESHOLD_="65536")
    assert inside > outside / 2


def test_other_libraries_and_devices_are_left_alone(monkeypatch):
    def unwanted() -> None:
        raise AssertionError("no library was to be asked")

    monkeypatch.setattr(memory, "glibc", unwanted)
    with memory_kept(torch.device("meta")):
        pass
    monkeypatch.setattr(memory, "glibc", lambda: None)
    with memory_kept(torch.device("cpu")):
        pass


def test_it_ends_with_an_error_too(monkeypatch):
    calls: list[tuple[str, int, int]] = []

    class Library:
        """Writes down what it is asked for."""

        def mallopt(self, parameter: int, value: int) -> int:
            calls.append(("mallopt", parameter, value))
            return 1

        def malloc_trim(self, pad: int) -> int:
            calls.append(("trim", pad, 0))
            return 1

    monkeypatch.setattr(memory, "glibc", Library)
    for name in ("MALLOC_ARENA_MAX", "GLIBC_TUNABLES"):
        monkeypatch.delenv(name, raising=False)

    def fails() -> None:
        assert ("mallopt", -4, 0) in calls
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), memory_kept(torch.device("cpu")):
        fails()
    assert ("mallopt", -4, 65_536) in calls
    assert calls[-1] == ("trim", 0, 0)
