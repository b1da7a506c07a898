"""What this machine can do and has used."""

from __future__ import annotations

import ctypes
import os
import sys
import time
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def usable_cores() -> int:
    """The cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@lru_cache
def glibc() -> Any:
    """The C library where it is glibc, else None."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return (
        library if all(hasattr(library, name) for name in ("gnu_get_libc_version", "mallopt", "malloc_trim")) else None
    )


def give_memory_back() -> None:
    """Gives the system what the process has freed, which glibc keeps for each thread that ever asked for memory."""
    if library := glibc():
        library.malloc_trim(0)


def peak_memory_mb() -> int | None:
    """Largest resident size of this process so far, in MB of 10^6 bytes; None where the system does not tell."""
    try:
        # a program that takes the place of another (exec) starts with the other's peak in getrusage, but not here
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return int(int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6)
    except (OSError, ValueError, IndexError):  # another system than Linux
        pass
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6)


def available_memory() -> int | None:
    """Bytes of memory that can be had, what this process holds counted; None where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
        own = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return free + int(own.partition("VmRSS:")[2].split()[0]) * 1024
    except (OSError, ValueError, IndexError, StopIteration):
        return None


def device_memory_mb(device: torch.device) -> int | None:
    """`peak_memory_mb` of a CUDA card's memory, or of the process where the device is the CPU."""
    import torch

    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device) / 1e6)
    return peak_memory_mb()


def processor_name() -> str:
    """The microarchitecture as LLVM names it: ``znver4``, ``sapphirerapids``, ``generic`` where it is not known."""
    from llvmlite.binding import get_host_cpu_name  # numba's, so it is there

    return str(get_host_cpu_name())


def matrix_rate(device: torch.device, dtype: torch.dtype, seconds: float = 1.0) -> float:
    """The machine's peak in FLOP/s: the fastest of several products of square matrices of a type.

    The edge is 8,192 on a CUDA card and 1,024 on a CPU, less where a product takes too long, with the threads torch
    has; a product of edge n counts as 2 n^3 FLOP. seconds: what it may take, about.
    """
    edge, largest = 256, 8192 if device.type == "cuda" else 1024
    while edge < largest and _product_seconds(edge, device, dtype, 0.0) < seconds / 20:
        edge *= 2
    return 2.0 * edge**3 / _product_seconds(edge, device, dtype, 0.8 * seconds)


def _product_seconds(edge: int, device: torch.device, dtype: torch.dtype, seconds: float) -> float:
    """The shortest time of a product of two matrices of normal numbers, tried for so long and at least twice."""
    import torch

    random = torch.Generator(device).manual_seed(0)  # its own: a run's random state is the run's
    left, right = (torch.randn(edge, edge, generator=random, device=device).to(dtype) for _ in range(2))
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 2 or time.perf_counter() < end:
        _wait(device)
        began = time.perf_counter()
        torch.matmul(left, right)
        _wait(device)
        times.append(time.perf_counter() - began)
    return min(times)


def _wait(device: torch.device) -> None:
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)
