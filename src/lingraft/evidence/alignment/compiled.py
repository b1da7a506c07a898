"""How the aligner's loops are compiled, and how they run on all cores.

A loop is compiled once and cached on disk. It works on one *chunk* of the data, without the interpreter's lock, and
returns its own arrays; chunks are handed to a pool of threads. How the data is cut depends on the data alone and
results are put together in the order of the chunks, so every sum has one order and no result depends on the number of
threads.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from numba import njit

Array = np.ndarray[Any, Any]

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

#: sums may be reordered and fused for vector instructions, but infinities and NaN keep their meaning
FAST = {"contract", "reassoc", "nsz", "arcp"}


def compiled(**options: Any) -> Callable[[F], F]:
    """numba's njit without the interpreter's lock and with its cache on disk, or without where none can be written."""

    def compile_function(function: F) -> F:
        try:
            return njit(nogil=True, cache=True, **options)(function)  # type: ignore[no-any-return]
        except RuntimeError:  # numba: no locator available
            return njit(nogil=True, **options)(function)  # type: ignore[no-any-return]

    return compile_function


@compiled()
def grown(array: Array, size: int) -> Array:
    """A longer array that begins with the given one."""
    result = np.empty(size, array.dtype)
    result[: array.size] = array
    return result


def default_threads() -> int:
    """The cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Workers:
    """A pool of threads for compiled loops; a context manager.

    threads: how many; None means one for each core this process may use.
    """

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads or default_threads()
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="lingraft")

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def map(self, work: Callable[[int], T], chunks: int) -> list[T]:
        """``[work(0), …, work(chunks - 1)]``, in that order."""
        return list(self._pool.map(work, range(chunks)))

    def stream(self, work: Callable[[int], T], chunks: int) -> Iterator[T]:
        """``work(0), …, work(chunks - 1)``, in that order, with only a few results waiting to be taken."""
        waiting: deque[Future[T]] = deque()
        for chunk in range(chunks):
            waiting.append(self._pool.submit(work, chunk))
            if len(waiting) > 2 * self._threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


class Growing:
    """An array that is put together of parts, without ever being there twice.

    expected: how long it will be about; a wrong guess costs a copy.
    """

    def __init__(self, dtype: Any, expected: int) -> None:
        self._array, self._size = np.empty(max(1024, expected), dtype), 0

    def append(self, part: Array) -> None:
        """Adds a part at the end."""
        if self._size + part.size > self._array.size:
            self._array.resize((self._size + part.size) * 5 // 4, refcheck=False)
        self._array[self._size : self._size + part.size] = part
        self._size += part.size

    def finished(self) -> Array:
        """The whole, and no longer than it is."""
        self._array.resize(self._size, refcheck=False)
        return self._array
