"""One pass of the shared encoder over what several vocabularies embedded, and the heads over some of its positions.

All models of a transfer have one body (`lingraft.surgery.share_body`), so a batch may hold rows of all languages:
each row is looked up in its own embeddings, and all go through the body together. Masked language modelling needs the
last hidden states at the predicted positions alone, and so the last layer computes no others: keys and values are those
of all positions, queries and everything behind them only of the chosen ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions
from transformers.models.bert.modeling_bert import BertLayer
from transformers.models.distilbert.modeling_distilbert import TransformerBlock
from transformers.models.electra.modeling_electra import ElectraLayer
from transformers.models.roberta.modeling_roberta import RobertaLayer
from transformers.models.xlm_roberta.modeling_xlm_roberta import XLMRobertaLayer

from .attention import Documents, keep_apart

#: a layer's forward at some positions: (layer, hidden (rows, length, width), positions (rows, k), those queries' mask)
_At = Callable[[Any, Tensor, Tensor, Tensor | None], Tensor]


def layers_of(model: PreTrainedModel) -> list[nn.Module]:
    """The model's layers from the lowest up: the ModuleList with as many entries as the config says; empty if none."""
    wanted = int(model.config.num_hidden_layers)
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == wanted:
            return list(module)
    return []


def flop_forward(model: PreTrainedModel, length: int, predicted: float) -> float:
    """Floating-point operations a token of a forward pass that the mathematics asks for, however it is computed.

    Twice every weight of the layers' matrices, 4 * length * width a layer for attention, and twice every weight of the
    head's matrices at the predicted share of positions. length: of the rows.
    """
    base: Any = model.base_model
    layers = layers_of(base)
    body = sum(p.numel() for layer in layers for p in layer.parameters() if p.ndim > 1)
    attention = 2 * length * int(model.config.get_text_config().hidden_size) * len(layers)
    inside = {id(p) for p in base.parameters()}
    head = sum(p.numel() for p in model.parameters() if p.ndim > 1 and id(p) not in inside)
    output: Any = model.get_output_embeddings()
    if output is not None and id(output.weight) in inside:  # tied to the word embeddings
        head += output.weight.numel()
    return 2.0 * (body + attention + predicted * head)


def embed_tokens(model: PreTrainedModel, ids: Tensor) -> Tensor:
    """Word embeddings alone, (rows, length, width), as the model's base takes them for ``inputs_embeds``."""
    embeddings: Any = model.get_input_embeddings()
    return embeddings(ids)  # type: ignore[no-any-return]


def hidden_states(
    model: PreTrainedModel, embedded: Tensor, positions: Tensor | None = None, attention_mask: Tensor | None = None,
    documents: Documents | None = None, whole_last_layer: bool = False, position_ids: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Last hidden states of embedded tokens (rows, length, width), at all positions or at some.

    positions: int64 (rows, k); the result is then (rows, k, width), equal to the whole result gathered there. Families
    whose last layer is not known here compute the whole of it and gather, and so does whole_last_layer. attention_mask:
    int64 (rows, length), 0 for padding. documents: of packed rows, where they are to be kept apart. position_ids: int64
    (rows or 1, length), where they are not those of one text.
    """
    base: Any = model.base_model
    arguments: dict[str, Any] = {"attention_mask": attention_mask}
    if position_ids is not None:
        arguments["position_ids"] = position_ids
    if documents is not None:
        arguments |= keep_apart(model, documents, embedded.dtype)
    layers = layers_of(base)
    at = None if whole_last_layer or positions is None or not layers else _AT.get(_family(layers[-1]))
    if at is None or positions is None:
        hidden: Tensor = base(inputs_embeds=embedded, **arguments).last_hidden_state
        return hidden if positions is None else gather(hidden, positions)
    with _last_layer_at(layers[-1], at, positions, documents):
        return base(inputs_embeds=embedded, **arguments).last_hidden_state  # type: ignore[no-any-return]


def gather(hidden: Tensor, positions: Tensor) -> Tensor:
    """(rows, length, width) at int64 (rows, k): (rows, k, width)."""
    return hidden.gather(1, positions.unsqueeze(-1).expand(-1, -1, hidden.shape[-1]))


@contextmanager
def _last_layer_at(layer: nn.Module, at: _At, positions: Tensor, documents: Documents | None) -> Iterator[None]:
    """Inside, the layer gives its output at the positions alone."""

    def forward(hidden: Tensor, attention_mask: Tensor | None = None, *_: Any, **__: Any) -> Tensor:
        if documents is None:
            mask = _mask_at(attention_mask, positions)
        else:  # the same for every kernel: few queries have a small mask
            seen = documents.number.gather(1, positions)[:, :, None] == documents.number[:, None, :]
            mask = seen.unsqueeze(1)
        return at(layer, hidden, positions, mask)

    layer.forward = forward
    try:
        yield
    finally:
        del layer.forward  # the class's own is found again


def _attend(
    chosen: Tensor, hidden: Tensor, projections: tuple[nn.Module, nn.Module, nn.Module], heads: int,
    attention_mask: Tensor | None, dropout: float,
) -> Tensor:  # fmt: skip
    """Attention of the chosen positions (rows, k, width) to all (rows, length, width)."""
    rows, _, width = hidden.shape

    def split(projected: Tensor) -> Tensor:
        return projected.view(rows, -1, heads, width // heads).transpose(1, 2)

    query, key, value = (
        split(project(part)) for project, part in zip(projections, (chosen, hidden, hidden), strict=True)
    )
    if attention_mask is not None and attention_mask.dtype != torch.bool:
        attention_mask = attention_mask.to(query.dtype)  # as autocast made the query
    context = F.scaled_dot_product_attention(query, key, value, attn_mask=attention_mask, dropout_p=dropout)
    return context.transpose(1, 2).reshape(rows, -1, width)


def _mask_at(attention_mask: Tensor | None, positions: Tensor) -> Tensor | None:
    """The rows of a mask (rows, 1, length, length) that belong to the chosen queries."""
    if attention_mask is None or attention_mask.shape[2] == 1:
        return attention_mask
    index = positions[:, None, :, None].expand(-1, attention_mask.shape[1], -1, attention_mask.shape[3])
    return attention_mask.expand(positions.shape[0], -1, -1, -1).gather(2, index)


def _bert_at(layer: Any, hidden: Tensor, positions: Tensor, attention_mask: Tensor | None) -> Tensor:
    attention = layer.attention.self
    chosen = gather(hidden, positions)
    context = _attend(
        chosen, hidden, (attention.query, attention.key, attention.value), attention.num_attention_heads,
        attention_mask, attention.dropout.p if attention.training else 0.0,
    )  # fmt: skip
    attended = layer.attention.output(context, chosen)
    return layer.output(layer.intermediate(attended), attended)  # type: ignore[no-any-return]


def _distilbert_at(layer: Any, hidden: Tensor, positions: Tensor, attention_mask: Tensor | None) -> Tensor:
    attention = layer.attention
    chosen = gather(hidden, positions)
    context = _attend(
        chosen, hidden, (attention.q_lin, attention.k_lin, attention.v_lin), attention.n_heads,
        attention_mask, attention.dropout.p if attention.training else 0.0,
    )  # fmt: skip
    attended = layer.sa_layer_norm(attention.out_lin(context) + chosen)
    return layer.output_layer_norm(layer.ffn(attended) + attended)  # type: ignore[no-any-return]


_AT: dict[type[nn.Module], _At] = {
    BertLayer: _bert_at, RobertaLayer: _bert_at, XLMRobertaLayer: _bert_at, ElectraLayer: _bert_at,
    TransformerBlock: _distilbert_at,
}  # fmt: skip


def _family(layer: nn.Module) -> type[nn.Module]:
    """The class of a layer as transformers has it; FSDP2 derives one of its own and puts it in front."""
    ours = type(layer).__mro__
    return ours[2] if ours[1].__name__ == "FSDPModule" else ours[0]


class _Given(nn.Module):
    """Stands for a base model whose result is known."""

    def __init__(self, hidden: Tensor) -> None:
        super().__init__()
        self._hidden = hidden

    def forward(self, *_: Any, **__: Any) -> BaseModelOutputWithPastAndCrossAttentions:
        return BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=self._hidden)


def head_logits(model: PreTrainedModel, hidden: Tensor) -> Tensor:
    """Logits (rows, k, vocabulary) of hidden states (rows, k, width), by the model's own head.

    The heads of language models work position by position, so any positions of any rows may stand side by side.
    """
    prefix = model.base_model_prefix
    base = getattr(model, prefix)
    setattr(model, prefix, _Given(hidden))
    try:
        return model(inputs_embeds=hidden).logits  # type: ignore[no-any-return]
    finally:
        setattr(model, prefix, base)
