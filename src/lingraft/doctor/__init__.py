"""What is wrong or weak before anything is spent, and what a run will take: `lingraft doctor`.

A file a question: `encoding`, `duplicates`, `language`, `scripts` of a text; `parallel` of a bitext; `coverage` of the
evidence; `cost` of the run. `sampling` has what all of them look at, `findings` what they say, and `examination` the
order. Names are loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .examination import doctor, examine
    from .findings import Diagnosis, Finding

_HOMES = {"Diagnosis": "findings", "Finding": "findings", "doctor": "examination", "examine": "examination"}

__all__ = ["Diagnosis", "Finding", "doctor", "examine"]

__getattr__ = lazy_names(__name__, _HOMES)
