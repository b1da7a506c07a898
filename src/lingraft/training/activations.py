"""Activation checkpointing: less memory for more arithmetic."""

from __future__ import annotations

from torch import nn
from transformers import PreTrainedModel

from ..errors import RecipeError


def check_activations(model: PreTrainedModel) -> None:
    """RecipeError if transformers cannot checkpoint the activations of this family (ALBERT, MPNet)."""
    if not model.supports_gradient_checkpointing:
        raise RecipeError(
            f"training.checkpoint_activations=true: transformers cannot do that with {type(model).__name__}. Leave it "
            "out; a small training.micro_batch saves memory too."
        )


def checkpoint_activations(model: PreTrainedModel) -> None:
    """Has a model keep only what goes into its layers and compute the rest again in the backward pass.

    The gradient stays the same; a step takes about a third longer (Chen et al. 2016). RecipeError if the family cannot.
    """
    check_activations(model)
    # renamed in transformers 5.20 or so; both take the arguments of torch.utils.checkpoint first
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    # nothing in a layer is random here, so no random state has to be kept for the second time
    enable({"use_reentrant": False, "preserve_rng_state": False})
    # only reentrant checkpointing needs inputs with gradients; frozen parts would be gone through for nothing
    model.disable_input_require_grads()
    _mark(model)


def _mark(model: nn.Module) -> None:
    """Has transformers recompute in evaluation mode too: in training a layer checkpoints only in training mode.

    That mode is set on the layers alone, not on what is inside them, so no dropout comes to life.
    """
    for module in model.modules():
        if getattr(module, "gradient_checkpointing", False):
            module.training = True
