"""How tokens of the two languages correspond: alignment of a bitext, other evidence, and the table they make.

Names are loaded when they are first used: aligning words needs neither torch nor transformers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .sources import bitext_counts, build_table, encode
    from .table import Provenance, TranslationTable

_HOMES = {
    "Provenance": "table",
    "TranslationTable": "table",
    "bitext_counts": "sources",
    "build_table": "sources",
    "encode": "sources",
}

__all__ = ["Provenance", "TranslationTable", "bitext_counts", "build_table", "encode"]


__getattr__ = lazy_names(__name__, _HOMES)
