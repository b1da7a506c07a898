"""The tables and the figure of ``alignment.py``, from the records it keeps."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

Record = dict[str, Any]

#: fast_align is not on PyPI: its seconds over eflomal 2.0.0's on one and the same text, measured once elsewhere
FAST_ALIGN_TO_EFLOMAL = {"wall": 36.7 / 39.1, "cpu": 69 / 72}


def less_adapter(record: Record) -> Record:
    """A run without the seconds that are this benchmark's and not the aligner's."""
    adapter = record["parts"].get("adapter", {"wall": 0.0, "cpu": 0.0})
    return {**record, **{key: record[key] - adapter[key] for key in adapter}, "adapter": adapter["wall"]}


def print_report(work: Path, aligners: Sequence[str]) -> None:
    """Markdown from results.jsonl: of each text, in its latest size, and aligner, the latest session that has it."""
    raw = [json.loads(line) for line in (work / "results.jsonl").read_text("utf-8").splitlines()]
    sessions = {record["session"]: record for record in raw if record["kind"] == "session"}
    runs = [record for record in raw if record["kind"] != "session"]
    sizes = {(record["kind"], record["text"]): record["pairs"] for record in runs}
    latest: dict[tuple[Any, ...], list[Record]] = {}
    for record in runs:
        key = record["kind"], record["text"], record["aligner"]
        if record["kind"] != "scale" and record["pairs"] != sizes[key[:2]]:
            continue
        if key in latest and latest[key][0]["session"] != record["session"]:
            del latest[key]
        latest.setdefault(key, []).append(record)
    for kind, show in (("speed", speed_table), ("quality", quality_table), ("scale", scale_table)):
        for text in dict.fromkeys(key[1] for key in latest if key[0] == kind):
            print()
            show(text, {name: latest[kind, text, name] for name in aligners if (kind, text, name) in latest})
    used = [sessions[name] for name in sorted({found[0]["session"] for found in latest.values()})]
    versions = {name: version for session in used for name, version in session["versions"].items() if name != "python"}
    on = used[-1]["machine"]
    load = max(run["load"] for found in latest.values() for run in found)
    print(
        f"\n{', '.join(f'{name} {version}' for name, version in versions.items())}; Python {on['python']}; "
        f"{on['cpu']}, {on['cores']} cores, {on['system']}; {used[0]['session'][:10]} to {used[-1]['session'][:10]}. "
        f"The machine's load before a run was at most {load:.1f}."
    )


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """A Markdown table; the first column is text."""
    header = list(header)
    print(f"| {' | '.join(header)} |\n|---|{'---:|' * (len(header) - 1)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")


def speed_table(text: str, runs: dict[str, list[Record]]) -> None:
    """Medians; the ratios are to lingraft, of seconds without the adapter's."""
    timed = {
        name: [less_adapter(r) for r in records if not (r["first"] or r["status"])] for name, records in runs.items()
    }
    middle = {
        name: {key: statistics.median(r[key] for r in records) for key in ("wall", "cpu", "peak_mb", "adapter")}
        for name, records in timed.items()
        if records
    }
    if "eflomal" in middle:
        derived = {key: middle["eflomal"][key] * ratio for key, ratio in FAST_ALIGN_TO_EFLOMAL.items()}
        middle["fast_align (derived)"] = derived
    ours, pairs = middle.get("lingraft"), next(iter(runs.values()))[0]["pairs"]
    turns = runs["lingraft"][0]["session"] if ours else ""
    rows = []
    for name, found in middle.items():
        records = timed.get(name, [])
        walls = [r["wall"] for r in records]
        span = f" ({min(walls):.1f}–{max(walls):.1f})" if len(walls) > 1 else ""
        apart = " †" if ours and records and records[0]["session"] != turns else ""
        row = [name + apart, f"{len(records) or ''}", f"{found['wall']:.1f}{span}", f"{found['cpu']:.1f}"]
        row += [f"{found['peak_mb']:.0f}" if "peak_mb" in found else "", f"{pairs / found['wall']:,.0f}"]
        row += [f"{found[key] / ours[key]:.2f}" if ours else "" for key in ("wall", "cpu")]
        rows.append([*row, f"{found['adapter']:.1f}" if found.get("adapter") else ""])
    print(f"### {text}, {pairs:,} pairs\n")
    header = "runs", "wall s", "CPU s", "peak MB", "pairs/s", "wall ÷ lingraft", "CPU ÷ lingraft", "adapter s, left out"
    table(("", *header), rows)
    if any("†" in row[0] for row in rows):
        print("\n† measured at another time than lingraft, not in turn with it.")
    for name, records in runs.items():
        for record in records:
            if record["first"]:
                print(f"\nFirst run of {name}, which compiles: {record['wall']:.1f} s, {record['cpu']:.1f} s of CPU.")
            elif record["status"]:
                print(f"\n{name} was stopped or failed after {record['wall']:.0f} s (status {record['status']}).")
    if "fast_align (derived)" in middle:
        wall, cpu = FAST_ALIGN_TO_EFLOMAL.values()
        print(f"\nfast_align was not run: its row is eflomal's times {wall:.3f} (wall) and {cpu:.3f} (CPU),")
        print(
            "from one run of both on another text, 36.7 s and 39.1 s, 69 s and 72 s of CPU. This is rough: fast_align's"
        )
        print(
            "iterations are fixed and eflomal's fall with the root of the text's size, so the ratio changes with size."
        )


def quality_table(text: str, runs: dict[str, list[Record]]) -> None:
    """AER of every aligner and symmetrisation; over several runs their mean, and in brackets the range."""
    rows = []
    for name, records in runs.items():
        for symmetrization in dict.fromkeys(record["symmetrization"] for record in records):
            found = [record for record in records if record["symmetrization"] == symmetrization]
            aer = [100 * record["aer"] for record in found]
            span = f" ({min(aer):.1f}–{max(aer):.1f}, {len(aer)} runs)" if len(aer) > 1 else ""
            low, high = (100 * bound for bound in found[0]["interval"])
            row = [name, symmetrization, f"{statistics.mean(aer):.1f}{span}", f"{low:.1f}–{high:.1f}"]
            row += [f"{100 * statistics.mean(r[key] for r in found):.1f}" for key in ("precision", "recall")]
            rows.append([*row, f"{statistics.mean(r['links'] for r in found):,.0f}"])
    print(f"### {text}, {next(iter(runs.values()))[0]['pairs']:,} pairs\n")
    table(("", "symmetrisation", "AER %", "95 % interval", "precision %", "recall %", "links"), rows)


def scale_table(text: str, runs: dict[str, list[Record]]) -> None:
    """Seconds and memory by size."""
    rows = []
    for name, records in runs.items():
        for run in map(less_adapter, records):
            row = [name, f"{run['pairs']:,}", f"{run['wall']:.1f}", f"{run['cpu']:.1f}", f"{run['peak_mb']:.0f}"]
            each = f"{1e6 * run['wall'] / run['pairs']:.0f}", f"{1e3 * run['peak_mb'] / run['pairs']:.2f}"
            rows.append([*row, *each] if not run["status"] else [*row[:2], f"stopped after {row[2]}", "", "", "", ""])
    print(f"### {text} languages\n")
    table(("", "pairs", "wall s", "CPU s", "peak MB", "µs a pair", "kB a pair"), rows)


def figure(records: list[Record], path: Path) -> None:
    """Seconds and memory against pairs."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print(f"matplotlib is not installed: no {path.name}, the numbers are in scale.json")
        return
    drawing = Figure(figsize=(9, 3.6), layout="constrained")
    panels = drawing.subplots(1, 2)
    for panel, key, label in zip(panels, ("wall", "peak_mb"), ("wall seconds", "peak memory, MB"), strict=True):
        for aligner in dict.fromkeys(record["aligner"] for record in records):
            points = [less_adapter(r) for r in records if r["aligner"] == aligner and not r["status"]]
            panel.plot([r["pairs"] / 1000 for r in points], [r[key] for r in points], marker="o", label=aligner)
        panel.set(xlabel="thousand sentence pairs", ylabel=label, xlim=(0, None), ylim=(0, None))
        panel.grid(visible=True, alpha=0.3)
    panels[0].legend(frameon=False)
    drawing.savefig(path)
