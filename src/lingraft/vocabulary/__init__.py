"""Tokenizers: training the new language's, special tokens by role, and the identity of tokens across notations."""

from .cuts import TokenCuts, token_cuts
from .fertility import text_counts
from .marks import cuts_at_marks
from .renumber import renumbered, with_chat_template, with_padding_at
from .special import ROLES, all_special_ids, same_special_tokens, special_ids, special_rows
from .superwords import unigram_units
from .tokens import TokenIdentity, backend_json, lower_cases, notation, token_identities, tokenizer_hash
from .train import DEFAULT_SIZE, frame, keep_accents, plain_backend, train_tokenizer

__all__ = [
    "DEFAULT_SIZE",
    "ROLES",
    "TokenCuts",
    "TokenIdentity",
    "all_special_ids",
    "backend_json",
    "cuts_at_marks",
    "frame",
    "keep_accents",
    "lower_cases",
    "notation",
    "plain_backend",
    "renumbered",
    "same_special_tokens",
    "special_ids",
    "special_rows",
    "text_counts",
    "token_cuts",
    "token_identities",
    "tokenizer_hash",
    "train_tokenizer",
    "unigram_units",
    "with_chat_template",
    "with_padding_at",
]
