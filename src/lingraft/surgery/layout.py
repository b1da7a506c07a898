"""Where a model keeps what has a row a token: input embeddings, output embeddings, output bias.

A family of the usual layout needs nothing here: transformers' `get_input_embeddings` and `get_output_embeddings` tell,
and the output bias is the output layer's, or that of the module around it. What is special about a family is in
`_SPECIAL`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import nn
from transformers import PreTrainedModel


class Output(NamedTuple):
    """The parts of a head with a row a token.

    weight: (V, width), None where the head multiplies with the input embeddings and has none of its own. bias: (V,).
    spare_bias: (V,), saved and loaded but part of no output: that of the module around an untied output layer with a
    bias of its own.
    """

    weight: nn.Parameter | None = None
    bias: nn.Parameter | None = None
    spare_bias: nn.Parameter | None = None


def _deberta(model: Any) -> Output:
    """DeBERTa v2 and v3 in their original layout, whose "output embeddings" are a dense layer of the head."""
    head = getattr(model, "lm_predictions", None)
    return _usual(model) if head is None else Output(bias=head.lm_head.bias)


def _usual(model: Any) -> Output:
    layer: Any = model.get_output_embeddings()
    if layer is None:
        return Output()
    bias, around = getattr(layer, "bias", None), None
    for module in model.modules():
        own = module._parameters.get("bias")
        if own is not None and any(child is layer for child in module.children()):
            around = own
    if bias is None or around is bias:
        return Output(layer.weight, around)
    return Output(layer.weight, bias, around)


#: by model type, families whose output embeddings are elsewhere
_SPECIAL: dict[str, Callable[[Any], Output]] = {"deberta-v2": _deberta}


def output_parts(model: PreTrainedModel) -> Output:
    """The parts of a model's head with a row a token; all None where it has no head over the vocabulary."""
    return _SPECIAL.get(model.config.model_type, _usual)(model)


def vocabulary_parameters(model: PreTrainedModel) -> dict[str, nn.Parameter]:
    """The parameters with one row a token, by role.

    ``input``: (V, width). ``output``: (V, width), where not tied to it. ``bias``: (V,). ``spare_bias``: (V,), see
    `Output`. V is at least the number of tokens; further rows are padding.
    """
    embeddings: Any = model.get_input_embeddings()
    output = output_parts(model)
    found: dict[str, nn.Parameter] = {"input": embeddings.weight}
    if output.weight is not None and output.weight is not found["input"]:
        found["output"] = output.weight
    if output.bias is not None:
        found["bias"] = output.bias
    if output.spare_bias is not None:
        found["spare_bias"] = output.spare_bias
    return found


def position_padding(model: PreTrainedModel) -> int | None:
    """The id of the padding token from which a model numbers positions, as RoBERTa and its like do; else None."""
    for name, module in model.named_modules():
        padding = getattr(module, "padding_idx", None)
        if name.endswith("position_embeddings") and padding is not None:
            return int(padding)
    return None


def has_head(model: PreTrainedModel) -> bool:
    """Whether a model has a head over its vocabulary."""
    return any(part is not None for part in output_parts(model))


def set_rows(model: PreTrainedModel, rows: int, padding: int | None) -> None:
    """Makes what modules and config say of their size agree with parameters that were replaced, in place.

    rows: those of the new vocabulary. padding: id of its padding token, whose row gets no gradient where the model had
    one without.
    """
    embeddings: Any = model.get_input_embeddings()
    before = model.config.get_text_config().vocab_size
    own = {id(parameter) for parameter in vocabulary_parameters(model).values()}
    for module in model.modules():
        size: Any = module
        if id(module._parameters.get("weight")) in own:
            if isinstance(module, nn.Embedding):
                size.num_embeddings = rows
            elif isinstance(module, nn.Linear):
                size.out_features = rows
        if getattr(module, "vocab_size", None) == before:
            size.vocab_size = rows
    if embeddings.padding_idx is not None:
        embeddings.padding_idx = padding
    model.config.get_text_config().vocab_size = rows
