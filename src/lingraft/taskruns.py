"""Task models on disk: one folder a seed, scores with their intervals, and run.json beside the weights.

DIR/                a task model, or
DIR/seed-0, ...     one for every seed
DIR/run.json        how it was trained, and every score that was taken of it
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..cache import file_digest
from ..errors import ModelError
from ..report import environment, write_run
from .intervals import bootstrap_interval

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Counts:
    """A score as a ratio of sums over sentences, which is what can be resampled.

    hits, totals: float or int, shape (sentences,); see `lingraft.tasks.bootstrap_interval`.
    """

    hits: Array
    totals: Array

    @property
    def score(self) -> float:
        """sum(hits) / sum(totals)."""
        return float(self.hits.sum() / max(1, self.totals.sum()))


def seed_folders(folder: str | Path) -> list[str]:
    """The models of a task folder: its ``seed-N`` folders in the order of N, or the folder (or hub id) itself."""
    path = Path(folder)
    seeds = [entry for entry in path.glob("seed-*") if entry.name[5:].isdigit()] if path.is_dir() else []
    return [str(entry) for entry in sorted(seeds, key=lambda entry: int(entry.name[5:]))] or [str(folder)]


def score_seeds(
    folder: str | Path, evaluate: Callable[[str], tuple[dict[str, Any], dict[str, Counts]]]
) -> dict[str, Any]:
    """Evaluates every model of a task folder.

    evaluate: from a model's folder to its result and, by name of a score in the result, the counts it is a ratio of.
    Returns the result with each such score as the mean over seeds, ``intervals`` (95 %, over sentences and seeds) and,
    where there are several, ``seeds`` with the score of each.
    """
    results, counts = zip(*(evaluate(name) for name in seed_folders(folder)), strict=True)
    combined: dict[str, Any] = dict(results[0])
    intervals = {}
    for name in counts[0]:
        hits, totals = (np.stack([getattr(each[name], part) for each in counts]) for part in ("hits", "totals"))
        combined[name] = float(np.mean([result[name] for result in results]))
        intervals[name] = list(bootstrap_interval(hits, totals))
    combined["intervals"] = intervals
    if len(results) > 1:
        combined["seeds"] = {name: [result[name] for result in results] for name in counts[0]}
    return combined


def record(folder: str | Path, data: Sequence[Path], score: dict[str, Any]) -> None:
    """Adds a score to the run.json of a task folder; a folder that has none is somebody else's and left as it is."""
    path = Path(folder) / "run.json"
    if not path.is_file():
        return
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
        scores = run.setdefault("evaluations", [])
    except (ValueError, AttributeError):
        raise ModelError(f"'{path}' is not what lingraft wrote there; move it away to have scores recorded.") from None
    entry = {"data": {str(file): file_digest(file) for file in data if file.is_file()}, **score}
    scores[:] = [old for old in scores if (old.get("task"), old.get("data")) != (score["task"], entry["data"])]
    scores.append(entry)
    write_run(path.parent, run)


def start_run(task: str, model: str, files: Sequence[Path]) -> dict[str, Any]:
    """The beginning of a task run's run.json: versions, machine, task, English model, digests of the data."""
    inputs = {str(file): file_digest(file) for file in files if file.is_file()}
    return {**environment(), "task": task, "model": model, "inputs": inputs}
