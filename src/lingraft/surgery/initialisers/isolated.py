"""An initialiser in a process of its own, so that the time and the memory it takes are its own.

The process is given one JSON object on standard input and answers with JSON lines on standard output: how far it is,
and in the end what it took, or which error there was. The table goes through a file.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ... import errors
from ...children import python, reason
from ...errors import LingraftError, RunError
from ...evidence import TranslationTable
from .files import InputFiles
from .interface import Initialisation, Method, OnProgress, check_method

#: what the other process runs
_PROGRAM = "from lingraft.surgery.initialisers.isolated import answer; answer()"


@dataclass(frozen=True, eq=False)
class MeasuredInitialisation:
    """An initialisation and what it took.

    seconds: from opening the first input file to the last of the model's new rows. peak_memory_mb: largest resident
    size of the process in MB of 10^6 bytes, which has the interpreter, the libraries and the model in it too (`random`
    needs little more than these); None where the system does not tell.
    """

    initialisation: Initialisation
    seconds: float
    peak_memory_mb: int | None


def measured_initialisation(
    method: Method, model: str, tokenizer: str, files: InputFiles, seed: int = 0, on_progress: OnProgress | None = None
) -> MeasuredInitialisation:
    """Makes the rows of a model under another tokenizer in a fresh process.

    Raises what the method raises, and RunError if the process ends without an answer.
    """
    with tempfile.TemporaryDirectory(prefix="lingraft-init-") as folder:
        job: dict[str, Any] = {
            "method": method, "model": model, "tokenizer": tokenizer, "files": files.as_dict(), "seed": seed,
            "table": str(Path(folder) / "table.npz"),
        }  # fmt: skip
        done = _answer(job, Path(folder) / "stderr", on_progress)
        table = TranslationTable.load(Path(job["table"]))
    made = Initialisation(table, done["unknown"], done["balanced"], done["calibrated"])
    return MeasuredInitialisation(made, done["seconds"], done["peak_memory_mb"])


def _answer(job: dict[str, Any], stderr: Path, on_progress: OnProgress | None) -> dict[str, Any]:
    with (
        stderr.open("wb") as errors_of_it,
        subprocess.Popen(  # noqa: S603 -- this interpreter and this module
            python(_PROGRAM), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors_of_it,
            text=True, encoding="utf-8",
        ) as process,
    ):  # fmt: skip
        if process.stdin is None or process.stdout is None:
            raise ValueError("the process has no pipes")
        with suppress(BrokenPipeError):  # it ended at once, and has said why elsewhere
            process.stdin.write(json.dumps(job))
            process.stdin.close()
        found: dict[str, Any] = {}
        for line in process.stdout:
            found = json.loads(line)
            if "progress" in found and on_progress:
                on_progress(*found["progress"])
    if "error" in found:
        # one of ours, by name: any other would have ended the process without an answer
        kind: type[LingraftError] = getattr(errors, found["error"])
        raise kind.__new__(kind, found["message"])  # the message is made already
    if "seconds" not in found:
        raise RunError(f"Making new rows with '{job['method']}' failed: {reason(process.returncode, stderr)}.")
    return found


def run_job(job: dict[str, Any], on_progress: OnProgress | None = None) -> dict[str, Any]:
    """What the process does: makes the rows, writes the table, and tells what it took."""
    from ...machine import peak_memory_mb
    from ...training import calibrate_output
    from .. import graft_with, initialise, load_model, load_tokenizer

    method = check_method(job["method"])
    source, target = load_model(job["model"]), load_tokenizer(job["tokenizer"])
    began = time.perf_counter()
    files = InputFiles.from_dict(job["files"])
    inputs = files.read(method, job["seed"], on_progress, copy_shared=source.kind == "causal")
    made = initialise(method, source.tokenizer, target, inputs)
    grafted = graft_with(source, target, made, job["seed"])
    if made.calibrated:
        calibrate_output(grafted, inputs.running_text)
    seconds, peak = time.perf_counter() - began, peak_memory_mb()
    made.table.save(Path(job["table"]))
    return {
        "unknown": made.unknown, "balanced": made.balanced, "calibrated": made.calibrated, "seconds": seconds,
        "peak_memory_mb": peak,
    }  # fmt: skip


def answer() -> None:
    """Answers what is asked on standard input."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library writes there is no answer

    def say(answer: dict[str, Any]) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    try:
        say(run_job(json.load(sys.stdin), lambda done, note: say({"progress": [done, note]})))
    except LingraftError as error:
        say({"error": type(error).__name__, "message": str(error)})
