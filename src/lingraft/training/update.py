"""One step of the optimizer: micro-batches, their gradients' sum, clipping, and nothing that waits for the device."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from ..errors import RunError
from .objectives import Objective
from .parallel import Loss, MemoryRanOutError, OneProcess
from .precision import LossScale, Precision, autocast

_log = logging.getLogger("lingraft")

#: what `Update` adds to the losses it returns: 1 where the gradient was not finite and the update was left out
NOT_FINITE = "not_finite"

#: how an allocator that is not torch's CUDA one says that there is no memory left
_SAYINGS = ("not enough memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a card or on the host."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(saying in str(error) for saying in _SAYINGS)


class Update:
    """Applies an objective's gradient at a step.

    batch_size: examples of a step. micro_batch: examples of one forward pass, or fewer where the objective says so
    (`Objective.at_once`); halved when memory runs out, which changes neither the batch nor what is learned from it.
    largest_norm: of the gradient of all parameters, which is scaled down to it. parallel: shares the work of a step out
    between processes.
    """

    def __init__(
        self, objective: Objective, optimizer: torch.optim.Optimizer, precision: Precision, device: torch.device,
        batch_size: int, micro_batch: int | None, largest_norm: float = 1.0,
        parallel: OneProcess | None = None,
    ) -> None:  # fmt: skip
        if parallel is None:
            parallel = OneProcess()
            parallel.attach(objective)
        self._parallel = parallel
        self._optimizer = optimizer
        self._precision = precision
        self._device = device
        self._batch_size = batch_size
        self._largest_norm = largest_norm
        self.micro_batch = min(micro_batch or batch_size, batch_size)
        self.out_of_memory = 0
        self.loss_scale = LossScale(device) if precision == "fp16" else None

    def __call__(self, step: int, both: bool) -> dict[str, Tensor]:
        """Moves the parameters; gives the step's losses by name, and `NOT_FINITE`, all still on the device."""
        while not self._parallel.rehearsed(lambda loss: self._rehearse(loss, step, both)):
            self._halve(step)
        losses = self._accumulate(step, both)
        while losses is None:
            self._halve(step)
            if not self._parallel.retries:
                raise MemoryRanOutError(f"Memory ran out at step {step + 1}.", self.micro_batch)
            losses = self._accumulate(step, both)
        return losses | {NOT_FINITE: self._apply()}

    def _parts(self, step: int) -> tuple[range, int]:
        """This process's micro-batches of a step, and how many all have."""
        limit = self._parallel.objective.at_once(step)
        return self._parallel.parts(self._batch_size, min(self.micro_batch, limit or self.micro_batch))

    def _accumulate(self, step: int, both: bool) -> dict[str, Tensor] | None:
        """Leaves the gradient of the whole batch in the parameters; None if memory ran out."""
        self._optimizer.zero_grad(set_to_none=True)
        mine, parts = self._parts(step)
        losses: dict[str, Tensor] = {}
        try:
            for part in mine:
                with self._parallel.part(part == mine[-1]):
                    with autocast(self._precision, self._device):
                        loss, named = self._parallel.loss(step, both, part, parts)
                    if loss.requires_grad:  # the last batch of an epoch may be too small to have so many parts
                        (loss if self.loss_scale is None else loss * self.loss_scale.value).backward()
                for name, value in named.items():
                    losses[name] = losses[name] + value if name in losses else value
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return None  # what holds the activations is this error's traceback: the caller tries again without it
        return losses

    def _rehearse(self, loss_of: Loss, step: int, both: bool) -> bool:
        """Leaves the gradient of one micro-batch, which counts for nothing; whether memory was enough."""
        self._optimizer.zero_grad(set_to_none=True)
        mine, parts = self._parts(step)
        try:
            with autocast(self._precision, self._device):
                loss, _ = loss_of(step, both, mine[0], parts)
            loss.backward()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return False
        return True

    def _halve(self, step: int) -> None:
        self._optimizer.zero_grad(set_to_none=True)
        if min(self.micro_batch, self._parallel.largest_micro_batch(self._batch_size)) == 1:
            raise RunError(
                f"Memory ran out at step {step + 1} with one example at a time. Give a shorter "
                "training.sequence_length, set training.checkpoint_activations=true, or use a larger machine."
            )
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        self.micro_batch = min(self.micro_batch, self._parallel.largest_micro_batch(self._batch_size)) // 2
        self.out_of_memory += 1
        _log.warning(
            "Memory ran out at step %d: from here on %d of the %d examples of a batch are run at a time.",
            step + 1, self.micro_batch, self._batch_size,
        )  # fmt: skip

    def _apply(self) -> Tensor:
        """Clips and applies the gradient unless some of it is not finite; gives whether that was so, 0 or 1.

        The fused optimizer does both while it reads the gradient: it divides it by ``grad_scale`` and changes nothing
        where ``found_inf`` is 1. So neither costs a pass over the gradient or a look at it from the host.
        """
        gradients = [p.grad for group in self._optimizer.param_groups for p in group["params"] if p.grad is not None]
        norm = self._parallel.norm(gradients).to(self._device, torch.float32)
        not_finite = 1.0 - norm.isfinite().float()
        divisor = norm / self._largest_norm
        if self.loss_scale is None:
            divisor = divisor.clamp(min=1.0)
        else:  # norm / scale is the gradient's own; divided by max(scale, norm) it is at most 1
            divisor = torch.maximum(divisor, self.loss_scale.value)
            self.loss_scale.update(not_finite)
        self._optimizer.grad_scale = divisor  # type: ignore[attr-defined]
        self._optimizer.found_inf = not_finite  # type: ignore[attr-defined]
        self._optimizer.step()
        return not_finite
