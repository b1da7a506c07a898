"""Every family of models as a tiny random one, and what a transfer has to do right with each.

The tests run `STEPS` and tools/families.py prints what comes of them: the table in the documentation is what was run.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import sparse
from sentence_transformers import SentenceTransformer
from torch import Tensor
from transformers import (
    AlbertConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoTokenizer,
    BertConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    ElectraForPreTraining,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    ModernBertConfig,
    MPNetConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
    RobertaConfig,
    XLMRobertaConfig,
)

import tiny
from lingraft.evidence import Provenance, TranslationTable, build_table
from lingraft.surgery import (
    LanguageModel,
    from_transformers,
    graft,
    load_model,
    norm_bounds,
    position_padding,
    save_model,
    save_tokenizer,
    self_check,
    vocabulary_parameters,
)
from lingraft.vocabulary import special_ids, tokenizer_hash, train_tokenizer, with_padding_at

SHAPE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
GROUPED = {**SHAPE, "num_key_value_heads": 2, "max_position_embeddings": 64}
GEMMA = {**GROUPED, "head_dim": 8, "sliding_window": 16, "query_pre_attn_scalar": 8}
DEBERTA = {
    **SHAPE, "max_position_embeddings": 64, "relative_attention": True, "position_biased_input": False,
    "pos_att_type": ["p2c", "c2p"],
}  # fmt: skip

KINDS = tuple(tiny.TOKENIZERS)
_TOKENIZERS = {**tiny.TOKENIZERS, "chat": tiny.chat_tokenizer}


@dataclass(frozen=True)
class Family:
    """How a tiny model of a family is made.

    config, options: its config and what it is made with. auto: the class around it. kinds: of tokenizers that its
    models come with. tied: whether input and output embeddings may be one. targets: kinds of tokenizers it may get.
    dtype: of its weights. padding: rows beyond the tokenizer's.
    """

    config: Any
    auto: Any
    kinds: tuple[str, ...]
    options: dict[str, Any] = field(default_factory=dict)
    tied: tuple[bool, ...] = (True, False)
    targets: tuple[str, ...] = KINDS
    dtype: torch.dtype = torch.float32
    padding: int = 0

    def model(self, tokenizer: PreTrainedTokenizerFast, tied: bool) -> PreTrainedModel:
        """A random model, every parameter off the place where it starts."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            ids = {f"{role}_token_id": index for role, index in special_ids(tokenizer).items() if role != "mask"}
            config = self.config(
                vocab_size=len(tokenizer) + self.padding, tie_word_embeddings=tied, **(ids | self.options)
            )
            made = self.auto.from_config(config) if hasattr(self.auto, "from_config") else self.auto(config)
            with torch.no_grad():
                for parameter in made.parameters():
                    parameter.add_(torch.randn_like(parameter) * 0.05)
                    parameter.data = parameter.to(self.dtype)  # buffers stay what they are when a model is read
        model: PreTrainedModel = made.eval()
        return model


_BERT = {**SHAPE, "max_position_embeddings": 64}
_ROBERTA = {**SHAPE, "max_position_embeddings": 66}
_MASKED, _CAUSAL = AutoModelForMaskedLM, AutoModelForCausalLM

FAMILIES: dict[str, Family] = {
    "BERT": Family(BertConfig, _MASKED, ("wordpiece",), _BERT),
    "BERT, no head": Family(BertConfig, AutoModel, ("wordpiece",), _BERT, (True,)),
    "BERT, padded rows": Family(BertConfig, _MASKED, ("wordpiece",), _BERT, padding=7),
    "RoBERTa": Family(RobertaConfig, _MASKED, ("bytebpe",), _ROBERTA),
    "XLM-R": Family(XLMRobertaConfig, _MASKED, ("unigram",), _ROBERTA),
    "XLM-R, padded rows": Family(XLMRobertaConfig, _MASKED, ("unigram",), _ROBERTA, padding=35),
    "DistilBERT": Family(
        DistilBertConfig, _MASKED, ("wordpiece",),
        {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "max_position_embeddings": 64},
    ),
    "ELECTRA generator": Family(ElectraConfig, _MASKED, ("wordpiece",), {**_BERT, "embedding_size": 16}),
    "ELECTRA discriminator": Family(
        ElectraConfig, ElectraForPreTraining, ("wordpiece",), {**_BERT, "embedding_size": 16}, (True,)
    ),
    "ALBERT": Family(AlbertConfig, _MASKED, ("unigram",), {**_BERT, "embedding_size": 16}),
    "DeBERTa v2": Family(DebertaV2Config, _MASKED, ("unigram",), DEBERTA),
    "DeBERTa v3": Family(DebertaV2Config, _MASKED, ("unigram",), {**DEBERTA, "legacy": False}, (True,)),
    "MPNet": Family(MPNetConfig, _MASKED, ("wordpiece",), _ROBERTA),
    "ModernBERT": Family(
        ModernBertConfig, _MASKED, ("bytebpe",), {**_BERT, "global_attn_every_n_layers": 2, "local_attention": 16}
    ),
    "GPT-2": Family(
        GPT2Config, _CAUSAL, ("bytebpe",), {"n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 4}
    ),
    "GPT-NeoX": Family(GPTNeoXConfig, _CAUSAL, ("bytebpe",), _BERT),
    "Llama": Family(LlamaConfig, _CAUSAL, ("bytefallback", "bytebpe"), GROUPED),
    "Llama, bfloat16": Family(LlamaConfig, _CAUSAL, ("bytefallback",), GROUPED, dtype=torch.bfloat16),
    "Llama, float16": Family(LlamaConfig, _CAUSAL, ("bytefallback",), GROUPED, dtype=torch.float16),
    # transformers gives it a tokenizer class of its own, whatever the files say
    "Qwen2": Family(Qwen2Config, _CAUSAL, ("chat",), GROUPED, targets=("chat",)),
    "Qwen3": Family(
        Qwen3Config, _CAUSAL, ("chat", "bytebpe"), {**GROUPED, "head_dim": 8}, targets=(*KINDS, "chat")
    ),
    "Gemma 2": Family(Gemma2Config, _CAUSAL, ("bytefallback",), GEMMA),
    "Gemma 3": Family(Gemma3TextConfig, _CAUSAL, ("bytefallback",), GEMMA),
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """A family with a tokenizer of its own kind, tied or not, and the kind of the new language's tokenizer."""

    family: str
    source: str
    target: str
    tied: bool

    def __str__(self) -> str:
        return f"{self.family}-{self.source}-{self.target}-{'tied' if self.tied else 'untied'}".replace(" ", "_")


def cells() -> list[Cell]:
    """Every family with its kinds of tokenizers, tied and untied; as it is most often, to every kind of tokenizer."""
    return [
        Cell(name, source, target, tied)
        for name, family in FAMILIES.items()
        for source in family.kinds
        for tied in family.tied
        for target in family.targets
        if target == source or tied == family.tied[0]
    ]


ENGLISH = tiny.english_lines(3, seed=7)
FOREIGN = [tiny.cipher(line) for line in ENGLISH]


@lru_cache
def _source_tokenizer(kind: str, padding: int | None) -> PreTrainedTokenizerFast:
    tokenizer = _TOKENIZERS[kind]()
    return tokenizer if padding is None else with_padding_at(tokenizer, padding)


@lru_cache
def _target_tokenizer(kind: str, padding: int | None) -> PreTrainedTokenizerFast:
    tokenizer = train_tokenizer(_TOKENIZERS[kind](), [xx for _, xx in tiny.cipher_pairs(100)])
    order = np.random.default_rng(2).permutation(len(tokenizer))
    tokenizer = tiny.renumbered(tokenizer, order.tolist())  # special tokens are elsewhere
    return tokenizer if padding is None else with_padding_at(tokenizer, padding)


@lru_cache
def _table(source: str, target: str, padding: int | None, own: int | None) -> TranslationTable:
    return build_table(_source_tokenizer(source, own), _target_tokenizer(target, padding))


def permuted(tokenizer: PreTrainedTokenizerFast) -> tuple[PreTrainedTokenizerFast, list[int]]:
    """The tokenizer with other ids, its padding token where it was, and which token each one is."""
    order = np.random.default_rng(1).permutation(len(tokenizer)).tolist()
    pad = tokenizer.pad_token_id
    order[order.index(pad)], order[pad] = order[pad], pad
    return tiny.renumbered(tokenizer, order), order


def mapping_table(
    source: PreTrainedTokenizerFast, target: PreTrainedTokenizerFast, order: list[int]
) -> TranslationTable:
    """The table that makes target token k the source token ``order[k]``."""
    n = len(order)
    matrix = sparse.csr_matrix((np.ones(n, np.float32), (np.arange(n), order)), shape=(n, len(source)))
    kinds = np.full(n, Provenance.overlap, np.uint8)
    kinds[list(target.all_special_ids)] = Provenance.special
    return TranslationTable(matrix, kinds, np.ones(n, np.float32), tokenizer_hash(source), tokenizer_hash(target))


def made(cell: Cell) -> tuple[LanguageModel, PreTrainedTokenizerFast, TranslationTable]:
    """The source model of a cell, the new language's tokenizer, and the table between."""
    family = FAMILIES[cell.family]
    own = 1 if family.config is MPNetConfig else None  # of this family the padding token has to be there
    tokenizer = _source_tokenizer(cell.source, own)
    source = from_transformers(family.model(tokenizer, cell.tied), copy.deepcopy(tokenizer))
    padding = position_padding(source.model)
    return (
        source,
        copy.deepcopy(_target_tokenizer(cell.target, padding)),
        _table(cell.source, cell.target, padding, own),
    )


def sentence_folder(folder: Path, language_model: LanguageModel) -> Path:
    """Writes a sentence encoder around a model's encoder: mean pooling, a dense layer, normalisation."""
    try:
        from sentence_transformers.sentence_transformer import modules
    except ImportError:  # its home before sentence-transformers 5.4
        from sentence_transformers import models as modules

    inner = folder.with_name(f"{folder.name}-transformer")
    language_model.model.base_model.save_pretrained(inner)
    save_tokenizer(language_model.tokenizer, inner)
    transformer = modules.Transformer(str(inner))
    width = language_model.model.config.hidden_size
    with torch.random.fork_rng():
        torch.manual_seed(4)
        dense = modules.Dense(width, 12)
    encoder = SentenceTransformer(
        modules=[transformer, modules.Pooling(width), dense, modules.Normalize()], device="cpu"
    )
    encoder.save_pretrained(str(folder), create_model_card=False)
    return folder


def outputs(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, line: str) -> Tensor:
    """What a model makes of a line: logits, or last hidden states where it has no head."""
    with torch.inference_mode():
        found: Tensor = model(torch.tensor([tokenizer(line)["input_ids"]]))[0]
    return found


def _same(before: PreTrainedModel, after: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    """The same outputs; weights may lie elsewhere in memory, where a kernel may add up in another order."""
    for line in (*FOREIGN, *ENGLISH):
        torch.testing.assert_close(outputs(before, tokenizer, line), outputs(after, tokenizer, line))


class Run:
    """The steps of one cell; each asserts what it says."""

    def __init__(self, cell: Cell, folder: Path) -> None:
        self.cell, self.folder = cell, folder
        self.source, self.tokenizer, self.table = made(cell)
        self.dtype = FAMILIES[cell.family].dtype

    def identity(self) -> None:
        """The same tokenizer and the identity for a table: the same outputs to the last bit."""
        own = self.source.tokenizer
        grafted = graft(self.source, own, mapping_table(own, own, list(range(len(own)))))
        n = len(own)
        for line in ENGLISH:
            before, after = (outputs(each.model, own, line) for each in (self.source, grafted))
            assert torch.equal(before[..., :n] if before.shape[-1] > n else before, after)

    def permutation(self) -> None:
        """The vocabulary permuted: the same outputs to the last bit, of every token where it now is."""
        own = self.source.tokenizer
        other, order = permuted(own)
        grafted = graft(self.source, other, mapping_table(own, other, order))
        for line in ENGLISH:
            before, after = outputs(self.source.model, own, line), outputs(grafted.model, other, line)
            over_tokens = before.shape[-1] >= len(own)
            assert torch.equal(before[..., order] if over_tokens else before, after)

    def transfer(self) -> None:
        """Graft, write, and the check behind every write."""
        before = {name: value.clone() for name, value in self.source.model.state_dict().items()}
        self.grafted = graft(self.source, self.tokenizer, self.table)
        assert all(torch.equal(before[name], value) for name, value in self.source.model.state_dict().items())
        save_model(self.grafted, self.folder / "model")
        self_check(self.grafted, self.folder / "model", [*FOREIGN, *ENGLISH], norm_bounds(self.source))

    def reload(self) -> None:
        """Plain transformers reads what was written: class, type, sizes, special ids, and the same outputs."""
        self.loaded = self._read("model")
        tokenizer = AutoTokenizer.from_pretrained(self.folder / "model")
        assert type(self.loaded) is type(self.grafted.model)
        assert {parameter.dtype for parameter in self.loaded.parameters()} == {self.dtype}
        rows = len(tokenizer)
        assert self.loaded.config.vocab_size == rows == len(self.tokenizer)
        assert {part.shape[0] for part in vocabulary_parameters(self.loaded).values()} == {rows}
        for role, index in special_ids(tokenizer).items():
            for config in (self.loaded.config, getattr(self.loaded, "generation_config", None)):
                assert getattr(config, f"{role}_token_id", None) in (None, index)
        _same(self.grafted.model, self.loaded, tokenizer)
        read = load_model(self.folder / "model", dtype=None)
        assert (read.kind, read.stored_dtype) == (self.source.kind, self.dtype)

    def step(self) -> None:
        """One step of training moves what is tied together, and leaves numbers."""
        parts = vocabulary_parameters(self.loaded)
        before = {role: part.detach().clone() for role, part in parts.items()}
        ids = torch.tensor([self.tokenizer(FOREIGN[0])["input_ids"]])
        self.loaded.train()
        self.loaded(ids)[0].float().square().mean().backward()
        torch.optim.SGD(self.loaded.parameters(), lr=0.1).step()
        self.loaded.eval()
        assert all(torch.isfinite(part).all() for part in parts.values())
        assert not torch.equal(before["input"], parts["input"])
        assert ("output" in parts) == ("output" in vocabulary_parameters(self.source.model))

    def again(self) -> None:
        """Saved by plain transformers and read again it is what it was."""
        self.loaded.save_pretrained(self.folder / "again")
        _same(self.loaded, self._read("again"), self.tokenizer)

    def _read(self, name: str) -> PreTrainedModel:
        found: PreTrainedModel = type(self.source.model).from_pretrained(self.folder / name, dtype="auto").eval()
        return found


#: what a cell has to do, in this order
STEPS: dict[str, Callable[[Run], None]] = {
    "identity": Run.identity,
    "permutation": Run.permutation,
    "transfer": Run.transfer,
    "reload": Run.reload,
    "step": Run.step,
    "save again": Run.again,
}
