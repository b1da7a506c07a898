"""A language model with all that belongs to it: reading one, embedding sentences with it, writing one.

The kind is read from the checkpoint: a ``modules.json`` makes a sentence encoder, otherwise the architecture named in
``config.json`` decides, or where none is named the type of the model.
"""

from __future__ import annotations

import copy
import itertools
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForPreTraining,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from ..errors import ModelError
from ..vocabulary import ROLES, cuts_at_marks, tokenizer_hash, train_tokenizer, unigram_units
from .folders import (
    Stored,
    check_complete,
    check_modules,
    check_tokenizer_files,
    copy_pipeline,
    is_pickled,
    load_config,
    readable,
    resolve_model,
    stored_weights,
    transformer_folder,
)
from .layout import has_head, position_padding

Kind = Literal["masked", "causal", "sentence"]

#: a word with a combining mark, of which any tokenizer can be trained
_MARKED = ["कि"] * 4

#: texts that do not show their words, likewise
_SAMPLES = {
    "characters": ["中国的文化"] * 4,
    "syllables": ["quốc gia"] * 600,
    "clitics": [" ".join(f"{w} و{w} ل{w}" for w in map("".join, itertools.product("كتمدر", repeat=3)))] * 10,
}


@dataclass(frozen=True)
class LanguageModel:
    """A transformer, its tokenizer and, for a sentence encoder, the modules behind it.

    kind: ``masked``, ``causal`` or ``sentence``. model: with its language-modelling head where it has one (see
    ``has_head``). pooling: the modules that follow the transformer in a sentence encoder, empty otherwise. folder:
    where it was read from; pipeline files are copied from there. max_length: tokens a text may have, special ones
    included. stored_dtype: the type in which weights are written; None for the one they have.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    kind: Kind
    pooling: tuple[nn.Module, ...] = ()
    folder: Path | None = None
    max_length: int = 512
    stored_dtype: torch.dtype | None = None

    @property
    def has_head(self) -> bool:
        """Whether the model has a language-modelling head, over its vocabulary."""
        return has_head(self.model)

    def with_model(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None = None) -> LanguageModel:
        """The same around another transformer.

        tokenizer: a new one, if it changes too.
        """
        return replace(self, model=model, tokenizer=tokenizer or self.tokenizer)

    def embed(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Sentence embeddings, float (batch, width), of int64 (batch, length) ids.

        input_ids: with special tokens. attention_mask: (batch, length), 1 at tokens and 0 at padding.
        """
        # a decoder would keep keys and values of every layer, for text that is to follow and here never does
        options = {"use_cache": False} if self.kind == "causal" else {}
        hidden = self.model.base_model(input_ids=input_ids, attention_mask=attention_mask, **options).last_hidden_state
        return self.pool(hidden, input_ids, attention_mask)

    def pool(self, hidden: Tensor, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Sentence embeddings, float (batch, width), of last hidden states (batch, length, width).

        input_ids, attention_mask: int64 (batch, length), as for `embed`.

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


def _kind(folder: Path, architecture: str, config: Any = None) -> Kind:
    """Of which kind a model is, by the name of its class or, where that is empty, by its config."""
    if (folder / "modules.json").is_file():
        return "sentence"
    if architecture.endswith(("ForCausalLM", "LMHeadModel")):
        return "causal"
    if architecture.endswith(("ForMaskedLM", "ForPreTraining", "Model")):
        return "masked"
    if not architecture and type(config) in MODEL_FOR_MASKED_LM_MAPPING:
        return "masked"
    if not architecture and type(config) in MODEL_FOR_CAUSAL_LM_MAPPING:
        return "causal"
    raise ModelError(
        f"'{folder}' is a {architecture or 'model of unnamed architecture'}; a masked or causal language model, an "
        "encoder or a sentence-transformers folder was expected."
    )


def is_decoder(folder: Path) -> bool:
    """Whether the model in a folder is a decoder; ModelError if its config cannot be read."""
    with readable(folder):
        config = load_config(folder)
    try:
        return _kind(folder, (config.architectures or [""])[0], config) == "causal"
    except ModelError:  # of a task, for one
        return False


def _head_was_saved(architecture: str, config: Any, stored: Stored) -> bool:
    """Whether a masked-language-model head was saved; a sentence encoder's config may name the class it once had.

    With a head around it, an encoder's weights are saved under the name of their place in the whole.
    """
    if not architecture.endswith("ForMaskedLM") or type(config) not in MODEL_FOR_MASKED_LM_MAPPING:
        return False
    whole: Any = MODEL_FOR_MASKED_LM_MAPPING[type(config)]
    place = whole.base_model_prefix
    return any(name.startswith(f"{place}.") for name in stored.names)


def load_tokenizer(name: str | Path) -> PreTrainedTokenizerBase:
    """A tokenizer from a folder or hub id; ModelError if there is none."""
    local = Path(name).is_dir()
    if local:
        name = transformer_folder(Path(name))
        check_tokenizer_files(Path(name))
    try:
        return AutoTokenizer.from_pretrained(str(name), local_files_only=local, trust_remote_code=False)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"No tokenizer could be read from '{name}' ({reason}).") from None


def load_model(
    name: str | Path, *, head: bool = False, allow_pickle: bool = False, dtype: torch.dtype | None = torch.float32
) -> LanguageModel:
    """Reads a model folder or hub id, on the CPU.

    head: a sentence encoder that was saved with its masked-language-model head is read as that masked model.
    allow_pickle: weights may be a pickle; no code in it is run. dtype: what weights become in memory, None for the type
    they are stored in, in which they are written again either way.
    Raises ModelError when it is missing, without weights, or of a kind that cannot be transferred.
    """
    folder = resolve_model(str(name), allow_pickle=allow_pickle)
    inner = transformer_folder(folder)
    with readable(name):
        config = load_config(folder)
        stored = stored_weights(inner)
        architecture = (config.architectures or [""])[0]
        kind = _kind(folder, architecture, config)
        if kind == "sentence" and head and _head_was_saved(architecture, config, stored):
            kind = "masked"
        options: dict[str, Any] = {"use_safetensors": not is_pickled(inner), "dtype": dtype or stored.dtype}
        if kind == "sentence":
            check_tokenizer_files(inner)
            check_modules(folder)
            encoder = SentenceTransformer(str(folder), device="cpu", local_files_only=True, model_kwargs=options)
            loaded = from_sentence_transformer(encoder, folder)
            poolers = [name for name, _ in loaded.model.named_parameters() if "pooler" in name]
            saved = any("pooler" in name for name in stored.names)
            check_complete(loaded.model, folder, [] if saved else poolers)
            return replace(loaded, stored_dtype=stored.dtype)
        model, missing = _load_transformer(inner, config, architecture, kind, stored, options)
        check_complete(model, folder, missing)
    loaded = _wrap(model, load_tokenizer(folder), kind)
    return replace(loaded, folder=folder, stored_dtype=stored.dtype)


def load_to_graft(name: str | Path, *, allow_pickle: bool = False) -> LanguageModel:
    """`load_model` in the type weights are stored in, so that they need no other memory than their file's.

    allow_pickle: as for `load_model`.

    In float32 where they are stored in fp16, in which what a layer gives may be too large.
    """
    loaded = load_model(name, allow_pickle=allow_pickle, dtype=None)
    if loaded.stored_dtype != torch.float16:
        return loaded
    return load_model(name, allow_pickle=allow_pickle)


def _load_transformer(
    inner: Path, config: Any, architecture: str, kind: Kind, stored: Stored, options: dict[str, Any]
) -> tuple[PreTrainedModel, list[str]]:
    """A masked or causal language model, or an encoder alone; and the names of weights that it was to have."""
    if config.model_type == "deberta-v2" and any(name.startswith("lm_predictions.") for name in stored.names):
        config.legacy = False  # the original layout of the head, which the config need not name
    loader: Any = AutoModelForMaskedLM
    if kind == "causal":
        loader = AutoModelForCausalLM
    elif architecture == "ElectraForPreTraining":  # whose head says of each token whether it was replaced
        loader = AutoModelForPreTraining
    elif architecture.endswith("Model"):
        loader = AutoModel

    def load(loader: Any) -> tuple[PreTrainedModel, list[str]]:
        model, found = loader.from_pretrained(
            inner, config=config, local_files_only=True, weights_only=True, output_loading_info=True, **options
        )
        return model, list(found["missing_keys"])

    model, missing = load(loader)
    inside = f"{model.base_model_prefix}."
    if not architecture and missing and not any(name.startswith(inside) for name in missing):
        return load(AutoModel)  # all that is missing is the head
    return model, missing


def without_weights(language_model: LanguageModel) -> LanguageModel:
    """Takes the weights out of a model, in place: it keeps its config, its modules and their shapes.

    For what is to be known of a model while its weights are of no use. Parameters that others have too stay theirs.
    """
    model = language_model.model
    empty = {
        id(parameter): nn.Parameter(torch.empty_like(parameter, device="meta"), parameter.requires_grad)
        for parameter in model.parameters()
    }
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[name] = empty[id(parameter)]  # what was tied stays so
    return language_model


def length_limit(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """Tokens a text may have under a model, special ones included; never more than 1,024.

    tokenizer: may have a limit of its own, which counts if it is smaller.
    """
    limit = min(tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", 512) or 512)
    padding = position_padding(model)
    if padding is not None:  # positions start behind its id
        limit = min(limit, model.config.max_position_embeddings - padding - 1)
    return int(min(limit, 1024))


def _wrap(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, kind: Kind) -> LanguageModel:
    return LanguageModel(model.eval(), tokenizer, kind, (), None, length_limit(model, tokenizer))


def from_transformers(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> LanguageModel:
    """Wraps a loaded transformers model; its class says of which kind it is.

    tokenizer: the model's own. Raises ModelError for a class that cannot be transferred.
    """
    return _wrap(model, tokenizer, _kind(Path("the given model"), type(model).__name__))


def from_sentence_transformer(encoder: SentenceTransformer, folder: Path | None = None) -> LanguageModel:
    """Wraps a loaded sentence encoder whose first module is a transformer, in the type its weights have.

    folder: from which its pipeline files are copied when it is saved. Raises ModelError if the first module is none.
    """
    first, *rest = list(encoder)
    model = getattr(first, "auto_model", None)
    if not isinstance(model, PreTrainedModel):
        raise ModelError(
            "The sentence encoder's first module is no transformer; only such encoders can be transferred."
        )
    limit = encoder.max_seq_length or 512
    return LanguageModel(model.eval(), encoder.tokenizer, "sentence", tuple(rest), folder, int(limit))


def save_model(language_model: LanguageModel, folder: Path) -> None:
    """Writes a folder that plain transformers or sentence-transformers loads; pipeline files are kept as they are.

    Weights are rounded to the type they are stored in, those in memory too, so that what was written is what is there.
    Raises ModelError for a sentence encoder whose folder is not known.
    """
    folder.mkdir(parents=True, exist_ok=True)
    inner = folder
    if language_model.kind == "sentence":
        if language_model.folder is None:
            raise ModelError("The folder of the sentence encoder is not known, so its pipeline cannot be written.")
        copy_pipeline(language_model.folder, folder)
        inner = transformer_folder(folder)
    model = language_model.model
    dtype = model.dtype
    _retype(model, language_model.stored_dtype or dtype)
    model.save_pretrained(inner)
    _retype(model, dtype)
    save_tokenizer(language_model.tokenizer, inner)


def _retype(model: PreTrainedModel, dtype: torch.dtype) -> None:
    """Gives all parameters a type, in place; buffers, such as the frequencies of positions, keep theirs."""
    for parameter in model.parameters():
        if parameter.dtype != dtype and parameter.is_floating_point():
            parameter.data = parameter.data.to(dtype)


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path, max_length: int | None = None) -> None:
    """Writes the tokenizer under the class name that every release of transformers knows.

    folder: where to. max_length: what is written says that a text may have no more tokens than this.
    """
    if max_length is not None:
        tokenizer = copy.deepcopy(tokenizer)
        tokenizer.model_max_length = min(tokenizer.model_max_length, max_length)
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    if config.get("tokenizer_class") == "TokenizersBackend":
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
    for role in ROLES:  # what is not said some classes fill with their own
        config.setdefault(f"{role}_token", None)
    path.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def check_tokenizer_class(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """ModelError unless transformers reads the tokenizer beside a config of the model's as what it is.

    For some types of models it takes a class of its own, whatever the tokenizer's files say, and that class its own
    pre-tokenizer and normaliser.
    """
    read = _read_otherwise(model.config, tokenizer)
    if read:
        raise ModelError(
            f"Beside a {model.config.model_type} model transformers reads this tokenizer as {read}, which makes other "
            "tokens of a text. Give one of the same kind as the model's own, as `lingraft tokenizer` makes it, or none."
        )


def _read_otherwise(config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> str:
    """What transformers makes of the tokenizer beside the config; empty if it is the same."""
    with tempfile.TemporaryDirectory(prefix="lingraft-") as folder:
        config.save_pretrained(folder)
        save_tokenizer(tokenizer, Path(folder))
        try:
            read = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            return "" if tokenizer_hash(read) == tokenizer_hash(tokenizer) else type(read).__name__
        except Exception as error:  # such a class may as well not take its vocabulary
            return f"something else ({type(error).__name__})"


def train_target(
    config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase, lines: Sequence[str], size: int | None = None,
    min_count: int = 2, unigram: bool = True,
) -> PreTrainedTokenizerFast:  # fmt: skip
    """`train_tokenizer` for a model with this config, whose own tokenizer is given.

    lines, size, min_count, unigram: as there.

    A pattern that cuts words at their vowel signs stays as it is where transformers would read no other one, and
    tokens stay WordPiece's where it would not read a unigram model's.
    """
    whole_words = not cuts_at_marks(tokenizer) or not _read_otherwise(config, train_tokenizer(tokenizer, _MARKED))
    if unigram and (units := unigram_units(tokenizer, lines)):
        unigram = not _read_otherwise(config, train_tokenizer(tokenizer, _SAMPLES[units]))
    return train_tokenizer(tokenizer, lines, size, min_count, whole_words=whole_words, unigram=unigram)
