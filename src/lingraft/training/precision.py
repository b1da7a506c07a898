"""The one place that decides in which arithmetic a model runs."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from typing import Literal

import torch

Precision = Literal["float32", "bf16"]


def default_device() -> torch.device:
    """The CUDA card where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def resolve_precision(wanted: str, device: torch.device) -> Precision:
    """``auto`` is bf16 where the device multiplies bf16 matrices in hardware, else float32."""
    if wanted == "bf16" or wanted == "float32":
        return "bf16" if wanted == "bf16" else "float32"
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    # torch has no public question for this; an older release without the private one gets float32
    probes = (getattr(torch.cpu, name, None) for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"))
    return "bf16" if any(probe() for probe in probes if probe is not None) else "float32"


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[None]:
    """A context in which matrix products run in the given precision."""
    if precision == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return contextlib.nullcontext()
