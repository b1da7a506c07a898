"""Text in: files, cleaning, splitting, and encoded text in memory and on disk."""

from .clean import Counts, clean, clean_pairs, clean_text, read_bitext, split_bitext
from .files import check_readable, read_blocks, read_lines
from .hub import absolute_hub, check_text, hub_fingerprint, is_hub, read_text
from .sample import sample_lines
from .sequences import TokenSequences
from .shards import open_shards, write_shards
from .split import HeldOut
from .stream import TokenStream

__all__ = [
    "Counts",
    "HeldOut",
    "TokenSequences",
    "TokenStream",
    "absolute_hub",
    "check_readable",
    "check_text",
    "clean",
    "clean_pairs",
    "clean_text",
    "hub_fingerprint",
    "is_hub",
    "open_shards",
    "read_bitext",
    "read_blocks",
    "read_lines",
    "read_text",
    "sample_lines",
    "split_bitext",
    "write_shards",
]
