"""Cross-entropy over a vocabulary, a few rows at a time.

Logits are the largest tensor of a step: with bf16, a float32 copy of them, the log-softmax of that and its gradient are
three more that are twice as large, and each is written to memory and read again. Here the rows pass through in parts
that stay in the processor's cache; besides the logits only their gradient is kept, in their own type.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

#: entries of a part: on a CPU as many as stay in its cache, on a card so many that starting kernels is no cost
_PART = {"cpu": 1 << 20, "other": 1 << 26}


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Nats for each label: float (rows, k) of logits (rows, k, vocabulary), in float32 or better.

    labels: int64 (rows, k). The gradient can be taken once and not be differentiated again.
    """
    flat, true = logits.flatten(0, 1), labels.flatten()
    if torch.is_grad_enabled() and logits.requires_grad:
        losses: Tensor = _CrossEntropy.apply(flat, true)  # type: ignore[no-untyped-call]
    else:
        losses = torch.cat([F.cross_entropy(_wide(part), some, reduction="none") for part, some in _parts(flat, true)])
    return losses.view(labels.shape)


def _wide(logits: Tensor) -> Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()


def _parts(logits: Tensor, labels: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Rows of logits (n, vocabulary) and their labels (n,), some at a time; at least one part."""
    entries = _PART["cpu" if logits.device.type == "cpu" else "other"]
    rows = max(1, entries // logits.shape[1])
    return list(zip(logits.split(rows), labels.split(rows), strict=True))


class _CrossEntropy(torch.autograd.Function):
    """Losses, float (n,), of logits (n, vocabulary) and labels (n,); the gradient is made along with them."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor) -> Tensor:
        # fp16 has too small a range for what is not scaled yet (`lingraft.training.precision.LossScale`)
        gradient = torch.empty_like(logits, dtype=torch.float32 if logits.dtype == torch.float16 else None)
        losses = []
        parts = _parts(logits, labels)
        for (part, some), slope in zip(parts, gradient.split(parts[0][0].shape[0]), strict=True):
            wide, true = _wide(part), some.unsqueeze(1)
            shares = wide - wide.amax(1, keepdim=True)
            chosen = shares.gather(1, true)
            total = shares.exp_().sum(1, keepdim=True)
            losses.append((total.log() - chosen).squeeze(1))
            shares /= total
            shares.scatter_add_(1, true, shares.new_full(true.shape, -1.0))
            slope.copy_(shares)
        ctx.gradient, ctx.type = gradient, logits.dtype
        return torch.cat(losses)

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, None]:
        # not saved as other tensors are: it is changed in place, and the memory goes with the first use
        gradient: Tensor | None = ctx.gradient
        if gradient is None:
            raise RuntimeError("the gradient of this cross-entropy was taken before; it can be taken once")
        ctx.gradient = None
        return gradient.mul_(outer[0].unsqueeze(1).to(gradient.dtype)).to(ctx.type), None
