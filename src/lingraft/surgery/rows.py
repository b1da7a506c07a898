"""Rows of a model's input embeddings, read from its files without the model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor
from transformers import AutoModel

from ..errors import ModelError
from .folders import load_config, readable, transformer_folder


def read_rows(folder: Path, ids: Sequence[int]) -> Tensor:
    """Rows of the input embeddings of a model folder, float32 (len(ids), width).

    The file is mapped and no other weight is read. ModelError where the folder holds no such rows.
    """
    inner = transformer_folder(folder)
    with readable(folder):
        config = load_config(folder)
        with torch.device("meta"):  # shapes alone
            model = AutoModel.from_config(config, trust_remote_code=False)
        weight = model.get_input_embeddings().weight
        name = next(name for name, parameter in model.named_parameters() if parameter is weight)
        for path in sorted(inner.glob("model*.safetensors")):
            with safe_open(path, framework="pt") as weights:
                # with a head around it the model's names have a prefix
                found = [key for key in weights.keys() if key == name or key.endswith(f".{name}")]  # noqa: SIM118
                for key in found:
                    rows: Tensor = weights.get_tensor(key)
                    if rows.ndim == 2:
                        return rows[torch.tensor(list(ids), dtype=torch.int64)].float()
    raise ModelError(f"'{folder}' has no weights named '{name}', the input embeddings of its model.")
