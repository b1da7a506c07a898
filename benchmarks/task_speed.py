"""Where the time of parsing and of evaluating inference goes, as Markdown tables: sentences a second, shares of a run.

    python benchmarks/task_speed.py parse PARSER FILE.conllu
    python benchmarks/task_speed.py nli MODEL FILE.tsv

PARSER and MODEL are a ``seed-N`` folder of lingraft finetune. Times are wall-clock, medians of --repeats runs; the
model is loaded and warm and FILE read before. Nothing else should run on the machine.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch

from lingraft.tasks.kinds import KINDS


class Stopwatch:
    """Seconds inside of functions and modules, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    def around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed."""

        def timed(*given: Any, **named: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*given, **named)
            finally:
                self.seconds[name] += time.perf_counter() - began

        return timed

    @contextmanager
    def inside(self, *places: tuple[str, Any, str]) -> Iterator[None]:
        """Times attributes (name, object, attribute) while it lasts."""
        patches = [patch.object(thing, key, self.around(name, getattr(thing, key))) for name, thing, key in places]
        for each in patches:
            each.start()
        try:
            yield
        finally:
            for each in patches:
                each.stop()


def rows(runs: list[tuple[float, dict[str, float]]], n: int, unit: str) -> Iterator[str]:
    """Table rows: the rate, then the share of each part."""
    total = statistics.median(seconds for seconds, _ in runs)
    yield f"| all | {total:.2f} | 100 % | {n / total:,.0f} {unit}/s |"
    for name in runs[0][1]:
        part = statistics.median(parts[name] for _, parts in runs)
        yield f"| {name} | {part:.2f} | {100 * part / total:.1f} % | |"


def show(title: str, runs: list[tuple[float, dict[str, float]]], n: int, unit: str) -> None:
    """One table."""
    print(f"\n{title}, {n:,} {unit}\n\n| | seconds | share | rate |\n|---|---|---|---|")
    print("\n".join(rows(runs, n, unit)))


def parse(arguments: argparse.Namespace) -> None:
    """Parsing: the encoder, the scores above it, the trees."""
    from lingraft.tasks.parsing import parser as room

    model = KINDS["parse"].load(arguments.model)
    sentences = KINDS["parse"].read(arguments.file)
    for precision in arguments.precisions.split(","):
        model.parse(sentences[:200], precision=precision)
        runs = []
        for _ in range(arguments.repeats):
            watch = Stopwatch()
            with watch.inside(
                ("words to subwords", model.subwords, "encode"), ("encoder", model.encoder, "forward"),
                ("scores of arcs", model.head, "forward"), ("trees", room, "decode_trees"),
                ("labels", model.head, "labels"),
            ):  # fmt: skip
                began = time.perf_counter()
                model.parse(sentences, precision=precision)
                runs.append((time.perf_counter() - began, dict(watch.seconds)))
        show(f"Parsing, {precision}", runs, len(sentences), "sentences")


def nli(arguments: argparse.Namespace) -> None:
    """Inference: the transformer (its classifier included) and the rest."""
    model = KINDS["nli"].load(arguments.model)
    data = KINDS["nli"].read(arguments.file)
    for precision in arguments.precisions.split(","):
        model.predict(data.premises[:200], data.hypotheses[:200], precision)
        runs = []
        for _ in range(arguments.repeats):
            watch = Stopwatch()
            with watch.inside(("encoder", model.encoder, "forward")):
                began = time.perf_counter()
                model.predict(data.premises, data.hypotheses, precision)
                runs.append((time.perf_counter() - began, dict(watch.seconds)))
        show(f"Inference, {precision}", runs, len(data.premises), "pairs")


def main() -> None:
    """Measures one of the two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=("nli", "parse"))
    parser.add_argument("model")
    parser.add_argument("file")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--precisions", default="float32,bf16", help="of the encoder")
    arguments = parser.parse_args()
    {"nli": nli, "parse": parse}[arguments.task](arguments)
    print(f"\ntorch {torch.__version__}, {torch.get_num_threads()} threads")


if __name__ == "__main__":
    sys.exit(main())
