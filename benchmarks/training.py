"""How fast lingraft trains both languages, next to transformers' run_mlm and to the published loop.

    python benchmarks/training.py --shapes small,base --rounds 3 --steps 4 --threads 2
    python benchmarks/training.py --shapes base,large --rounds 3              on a machine with a CUDA card
    python benchmarks/training.py --report cpu.json gpu.json                  tables of runs made before
    python benchmarks/training.py --quick                                     under a minute: does everything run?

The methods take turns, round by round, each turn a process of its own on the same text with as many tokens a step for
all. A turn warms up, then times some steps and ends. training_methods.py holds the loops, training_shapes.py the models
and the operations that count as useful. Markdown goes to standard output, everything measured to the file --out names.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import platform
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from training_report import print_report
from training_shapes import SHAPES

MINE = Path(__file__).parent


@dataclass(frozen=True)
class Entry:
    """A row of a table: a loop of training_methods.py with its switches. above: the row it builds on, if not the one
    before it."""

    name: str
    loop: str
    settings: dict[str, Any] = field(default_factory=dict)
    above: str | None = None


METHODS = (
    Entry("run_mlm", "run_mlm"),
    Entry("run_mlm, bf16", "run_mlm", {"bf16": True}),
    Entry("published loop", "plain"),
    Entry("published loop, mixed precision", "plain", {"precision": "mixed"}),
    Entry("lingraft", "lingraft"),
    Entry("lingraft, float32", "lingraft", {"precision": "float32"}),
)

_PLAIN = {"gathered": False, "dropout": 0.1, "precision": "float32"}
_GATHERED = {**_PLAIN, "gathered": True}
_NO_DROPOUT = {**_GATHERED, "dropout": 0.0}
_FUSED = {**_NO_DROPOUT, "fused": True}
_BF16 = {**_FUSED, "precision": "bf16"}

#: each row switches one thing on and keeps those of the rows above it; the last one builds on the plain loop in bf16
LEVERS = (
    Entry("plain: two passes, all logits, dropout, float32", "plain", _PLAIN),
    Entry("+ logits at masked positions alone", "plain", _GATHERED),
    Entry("+ no dropout", "plain", _NO_DROPOUT),
    Entry("+ fused optimizer", "plain", _FUSED),
    Entry("+ bf16", "plain", _BF16),
    Entry("+ lingraft's loop, masks on the device", "lingraft", {"one_pass": False, "whole_last_layer": True}),
    Entry("+ one pass over both languages", "lingraft", {"whole_last_layer": True}),
    Entry("+ last layer at masked positions alone: lingraft as it comes", "lingraft"),
    Entry("plain loop in bf16 + torch.compile", "plain", {**_BF16, "compile": True}, above="+ bf16"),
)

TABLES = {"methods": METHODS, "levers": LEVERS}
QUICK = ("run_mlm", "published loop", "lingraft")


def turn(arguments: argparse.Namespace, entry: Entry, shape: str, cuda: bool) -> dict[str, Any]:
    """One process; what it measured, or why it failed."""
    batch_size = arguments.batch_size or (SHAPES[shape].batch_size if cuda else 8)
    steps = arguments.steps or (50 if cuda else 4)
    warmup = arguments.warmup or (10 if cuda else 2)
    with tempfile.TemporaryDirectory() as scratch:
        job = {
            "loop": entry.loop, "settings": entry.settings, "shape": shape, "batch_size": batch_size, "steps": steps,
            "warmup": warmup, "threads": arguments.threads, "seed": arguments.seed, "text": arguments.text,
            "folder": f"{scratch}/run",
        }  # fmt: skip
        question, answer = Path(scratch, "job.json"), Path(scratch, "report.json")
        question.write_text(json.dumps(job), encoding="utf-8")
        environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
        environment.setdefault("CUDA_VISIBLE_DEVICES", "0")  # run_mlm would take every card it sees
        if arguments.threads:
            environment["OMP_NUM_THREADS"] = str(arguments.threads)
        command = [sys.executable, str(MINE / "training_methods.py"), str(question), str(answer)]
        load = os.getloadavg()[0]
        result: dict[str, Any] = {"batch_size": batch_size, "warmup": warmup, "steps": steps, "load": load}
        try:
            subprocess.run(
                command, check=True, env=environment, timeout=arguments.limit, stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE, text=True, errors="replace",
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return {**result, "failed": f"took more than {arguments.limit} s"}
        except subprocess.CalledProcessError as error:
            said = [line for line in error.stderr.splitlines() if line.strip()]
            return {**result, "failed": said[-1] if said else f"status {error.returncode}"}
        return {**result, **json.loads(answer.read_text(encoding="utf-8"))}


def cpu_name() -> str:
    """The processor's name."""
    with contextlib.suppress(OSError):
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
        if found:
            return found[1]
    return platform.processor() or platform.machine()


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """All rounds; written to --out after every turn, so that a run that is broken off leaves what it has."""
    plan = [
        (table, entry)
        for table, entries in TABLES.items()
        if table in arguments.tables
        for entry in entries
        if table != "methods" or arguments.methods is None or entry.name in arguments.methods
    ]
    rates = turn(arguments, Entry("matrix", "matrix"), "small", cuda=False)
    if "failed" in rates:
        sys.exit(rates["failed"])
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    run: dict[str, Any] = {
        "command": shlex.join(["python", "benchmarks/training.py", *sys.argv[1:]]),
        "began": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "machine": {"cpu": cpu_name(), "cores": cores, "system": platform.system(),
                    "python": platform.python_version(), **rates},
        "text": "files" if arguments.text else "random words",
        "turns": [],
    }  # fmt: skip
    cuda = rates["device"] == "cuda"
    for number in range(arguments.rounds):
        if number:
            again = turn(arguments, Entry("matrix", "matrix"), "small", cuda=False).get("rates", {})
            kept = run["machine"]["rates"]
            kept |= {name: max(rate, kept[name]) for name, rate in again.items()}
        for shape in arguments.shapes:
            first = number % len(plan)  # another one begins each round
            for table, entry in plan[first:] + plan[:first]:
                result = turn(arguments, entry, shape, cuda)
                about = {"round": number, "shape": shape, "table": table, "method": entry.name, "above": entry.above}
                run["turns"].append({**about, **result})
                said = result.get("failed") or f"{result['tokens'] / result['seconds']:,.0f} tokens/s"
                print(f"round {number + 1}, {shape}, {entry.name}: {said}", file=sys.stderr, flush=True)
                arguments.out.write_text(json.dumps(run, indent=1), encoding="utf-8")
    return run


def names(allowed: Iterable[str]) -> Any:
    """A comma-separated list of these."""

    def parse(text: str) -> list[str]:
        found = [name for name in text.split(",") if name]
        for name in found:
            if name not in allowed:
                raise argparse.ArgumentTypeError(f"'{name}' is none of {', '.join(allowed)}")
        return found

    return parse


def main() -> None:
    """Measures, or reads what was measured, and prints tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", type=names(SHAPES), default=["small", "base"], help=f"of {','.join(SHAPES)}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, help="steps timed a turn; 4, on a CUDA card 50")
    parser.add_argument("--warmup", type=int, help="steps before them; 2, on a CUDA card 10")
    parser.add_argument("--batch-size", type=int, help="sequences of 256 tokens a language and step; 8, on a card more")
    parser.add_argument("--threads", type=int, help="threads of each process")
    parser.add_argument("--text", nargs=2, metavar=("EN", "XX"), help="text to train on; else random words")
    parser.add_argument("--method", dest="methods", action="append", choices=[entry.name for entry in METHODS])
    parser.add_argument("--tables", type=names(TABLES), default=list(TABLES), help=f"of {','.join(TABLES)}")
    parser.add_argument("--limit", type=int, default=3600, help="seconds after which a turn is ended")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("build/training.json"))
    parser.add_argument("--quick", action="store_true", help="small shape, one round, three methods, few tokens")
    parser.add_argument("--report", type=Path, nargs="+", metavar="FILE", help="only print what these files hold")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.shapes, arguments.rounds, arguments.tables = ["small"], 1, ["methods"]
        arguments.steps, arguments.warmup, arguments.batch_size = 1, 1, 1
        arguments.methods = list(QUICK)
    if arguments.report:
        runs = [json.loads(path.read_text(encoding="utf-8")) for path in arguments.report]
    else:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        runs = [measure(arguments)]
    print_report(runs)


if __name__ == "__main__":
    main()
