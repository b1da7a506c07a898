"""The one place that decides which attention kernel runs, and what keeps the documents of a packed row apart.

Packed rows need no mask as long as a token may look at all of its row. Where documents are to be kept apart, a token
sees its own document alone and its position is counted from the beginning of it, as if each document were a row of its
own. Three kernels can do that: ``varlen`` takes the bounds of the documents and computes nothing between them;
``eager`` and ``sdpa`` take a mask.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AttentionInterface, PreTrainedModel

from ..errors import RecipeError

Array = np.ndarray[Any, Any]

Kernel = Literal["eager", "sdpa", "varlen"]

_VARLEN = "lingraft_varlen"


class Documents(NamedTuple):
    """The documents of packed rows.

    number: int64 (rows, length), which document of its row a token belongs to. position: int64 (rows, length), counted
    from the beginning of the document. bounds: int32 (documents + 1,), where documents begin in the rows laid end to
    end. longest: tokens of the longest.
    """

    number: Tensor
    position: Tensor
    bounds: Tensor
    longest: int


def documents_of(ends: Array, device: torch.device) -> Documents:
    """Documents of packed rows; ends: bool (rows, length), the last token of each. A row's end ends one too."""
    rows, length = ends.shape
    begins = np.ones((rows, length), bool)
    begins[:, 1:] = ends[:, :-1]
    starts = np.flatnonzero(begins)
    bounds = np.append(starts, rows * length).astype(np.int32)
    number = begins.cumsum(1) - 1
    position = np.arange(rows * length) - np.repeat(starts, np.diff(bounds))
    return Documents(
        torch.from_numpy(number).to(device, non_blocking=True),
        torch.from_numpy(position.reshape(rows, length)).to(device, non_blocking=True),
        torch.from_numpy(bounds).to(device, non_blocking=True),
        int(np.diff(bounds).max()),
    )


def choose_kernel(model: PreTrainedModel, device: torch.device, precision: str, apart: bool) -> Kernel:
    """The fastest kernel that is right: for this family, on this device, with documents apart or not.

    On a CPU the fused attention is slower than its parts, most of all backwards, at the lengths of pretraining. Models
    whose layers see a window of their own cannot keep documents apart; RecipeError.
    """
    if apart and "sliding_attention" in (getattr(model.config, "layer_types", None) or ()):
        raise RecipeError(
            f"training.documents=apart does not work for {type(model).__name__}, whose layers look through a sliding "
            "window; use training.documents=joined."
        )
    if device.type != "cuda":
        return "eager"
    if apart and precision in ("bf16", "fp16") and torch.cuda.get_device_capability(device) >= (8, 0):
        return "varlen"
    return "sdpa"


def use_kernel(model: PreTrainedModel, kernel: Kernel) -> None:
    """Makes a model run a kernel, in place; a family without it keeps the one it has."""
    wanted = _VARLEN if kernel == "varlen" else kernel
    if kernel == "sdpa" and not model._supports_sdpa:
        return
    model.set_attn_implementation(wanted)


def first_position(model: PreTrainedModel) -> int:
    """The position id of a row's first token: RoBERTa and its kin count on from the padding id."""
    for module in model.base_model.modules():
        if isinstance(module, nn.Embedding) and module.padding_idx is not None:
            continue
        offset = getattr(module, "padding_idx", None)
        if isinstance(offset, int) and hasattr(module, "position_embeddings"):
            positions = module.position_embeddings
            if isinstance(positions, nn.Embedding) and positions.padding_idx == offset:
                return offset + 1
    return 0


def keep_apart(model: PreTrainedModel, documents: Documents, dtype: torch.dtype) -> dict[str, Any]:
    """What to call a base model with so that documents do not see each other; it must already run its kernel.

    dtype: of the additive mask, that of the hidden states.
    """
    arguments: dict[str, Any] = {"position_ids": documents.position + first_position(model)}
    if model.config._attn_implementation == _VARLEN:
        bounds, longest = documents.bounds, documents.longest
        return arguments | {
            "cu_seq_lens_q": bounds, "cu_seq_lens_k": bounds, "max_length_q": longest, "max_length_k": longest,
        }  # fmt: skip
    seen = documents.number[:, :, None] == documents.number[:, None, :]
    if is_causal(model):
        seen = seen & torch.ones_like(seen[0]).tril()
    seen = seen.unsqueeze(1)
    if model.config._attn_implementation == "sdpa":
        return arguments | {"attention_mask": seen}
    # what is added to the scores: 0 where a position is seen, else the least number of the type
    mask = torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill(~seen, torch.finfo(dtype).min)
    return arguments | {"attention_mask": mask}


def is_causal(model: PreTrainedModel) -> bool:
    """Whether a position sees only what stands before it."""
    return any(getattr(module, "is_causal", False) for module in model.base_model.modules())


def _varlen_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None,  # noqa: ARG001
    dropout: float = 0.0, scaling: float | None = None, cu_seq_lens_q: Tensor | None = None,
    max_length_q: int | None = None, **_: Any,
) -> tuple[Tensor, None]:  # fmt: skip
    """Attention within documents, in the form transformers calls it: (rows, heads, length, width of a head)."""
    causal = bool(getattr(module, "is_causal", False))
    if cu_seq_lens_q is None or max_length_q is None:
        grouped = query.shape[1] != key.shape[1]
        out = F.scaled_dot_product_attention(
            query, key, value, dropout_p=dropout, scale=scaling, is_causal=causal, enable_gqa=grouped
        )
        return out.transpose(1, 2).contiguous(), None
    rows, _heads, length, _width = query.shape
    flat = [part.transpose(1, 2).flatten(0, 1) for part in (query, key, value)]  # (rows * length, heads, width)
    if query.is_cuda and not dropout:
        from torch.nn.attention.varlen import varlen_attn

        found = varlen_attn(
            flat[0], flat[1], flat[2], cu_seq_lens_q, cu_seq_lens_q, max_length_q, max_length_q, scale=scaling,
            window_size=(-1, 0 if causal else -1), enable_gqa=query.shape[1] != key.shape[1],
        )  # fmt: skip
        out = found if isinstance(found, Tensor) else found[0]
    else:
        out = _document_by_document(flat, cu_seq_lens_q.tolist(), dropout, scaling, causal)
    return out.view(rows, length, *out.shape[1:]), None


def _document_by_document(
    flat: list[Tensor], bounds: list[int], dropout: float, scaling: float | None, causal: bool
) -> Tensor:
    """The same on devices without such a kernel; (tokens, heads, width)."""
    pieces = []
    for start, stop in pairwise(bounds):
        query, key, value = (part[start:stop].transpose(0, 1).unsqueeze(0) for part in flat)
        piece = F.scaled_dot_product_attention(
            query, key, value, dropout_p=dropout, scale=scaling, is_causal=causal,
            enable_gqa=query.shape[1] != key.shape[1],
        )  # fmt: skip
        pieces.append(piece[0].transpose(0, 1))
    return torch.cat(pieces)


AttentionInterface.register(_VARLEN, _varlen_attention)
