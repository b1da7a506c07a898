"""What a run says of itself: run.json, the summary on the terminal, and the cards of its models."""

from ..machine import peak_memory_mb
from .card import base_license, model_card, write_card
from .summary import environment, score_rows, summary_rows, write_run

__all__ = [
    "base_license",
    "environment",
    "model_card",
    "peak_memory_mb",
    "score_rows",
    "summary_rows",
    "write_card",
    "write_run",
]
