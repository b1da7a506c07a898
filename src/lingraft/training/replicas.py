"""Replicas: one training several times at once, each in an order of its own, and the mean of their weights.

They start from the same graft, so they end near enough to each other for the mean of their weights to be a model, and
that one is better than each: what they learned of the chance of an order goes, what they learned in common stays
(Wortsman et al. 2022, "Model soups"). On a CPU that is the better use of more cores: a step of a small model on two
threads takes more than half the time it takes on one.

A replica is a process of its own, which knows nothing of the others and keeps checkpoints of its own. The first one is
the run itself. So nothing is exchanged before the end, and one that was killed goes on where it was.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..cache import replacing
from ..errors import LingraftError, RecipeError, RunError
from ..processes import Processes

#: what a process of a replica runs
_PROGRAM = "from lingraft.training.replicas import serve; serve()"

#: seconds in which a replica that is asked to stop has to save what it has
_STOPPING = 60.0


def replica_seed(seed: int, number: int) -> int:
    """The seed of a replica, counted from 0; the first one has the run's own."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0]) if number else seed


def check_replicas(processes: Processes, replicas: int) -> None:
    """RecipeError where processes of a launcher are to be replicas, which are started by the run itself."""
    if replicas > 1 and processes.size > 1:
        raise RecipeError(
            f"training.replicas={replicas} starts its processes itself, and a launcher has started {processes.size}: "
            "run it without a launcher, or set training.replicas=1."
        )


@dataclass(frozen=True)
class Job:
    """What a replica runs. work: a function of a module, called with these arguments, all of which can be pickled.

    log: the file of what it says on standard error.
    """

    work: Callable[..., None]
    arguments: tuple[Any, ...]
    log: Path


class Alongside:
    """Runs jobs, each in a process of its own, beside what this one does inside; in the end they have ended.

    Where the inside ends with an error (a stop, too) they are asked to stop, and given the time to save what they have.
    They end with this process, however that ends.
    """

    def __init__(self, jobs: Sequence[Job], threads: int) -> None:
        self._jobs = list(jobs)
        self._threads = threads
        self._started: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Alongside:
        try:
            for job in self._jobs:
                self._started.append(_started(job, self._threads))
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop()

    def check(self) -> None:
        """RunError if a replica has failed by now."""
        for number, (process, job) in enumerate(zip(self._started, self._jobs, strict=True), 2):
            if status := process.poll():
                why = _last_words(job.log) or f"its exit status is {status}"
                raise RunError(f"Replica {number} of {len(self._jobs) + 1} has failed: {why}")

    def wait(self) -> None:
        """Until all have done their job; RunError if one fails."""
        while any(process.poll() is None for process in self._started):
            self.check()
            for process in self._started:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=1.0)
        self.check()

    def _stop(self) -> None:
        for process in self._started:
            if process.poll() is None:
                process.terminate()
        for process in self._started:
            try:
                process.wait(timeout=_STOPPING)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdin:
                process.stdin.close()


def _started(job: Job, threads: int) -> subprocess.Popen[bytes]:
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with job.log.open("wb") as log:
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-c", _PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=log,
            env=os.environ | {"OMP_NUM_THREADS": str(threads)},
            start_new_session=True,  # Ctrl-C is for the run, which asks its replicas to stop
        )  # fmt: skip
    if process.stdin:
        with suppress(BrokenPipeError):  # it has failed already, and why is in its log
            pickle.dump((job.work, job.arguments), process.stdin)
            process.stdin.flush()
    return process


def _last_words(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def serve() -> None:
    """The process of a replica: runs the job that comes on standard input, and ends when nobody holds its other end."""
    # written by a process of this run
    work, arguments = pickle.load(sys.stdin.buffer)  # noqa: S301

    def end_with_the_run() -> None:
        # not by way of sys.stdin, whose lock this thread would hold when the interpreter ends
        while os.read(sys.stdin.fileno(), 1):
            pass
        os._exit(1)

    threading.Thread(target=end_with_the_run, daemon=True).start()
    try:
        work(*arguments)
    except LingraftError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_status)


@contextmanager
def threads_shared(replicas: int) -> Iterator[int]:
    """Inside, torch has this process's share of its threads; gives their number."""
    before = torch.get_num_threads()
    share = max(1, before // replicas)
    torch.set_num_threads(share)
    try:
        yield share
    finally:
        torch.set_num_threads(before)


def _parameters(models: Sequence[nn.Module]) -> dict[str, Tensor]:
    """All parameters of some models, which may share some, each once."""
    return dict(nn.ModuleList(models).named_parameters())


def save_weights(models: Sequence[nn.Module], path: Path) -> None:
    """Writes what `average` reads, whole or not at all."""
    with replacing(path) as aside:
        save_file({name: value.detach().cpu().contiguous() for name, value in _parameters(models).items()}, aside)


def average(models: Sequence[nn.Module], paths: Sequence[Path]) -> None:
    """Gives models the mean of their weights and those of files that `save_weights` wrote of the same models.

    In double precision, so that what nothing has moved stays what it is, bit for bit.
    """
    with ExitStack() as stack, torch.no_grad():
        files = [stack.enter_context(safe_open(path, "pt")) for path in paths]
        for name, value in _parameters(models).items():
            total = value.detach().cpu().double()
            for file in files:
                total += file.get_tensor(name).double()
            value.copy_(total / (1 + len(files)))


def replica_report(report: Mapping[str, Any]) -> dict[str, Any]:
    """What run.json says of a replica, of what `Trainer.run` says."""
    return {name: report[name] for name in ("steps", "tokens", "seconds")}
