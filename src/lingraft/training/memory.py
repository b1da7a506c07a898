"""Memory of the host that a training step frees stays with the process for the next step.

The C library of most Linux systems gives every large block back to the system when it is freed, and the next one costs
a page fault for every 4 kB of it: some 100,000 a step of a small model, which is a tenth of its time. A step allocates
what the step before it freed, so nothing is lost by keeping it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ..machine import glibc

# numbers of <malloc.h>
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -2, -3, -4

#: no block of its own mapping, and nothing given back at the end of the heap, which grows by 64 MB
_KEEPING = {_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: 2**31 - 1, _M_TOP_PAD: 1 << 26}

#: what glibc comes to by itself in a process that frees large blocks; with the first call of mallopt it stops adapting
_USUAL = {_M_MMAP_MAX: 65_536, _M_MMAP_THRESHOLD: 1 << 25, _M_TRIM_THRESHOLD: 1 << 26, _M_TOP_PAD: 1 << 17}


@contextmanager
def memory_kept(device: torch.device) -> Iterator[None]:
    """Inside, freed memory of the host stays with the process; afterwards what is free goes back to the system.

    Without effect where the device is no CPU, where the C library is not glibc, and where the environment has settings
    of its own for it (MALLOC_..., GLIBC_TUNABLES).
    """
    library = glibc() if device.type == "cpu" else None
    if library is None or any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ):
        yield
        return
    for parameter, value in _KEEPING.items():
        library.mallopt(parameter, value)
    try:
        yield
    finally:
        for parameter, value in _USUAL.items():
            library.mallopt(parameter, value)
        library.malloc_trim(0)
