"""Tokenizers whose vocabulary a test writes down, and rows of a table in words."""

from __future__ import annotations

import json
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from lingraft.evidence import Provenance, TranslationTable


def bert_like(words: list[str]) -> PreTrainedTokenizerFast:
    """A WordPiece tokenizer with these tokens behind the special ones."""
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    model = {"type": "WordPiece", "vocab": {token: k for k, token in enumerate([*specials, *words])},
             "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100}  # fmt: skip
    return _tokenizer(model, {"type": "BertPreTokenizer"}, specials)


def gpt_like(words: list[str], merges: list[str], specials: tuple[str, ...] = ("[PAD]",)) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer with these tokens behind the special ones."""
    model = {"type": "BPE", "vocab": {token: k for k, token in enumerate([*specials, *words])}, "merges": merges}
    pre = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return _tokenizer(model, pre, list(specials))


def llama_like(words: list[str]) -> PreTrainedTokenizerFast:
    """A SentencePiece BPE with byte fallback with these tokens behind the special one."""
    model = {"type": "BPE", "vocab": {token: k for k, token in enumerate(["[PAD]", *words])}, "merges": [],
             "byte_fallback": True}  # fmt: skip
    pre = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    return _tokenizer(model, pre, ["[PAD]"])


def _tokenizer(model: dict[str, Any], pre: dict[str, Any], specials: list[str]) -> PreTrainedTokenizerFast:
    added = [
        {"id": k, "content": token, "special": True, "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False} for k, token in enumerate(specials)
    ]  # fmt: skip
    state = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
             "pre_tokenizer": pre, "post_processor": None, "decoder": None, "model": model}  # fmt: skip
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)),
        **{f"{token[1:-1].lower()}_token": token for token in specials},
    )


def row(table: TranslationTable, target: PreTrainedTokenizerFast, source: PreTrainedTokenizerFast, token: str) -> Any:
    """The row of a target token as (provenance, {source token: weight})."""
    index = target.convert_tokens_to_ids(token)
    cells = table.matrix[index].tocoo()
    weights = {source.convert_ids_to_tokens(int(k)): float(w) for k, w in zip(cells.col, cells.data, strict=True)}
    return Provenance(table.provenance[index]).name, weights
