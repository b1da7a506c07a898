"""A dependency parser: an encoder, its tokenizer and the biaffine layers on top, read and written as one folder.

The folder is what transformers writes for the encoder, which `AutoModel.from_pretrained` loads, and two files beside
it: ``parser.safetensors``, the layers on top, and ``parser.json``, the relations and settings.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from os import PathLike
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ...errors import CorpusError, ModelError, RecipeError
from ...surgery import LanguageModel, load_model, resolve_model, save_tokenizer
from ...training.data import token_batches
from ...training.precision import inference
from ...vocabulary import frame
from ..subwords import SubwordEncoder, Subwords, WordBatch
from .attachment import Parse
from .biaffine import BiaffineHead, HeadDoubt, ParserSettings, WordStates
from .mst import decode_trees
from .treebank import Sentence

_CONFIG, _WEIGHTS = "parser.json", "parser.safetensors"

#: of parser.json; raised when an older lingraft could no longer read it
_FORMAT = 1


class Parser(nn.Module):
    """A biaffine dependency parser.

    settings: of the layers on top. encoder: the bare transformer. tokenizer: its tokenizer; both may be replaced by
    others that fit each other. labels: the relations, in the order of the model's outputs. root_labels, other_labels:
    those that a root word may have, and all other words. max_length: tokens the encoder reads at once; longer sentences
    are read in windows.
    """

    def __init__(
        self,
        encoder: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        max_length: int,
        labels: Sequence[str],
        settings: ParserSettings,
        root_labels: Iterable[str] = (),
        other_labels: Iterable[str] = (),
    ) -> None:
        super().__init__()
        config = encoder.config.get_text_config()
        self.encoder = encoder
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.labels = tuple(labels)
        self.settings = settings
        self.root_labels, self.other_labels = frozenset(root_labels), frozenset(other_labels)
        self.head = BiaffineHead(
            config.hidden_size,
            config.num_hidden_layers,
            len(self.labels),
            settings,
            [label in self.root_labels for label in self.labels],
            [label in self.other_labels for label in self.labels],
        )
        self._subwords: SubwordEncoder | None = None

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.head.arc_weight.device

    @property
    def subwords(self) -> SubwordEncoder:
        """Words to subwords, with the present tokenizer."""
        if self._subwords is None or self._subwords.tokenizer is not self.tokenizer:
            self._subwords = SubwordEncoder(self.tokenizer, self.max_length)
        return self._subwords

    def forward(self, batch: WordBatch) -> WordStates:
        """Scores of all arcs, and what scores of labels are made of; the batch has to be on the parser's device."""
        mix = self.settings.layers == "mix"
        output = self.encoder(
            input_ids=batch.input_ids, attention_mask=batch.attention_mask, output_hidden_states=mix
        )  # fmt: skip
        hidden = output.hidden_states[1:] if mix else (output.last_hidden_state,)
        states: WordStates = self.head(hidden, batch)
        return states

    def loss(self, batch: WordBatch, heads: Tensor, labels: Tensor, doubt: HeadDoubt | None = None) -> Tensor:
        """Mean loss of heads and labels over all words of a batch; see `BiaffineHead.loss`.

        heads, labels: int64 (words,), of all words of the batch one after the other; heads are counted from 1, 0 is the
        root; -1 in both where it is not known. doubt: of heads that may be wrong. Returns a scalar.
        """
        return self.head.loss(self(batch), heads, labels, doubt)

    def parse(
        self,
        sentences: Sequence[Sentence | Sequence[str]],
        batch_tokens: int | None = None,
        precision: str = "auto",
    ) -> list[Parse]:
        """The trees of sentences, each given as its words, in their order. Every tree has exactly one root.

        batch_tokens: subwords, padding included, that are read at once; by default 2,048, and on a GPU 16,384.
        precision: ``float32``, ``bf16``, or ``auto`` for bf16 where the device has it in hardware. Raises RecipeError
        for other values, and RunError when the model's scores are no numbers.
        """
        words = [sentence.forms if isinstance(sentence, Sentence) else sentence for sentence in sentences]
        full = [k for k, forms in enumerate(words) if len(forms)]
        found = self.parse_subwords(self.subwords.encode([words[k] for k in full]), batch_tokens, precision)
        parses = [Parse((), ())] * len(words)
        for k, parse in zip(full, found, strict=True):
            parses[k] = parse
        return parses

    def parse_subwords(
        self, sentences: Sequence[Subwords], batch_tokens: int | None = None, precision: str = "auto"
    ) -> list[Parse]:
        """What `parse` does, for sentences that ``subwords.encode`` encoded.

        batch_tokens, precision: as for `parse`, and as there RecipeError for less than one token.
        """
        if batch_tokens is None:
            batch_tokens = 2048 if self.device.type == "cpu" else 16_384
        if batch_tokens < 1:
            raise RecipeError(f"A parser reads at least 1 token at once; given: {batch_tokens}.")
        parses = [Parse((), ())] * len(sentences)
        was_training = self.training
        self.eval()
        try:
            with inference(precision, self.device):
                for chosen in token_batches(np.asarray([sentence.ids.size for sentence in sentences]), batch_tokens):
                    for k, parse in zip(chosen, self._parse_batch([sentences[k] for k in chosen]), strict=True):
                        parses[k] = parse
        finally:
            self.train(was_training)
        return parses

    def _parse_batch(self, sentences: Sequence[Subwords]) -> list[Parse]:
        batch = self.subwords.batch(sentences).to(self.device)
        states: WordStates = self(batch)
        lengths = [sentence.ends.size for sentence in sentences]
        trees = decode_trees(states.arcs.cpu().numpy(), np.asarray(lengths))
        heads = torch.from_numpy(trees).to(self.device)[states.inside]
        labels = iter(self.head.labels(states, heads).tolist())
        return [
            Parse(tuple(row[:length].tolist()), tuple(self.labels[next(labels)] for _ in range(length)))
            for row, length in zip(trees, lengths, strict=True)
        ]

    def with_model(self, encoder: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Parser:
        """A copy of the parser around another encoder; the layers on top keep their weights.

        tokenizer: the one that belongs to it.
        """
        parser = copy.copy(self)
        parser._modules = dict(self._modules)
        parser.encoder, parser.tokenizer, parser._subwords = encoder, tokenizer, None
        parser.head = copy.deepcopy(self.head)
        return parser

    def save(self, folder: str | PathLike[str]) -> None:
        """Writes the parser to a folder, which is made if it is not there. `load_parser` reads it."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.encoder.save_pretrained(folder)
        save_tokenizer(self.tokenizer, folder)
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in self.head.state_dict().items()}
        save_file(weights, folder / _WEIGHTS)
        config = {
            "lingraft_parser": _FORMAT,
            "settings": asdict(self.settings),
            "max_length": self.max_length,
            "labels": list(self.labels),
            "root_labels": sorted(self.root_labels),
            "other_labels": sorted(self.other_labels),
        }
        text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
        (folder / _CONFIG).write_text(text, encoding="utf-8")


def build_parser(
    language_model: LanguageModel,
    sentences: Iterable[Sentence],
    settings: ParserSettings | None = None,
    seed: int = 0,
) -> Parser:
    """An untrained parser on a pretrained encoder, for the relations of a treebank.

    The parser takes the model's encoder over, without its language-modelling head and the layer that pools a sentence,
    which it has no use for. sentences: of the training treebank. seed: of the new layers' first weights. Raises
    CorpusError when there is no sentence with a tree, and RecipeError when the settings want a [CLS] that is not there.
    """
    settings = settings or ParserSettings()
    has_cls = bool(frame(language_model.tokenizer)[0])
    if settings.root == "cls" and not has_cls:
        raise RecipeError("The tokenizer puts no token before a text, so the parser's 'root' can only be 'vector'.")
    if settings.root == "auto":
        settings = replace(settings, root="cls" if has_cls else "vector")
    root_labels: set[str] = set()
    other_labels: set[str] = set()
    for sentence in sentences:
        for head, deprel in zip(sentence.heads, sentence.deprels, strict=True):
            (other_labels if head else root_labels).add(deprel)
    if not root_labels:
        raise CorpusError("There is no sentence with a tree to learn relations from; a parser needs a treebank.")
    encoder = _encoder(language_model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        parser = Parser(
            encoder,
            language_model.tokenizer,
            language_model.max_length,
            sorted(root_labels | other_labels),
            settings,
            root_labels,
            other_labels,
        )
    return parser.eval()


def _encoder(language_model: LanguageModel) -> PreTrainedModel:
    encoder = cast(PreTrainedModel, language_model.model.base_model)
    if getattr(encoder, "pooler", None) is not None:
        setattr(encoder, "pooler", None)  # noqa: B010 (torch types a submodule as never None)
    return encoder


def load_parser(name: str | PathLike[str]) -> Parser:
    """Reads a parser from its folder, or by its Hugging Face id, in float32 on the CPU.

    Raises ModelError when it is missing, damaged, or no parser.
    """
    folder = resolve_model(str(name))
    path = folder / _CONFIG
    if not path.is_file():
        raise ModelError(f"'{name}' is no parser: it has no {_CONFIG}. Train one on it with: lingraft finetune parse.")
    config = _read_config(path)
    language_model = load_model(folder)
    try:
        parser = Parser(
            _encoder(language_model),
            language_model.tokenizer,
            config["max_length"],
            config["labels"],
            ParserSettings(**config["settings"]),
            config["root_labels"],
            config["other_labels"],
        )
    except (RecipeError, TypeError) as error:
        raise ModelError(f"'{path}' has settings that are no parser's ({error}).") from None
    try:
        parser.head.load_state_dict(load_file(folder / _WEIGHTS))
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[-1].strip() if str(error) else type(error).__name__
        raise ModelError(f"The weights in '{folder / _WEIGHTS}' do not fit {_CONFIG} beside them ({reason}).") from None
    return parser.eval()


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        version = config["lingraft_parser"]
        lists = [config[key] for key in ("labels", "root_labels", "other_labels")]
        sound = all(isinstance(label, str) for labels in lists for label in labels) and bool(lists[0])
        sound = sound and isinstance(config["settings"], dict) and isinstance(config["max_length"], int)
    except (OSError, ValueError, TypeError, KeyError):
        sound, version = False, _FORMAT
    if version != _FORMAT:
        raise ModelError(
            f"'{path}' has the format {version}; this lingraft reads format {_FORMAT}. Install a newer one."
        )
    if not sound:
        raise ModelError(
            f"'{path}' is damaged: relations and settings of a parser were expected. Save the parser again."
        )
    return dict(config)
