"""Markdown from what ``training.py`` measured."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

from training_shapes import LENGTH, MASKED, SHAPES, VOCABULARY, useful_flop

Run = dict[str, Any]
Turn = dict[str, Any]

NOT_MEASURED = "not measured"


class Results:
    """The turns of one shape and table in one run."""

    def __init__(self, run: Run, shape: str, table: str) -> None:
        self._rates = run["machine"]["rates"]
        self._flop = useful_flop(SHAPES[shape])
        self.turns = [turn for turn in run["turns"] if turn["shape"] == shape and turn["table"] == table]
        self.methods = list(
            dict.fromkeys(turn["method"] for turn in sorted(self.turns, key=lambda turn: turn["round"]))
        )

    def of(self, method: str) -> list[Turn]:
        """A method's turns that went well."""
        return [turn for turn in self.turns if turn["method"] == method and "failed" not in turn]

    def failure(self, method: str) -> str:
        """Why its first turn did not go well."""
        return next(str(turn["failed"]) for turn in self.turns if turn["method"] == method)

    def median(self, method: str, value: Callable[[Turn], float]) -> float:
        """Over the rounds."""
        return statistics.median(map(value, self.of(method)))

    def ratio(self, method: str, other: str) -> str:
        """Speed as a multiple of another's in the same round: median, least and greatest."""
        speeds = [{turn["round"]: speed(turn) for turn in self.of(name)} for name in (method, other)]
        ratios = [speeds[0][number] / speeds[1][number] for number in speeds[0].keys() & speeds[1].keys()]
        if not ratios:
            return "–"
        middle = f"{statistics.median(ratios):.2f}"
        return middle if len(ratios) == 1 else f"{middle} ({min(ratios):.2f}–{max(ratios):.2f})"

    def share(self, method: str) -> str:
        """Useful operations a second over the machine's rate of matrix products in the method's own precision."""
        rate = self._rates[self.of(method)[0]["precision"]]
        return f"{100 * self.median(method, speed) * self._flop / rate:.0f} %"


def speed(turn: Turn) -> float:
    """Tokens a second, both languages together."""
    return float(turn["tokens"] / turn["seconds"])


def cpu(turn: Turn) -> float:
    """Processor seconds for 1,000 tokens."""
    return float(1000 * turn["cpu_seconds"] / turn["tokens"])


def peak(turn: Turn) -> float:
    """Most memory in MB: the card's where there is one, else the process's."""
    return float(turn["device_peak_mb"] if "device_peak_mb" in turn else turn["peak_mb"])


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A Markdown table."""
    print(f"| {' | '.join(head)} |")
    print("|---" * len(head) + "|")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    print()


def methods_table(results: Results) -> None:
    """What every method takes."""
    rows = []
    for name in results.methods:
        if not results.of(name):
            rows.append([name, f"failed: {results.failure(name)}", *[""] * 6])
            continue
        rows.append([
            name, results.of(name)[0]["precision"], f"{results.median(name, speed):,.0f}",
            results.ratio(name, "run_mlm"), results.ratio(name, "run_mlm, bf16"),
            f"{results.median(name, cpu):.2f}", f"{results.median(name, peak):,.0f}", results.share(name),
        ])  # fmt: skip
    head = ["method", "precision", "tokens/s", "× run_mlm", "× run_mlm in bf16", "CPU s / 1,000 tokens", "peak MB",
            "share of the matrix rate"]  # fmt: skip
    table(head, rows)


def levers_table(results: Results) -> None:
    """What every lever brings on top of those above it."""
    rows = []
    last = None
    for name in results.methods:
        if not results.of(name):
            rows.append([name, f"failed: {results.failure(name)}", *[""] * 4])
            continue
        above = results.of(name)[0]["above"] or last
        rows.append([
            name, f"{results.median(name, speed):,.0f}", results.ratio(name, above) if above else "",
            results.ratio(name, results.methods[0]), f"{results.median(name, peak):,.0f}", results.share(name),
        ])  # fmt: skip
        last = name
    table(["lever", "tokens/s", "× what it builds on", "× the first row", "peak MB", "share of the matrix rate"], rows)


def describe(run: Run) -> None:
    """The machine and the conditions."""
    m = run["machine"]
    loads = [turn["load"] for turn in run["turns"]]
    rates = ", ".join(f"{name} {rate / 1e12:.2f}" for name, rate in m["rates"].items() if name != "side")
    where = f"{m['card']}, " if m["card"] else ""
    print(
        f"{where}{m['cpu']}, {m['cores']} cores, {m['threads']} threads, Python {m['python']}, torch {m['torch']}, "
        f"transformers {m['transformers']}. Products of {m['rates']['side']:,}-cube matrices, best of the run: {rates} "
        f"TFLOP/s. Load before a turn {min(loads):.1f}–{max(loads):.1f}. {run['began'][:10]}, `{run['command']}`\n"
    )


def targets(runs: list[Run]) -> None:
    """What was to be reached, on a processor and on a card."""

    def cells(shape: str, value: Callable[[Results], str]) -> list[str]:
        found = {"cpu": NOT_MEASURED, "cuda": NOT_MEASURED}
        for run in runs:
            results = Results(run, shape, "methods")
            if results.of("lingraft"):
                found[run["machine"]["device"]] = value(results)
        return list(found.values())

    rows = []
    for shape in ("small", "base"):
        for other, least in (("run_mlm", "5"), ("run_mlm, bf16", "1.5")):
            both = cells(shape, lambda results, other=other: results.ratio("lingraft", other))  # type: ignore[misc]
            rows.append([f"lingraft ÷ {other}, {shape}", f"≥ {least} (CPU)", *both])
    for shape, least in (("base", "55 %"), ("large", "62 %")):
        both = cells(shape, lambda results: results.share("lingraft"))
        rows.append([f"share of the matrix rate, {shape}", f"≥ {least} (GPU)", *both])
    table(["", "target", "CPU", "GPU"], rows)


def print_report(runs: list[Run]) -> None:
    """Everything, one run after the other."""
    for run in runs:
        describe(run)
        for shape in dict.fromkeys(turn["shape"] for turn in run["turns"]):
            first = next(turn for turn in run["turns"] if turn["shape"] == shape)
            step = 2 * first["batch_size"] * LENGTH
            rounds = 1 + max(turn["round"] for turn in run["turns"])
            print(
                f"### {shape}: {SHAPES[shape]}\n\n{step:,} tokens a step for every method ({first['batch_size']} × "
                f"{LENGTH} a language, {run['text']}), {first['steps']} steps timed after {first['warmup']}, median of "
                f"{rounds} rounds, ratios within a round with their range. Useful: "
                f"{useful_flop(SHAPES[shape]) / 1e6:,.1f} MFLOP a token ({VOCABULARY:,} tokens a vocabulary, "
                f"{100 * MASKED:.0f} % predicted).\n"
            )
            for name, show in (("methods", methods_table), ("levers", levers_table)):
                results = Results(run, shape, name)
                if results.turns:
                    show(results)
    targets(runs)
