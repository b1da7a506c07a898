"""A masked-language-model head for an encoder that was saved without one."""

from __future__ import annotations

import copy
from typing import Any, cast

import torch
from torch import nn
from transformers import MODEL_FOR_MASKED_LM_MAPPING, PreTrainedModel

from ..errors import ModelError
from .layout import output_parts

#: far enough right of zero that GELU is the identity on the values of a normalised hidden state
_SHIFT = 8.0


def with_masked_lm_head(encoder: PreTrainedModel) -> PreTrainedModel:
    """The encoder under a masked-LM head that starts as the identity over its own (tied) embeddings.

    The encoder object itself becomes the base of the result; a head it has, as a discriminator's, is left behind. A
    dense layer of the head becomes the identity plus a shift that carries every value to where the activation is
    linear; the layer norm behind it takes the shift away again, so that the head reads the encoder's hidden state as it
    is. Output biases start at zero. A dense layer that changes the width (ALBERT, ELECTRA) cannot be the identity and
    starts at random, always the same. Raises ModelError if transformers has no masked-language-model class for the
    encoder.
    """
    encoder = cast(PreTrainedModel, encoder.base_model)
    try:
        head_class: Any = MODEL_FOR_MASKED_LM_MAPPING[type(encoder.config)]
    except KeyError:
        raise ModelError(f"{type(encoder).__name__} has no masked-language-model form in transformers.") from None
    config = copy.deepcopy(encoder.config)
    config.tie_word_embeddings = True
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # what is not set below is the same in every process
        model: PreTrainedModel = head_class(config)
    setattr(model, model.base_model_prefix, encoder)
    model.tie_weights()
    output = output_parts(model)
    inside = {id(module) for module in encoder.modules()}
    with torch.no_grad():
        for module in model.modules():
            if id(module) in inside or getattr(module, "weight", None) is output.weight is not None:
                continue
            if isinstance(module, nn.Linear) and module.in_features == module.out_features:
                nn.init.eye_(module.weight)
                if module.bias is not None:
                    nn.init.constant_(module.bias, _SHIFT)
            elif isinstance(module, nn.LayerNorm):
                module.reset_parameters()
        if output.bias is not None:
            output.bias.zero_()
    model.eval()
    return model
