"""How tokens of the two languages correspond: alignment of a bitext, other evidence, and the table they make."""

from .alignment import AlignerSettings, AlignmentCounts, alignment_counts
from .sources import bitext_counts, build_table, encode
from .table import Provenance, TranslationTable

__all__ = [
    "AlignerSettings",
    "AlignmentCounts",
    "Provenance",
    "TranslationTable",
    "alignment_counts",
    "bitext_counts",
    "build_table",
    "encode",
]
