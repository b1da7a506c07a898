"""Replicas: one training several times at once, each in an order of its own, and the mean of their weights.

They start from the same graft, so they end near enough to each other for the mean of their weights to be a model, and
that one is better than each: what they learned of the chance of an order goes, what they learned in common stays
(Wortsman et al. 2022, "Model soups"). On a CPU that is another use of cores than threads, as a step of a small model on
two threads takes about three quarters of the time it takes on one.

A replica is a process of its own, which knows nothing of the others and keeps checkpoints of its own. The first one is
the run itself. So nothing is exchanged before the end, and one that was stopped or killed goes on where it was.
"""

from __future__ import annotations

import _thread
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..children import python, reason
from ..errors import LingraftError, RecipeError, RunError, StoppedError
from ..processes import Processes
from .checkpoint import load_checkpoint
from .loop import State
from .stopping import StopSignals

#: what a process of a replica runs
_PROGRAM = "from lingraft.training.replicas import serve; serve()"

#: on the standard input of a replica, behind the job: that it is to save what it has and end
_STOP = b"s"

#: bytes that say how long the job is
_LENGTH = 8

#: seconds in which a replica that is asked to stop has to save what it has
_STOPPING = 60.0

#: exit statuses of one that was asked to stop, by us or by somebody else
_STOPPED = {
    status for number in (signal.SIGTERM, signal.SIGINT) for status in (128 + number, -number)
}  # fmt: skip


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

    Where the inside ends early, by an error or a stop, they are asked to stop and given a minute to save what they
    have. Where this process is killed they end at once.
    """

    def __init__(self, jobs: Sequence[Job], threads: int) -> None:
        self._jobs = list(jobs)
        self._threads = threads
        self.processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Alongside:
        try:
            for job in self._jobs:
                self.processes.append(_started(job, self._threads))
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop()

    def check(self) -> None:
        """RunError if a replica has failed by now; one that was stopped has not."""
        for process, job in zip(self.processes, self._jobs, strict=True):
            status = process.poll()
            if status and status not in _STOPPED:
                raise RunError(
                    f"One of the replicas has failed: {reason(status, job.log)} (all it said is in '{job.log}'). "
                    "lingraft resume goes on from the checkpoints of all."
                )

    def wait(self) -> None:
        """Until all have done their job; RunError if one fails, StoppedError if one, or this process, is stopped."""
        with StopSignals() as signals:
            while running := [process for process in self.processes if process.poll() is None]:
                self.check()
                if signals.received:
                    raise _stopped(signals.received)
                with suppress(subprocess.TimeoutExpired):
                    running[0].wait(timeout=0.5)
        self.check()
        if any(process.returncode for process in self.processes):
            raise _stopped(signal.SIGTERM)

    def _stop(self) -> None:
        for process in self.processes:
            if process.stdin and process.poll() is None:
                with suppress(OSError):  # it has just ended
                    process.stdin.write(_STOP)
                    process.stdin.flush()
        end = time.monotonic() + _STOPPING
        for process in self.processes:
            try:
                process.wait(timeout=max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdin:
                with suppress(OSError):
                    process.stdin.close()


def _stopped(number: int) -> StoppedError:
    name = signal.Signals(number).name
    return StoppedError(f"Stopped by {name} while replicas trained; each goes on from its newest checkpoint.", number)


def _started(job: Job, threads: int) -> subprocess.Popen[bytes]:
    job.log.parent.mkdir(parents=True, exist_ok=True)
    environment = {"OMP_NUM_THREADS": str(threads), "PYTHONIOENCODING": "utf-8"}
    with job.log.open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 -- this interpreter and this module
            python(_PROGRAM), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=log,
            env=os.environ | environment,
            start_new_session=True,  # Ctrl-C is for the run, which asks its replicas to stop
        )  # fmt: skip
    if process.stdin is None:
        raise ValueError("the process has no pipe")
    message = pickle.dumps((job.work, job.arguments, threads))
    with suppress(OSError):  # it has failed already, and why is in its log
        process.stdin.write(len(message).to_bytes(_LENGTH, "big") + message)
        process.stdin.flush()
    return process


def serve() -> None:
    """The process of a replica: does the job that comes on standard input.

    `_STOP` behind it asks to stop, as SIGTERM does; the end of the input, that whoever asked is gone, ends it at once.
    """
    # standard input goes by another number, for on Windows a thread that waits for it has libraries wait for the thread
    commands = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    # written by the run that this is a part of
    work, arguments, threads = pickle.loads(_read(commands, int.from_bytes(_read(commands, _LENGTH), "big")))  # noqa: S301

    def obey() -> None:
        while os.read(commands, 1) == _STOP:
            _thread.interrupt_main(signal.SIGTERM)
        os._exit(1)

    # while it trains the loop takes the signal for a wish (`StopSignals`); before and afterwards nothing is to be saved
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    threading.Thread(target=obey, daemon=True).start()
    torch.set_num_threads(threads)
    try:
        work(*arguments)
    except LingraftError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_status)


def _read(descriptor: int, size: int) -> bytes:
    found = b""
    while len(found) < size:
        more = os.read(descriptor, size - len(found))
        if not more:
            sys.exit(1)  # whoever asked is gone
        found += more
    return found


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


def finished(folder: Path) -> bool:
    """Whether a training with its checkpoints in this folder has come to its end."""
    newest = load_checkpoint(folder) if folder.is_dir() else None
    return newest is not None and newest.step == newest.state["plan"]["steps"]


def average(parameters: Mapping[str, Tensor], folders: Sequence[Path]) -> list[dict[str, Any]]:
    """Gives parameters the mean of themselves and of those of finished trainings, by the names of `Groups`.

    folders: of those trainings' checkpoints. What run.json says of each of them is given, as of `Trainer.run`. The mean
    is taken in double precision, so that what nothing has moved stays what it is, bit for bit.
    """
    totals = {name: value.detach().cpu().double() for name, value in parameters.items()}
    told = []
    for folder in folders:
        newest = load_checkpoint(folder)
        if newest is None:
            raise RunError(
                f"The checkpoint of a replica is gone: '{folder}' has none. lingraft resume trains it again."
            )
        for name, total in totals.items():
            total += newest.tensors[f"parameter.{name}"].double()
        told.append(State.from_json(newest.state).told())
    with torch.no_grad():
        for name, value in parameters.items():
            value.copy_(totals[name] / (1 + len(folders)))
    return told
