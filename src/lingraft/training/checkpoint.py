"""Checkpoints of a run: written aside and renamed, so that one that is there is whole."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

_KEEP = 2


def save_checkpoint(
    folder: Path, step: int, parameters: dict[str, Tensor], optimizer: torch.optim.Optimizer, state: dict[str, Any]
) -> None:
    """Writes ``folder/step-N`` with parameters, optimizer moments and the JSON-able state; older ones than two go."""
    folder.mkdir(parents=True, exist_ok=True)
    names = list(parameters)
    tensors = {f"parameter.{name}": value.detach().contiguous() for name, value in parameters.items()}
    by_parameter = {id(value): name for name, value in parameters.items()}
    for parameter, moments in optimizer.state.items():
        for key, value in moments.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{key}.{by_parameter[id(parameter)]}"] = value.detach().contiguous()
    aside = folder / f".aside-{os.getpid()}"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    save_file(tensors, aside / "tensors.safetensors")
    (aside / "state.json").write_text(json.dumps({"step": step, "names": names, **state}), encoding="utf-8")
    final = folder / f"step-{step:09d}"
    shutil.rmtree(final, ignore_errors=True)
    aside.rename(final)
    for old in sorted(folder.glob("step-*"))[:-_KEEP]:
        shutil.rmtree(old, ignore_errors=True)


def load_checkpoint(
    folder: Path, parameters: dict[str, Tensor], optimizer: torch.optim.Optimizer
) -> dict[str, Any] | None:
    """Puts the newest checkpoint into the parameters and the optimizer, in place; its state, or None without one."""
    found = sorted(folder.glob("step-*"))
    if not found:
        return None
    tensors = load_file(found[-1] / "tensors.safetensors")
    state: dict[str, Any] = json.loads((found[-1] / "state.json").read_text(encoding="utf-8"))
    with torch.no_grad():
        for name, value in parameters.items():
            value.copy_(tensors[f"parameter.{name}"])
    for name, value in parameters.items():
        moments = {
            key.split(".")[1]: tensor for key, tensor in tensors.items() if key.split(".", 2)[2:] == [name]
            and key.startswith("optimizer.")
        }  # fmt: skip
        if moments:
            optimizer.state[value] = {key: tensor.to(value.device) for key, tensor in moments.items()}
    return state
