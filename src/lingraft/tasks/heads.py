"""A task's head on the encoder of any model folder, and reading back what was trained."""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, PreTrainedModel, PreTrainedTokenizerBase

from ..errors import ModelError
from ..surgery import LanguageModel, load_tokenizer, readable, refuse_missing, resolve_model

_log = logging.getLogger(__name__)


def with_task_head(
    language_model: LanguageModel, auto_class: Any, *, seed: int = 0, **config_changes: Any
) -> PreTrainedModel:
    """A model with a task's head whose encoder is a copy of the language model's, in evaluation mode.

    auto_class: what transformers builds it with, ``AutoModelForTokenClassification`` for one. config_changes: set in
    the copy of the config that it is built from (``id2label``, ``num_labels``, ...). The head is drawn with the seed,
    and so is what the encoder lacks, such as the pooler of a masked language model's (`fresh_parameters` names both);
    what the task has no use for is left out. torch's random state stays as it was. Raises ModelError where
    transformers has no such form of the architecture.
    """
    encoder: Any = language_model.model.base_model
    config = copy.deepcopy(language_model.model.config)
    for name, value in config_changes.items():
        setattr(config, name, value)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            model: PreTrainedModel = auto_class.from_config(config, dtype=encoder.dtype)
        except ValueError:
            kind = auto_class.__name__.removeprefix("AutoModelFor")
            raise ModelError(
                f"transformers has no form of {type(encoder).__name__} for the task (no '...For{kind}' of model type "
                f"'{config.model_type}')."
            ) from None
    model.base_model.load_state_dict(_shared(encoder.state_dict(), model.base_model.state_dict()), strict=False)
    fresh = fresh_parameters(model, language_model)
    _log.info("drawn at random, to be trained: %s", ", ".join(fresh))
    model.eval()
    return model


def fresh_parameters(model: PreTrainedModel, language_model: LanguageModel) -> list[str]:
    """Names of the parameters of a model with a task's head that the language model's encoder has no values for."""
    known = {name for name, _ in language_model.model.base_model.named_parameters(remove_duplicate=False)}
    inside = {id(parameter): name for name, parameter in model.base_model.named_parameters(remove_duplicate=False)}
    return [name for name, parameter in model.named_parameters() if inside.get(id(parameter)) not in known]


def _shared(given: dict[str, Tensor], wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    """What both have; ModelError if it is of another shape, as where config and weights disagree."""
    shared = {name: value for name, value in given.items() if name in wanted}
    for name, value in shared.items():
        if value.shape != wanted[name].shape:
            raise ModelError(
                f"The model's '{name}' has the shape {tuple(value.shape)}; by its config it should have "
                f"{tuple(wanted[name].shape)}."
            )
    return shared


def load_task_model(name: str | Path, auto_class: Any) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Reads a model with a task's head and its tokenizer, float32, in evaluation mode.

    auto_class: ``AutoModelForTokenClassification`` for one. Raises ModelError for a model of another task, for weights
    that are missing, and where nothing can be read.
    """
    suffix = auto_class.__name__.removeprefix("AutoModel")
    folder = resolve_model(str(name))
    with readable(name):
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        architecture = (config.architectures or ["model of unnamed architecture"])[0]
        if not architecture.endswith(suffix):
            raise ModelError(f"'{name}' is a {architecture}; a '...{suffix}' was expected.")
        model, found = auto_class.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
    refuse_missing(folder, found["missing_keys"])
    return model.eval(), load_tokenizer(folder)
