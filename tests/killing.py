"""Runs as a program: a run that is killed (SIGKILL) again and again, at points named beforehand, and resumed each time.

The argument is a JSON object: recipe, whole (the folder of an uninterrupted run), broken (the folder of the one that is
killed), batches (the run dies in its so-many-th training step, one number a process), commits (whether it dies in front
of every commit of a finished thing as well). Prints the points as JSON. Every run is a fork of this process, which has
imported everything and computed nothing.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import torch

from lingraft.recipe import build_recipe
from lingraft.training.distillation import Distillation
from lingraft.training.language_modelling import LanguageModelling
from lingraft.transfer import resume, run_recipe


def in_fork(action: Callable[[], object]) -> int:
    """The wait status of a child that does this."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            action()
            status = 0
        except BaseException:
            traceback.print_exc()
        sys.stderr.flush()
        os._exit(status)
    return os.waitpid(child, 0)[1]


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def on_commit(call: Callable[[str], None]) -> None:
    """Has this called with the final name before anything is renamed to it."""
    for name in ("rename", "replace"):
        original = getattr(Path, name)

        def watched(self: Path, target: Path, original: Callable[[Path, Path], Path] = original) -> Path:
            call(Path(target).name)
            return original(self, target)

        setattr(Path, name, watched)


def die_before(point: str) -> None:
    on_commit(lambda name: die() if name == point else None)


def die_in_batch(number: int) -> None:
    for objective in (Distillation, LanguageModelling):
        calls = iter(range(1, number))
        original = objective.loss

        def counted(self, *arguments, calls=calls, original=original, **named):
            if next(calls, None) is None:
                die()
            return original(self, *arguments, **named)

        objective.loss = counted


def main(spec: dict) -> list[str]:
    recipe = build_recipe(spec["recipe"])
    whole, broken = Path(spec["whole"]), Path(spec["broken"])
    points_file = whole.with_suffix(".points")

    def uninterrupted() -> None:
        def note(name: str) -> None:
            with points_file.open("a", encoding="utf-8") as stream:
                stream.write(name + "\n")

        on_commit(note)
        run_recipe(recipe, whole)
        assert torch.get_num_threads() == 1, "numba has changed torch's number of threads"

    def go_on() -> None:
        if (broken / "recipe.yaml").is_file():
            resume(broken)
        else:
            run_recipe(recipe, broken)

    def killed(prepare: Callable[[], None]) -> None:
        def run() -> None:
            prepare()
            go_on()

        status = in_fork(run)
        if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
            raise SystemExit(f"not killed: status {status}")

    if in_fork(uninterrupted):
        raise SystemExit("the uninterrupted run failed")
    points = list(dict.fromkeys(points_file.read_text(encoding="utf-8").splitlines()))
    for point in points if spec["commits"] else ():
        killed(lambda point=point: die_before(point))
    for number in spec["batches"]:
        killed(lambda number=number: die_in_batch(number))
    if in_fork(go_on):
        raise SystemExit("the run that was killed did not go on to its end")
    return points


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.stdout.write(json.dumps(main(json.loads(sys.argv[1]))))
