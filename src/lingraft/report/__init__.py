"""What a run says of itself: run.json, the summary on the terminal, the cards of its models, and report.html.

    from lingraft.report import report
    report("OUT").path

`folder` reads a finished run's folder, `html` puts the page together out of the other modules' parts: `inputs`,
`vocabulary`, `translations` (the table), `links` (example sentences), `space` (the map), `scores`, `cost` and
`findings`; `charts` draws. The page's template, style and script are in ``templates``.
"""

from typing import TYPE_CHECKING

from ..lazy import lazy_names
from ..machine import peak_memory_mb
from .card import base_license, model_card, write_card
from .summary import environment, score_rows, summary_rows, write_run

if TYPE_CHECKING:
    from .html import Report, report

__all__ = [
    "Report",
    "base_license",
    "environment",
    "model_card",
    "peak_memory_mb",
    "report",
    "score_rows",
    "summary_rows",
    "write_card",
    "write_run",
]

__getattr__ = lazy_names(__name__, {"Report": "html", "report": "html"})
