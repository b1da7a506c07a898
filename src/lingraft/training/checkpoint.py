"""Checkpoints of a run: written aside and renamed, with a digest of every file, so that one that loads is whole.

FOLDER/step-000000120/tensors.safetensors   parameters, optimizer moments, random states
                      state.json            everything else: the plan, losses, what was skipped
                      manifest.json         SHA-256 of both
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..cache import file_digest, remove, remove_leftovers, replacing
from ..errors import RunError

_log = logging.getLogger("lingraft")

_TENSORS, _STATE, _MANIFEST = "tensors.safetensors", "state.json", "manifest.json"


@dataclass(frozen=True)
class Checkpoint:
    """What was saved after so many steps."""

    step: int
    tensors: dict[str, Tensor]
    state: dict[str, Any]


def save_checkpoint(
    folder: Path, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any], kept: int = 2
) -> None:
    """Writes ``folder/step-N`` with named tensors and a JSON-able state; only the newest ``kept`` stay."""
    folder.mkdir(parents=True, exist_ok=True)
    final = _path(folder, step)
    with replacing(final) as aside:
        aside.mkdir()
        save_file({name: value.detach().contiguous() for name, value in tensors.items()}, aside / _TENSORS)
        (aside / _STATE).write_text(json.dumps(state), encoding="utf-8")
        digests = {name: file_digest(aside / name) for name in (_TENSORS, _STATE)}
        (aside / _MANIFEST).write_text(json.dumps(digests), encoding="utf-8")
        for name in (*digests, _MANIFEST):
            _flush(aside / name)
        remove(final)  # a folder cannot be renamed onto another; there is one only where it was found damaged
    _flush(folder)
    for old in _saved(folder)[:-kept]:
        remove(old)


def load_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest checkpoint that is whole, or None where none was ever written.

    Damaged ones are told of and removed in favour of the one before them. RunError if all are damaged.
    """
    remove_leftovers(folder)
    saved = _saved(folder)
    damages: dict[Path, str] = {}
    for path in reversed(saved):
        damage = _damage(path)
        if damage is None:
            for damaged, why in damages.items():
                _log.warning("Checkpoint '%s' is damaged (%s): going on from %s.", damaged, why, path.name)
                remove(damaged)
            state: dict[str, Any] = json.loads((path / _STATE).read_text(encoding="utf-8"))
            return Checkpoint(int(path.name.removeprefix("step-")), load_file(path / _TENSORS), state)
        damages[path] = damage
    if saved:
        listed = "; ".join(f"{path.name}: {damage}" for path, damage in damages.items())
        raise RunError(
            f"No checkpoint in '{folder}' is whole ({listed}). Check the disk; once that folder is removed, the "
            "training starts from its beginning."
        )
    return None


def read_tensors(folder: Path, step: int) -> dict[str, Tensor]:
    """The tensors of a checkpoint that another process has found whole."""
    return load_file(_path(folder, step) / _TENSORS)


def training_tensors(
    parameters: Mapping[str, Tensor], optimizer: torch.optim.Optimizer, whole: Callable[[Tensor], Tensor] = lambda x: x
) -> dict[str, Tensor]:
    """Parameters, the optimizer's moments and torch's random states, by name.

    whole: gives all of what may be divided between processes, so that a checkpoint does not depend on their number.
    """
    tensors = {f"parameter.{name}": whole(value.detach()) for name, value in parameters.items()}
    for name, value in parameters.items():
        for key, moment in optimizer.state.get(value, {}).items():
            tensors[f"optimizer.{key}.{name}"] = whole(moment)
    tensors["random.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        for number, state in enumerate(torch.cuda.get_rng_state_all()):
            tensors[f"random.cuda.{number}"] = state
    return tensors


def restore_training(
    tensors: Mapping[str, Tensor], parameters: Mapping[str, Tensor], optimizer: torch.optim.Optimizer,
    share: Callable[[Tensor, Tensor], Tensor] = lambda tensor, _: tensor,
) -> None:  # fmt: skip
    """Puts back what `training_tensors` gave, in place. share: of such a tensor, what is kept here of a parameter."""
    optimizer.state.clear()
    with torch.no_grad():
        for name, value in parameters.items():
            value.copy_(share(tensors[f"parameter.{name}"], value))
    for key, tensor in tensors.items():
        kind, _, rest = key.partition(".")
        if kind == "optimizer":
            moment, _, name = rest.partition(".")
            parameter = parameters[name]
            optimizer.state[parameter][moment] = share(tensor, parameter).to(parameter.device, copy=True)
        elif key == "random.cpu":
            torch.set_rng_state(tensor)
        elif key.startswith("random.cuda.") and int(key.rpartition(".")[2]) < torch.cuda.device_count():
            torch.cuda.set_rng_state(tensor, int(key.rpartition(".")[2]))


def _path(folder: Path, step: int) -> Path:
    return folder / f"step-{step:09d}"


def _saved(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"))


def _damage(path: Path) -> str | None:
    """What is wrong with a checkpoint, or None."""
    try:
        digests = json.loads((path / _MANIFEST).read_text(encoding="utf-8"))
        wrong = [name for name in (_TENSORS, _STATE) if file_digest(path / name) != digests[name]]
    except FileNotFoundError as error:
        return f"{Path(str(error.filename)).name} is missing"
    except (OSError, ValueError, KeyError, TypeError):
        return f"{_MANIFEST} cannot be read"
    return f"{wrong[0]} is not what was written" if wrong else None


def _flush(path: Path) -> None:
    """Has the system write a file or the entries of a folder to the disk before what comes after."""
    if path.is_dir() and os.name == "nt":
        return  # Windows cannot open folders
    descriptor = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
