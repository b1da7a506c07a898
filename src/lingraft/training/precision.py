"""The one place that decides in which arithmetic a model runs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Literal

import torch
from torch import Tensor

from ..errors import RecipeError
from ..machine import processor_name

Precision = Literal["float32", "bf16", "fp16"]

DTYPES: dict[str, torch.dtype] = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def default_device() -> torch.device:
    """The CUDA card where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def resolve_precision(wanted: str, device: torch.device, scaled: bool = False) -> Precision:
    """``auto`` is bf16 where the device multiplies bf16 matrices faster than float32 ones, else float32.

    wanted: auto, float32, bf16 or fp16. device: where it is to run. scaled: the caller scales its losses, so that
    ``auto`` may be fp16 on a card that has no bf16.
    """
    for precision in ("float32", "bf16", "fp16"):
        if wanted == precision:
            return precision
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bf16"
        return "fp16" if scaled else "float32"
    return "bf16" if _bf16_pays() else "float32"


def _bf16_pays() -> bool:
    """Whether this processor multiplies faster in bf16 than in float32.

    Instructions for bf16 say little: with AVX-512's an AMD EPYC is 2.1 times as fast as in float32, an Intel Xeon half
    as fast (docs/results.md). So it goes by what processor it is. It is not timed, because a run that is resumed on a
    busy machine has to come to the same answer.
    """
    # torch has no public question for this; an older release without the private ones gets float32
    amx, avx512 = (
        getattr(torch.cpu, name, lambda: False)() for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    )
    return bool(amx or (avx512 and processor_name().startswith("znver")))


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[None]:
    """A context in which matrix products run in the given precision.

    device: for whose kind of processor it is.
    """
    if precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=DTYPES[precision])


@contextmanager
def inference(precision: str, device: torch.device) -> Iterator[None]:
    """Inside, no gradient is kept and matrix products run in ``float32``, ``bf16``, or ``auto``: what suits the device.

    Raises RecipeError for another precision.
    """
    if precision not in ("float32", "bf16", "auto"):
        raise RecipeError(f"The precision of a task model is float32, bf16 or auto; given: '{precision}'.")
    with torch.inference_mode(), autocast(resolve_precision(precision, device), device):
        yield


class LossScale:
    """The factor on the loss that keeps fp16 gradients above underflow, found by trying (Micikevicius et al. 2018).

    It is halved when a gradient overflows and doubled after 2,000 steps in a row without; torch's GradScaler follows
    the same rule but goes over all gradients once more. Everything stays on the device. value: float32 (); good: the
    steps in a row without an overflow, int32 ().
    """

    _PATIENCE = 2000

    def __init__(self, device: torch.device) -> None:
        self.value = torch.full((), 2.0**16, device=device)
        self.good = torch.zeros((), dtype=torch.int32, device=device)

    def update(self, overflowed: Tensor) -> None:
        """Takes in whether the step's gradient was not finite, float32 (), 0 or 1."""
        bad = overflowed > 0
        good = torch.where(bad, 0, self.good + 1).int()
        grown = good == self._PATIENCE
        factor = torch.where(bad, 0.5, torch.where(grown, 2.0, 1.0))
        # a new tensor, not a change in place: the backward pass or the optimizer may still read the old one
        self.value = self.value * factor
        self.good = torch.where(grown, 0, good).int()

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint keeps."""
        return {"loss_scale.value": self.value, "loss_scale.good": self.good}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Takes what `tensors` gave; a checkpoint of a run in another precision has none of it."""
        if "loss_scale.value" in tensors:
            self.value = tensors["loss_scale.value"].to(self.value.device, copy=True)
            self.good = tensors["loss_scale.good"].to(self.good.device, copy=True)
