"""How tokens of the two languages correspond: alignment of a bitext, other evidence, and the table they make.

Names are loaded when they are first used: aligning words needs neither torch nor transformers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .bitext import bitext_counts, bitext_evidence, encode
    from .builtin import builtin_languages, has_builtin
    from .fusion import TRUST, Trust, build_table
    from .lexicon import lexicon_text
    from .lexicons import BUILTIN, lexicon_files, read_lexicons
    from .rows import Evidence
    from .sources import Sources
    from .table import Provenance, TranslationTable

_HOMES = {
    "BUILTIN": "lexicons",
    "TRUST": "fusion",
    "Evidence": "rows",
    "Provenance": "table",
    "Sources": "sources",
    "TranslationTable": "table",
    "Trust": "fusion",
    "bitext_counts": "bitext",
    "bitext_evidence": "bitext",
    "build_table": "fusion",
    "builtin_languages": "builtin",
    "encode": "bitext",
    "has_builtin": "builtin",
    "lexicon_files": "lexicons",
    "lexicon_text": "lexicon",
    "read_lexicons": "lexicons",
}

__all__ = [
    "BUILTIN",
    "TRUST",
    "Evidence",
    "Provenance",
    "Sources",
    "TranslationTable",
    "Trust",
    "bitext_counts",
    "bitext_evidence",
    "build_table",
    "builtin_languages",
    "encode",
    "has_builtin",
    "lexicon_files",
    "lexicon_text",
    "read_lexicons",
]


__getattr__ = lazy_names(__name__, _HOMES)
