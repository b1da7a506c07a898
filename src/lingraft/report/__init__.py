"""What a run says of itself: run.json and the summary on the terminal."""

from .summary import environment, peak_memory_mb, score_rows, summary_rows, write_run

__all__ = ["environment", "peak_memory_mb", "score_rows", "summary_rows", "write_run"]
