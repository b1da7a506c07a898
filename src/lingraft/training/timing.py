"""Clocks: how long a run has trained, and how long it did something in particular."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Clock = Callable[[], float]


class Stopwatch:
    """Adds up the time spent inside ``with stopwatch:``, in ``seconds``."""

    def __init__(self, seconds: float = 0.0, clock: Clock = time.perf_counter) -> None:
        self._clock = clock
        self._began = 0.0
        self.seconds = seconds

    def __enter__(self) -> None:
        self._began = self._clock()

    def __exit__(self, *_: object) -> None:
        self.seconds += self._clock() - self._began


class RunClock:
    """Seconds a run has trained, those before it was resumed included."""

    def __init__(self, before: float, clock: Clock) -> None:
        self._clock = clock
        self._zero = clock() - before

    def __call__(self) -> float:
        return self._clock() - self._zero

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Inside, the clock stands still."""
        began = self._clock()
        try:
            yield
        finally:
            self._zero += self._clock() - began
