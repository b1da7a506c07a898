"""The scoreboard: every source model, language, method and task, next to a multilingual model, as tables and a figure.

    python benchmarks/scoreboard.py --lab LAB --out BOARD --sources minilm=MINILM,mpnet=MPNET \\
        --baselines e5-small=E5 --budgets 0,10m --threads 2

Runs the cells that are missing and prints the tables of all that are there. A cell is a source, a language, a row (a
method, trained for a budget or not, or a recipe), a task and a seed. Its number is a JSON file in ``BOARD/cells`` with
command, seed, machine, versions, commit and seconds; so are the grafts and task models that it needs. Each is a process
of its own: a command of lingraft, or a step of benchmarks/scoreboard_steps.py. What was killed goes on where it was.
Several processes may work on one folder, on one machine or on several that share it; none does what another does.
``--shard 1/2`` takes half of the pairs of model and language, for machines that share nothing: copy their folders into
one afterwards. A record depends on models, data and settings, not on where they lie.

Every row has the same target tokenizer, that of lingraft's graft without training. lingraft works from --evidence,
ramen from the bitext, wechsel from word vectors and the lab's dictionary, focus from 8 MB of the lab's running text,
mean and random from nothing. Task models are fine-tuned on English with the vocabulary frozen, one for all languages
and rows; where training moved the English encoder, one on that run's. Baselines go through the same without a swap.
--seeds are of the task models, which stand on the graft of the first of --graft-seeds; all of these are for retrieval
and bits per byte.
"""

from __future__ import annotations

import argparse
import signal
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lab import LANGUAGES, add_lab, given_lab
from scoreboard_plan import METHODS, TASKS, Axes, Cell, Plan, Row
from scoreboard_report import Board, Report, figure
from scoreboard_store import BusyError, FailedError, Store, Unit

#: seconds between two looks at what other processes are doing
_PAUSE = 5.0


def named(text: str) -> dict[str, Path]:
    """NAME=PLACE with commas between."""
    pairs = [part.partition("=") for part in text.split(",") if part]
    if not all(name and place for name, _, place in pairs):
        raise argparse.ArgumentTypeError(f"NAME=PLACE was expected, with commas between several; given: '{text}'")
    return {name: Path(place).absolute() for name, _, place in pairs}


def listed(text: str) -> list[str]:
    """Words with commas between."""
    return [word for word in text.split(",") if word]


def numbers(text: str) -> list[int]:
    """Whole numbers with commas between."""
    return [int(word) for word in listed(text)]


def shard(text: str) -> tuple[int, int]:
    """I/N, counted from 1."""
    part, _, parts = text.partition("/")
    if not (part.isdigit() and parts.isdigit() and 1 <= int(part) <= int(parts)):
        raise argparse.ArgumentTypeError(f"I/N was expected, with I from 1 to N; given: '{text}'")
    return int(part), int(parts)


def rows_of(
    methods: Sequence[str], budgets: Sequence[str], peers: Sequence[str], recipes: dict[str, Path]
) -> list[Row]:
    """The rows: methods without training, then with each of their budgets, then recipes."""
    rows = []
    for budget in dict.fromkeys([*budgets, *peers]):
        for method in methods:
            own = budgets if method in ("lingraft", "untouched") else peers
            if budget in own:
                rows.append(Row(method, None if budget == "0" else budget))
    return rows + [Row(name, None, path) for name, path in recipes.items()]


def taken(cells: Sequence[Cell], part: tuple[int, int]) -> list[Cell]:
    """The cells of a shard: whole pairs of model and language, as they share their grafts."""
    pairs = list(dict.fromkeys((cell.source, cell.language) for cell in cells))
    own = set(pairs[part[0] - 1 :: part[1]])
    return [cell for cell in cells if (cell.source, cell.language) in own]


def fill(cells: Sequence[Cell], store: Store, pause: float = _PAUSE) -> list[str]:
    """Does what is missing, going around what other processes do; what failed, in words."""
    failed: dict[str, None] = {}
    left = list(cells)
    while left:
        busy = []
        for cell in left:
            try:
                store.bring(cell.unit)
            except BusyError:  # noqa: PERF203
                busy.append(cell)
            except FailedError as error:
                if str(error) not in failed:
                    sys.stderr.write(f"{error}\n")
                failed[str(error)] = None
        if busy and len(busy) == len(left):
            time.sleep(pause)
        left = busy
    return list(failed)


class Estimate:
    """How long work takes, from what was timed in this folder."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._seconds: dict[tuple[str, ...], list[float]] = defaultdict(list)
        for record in store.records():
            if record["seconds"]["wall"] is not None:
                like = tuple(record["like"])
                for key in {like, (like[0], like[-1])}:
                    self._seconds[key].append(record["seconds"]["wall"])

    def missing(self, unit: Unit) -> dict[str, Unit]:
        """A unit and all it needs, as far as they are not done, by title."""
        if self._store.record(unit) is not None:
            return {}
        found: dict[str, Unit] = {}
        for need in unit.needs():
            found |= self.missing(need)
        return found | {unit.title: unit}

    def seconds(self, unit: Unit) -> float | None:
        """The median of units like it, else of other models' ones; None where none was timed."""
        known = self._seconds.get(unit.like) or self._seconds.get((unit.like[0], unit.like[-1]))
        return statistics.median(known) if known else None

    def show(self, cells: Sequence[Cell]) -> str:
        """A line a cell, and the sum."""
        lines, everything = [], dict[str, Unit]()
        for cell in cells:
            needed = self.missing(cell.unit)
            new = {title: unit for title, unit in needed.items() if title not in everything}
            everything |= new
            state = "cached" if not needed else self._told(list(new.values()))
            lines.append(f"{cell.unit.title}: {state}")
        done = sum(not self.missing(cell.unit) for cell in cells)
        lines.append(f"{len(cells)} cells, {done} cached; to do: {self._told(list(everything.values()))}")
        return "\n".join(lines)

    def _told(self, units: Sequence[Unit]) -> str:
        times = [self.seconds(unit) for unit in units]
        known = sum(each for each in times if each is not None)
        kinds = (
            ", ".join(dict.fromkeys(" ".join(unit.like) for unit in units)) if len(units) < 9 else "steps of all kinds"
        )
        unknown = sum(each is None for each in times)
        return f"{len(units)} steps ({kinds}), {known:,.0f} s" + (f" and {unknown} never timed" if unknown else "")


def parsed(arguments: Sequence[str] | None = None) -> tuple[argparse.Namespace, Axes]:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_lab(parser)
    add: Any = parser.add_argument
    add("--out", type=Path, required=True, help="the board's folder")
    add("--sources", type=named, required=True, help="NAME=FOLDER, commas between several: English models")
    add("--baselines", type=named, default={}, help="NAME=FOLDER: multilingual models, which read every language")
    add("--languages", type=listed, default=list(LANGUAGES))
    add("--methods", type=listed, default=list(METHODS))
    add("--budgets", type=listed, default=["0"], help="of lingraft: 0 for no training, 300s, 10m, steps=500")
    add("--peer-budgets", type=listed, default=["0"], help="the same of the other methods")
    add("--recipes", type=named, default={}, help="NAME=FILE: further rows, a transfer with this recipe each")
    add("--tasks", type=listed, default=["xnli", "las", "retrieval", "bits"], help=f"of {','.join(TASKS)}")
    add("--seeds", type=numbers, default=[0, 1, 2], help="of task models")
    add("--graft-seeds", type=numbers, help="of grafts, for retrieval and bits; else those of --seeds")
    add("--nli-pairs", type=int, default=60_000, help="the first so many English pairs; 0 for all")
    add("--parse-sentences", type=int, default=0, help="the first so many English sentences; 0 for all")
    add("--evidence", type=listed, default=["bitext", "builtin"], help="of bitext, builtin, dictionary")
    add("--bitext", action="append", default=[], help="in place of the lab's, XX for the language")
    add("--text", action="append", default=[], help="text of the new language, XX for it; else the bitext's side")
    add("--source-text", action="append", default=[], help="English text; else the bitext's side")
    add("--objective", default="auto", help="of the rows with a budget")
    add("--set", action="append", default=[], help="a recipe key of all transfers, KEY=VALUE")
    add("--nli-set", action="append", default=["epochs=1", "learning_rate=1e-4"],
        help="a setting of lingraft finetune nli, KEY=VALUE or NAME:KEY=VALUE for one model")  # fmt: skip
    add("--parse-set", action="append", default=[], help="the same of lingraft finetune parse")
    add("--projected-sentences", type=int, default=12_000, help="trees that the bitext carries over, for `projected`")
    add("--adapt-set", action="append", default=[], help="a setting of lingraft adapt parse, as of --parse-set")
    add("--megabytes", type=float, default=8.0, help="of running text for focus")
    add("--threads", type=int, help="of every process")
    add("--shard", type=shard, default=(1, 1), help="I/N: the I-th of N parts")
    add("--dry-run", action="store_true", help="list the cells, what is cached, and how long the rest may take")
    add("--show", action="store_true", help="print the tables of what is there, and run nothing")
    add("--tables", type=Path, help="write the tables into a file, besides printing them")
    add("--figure", type=Path, help="draw an SVG; needs matplotlib")
    given = parser.parse_args(arguments)
    for chosen, known in (
        (given.methods, METHODS),
        (given.tasks, TASKS),
        (given.evidence, ("bitext", "builtin", "dictionary")),
    ):
        strange = [each for each in chosen if each not in known]
        if strange:
            parser.error(f"'{strange[0]}' is none of {', '.join(known)}")
    axes = Axes(
        lab=given_lab(parser, given).absolute(), sources=given.sources, baselines=given.baselines,
        languages=given.languages, rows=rows_of(given.methods, given.budgets, given.peer_budgets, given.recipes),
        tasks=given.tasks, seeds=given.seeds, graft_seeds=given.graft_seeds or given.seeds, nli_pairs=given.nli_pairs,
        sentences=given.parse_sentences, bitext=given.bitext, text=given.text, source_text=given.source_text,
        evidence=given.evidence, objective=given.objective, settings=given.set,
        task_settings={"nli": given.nli_set, "parse": given.parse_set, "adapt": given.adapt_set},
        megabytes=given.megabytes, projected=given.projected_sentences,
    )  # fmt: skip
    return given, axes


def main() -> int:
    """Runs what is missing and prints the tables."""
    given, axes = parsed()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    store = Store(given.out.absolute(), threads=given.threads)
    cells = list(Plan(axes, store).cells())
    own = taken(cells, given.shard)
    if given.dry_run:
        print(Estimate(store).show(own))
        return 0
    failed = [] if given.show else fill(own, store)
    report = Report(Board(cells, store), axes)
    text = report.text()
    print(text)
    if given.tables:
        given.tables.write_text(text, encoding="utf-8")
    if given.figure:
        figure(report, given.figure)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
