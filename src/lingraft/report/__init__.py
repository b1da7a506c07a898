"""What a run says of itself: run.json and the summary on the terminal."""

from ..machine import peak_memory_mb
from .summary import environment, score_rows, summary_rows, write_run

__all__ = ["environment", "peak_memory_mb", "score_rows", "summary_rows", "write_run"]
