"""Models: reading, grafting a vocabulary onto them, writing and checking what was written."""

from .check import self_check
from .graft import METHODS, Method, graft, mix_rows, share_body, vocabulary_parameters
from .heads import with_masked_lm_head
from .models import (
    Kind,
    LanguageModel,
    copy_pipeline,
    from_sentence_transformer,
    from_transformers,
    load_model,
    load_tokenizer,
    resolve_model,
    save_model,
    save_tokenizer,
)

__all__ = [
    "METHODS",
    "Kind",
    "LanguageModel",
    "Method",
    "copy_pipeline",
    "from_sentence_transformer",
    "from_transformers",
    "graft",
    "load_model",
    "load_tokenizer",
    "mix_rows",
    "resolve_model",
    "save_model",
    "save_tokenizer",
    "self_check",
    "share_body",
    "vocabulary_parameters",
    "with_masked_lm_head",
]
