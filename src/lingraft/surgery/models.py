"""A language model with all that belongs to it: reading one, embedding sentences with it, writing one.

The kind is read from the checkpoint: a ``modules.json`` makes a sentence encoder, otherwise the architecture named in
``config.json`` decides. Weights are read from safetensors only, and no code from a checkpoint is run.
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import torch
from safetensors import safe_open
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from ..errors import ModelError

Kind = Literal["masked", "causal", "sentence"]

#: at least one of these belongs to every tokenizer
_TOKENIZER_FILES = ("tokenizer.json", "vocab.*", "*.model")

#: files of a sentence-transformers folder that describe the pipeline around the transformer
_PIPELINE_FILES = ("modules.json", "config_sentence_transformers.json", "sentence_bert_config.json")


@dataclass(frozen=True)
class LanguageModel:
    """A transformer, its tokenizer and, for a sentence encoder, the modules behind it.

    model: with its language-modelling head where it has one (see ``has_head``). pooling: the modules that follow the
    transformer in a sentence encoder, empty otherwise. folder: where it was read from; pipeline files are copied from
    there. max_length: tokens a text may have, special ones included.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    kind: Kind
    pooling: tuple[nn.Module, ...] = ()
    folder: Path | None = None
    max_length: int = 512

    @property
    def has_head(self) -> bool:
        """Whether the model has output embeddings over its vocabulary."""
        return self.model.get_output_embeddings() is not None

    def with_model(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None = None) -> LanguageModel:
        """The same around another transformer."""
        return replace(self, model=model, tokenizer=tokenizer or self.tokenizer)

    def embed(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Sentence embeddings, float (batch, width), of int64 (batch, length) ids."""
        hidden = self.model.base_model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return self.pool(hidden, input_ids, attention_mask)

    def pool(self, hidden: Tensor, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Sentence embeddings, float (batch, width), of last hidden states (batch, length, width).

        A sentence encoder runs its own pipeline; any other model the mean over the positions of the mask.
        """
        if not self.pooling:
            weights = attention_mask.unsqueeze(-1).to(hidden.dtype)
            return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1)
        features: dict[str, Tensor] = {
            "token_embeddings": hidden,
            "attention_mask": attention_mask,
            "input_ids": input_ids,
        }
        for module in self.pooling:
            features = module(features)
        return features["sentence_embedding"]


def _weights(folder: Path) -> bool:
    return any(folder.glob("*.safetensors"))


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


def _check_folder(folder: Path) -> None:
    folder = transformer_folder(folder)
    if not (folder / "config.json").is_file():
        raise ModelError(f"'{folder}' has no config.json; a Hugging Face model folder was expected.")
    if not _weights(folder):
        pickled = [path.name for path in folder.glob("*.bin")]
        raise ModelError(
            f"'{folder}' has no weights: no .safetensors file was found"
            + (
                f" ({', '.join(pickled)} is a pickle, which is not read; save it as safetensors first)."
                if pickled
                else "."
            )
        )


@contextmanager
def readable(name: str | Path) -> Iterator[None]:
    """Whatever goes wrong inside, while a model is read, is a ModelError that says so in one line."""
    try:
        yield
    except ModelError:
        raise
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else "no reason given"
        raise ModelError(f"'{name}' could not be loaded as a model ({type(error).__name__}: {reason}).") from None


def refuse_missing(folder: Path, names: Iterable[str]) -> None:
    """ModelError if there are names of weights that were not in a folder's files."""
    if lost := sorted(names):
        raise ModelError(f"'{folder}' lacks {len(lost)} of the weights of its model, '{lost[0]}' for one.")


def check_complete(model: PreTrainedModel, folder: Path, missing: Iterable[str]) -> None:
    """ModelError if weights were not in the file, which transformers fills up with random ones.

    A pooler is of no use to any objective and often left out; where it was, the model is to have none.
    """
    missing = list(missing)
    refuse_missing(folder, (name for name in missing if "pooler" not in name))
    if missing:
        setattr(model.base_model, "pooler", None)  # noqa: B010 (torch types a submodule as never None)


def _unsaved_poolers(model: PreTrainedModel, folder: Path) -> list[str]:
    """Parameters of a pooler that a model has and none of a folder's weight files."""
    saved = False
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as weights:
            saved = saved or any("pooler" in name for name in weights.keys())  # noqa: SIM118 (it is no dict)
    return [] if saved else [name for name, _ in model.named_parameters() if "pooler" in name]


def resolve_model(name: str) -> Path:
    """The local folder of a model: the path given, or the snapshot of a hub id."""
    path = Path(name).expanduser()
    if path.is_dir():
        _check_folder(path)
        return path
    if path.exists():
        raise ModelError(f"'{name}' is a file; a model folder or a Hugging Face id was expected.")
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(name, allow_patterns=["*.json", "*.safetensors", "*.txt", "*.model"]))
    except Exception as error:
        raise ModelError(
            f"'{name}' is no folder here, and it could not be fetched as a Hugging Face id "
            f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no reason given'})."
        ) from None
    _check_folder(folder)
    return folder


def _kind(folder: Path, architectures: list[str]) -> Kind:
    if (folder / "modules.json").is_file():
        return "sentence"
    name = architectures[0] if architectures else ""
    if name.endswith(("ForCausalLM", "LMHeadModel")):
        return "causal"
    if name.endswith(("ForMaskedLM", "ForPreTraining", "Model")):
        return "masked"
    raise ModelError(
        f"'{folder}' is a {name or 'model of unnamed architecture'}; a masked or causal language model, an encoder or "
        "a sentence-transformers folder was expected."
    )


def _check_tokenizer(folder: Path) -> None:
    """ModelError if a folder has no tokenizer; transformers would make one with an empty vocabulary."""
    if not any(file for pattern in _TOKENIZER_FILES for file in folder.glob(pattern)):
        raise ModelError(f"No tokenizer could be read from '{folder}' (there is no tokenizer.json or vocabulary file).")


def _check_modules(folder: Path) -> None:
    """ModelError if a sentence encoder wants code that is not sentence-transformers' own."""
    try:
        types = [str(module["type"]) for module in json.loads((folder / "modules.json").read_text(encoding="utf-8"))]
    except (ValueError, TypeError, KeyError):
        raise ModelError(f"'{folder}/modules.json' is no list of sentence-transformers modules.") from None
    foreign = [name for name in types if not name.startswith("sentence_transformers.")]
    if foreign:
        raise ModelError(f"'{folder}' wants code of its own, {foreign[0]}, which is not run.")


def load_tokenizer(name: str | Path) -> PreTrainedTokenizerBase:
    """A tokenizer from a folder or hub id; ModelError if there is none."""
    local = Path(name).is_dir()
    if local:
        name = transformer_folder(Path(name))
        _check_tokenizer(Path(name))
    try:
        return AutoTokenizer.from_pretrained(str(name), local_files_only=local, trust_remote_code=False)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"No tokenizer could be read from '{name}' ({reason}).") from None


def load_model(name: str | Path, *, head: bool = False) -> LanguageModel:
    """Reads a model folder or hub id in float32 on the CPU.

    head: a sentence encoder that was saved with its masked-language-model head is read as that masked model.
    Raises ModelError when it is missing, without weights, or of a kind that cannot be transferred.
    """
    folder = resolve_model(str(name))
    inner = transformer_folder(folder)
    with readable(name):
        config = AutoConfig.from_pretrained(inner, local_files_only=True, trust_remote_code=False)
        architectures = list(config.architectures or [])
        kind = _kind(folder, architectures)
        if kind == "sentence" and head and architectures and architectures[0].endswith("ForMaskedLM"):
            kind = "masked"
        if kind == "sentence":
            _check_tokenizer(inner)
            _check_modules(folder)
            encoder = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
            loaded = from_sentence_transformer(encoder, folder)
            check_complete(loaded.model, folder, _unsaved_poolers(loaded.model, inner))
            return loaded
        # a discriminator's head is none over the vocabulary, so only its encoder is of use
        first = architectures[0] if architectures else ""
        bare = kind == "masked" and (first.endswith("Model") or first == "ElectraForPreTraining")
        loader: Any = AutoModelForCausalLM if kind == "causal" else AutoModel if bare else AutoModelForMaskedLM
        model, found = loader.from_pretrained(
            inner, local_files_only=True, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
        check_complete(model, folder, found["missing_keys"])
    return replace(_wrap(model, load_tokenizer(folder), kind), folder=folder)


def length_limit(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """Tokens a text may have under a model, special ones included; never more than 1,024."""
    limit = min(tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", 512) or 512)
    if model.config.model_type in ("roberta", "xlm-roberta", "camembert", "mpnet"):
        limit = min(limit, model.config.max_position_embeddings - 2)  # positions start behind the padding id
    return int(min(limit, 1024))


def _wrap(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, kind: Kind) -> LanguageModel:
    return LanguageModel(model.eval(), tokenizer, kind, (), None, length_limit(model, tokenizer))


def from_transformers(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> LanguageModel:
    """Wraps a loaded transformers model; its class says of which kind it is."""
    return _wrap(model, tokenizer, _kind(Path("the given model"), [type(model).__name__]))


def from_sentence_transformer(encoder: SentenceTransformer, folder: Path | None = None) -> LanguageModel:
    """Wraps a loaded sentence encoder whose first module is a transformer."""
    first, *rest = list(encoder)
    model = getattr(first, "auto_model", None)
    if not isinstance(model, PreTrainedModel):
        raise ModelError(
            "The sentence encoder's first module is no transformer; only such encoders can be transferred."
        )
    limit = encoder.max_seq_length or 512
    return LanguageModel(model.float().eval(), encoder.tokenizer, "sentence", tuple(rest), folder, int(limit))


def save_model(language_model: LanguageModel, folder: Path) -> None:
    """Writes a folder that plain transformers or sentence-transformers loads; pipeline files are kept as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    inner = folder
    if language_model.kind == "sentence":
        if language_model.folder is None:
            raise ModelError("The folder of the sentence encoder is not known, so its pipeline cannot be written.")
        copy_pipeline(language_model.folder, folder)
        inner = transformer_folder(folder)
    language_model.model.save_pretrained(inner)
    save_tokenizer(language_model.tokenizer, inner)


def copy_pipeline(source: Path, folder: Path) -> None:
    """Copies what a sentence-transformers folder holds besides the transformer itself."""
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


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path, max_length: int | None = None) -> None:
    """Writes the tokenizer under the class name that every release of transformers knows.

    max_length: what is written says that a text may have no more tokens than this.
    """
    if max_length is not None:
        tokenizer = copy.deepcopy(tokenizer)
        tokenizer.model_max_length = min(tokenizer.model_max_length, max_length)
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    if config.get("tokenizer_class") == "TokenizersBackend":
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
        path.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
