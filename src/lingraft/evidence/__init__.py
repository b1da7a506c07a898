"""How tokens of the two languages correspond: alignment of a bitext, other evidence, and the table they make.

Names are loaded when they are first used: aligning words needs neither torch nor transformers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .bitext import bitext_counts, bitext_evidence, encode
    from .builtin import builtin_languages, builtin_lexicon, has_builtin, lexicon_text
    from .fusion import TRUST, Trust, build_table
    from .lexicon import check_direction, lexicon_counts, lexicon_evidence
    from .lexicons import BUILTIN, BUILTIN_LICENCE, lexicon_files, read_lexicons
    from .rows import Evidence
    from .sources import Sources
    from .table import Provenance, TranslationTable

_HOMES = {
    "BUILTIN": "lexicons",
    "BUILTIN_LICENCE": "lexicons",
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
    "builtin_lexicon": "builtin",
    "check_direction": "lexicon",
    "encode": "bitext",
    "has_builtin": "builtin",
    "lexicon_counts": "lexicon",
    "lexicon_evidence": "lexicon",
    "lexicon_files": "lexicons",
    "lexicon_text": "builtin",
    "read_lexicons": "lexicons",
}

__all__ = [
    "BUILTIN",
    "BUILTIN_LICENCE",
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
    "builtin_lexicon",
    "check_direction",
    "encode",
    "has_builtin",
    "lexicon_counts",
    "lexicon_evidence",
    "lexicon_files",
    "lexicon_text",
    "read_lexicons",
]


__getattr__ = lazy_names(__name__, _HOMES)
