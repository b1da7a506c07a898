"""Python processes that this one starts for a part of its work."""

from __future__ import annotations

import signal
import sys
from pathlib import Path


def python(program: str) -> list[str]:
    """The command that runs a program's text in an interpreter like this one.

    It imports from where this one does; the working folder is no place to import from, unless it is one here.
    """
    return [sys.executable, "-c", f"import sys; sys.path[:] = sys.argv[1:]; {program}", *sys.path]


def reason(status: int, stderr: Path) -> str:
    """Why a process has failed, in words: the signal that ended it, or the last line that it wrote on standard error.

    status: its exit status, below 0 for a signal. stderr: the file that standard error went to.
    """
    if status < 0:
        name = signal.Signals(-status).name
        return f"its process was ended by {name}" + (", perhaps for want of memory" if name == "SIGKILL" else "")
    lines = stderr.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), f"its process ended with status {status}")
