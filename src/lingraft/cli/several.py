"""The command line in several processes of a launcher: the first one speaks."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout

from ..errors import LeaderError, LingraftError
from ..processes import environment_rank, joined, processes

#: seconds the first process has to tell what is wrong
_TELLING = 2.0


def spoken_once(command: Callable[[], object]) -> None:
    """Runs a command; of several processes all but the first are silent, unless one fails where the first does not."""
    rank = environment_rank()
    if rank == 0:
        command()
        return
    try:
        # what is wrong with the command line is wrong for all, and the first says so
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            command()
    except LeaderError as error:
        try:
            processes().await_end()
        except LingraftError:  # there is no way to the leader, which has the same to say
            time.sleep(_TELLING)
        sys.exit(error.exit_status)
    except LingraftError as error:
        if not joined():  # wrong for all, and told by the first; which a launcher must not end before it is told
            time.sleep(_TELLING)
            sys.exit(error.exit_status)
        error.args = (f"process {rank}: {error}", *error.args[1:])
        raise
