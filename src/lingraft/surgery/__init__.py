"""Models: reading, grafting a vocabulary onto them, writing and checking what was written."""

from .check import self_check
from .folders import check_complete, copy_pipeline, readable, refuse_missing, resolve_model, transformer_folder
from .graft import METHODS, Method, check_positions, graft, mix_rows, share_body, with_rows
from .heads import with_masked_lm_head
from .layout import position_padding, vocabulary_parameters
from .models import (
    Kind,
    LanguageModel,
    check_tokenizer_class,
    from_sentence_transformer,
    from_transformers,
    length_limit,
    load_model,
    load_tokenizer,
    save_model,
    save_tokenizer,
)

__all__ = [
    "METHODS",
    "Kind",
    "LanguageModel",
    "Method",
    "check_complete",
    "check_positions",
    "check_tokenizer_class",
    "copy_pipeline",
    "from_sentence_transformer",
    "from_transformers",
    "graft",
    "length_limit",
    "load_model",
    "load_tokenizer",
    "mix_rows",
    "position_padding",
    "readable",
    "refuse_missing",
    "resolve_model",
    "save_model",
    "save_tokenizer",
    "self_check",
    "share_body",
    "transformer_folder",
    "vocabulary_parameters",
    "with_masked_lm_head",
    "with_rows",
]
