"""Models: reading, grafting a vocabulary onto them, writing and checking what was written."""

from .check import NormBounds, norm_bounds, self_check
from .folders import check_complete, copy_pipeline, readable, refuse_missing, resolve_model, transformer_folder
from .graft import (
    BALANCE,
    TABLE_METHODS,
    TableMethod,
    check_positions,
    graft,
    graft_with,
    mix_rows,
    share_body,
    table_initialisation,
    with_rows,
)
from .heads import with_masked_lm_head
from .initialisers import METHODS, Initialisation, InitialiserInputs, Method, check_method, initialise
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
    "BALANCE",
    "METHODS",
    "TABLE_METHODS",
    "Initialisation",
    "InitialiserInputs",
    "Kind",
    "LanguageModel",
    "Method",
    "NormBounds",
    "TableMethod",
    "check_complete",
    "check_method",
    "check_positions",
    "check_tokenizer_class",
    "copy_pipeline",
    "from_sentence_transformer",
    "from_transformers",
    "graft",
    "graft_with",
    "initialise",
    "length_limit",
    "load_model",
    "load_tokenizer",
    "mix_rows",
    "norm_bounds",
    "position_padding",
    "readable",
    "refuse_missing",
    "resolve_model",
    "save_model",
    "save_tokenizer",
    "self_check",
    "share_body",
    "table_initialisation",
    "transformer_folder",
    "vocabulary_parameters",
    "with_masked_lm_head",
    "with_rows",
]
