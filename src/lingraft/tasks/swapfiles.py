"""Task models as folders: read as whatever class they are, and written with nothing but the vocabulary changed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..cache import replacing
from ..errors import ModelError, SelfCheckError
from ..surgery import (
    check_complete,
    load_config,
    load_tokenizer,
    readable,
    save_tokenizer,
    transformer_folder,
    vocabulary_parameters,
)
from ..vocabulary import ROLES

#: what is written anew, belongs to the old vocabulary, or holds the English weights in another form
_REPLACED = (
    "config.json", "generation_config.json", "tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.*",
    "merges.txt", "*.model", "*.bin", "*.pt", "*.pth", "*.pkl", "*.h5", "*.msgpack", "*.onnx", "*.ot", "*.gguf", "onnx",
    "openvino", "checkpoint-*", "runs", "README.md", "run.json", "trainer_state.json",
)  # fmt: skip


def load_any(folder: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A model as the transformers class that its config names, in the type it was saved in, and its tokenizer.

    Raises ModelError where it cannot be read or weights are missing. No code of the folder's is run.
    """
    inner = transformer_folder(folder)
    with readable(folder):
        config = load_config(folder)
        name = (config.architectures or ["none"])[0]
        found_class = getattr(transformers, name, None)
        if not (isinstance(found_class, type) and issubclass(found_class, PreTrainedModel)):
            raise ModelError(f"'{folder}' is a model of class {name}, which transformers does not have.")
        model_class: Any = found_class
        model, found = model_class.from_pretrained(
            inner, local_files_only=True, use_safetensors=True, dtype="auto", output_loading_info=True
        )
    check_complete(model, folder, found["missing_keys"])
    return model.eval(), load_tokenizer(folder)


def write_swapped(
    folder: Path, before: PreTrainedModel, after: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, out: Path
) -> None:
    """Writes a copy of a task model's folder with the vocabulary and the changed parameters of another model object.

    before: the model as it was read from the folder. after: the same with new vocabulary-sized parts, and perhaps other
    values elsewhere. Weight files keep the bytes of all that is the same in both, also of tensors that the class does
    not know; the config changes in the size of the vocabulary and the ids of special tokens alone. Raises
    SelfCheckError if what was written does not load as ``after``.
    """
    inner = transformer_folder(folder)

    def left_out(place: str, names: list[str]) -> list[str]:
        replaced = _REPLACED if Path(place) in (folder, inner) else ()
        return [name for name in names if name.startswith(".") or any(Path(name).match(each) for each in replaced)]

    with replacing(out) as aside:
        shutil.copytree(folder, aside, ignore=left_out)
        place = aside / inner.relative_to(folder)
        _write_weights(inner, before, after, place)
        for name, config in (("config.json", "config"), ("generation_config.json", "generation_config")):
            if (inner / name).is_file():
                _write_config(inner / name, getattr(before, config), getattr(after, config), place / name)
        # the length that the task model was trained with is kept in its tokenizer
        save_tokenizer(tokenizer, place, load_tokenizer(folder).model_max_length)
        _check(aside, after)


def _write_weights(inner: Path, before: PreTrainedModel, after: PreTrainedModel, place: Path) -> None:
    """Weight files with the tensors replaced that differ, by whatever of their names they were saved under."""
    parts = {id(parameter): role for role, parameter in vocabulary_parameters(before).items()}
    own = dict(before.named_parameters(remove_duplicate=False))
    new = dict(after.named_parameters(remove_duplicate=False))
    changed = {name for name, old in own.items() if id(old) in parts or not torch.equal(old, new[name])}

    def parameter_of(saved: str) -> str | None:
        # a base model's file has its names without the prefix of the class around it, or the other way round
        around = (name for name in changed if saved.endswith("." + name) or name.endswith("." + saved))
        found = saved if saved in own else next(around, None)
        return found if found in changed else None

    replaced: set[str] = set()
    for path in sorted(inner.glob("*.safetensors")):
        with safe_open(path, framework="pt") as stored:
            found = {name: parameter_of(name) for name in stored.keys()}  # noqa: SIM118 (it is no dict)
            if not any(found.values()) or path.name == "parser.safetensors":
                continue  # it was copied
            tensors: dict[str, Tensor] = {}
            for saved, name in found.items():
                tensor = stored.get_tensor(saved)
                tensors[saved] = (
                    tensor if name is None else new[name].detach().cpu().to(tensor.dtype).contiguous().clone()
                )
            metadata = stored.metadata()
        save_file(tensors, place / path.name, metadata)
        replaced |= {name for name in found.values() if name}
    if not any(parts.get(id(own[name])) == "input" for name in replaced):
        raise ModelError(f"'{inner}' has no word embeddings in its weight files under any name they could have.")


def _write_config(path: Path, before: Any, after: Any, place: Path) -> None:
    """A config file with the size of the vocabulary and special ids of the new config, all else as it was."""
    content = json.loads(path.read_text(encoding="utf-8"))
    parts = [(content, before, after)]
    if isinstance(content.get("text_config"), dict):
        parts.append((content["text_config"], before.get_text_config(), after.get_text_config()))
    for part, old, new in parts:
        for key in ("vocab_size", *(f"{role}_token_id" for role in ROLES)):
            value = getattr(new, key, None)
            if value != getattr(old, key, None):
                part[key] = value
    place.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _check(folder: Path, wanted: PreTrainedModel) -> None:
    loaded, _ = load_any(folder)
    theirs = dict(loaded.named_parameters())
    vocabulary = {id(parameter) for parameter in vocabulary_parameters(wanted).values()}
    for name, parameter in wanted.named_parameters():
        found, own = theirs.get(name, torch.empty(0)), parameter.detach().cpu()
        same = torch.equal(found, own)
        if id(parameter) in vocabulary and found.shape == own.shape:
            # which are rounded where the file holds them in another type than the rest
            same = torch.allclose(found.float(), own.float(), rtol=1e-2, atol=1e-6)
        if not same:
            raise SelfCheckError(f"What was written to '{folder}' reads back with another '{name}'.")
