"""Text in: files, cleaning, and encoded token sequences."""

from .clean import Counts, clean, clean_pairs, clean_text, read_bitext, split_bitext
from .files import check_readable, read_blocks, read_lines
from .sequences import TokenSequences

__all__ = [
    "Counts",
    "TokenSequences",
    "check_readable",
    "clean",
    "clean_pairs",
    "clean_text",
    "read_bitext",
    "read_blocks",
    "read_lines",
    "split_bitext",
]
