"""The meter's lines for other programs: JSON Lines, TensorBoard, Weights & Biases, by Accelerate's trackers.

    FOLDER/metrics.jsonl    always, one JSON object a line
           tensorboard/     event files
           wandb/           what wandb keeps here, and in ``wandb-id`` which of its runs this is

A run that was resumed goes on in the same places. It comes to the same numbers again up to where it was killed, so
whatever is in metrics.jsonl already is not sent a second time.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..errors import MissingExtraError, RunError
from .meter import Progress

#: for each tracker the package it needs besides accelerate, and the extra that has both
_NEEDS = {"jsonl": (None, "track"), "tensorboard": ("tensorboard", "track"), "wandb": ("wandb", "wandb")}


def check_trackers(names: Sequence[str]) -> None:
    """MissingExtraError if a tracker's package is not installed."""
    for name in names:
        package, extra = _NEEDS[name]
        for needed in ("accelerate", package):
            if needed and find_spec(needed) is None:
                raise MissingExtraError(f"The tracker '{name}' (training.track)", extra)


class Tracking:
    """Sends the meter's lines to trackers; without any it does nothing.

    names: of ``jsonl``, ``tensorboard``, ``wandb``. folder: for their files. config: of the run, where it is shown.
    """

    def __init__(self, names: Sequence[str], folder: Path, config: dict[str, Any]) -> None:
        self._trackers: list[Any] = []
        self._last = -1
        if not names:
            return
        check_trackers(names)
        from accelerate import PartialState
        from accelerate.tracking import TensorBoardTracker, WandBTracker

        PartialState()  # by which trackers know whether this is the process that logs
        folder.mkdir(parents=True, exist_ok=True)
        self._last = _mend(folder / "metrics.jsonl")
        self._trackers = [_jsonl_tracker(folder / "metrics.jsonl")]
        if "tensorboard" in names:  # what was sent in the moment of a kill, and is not in metrics.jsonl, is dropped
            self._trackers.append(TensorBoardTracker("tensorboard", folder, purge_step=self._last + 1))
        if "wandb" in names:
            identity = folder / "wandb-id"
            if not identity.is_file():
                identity.write_text(uuid.uuid4().hex, encoding="utf-8")
            name = identity.read_text(encoding="utf-8")
            self._trackers.append(WandBTracker("lingraft", dir=str(folder), id=name, resume="allow", config=config))
        try:
            for tracker in self._trackers:
                tracker.start()
        except Exception as error:  # whatever a service that is not reached may raise
            raise RunError(f"The tracker '{tracker.name}' does not start: {error}") from error

    def __enter__(self) -> Tracking:
        return self

    def __exit__(self, *_: object) -> None:
        for tracker in self._trackers:
            tracker.finish()

    def log(self, progress: Progress) -> None:
        """Sends a line, unless one of that step was sent before."""
        if progress.step <= self._last:
            return
        self._last = progress.step
        # metrics.jsonl comes last: what is there has been sent everywhere
        for tracker in reversed(self._trackers):
            tracker.log(progress.values(), step=progress.step)


def _mend(path: Path) -> int:
    """The last step in a file of JSON lines, or -1; cuts off what a kill left half-written."""
    if not path.is_file():
        return -1
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        path.write_bytes(whole)
    lines = whole.splitlines()
    return int(json.loads(lines[-1])["step"]) if lines else -1


def _jsonl_tracker(path: Path) -> Any:
    from accelerate.tracking import GeneralTracker

    class JsonLinesTracker(GeneralTracker):  # type: ignore[misc]
        name = "jsonl"
        requires_logging_directory = True
        tracker = path

        def log(self, values: dict[str, Any], step: int | None = None, **_: Any) -> None:
            with path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps({"step": step, **values}) + "\n")

    return JsonLinesTracker()
