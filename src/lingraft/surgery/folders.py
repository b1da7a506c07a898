"""Model folders: what lies where, in which type, and what is refused before anything is loaded.

Weights are read from safetensors. Pickles are refused unless asked for, and then read by torch's ``weights_only``
loader, which makes tensors and nothing else. No code from a checkpoint is run.
"""

from __future__ import annotations

import json
import math
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoConfig, PretrainedConfig, PreTrainedModel

from ..cache import CARD
from ..errors import ModelError, in_one_line

#: at least one of these belongs to every tokenizer
_TOKENIZER_FILES = ("tokenizer.json", "vocab.*", "*.model")

#: files of a sentence-transformers folder that describe the pipeline around the transformer
_PIPELINE_FILES = ("modules.json", "config_sentence_transformers.json", "sentence_bert_config.json")

_FETCHED = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", CARD)

#: weights as a pickle, in one file or several
_PICKLES = "pytorch_model*.bin"

#: what no copy of a folder has: pickles, whatever they are for, and the lists of what lies in which
PICKLES = (_PICKLES, f"{_PICKLES}.index.json", "training_args.bin", "*.pt", "*.pth", "*.pkl", "*.pickle", "*.ckpt")

_TYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


class Stored(NamedTuple):
    """What the weight files of a folder hold. names: of all tensors. dtype: of most floating-point numbers in them."""

    names: frozenset[str]
    dtype: torch.dtype


def is_pickled(folder: Path) -> bool:
    """Whether a folder has weights as a pickle alone."""
    return not any(folder.glob("*.safetensors")) and any(folder.glob(_PICKLES))


def has_pickles(folder: Path) -> bool:
    """Whether a model folder, or a folder inside it, has weights as a pickle alone."""
    return any(is_pickled(place) for place in _places(folder))


def _places(folder: Path) -> list[Path]:
    """A folder and all folders inside it, but for hidden ones."""
    inside = [path for path in sorted(folder.rglob("*")) if path.is_dir()]
    return [folder, *(p for p in inside if not any(part.startswith(".") for part in p.relative_to(folder).parts))]


def copy_without_pickles(source: Path, folder: Path) -> None:
    """Copies a model folder; weights that are pickles become safetensors of the same names, numbers and types.

    source: the model folder. folder: where to; it is not there yet.

    ModelError where a pickle holds anything but tensors, of which nothing is run.
    """
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns(*PICKLES, ".*"))
    for place in _places(source):
        if is_pickled(place):
            with readable(source):
                _write_safetensors(place, folder / place.relative_to(source))


def _write_safetensors(pickled: Path, folder: Path) -> None:
    """Writes the weights of a folder that are pickles into another as safetensors, a file for each."""
    for path in sorted(pickled.glob(_PICKLES)):
        tensors: dict[str, Tensor] = {}
        storages: set[int] = set()
        for name, tensor in _unpickled(path).items():
            place = tensor.untyped_storage().data_ptr()
            # safetensors has no tensors that share their numbers, as tied ones do in a pickle
            tensors[name] = tensor.clone() if place in storages else tensor.contiguous()
            storages.add(place)
        save_file(tensors, folder / _as_safetensors(path.name), {"format": "pt"})
    for path in pickled.glob(f"{_PICKLES}.index.json"):
        index = json.loads(path.read_text(encoding="utf-8"))
        index["weight_map"] = {name: _as_safetensors(file) for name, file in index["weight_map"].items()}
        text = json.dumps(index, indent=2, sort_keys=True) + "\n"
        (folder / "model.safetensors.index.json").write_text(text, encoding="utf-8")


def _as_safetensors(name: str) -> str:
    """The name that a file of pickled weights has as safetensors."""
    return f"{name.removeprefix('pytorch_').removesuffix('.bin')}.safetensors"


def stored_weights(folder: Path) -> Stored:
    """Reads what the headers of a folder's weight files say; other files (a parser's) are not the model's."""
    names: set[str] = set()
    numbers: Counter[torch.dtype] = Counter()
    for path in folder.glob("model*.safetensors"):
        with safe_open(path, framework="pt") as weights:
            for name in weights.keys():  # noqa: SIM118 (it is no dict)
                names.add(name)
                part = weights.get_slice(name)
                if part.get_dtype() in _TYPES:
                    numbers[_TYPES[part.get_dtype()]] += math.prod(part.get_shape())
    for path in folder.glob(_PICKLES) if is_pickled(folder) else ():
        for name, tensor in _unpickled(path).items():
            names.add(name)
            if tensor.is_floating_point():
                numbers[tensor.dtype] += tensor.numel()
    return Stored(frozenset(names), max(numbers, key=lambda dtype: numbers[dtype], default=torch.float32))


def _unpickled(path: Path) -> dict[str, Tensor]:
    """The tensors of a pickle. ``weights_only`` runs no code in it."""
    tensors: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return tensors


def transformer_folder(folder: Path) -> Path:
    """Where in a model folder config, weights and tokenizer lie.

    A sentence-transformers folder may keep them in a sub folder, which its ``modules.json`` names; the others at the
    top. ModelError if that names a place outside the folder.
    """
    try:
        first = json.loads((folder / "modules.json").read_text(encoding="utf-8"))[0]
        relative = PurePosixPath(first["path"])
    except (OSError, ValueError, TypeError, KeyError, IndexError):  # what is wrong with it is told elsewhere
        return folder
    _check_inside(folder, relative)
    return folder / relative


def _check_inside(folder: Path, relative: PurePosixPath) -> None:
    if relative.is_absolute() or ".." in relative.parts:
        raise ModelError(f"'{folder}/modules.json' names the path '{relative}' outside its folder.")


def _check_folder(folder: Path, allow_pickle: bool) -> None:
    inner = transformer_folder(folder)
    if not (inner / "config.json").is_file():
        targets = [f"'{place}'" for pattern in ("target", "*/target") for place in sorted(folder.glob(pattern))]
        if (folder / "recipe.yaml").is_file() and targets:
            raise ModelError(
                f"'{folder}' is the folder of a run, not of a model; give {' or '.join(targets)} (the new language's) "
                f"or '{folder / 'source'}' (the English one)."
            )
        raise ModelError(f"'{inner}' has no config.json; a Hugging Face model folder was expected.")
    pickled = sorted(path for place in {folder, inner} for path in place.glob("*.bin"))
    if not any(inner.glob("*.safetensors")) and not (allow_pickle and is_pickled(inner)):
        raise ModelError(
            f"'{inner}' has no weights: no .safetensors file was found"
            + (f" ({pickled[0].name} is a pickle; {_HOW_TO_ALLOW})." if pickled else ".")
        )
    if not allow_pickle:
        for path in folder.glob("*/*.bin"):
            if is_pickled(path.parent):
                relative = path.relative_to(folder)
                raise ModelError(f"'{folder}' has weights in '{relative}', which is a pickle; {_HOW_TO_ALLOW}.")


_HOW_TO_ALLOW = (
    "save it as safetensors first, or have it read with --allow-pickle, which lingraft transfer and lingraft init take "
    "(in Python allow_pickle=True)"
)


@contextmanager
def readable(name: str | Path) -> Iterator[None]:
    """Whatever goes wrong inside, while a model is read, is a ModelError that says so in one line."""
    try:
        yield
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"'{name}' could not be loaded as a model ({in_one_line(error)}).") from None


def load_config(folder: Path) -> PretrainedConfig:
    """The config of the transformer in a model folder. What goes wrong is for the caller's `readable` to tell."""
    config: PretrainedConfig = AutoConfig.from_pretrained(
        transformer_folder(folder), local_files_only=True, trust_remote_code=False
    )
    return config


def refuse_missing(folder: Path, names: Iterable[str]) -> None:
    """ModelError if there are names of weights that were not in a folder's files."""
    if lost := sorted(names):
        raise ModelError(f"'{folder}' lacks {len(lost)} of the weights of its model, '{lost[0]}' for one.")


def check_complete(model: PreTrainedModel, folder: Path, missing: Iterable[str]) -> None:
    """ModelError if weights were not in the file, which transformers fills up with random ones.

    folder: for the message. missing: names of parameters that were in none of its files.

    A pooler is of no use to any objective and often left out; where it was, the model is to have none.
    """
    missing = list(missing)
    refuse_missing(folder, (name for name in missing if "pooler" not in name))
    if missing:
        setattr(model.base_model, "pooler", None)  # noqa: B010 (torch types a submodule as never None)


def resolve_model(name: str, *, allow_pickle: bool = False) -> Path:
    """The local folder of a model: the path given, or the snapshot of a hub id.

    name: a folder or a hub id. allow_pickle: weights may be a pickle.

    Raises ModelError if there is none, or one without weights or whose weights are pickles that are not allowed.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        _check_folder(path, allow_pickle)
        return path
    if path.exists():
        raise ModelError(f"'{name}' is a file; a model folder or a Hugging Face id was expected.")
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise ModelError(f"'{name}' does not exist; a model folder or a Hugging Face id (OWNER/NAME) was expected.")
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(name, allow_patterns=[*_FETCHED, *(["*.bin"] if allow_pickle else [])]))
    except Exception as error:
        raise ModelError(
            f"'{name}' is no folder here, and it could not be fetched as a Hugging Face id ({in_one_line(error)})."
        ) from None
    _check_folder(folder, allow_pickle)
    return folder


def check_tokenizer_files(folder: Path) -> None:
    """ModelError if a folder has no tokenizer; transformers would make one with an empty vocabulary."""
    if not any(file for pattern in _TOKENIZER_FILES for file in folder.glob(pattern)):
        raise ModelError(f"No tokenizer could be read from '{folder}' (there is no tokenizer.json or vocabulary file).")


def check_modules(folder: Path) -> None:
    """ModelError if a sentence encoder wants code that is not sentence-transformers' own."""
    try:
        types = [str(module["type"]) for module in json.loads((folder / "modules.json").read_text(encoding="utf-8"))]
    except (ValueError, TypeError, KeyError):
        raise ModelError(f"'{folder}/modules.json' is no list of sentence-transformers modules.") from None
    foreign = [name for name in types if not name.startswith("sentence_transformers.")]
    if foreign:
        raise ModelError(f"'{folder}' wants code of its own, {foreign[0]}, which is not run.")


def copy_pipeline(source: Path, folder: Path) -> None:
    """Copies what a sentence-transformers folder holds besides the transformer itself; a pickle becomes safetensors.

    source: a sentence-transformers folder. folder: where to; what is there already stays.
    """
    inner = transformer_folder(source)
    for place in {source, inner}:
        (folder / place.relative_to(source)).mkdir(parents=True, exist_ok=True)
        for name in _PIPELINE_FILES:
            if (place / name).is_file():
                shutil.copyfile(place / name, folder / place.relative_to(source) / name)
    for module in json.loads((source / "modules.json").read_text(encoding="utf-8")):
        relative = PurePosixPath(module["path"])
        _check_inside(source, relative)
        if relative.parts and source / relative != inner and (source / relative).is_dir():
            shutil.copytree(source / relative, folder / relative, dirs_exist_ok=True)
            if is_pickled(folder / relative):
                _write_safetensors(folder / relative, folder / relative)
            for pattern in PICKLES:
                for path in (folder / relative).rglob(pattern):
                    path.unlink()
