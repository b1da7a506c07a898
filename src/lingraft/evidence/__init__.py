"""How tokens of the two languages correspond: alignment of a bitext, other evidence, and the table they make.

Names are loaded when they are first used: aligning words needs neither torch nor transformers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .builtin import builtin_languages, builtin_lexicon, lexicon_text
    from .lexicon import check_direction, lexicon_counts, lexicon_evidence
    from .sources import bitext_counts, build_table, encode
    from .table import Provenance, TranslationTable

_HOMES = {
    "Provenance": "table",
    "TranslationTable": "table",
    "bitext_counts": "sources",
    "build_table": "sources",
    "builtin_languages": "builtin",
    "builtin_lexicon": "builtin",
    "check_direction": "lexicon",
    "encode": "sources",
    "lexicon_counts": "lexicon",
    "lexicon_evidence": "lexicon",
    "lexicon_text": "builtin",
}

__all__ = [
    "Provenance",
    "TranslationTable",
    "bitext_counts",
    "build_table",
    "builtin_languages",
    "builtin_lexicon",
    "check_direction",
    "encode",
    "lexicon_counts",
    "lexicon_evidence",
    "lexicon_text",
]


__getattr__ = lazy_names(__name__, _HOMES)
