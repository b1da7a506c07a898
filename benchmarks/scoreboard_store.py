"""Work that is done once: records on disk, locks between processes, and the processes that do it.

A unit of work is one process. What it says is a record, a JSON file below ``OUT/cells`` written aside and then renamed,
with command, machine, versions, commit and seconds. While it runs, a file below ``OUT/locks`` is locked (flock), by
the process that does it too: so nobody else does the same, not even where the scoreboard itself was killed and its
child goes on, and the lock of dead processes is free.
"""

from __future__ import annotations

import fcntl
import json
import os
import resource
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cache, cached_property
from pathlib import Path
from typing import IO, Any

from lingraft.cache import digest, remove, write_aside

Record = dict[str, Any]

#: steps that no command of lingraft does
STEPS = Path(__file__).with_name("scoreboard_steps.py")


@dataclass(frozen=True)
class Unit:
    """One process of work.

    name: path below the folder, without the digest of the key. key: all that the result depends on. like: units with
    the same take about as long as each other, the first word alone is the kind. needs: what has to be done before, each
    asked for when the one before is done. command: what is run, known when that is done. folder: what it makes
    besides its record, if anything; whole: whether that is renamed into its place when it is finished, so that its
    being there means that it is. finish: called when the command is done, with its result; gives more for the record.
    """

    name: str
    key: Any
    like: tuple[str, ...]
    command: Callable[[], list[str]]
    needs: Callable[[], Iterable[Unit]] = tuple
    folder: Path | None = None
    whole: bool = True
    finish: Callable[[], Record] = dict

    @property
    def title(self) -> str:
        """Name and digest, which names the record."""
        return f"{self.name}-{digest(self.key)[:8]}"


@dataclass(frozen=True)
class Ran:
    """What a process printed, and its time in seconds: on the clock, and of processors with all its children."""

    stdout: str
    wall: float | None
    cpu: float | None


#: runs a command with a file for its standard error and a locked file that it keeps open
Run = Callable[[Sequence[str], Path, IO[Any]], Ran]


def run_process(threads: int | None = None) -> Run:
    """Runs commands as processes with so many threads, and takes them along if this one is stopped.

    Steps in Python are forked off this process where there is no card: importing torch and transformers costs each of
    them seven seconds of a processor otherwise.
    """
    # read when torch and numba are imported, which is later
    os.environ.update({name: str(threads) for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS") if threads})

    def run(command: Sequence[str], log: Path, lock: IO[Any]) -> Ran:
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        with log.open("a", encoding="utf-8") as errors:
            if list(command[:2]) == [sys.executable, str(STEPS)] and _may_fork():
                stdout, status = _forked(command, errors)
            else:
                stdout, status = _started(command, errors, lock)
        if status:
            raise subprocess.CalledProcessError(status, command)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return Ran(stdout, round(time.perf_counter() - began, 2), round(cpu, 2))

    return run


def _started(command: Sequence[str], errors: IO[Any], lock: IO[Any]) -> tuple[str, int]:
    """Output and status of a command."""
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, pass_fds=(lock.fileno(),))
    try:
        stdout, _ = child.communicate()
    except BaseException:
        child.send_signal(signal.SIGTERM)
        child.wait()
        raise
    return stdout, child.returncode


@cache
def _may_fork() -> bool:
    """Imports what steps need. A card's driver does not survive a fork."""
    import torch

    import lingraft.taskruns  # noqa: F401

    return not torch.cuda.is_available()


def _forked(command: Sequence[str], errors: IO[Any]) -> tuple[str, int]:
    """The same of a step, in a copy of this process, which has run nothing with torch and so has no threads of it.

    All open files are the copy's too, locks among them.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        status = 1
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.dup2(writing, 1)
            os.dup2(errors.fileno(), 2)
            sys.stdout, sys.stderr = (os.fdopen(each, "w", encoding="utf-8", closefd=False) for each in (1, 2))
            sys.argv = list(command[1:])
            runpy.run_path(command[1], run_name="__main__")
            status = 0
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    os.close(writing)
    try:
        with os.fdopen(reading, encoding="utf-8") as stream:
            stdout = stream.read()
        _, waited = os.waitpid(child, 0)
    except BaseException:
        os.kill(child, signal.SIGTERM)
        os.waitpid(child, 0)
        raise
    return stdout, os.waitstatus_to_exitcode(waited)


class BusyError(Exception):
    """Another process does this unit."""


class FailedError(Exception):
    """A unit's process ended with an error."""


class Store:
    """The folder of a scoreboard. run: how a command is run. threads: told in records."""

    def __init__(self, folder: Path, run: Run | None = None, threads: int | None = None) -> None:
        self.folder = folder
        self._run = run or run_process(threads)
        self._threads = threads
        self._failed: dict[str, str] = {}

    def record_path(self, unit: Unit) -> Path:
        """Where the record of a unit lies."""
        return self.folder / "cells" / f"{unit.title}.json"

    def record(self, unit: Unit) -> Record | None:
        """The record of a unit that is done, or None."""
        if unit.folder is not None and not unit.folder.exists():
            return None
        try:
            found: Record = json.loads(self.record_path(unit).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return found

    def bring(self, unit: Unit) -> Record:
        """The record of a unit, done if it was not, with all that it needs before. Raises BusyError and FailedError."""
        found = self.record(unit)
        if found is not None:
            return found
        if unit.title in self._failed:
            raise FailedError(self._failed[unit.title])
        for need in unit.needs():
            self.bring(need)
        with self._locked(unit) as lock:
            found = self.record(unit)  # perhaps done since it was looked for
            return self._do(unit, lock) if found is None else found

    def _do(self, unit: Unit, lock: IO[Any]) -> Record:
        command = unit.command()
        log = self.folder / "logs" / f"{unit.title}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        if unit.folder is not None:
            unit.folder.parent.mkdir(parents=True, exist_ok=True)
            for leftover in unit.folder.parent.glob(f".aside-*-{unit.folder.name}"):
                remove(leftover)
        if unit.folder is not None and unit.whole and unit.folder.exists():
            ran = Ran("", None, None)  # its process went on to its end after the scoreboard was killed
        else:
            sys.stderr.write(f"{datetime.now():%H:%M:%S} {unit.title}\n")
            try:
                ran = self._run(command, log, lock)
            except subprocess.CalledProcessError as error:
                lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or [""]
                self._failed[unit.title] = f"{unit.title} ended with status {error.returncode}: {lines[-1]} ({log})"
                raise FailedError(self._failed[unit.title]) from None
        record = {
            "unit": unit.name, "like": list(unit.like), "key": unit.key, "command": command, **self._made,
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "seconds": {"wall": ran.wall, "cpu": ran.cpu}, "result": json.loads(ran.stdout) if ran.stdout else None,
        }  # fmt: skip
        record |= unit.finish()
        path = self.record_path(unit)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_aside(path, json.dumps(record, indent=1, ensure_ascii=False) + "\n")
        return record

    @contextmanager
    def _locked(self, unit: Unit) -> Iterator[IO[Any]]:
        path = self.folder / "locks" / unit.title
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.seek(0)
                raise BusyError(f"{unit.title} is being done by {file.read().strip() or 'another process'}") from None
            file.truncate(0)
            file.write(f"process {os.getpid()} of {socket.gethostname()}")
            file.flush()
            yield file

    @cached_property
    def _made(self) -> Record:
        """With what records are made from here on."""
        from lingraft.report import environment

        here = Path(__file__).parent
        made = environment()
        if self._threads:
            made["machine"]["threads"] = self._threads
        made["machine"]["host"] = socket.gethostname()
        with suppress(OSError, subprocess.CalledProcessError):
            git = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
            made["commit"] = subprocess.run(git, check=True, capture_output=True, text=True).stdout.strip()
        return made

    def records(self) -> Iterator[Record]:
        """All records there are, of other settings too."""
        for path in sorted((self.folder / "cells").rglob("*.json")):
            yield json.loads(path.read_text(encoding="utf-8"))


def slimmed(folder: Path, *names: str) -> None:
    """Removes parts of a finished run that can be made again or lie elsewhere."""
    for name in names:
        shutil.rmtree(folder / name, ignore_errors=True)
