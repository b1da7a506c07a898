"""Stages of a run on disk: named by the hash of all that goes into them, written aside, then renamed."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .errors import OutputError

#: the card of a model, in its folder
CARD = "README.md"


def digest(value: Any) -> str:
    """SHA-256 (64 hex digits) of a JSON-able value, independent of the order of keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        hasher = hashlib.sha256()
        while block := stream.read(1 << 20):
            hasher.update(block)
    return hasher.hexdigest()


def folder_digest(folder: Path) -> str:
    """SHA-256 over the relative names and contents of all files that make a model.

    Hidden files and its card are left out: a model is the same whatever is said of it.
    """
    files = sorted(
        path for path in folder.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path != folder / CARD
    )  # fmt: skip
    return digest([(str(path.relative_to(folder)), file_digest(path)) for path in files])


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name beside ``path`` for a file or folder to be made there, which takes its place in the end.

    So what lies at ``path`` is always whole. Where an exception ends it, nothing is left behind, and ``path`` is as it
    was.
    """
    aside = path.with_name(f".aside-{os.getpid()}-{path.name}")
    _discard(aside)  # of a killed process that had the same number
    try:
        yield aside
        _open_to_others(aside)
        aside.replace(path)
    finally:
        _discard(aside)


def _open_to_others(folder: Path) -> None:
    """Gives files that were written for their owner alone, as safetensors does, the rights that the folder has."""
    if folder.is_dir():
        rights = folder.stat().st_mode & 0o666
        for path in folder.rglob("*"):
            if path.is_file() and not path.is_symlink() and stat.S_IMODE(path.stat().st_mode) == 0o600:
                path.chmod(rights)


def _discard(path: Path) -> None:
    # what has an impossible name is not there
    with suppress(OSError):
        remove(path)


def refuse_existing(path: Path, option: str = "--out") -> None:
    """OutputError if the place of a result is taken."""
    if path.exists():
        raise OutputError(f"'{path}' is there already; give another {option} or remove it first.")


def write_aside(path: Path, content: str) -> None:
    """Writes a text file so that it is either whole or not there."""
    with replacing(path) as aside:
        aside.write_text(content, encoding="utf-8")


def remove(path: Path) -> None:
    """Removes a file or a folder as far as that goes."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Removes what killed runs left half-written in a folder; nothing else may be writing there."""
    for leftover in folder.glob(".aside-*"):
        remove(leftover)


class StageCache:
    """Folders ``NAME-HASH`` below one folder, each with a ``stage.json`` that says how long it took."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._suffix = ""
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
        #: seconds each stage took when it was made, in the order of use
        self.seconds: dict[str, float] = {}
        #: the same of processor time, of all of this process's threads; not of other processes that a stage starts
        self.cpu_seconds: dict[str, float] = {}
        self.reused: list[str] = []

    def of(self, language: str) -> StageCache:
        """The same cache with ``-LANGUAGE`` behind the names of its stages, for one of several languages."""
        view = copy.copy(self)
        view._suffix = f"-{language}"
        return view

    def path(self, name: str, key: Any) -> Path:
        """Where the stage with this key lies or would lie."""
        return self.folder / f"{name}{self._suffix}-{digest(key)[:20]}"

    def stage(self, name: str, key: Any, make: Callable[[Path], None]) -> Path:
        """The finished folder of a stage; ``make`` fills an empty folder if it has to be made."""
        final = self.path(name, key)
        name += self._suffix
        if final.is_dir():
            told = json.loads((final / "stage.json").read_text(encoding="utf-8"))
            self.seconds[name] = float(told["seconds"])
            if "cpu_seconds" in told:  # stages of earlier versions do not say
                self.cpu_seconds[name] = float(told["cpu_seconds"])
            self.reused.append(name)
            return final
        began, cpu = time.perf_counter(), time.process_time()
        with replacing(final) as aside:
            aside.mkdir()
            make(aside)
            self.seconds[name] = time.perf_counter() - began
            self.cpu_seconds[name] = time.process_time() - cpu
            told = {"seconds": self.seconds[name], "cpu_seconds": self.cpu_seconds[name], "key": key}
            (aside / "stage.json").write_text(json.dumps(told), encoding="utf-8")
        return final

    def value(self, name: str, key: Any, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """A stage whose result is one JSON object."""

        def write(folder: Path) -> None:
            (folder / "value.json").write_text(json.dumps(make()), encoding="utf-8")

        result: dict[str, Any] = json.loads((self.stage(name, key, write) / "value.json").read_text(encoding="utf-8"))
        return result


def publish(made: Path, final: Path, leave_out: Sequence[str] = ()) -> None:
    """Copies a finished folder or file to where the user looks for it, replacing what an earlier try left there.

    leave_out: patterns of the names of files that stay behind.
    """
    with replacing(final) as aside:
        if made.is_dir():
            shutil.copytree(made, aside, ignore=shutil.ignore_patterns("stage.json", ".*", *leave_out))
            shutil.rmtree(final, ignore_errors=True)
        else:
            shutil.copyfile(made, aside)
