"""What bilingual training does to held-out text over time: bits per byte of both languages, as a table and a figure.

    python benchmarks/training_curve.py MODEL --to vi --lab LAB --out RUN --budget 20m --figure curve.svg

Reads ``parallel/en-XX.tsv.zst`` and ``mono/{en,XX}.txt.zst`` from --lab or LINGRAFT_LAB. It is one command of lingraft,
``transfer --objective mlm``; a finished run is only shown. The figure needs matplotlib.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from lab import add_lab, given_lab

Run = dict[str, Any]


def trained(arguments: argparse.Namespace) -> Run:
    """The transfer's run.json."""
    lab, language, out = arguments.lab, arguments.to, arguments.out
    if not (out / "run.json").is_file():
        sets = [part for setting in arguments.set for part in ("--set", setting)]
        command = [
            "lingraft", "transfer", str(arguments.model), "--to", language, "--out", str(out), "--json",
            "--bitext", f"{lab}/parallel/en-{language}.tsv.zst", "--text", f"{lab}/mono/{language}.txt.zst",
            "--source-text", f"{lab}/mono/en.txt.zst", "--objective", "mlm", "--budget", arguments.budget,
            "--set", f"training.evaluations={arguments.evaluations}", *sets,
        ]  # fmt: skip
        print("$", " ".join(command), file=sys.stderr)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    run: Run = json.loads((out / "run.json").read_text(encoding="utf-8"))
    return run


def figure(points: list[dict[str, Any]], language: str, path: Path) -> None:
    """Bits per byte against minutes, a line a language."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(6.5, 3.6), layout="constrained")
    panel = drawing.subplots()
    for key, label in (("lm_xx", language), ("lm_en", "en")):
        minutes = [point["seconds"] / 60 for point in points]
        panel.plot(minutes, [point[key]["bits_per_byte"] for point in points], marker="o", label=label)
    panel.set(xlabel="minutes of training", ylabel="bits per byte, held out", xlim=(0, None))
    panel.grid(visible=True, alpha=0.3)
    panel.legend(frameon=False)
    drawing.savefig(path)


def main() -> None:
    """Trains, unless that is done, and shows what was measured on the way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--to", required=True)
    add_lab(parser)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--budget", default="20m")
    parser.add_argument("--evaluations", type=int, default=10)
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--set", action="append", default=[], help="a recipe key, as for lingraft transfer")
    arguments = parser.parse_args()
    arguments.lab = given_lab(parser, arguments)
    run = trained(arguments)
    training = run["training"]
    print(f"| minutes | step | {arguments.to} | en |\n|---|---|---|---|")
    for point in training["measured"]:
        bits = " | ".join(f"{point[key]['bits_per_byte']:.3f}" for key in ("lm_xx", "lm_en"))
        print(f"| {point['seconds'] / 60:.1f} | {point['step']:,} | {bits} |")
    versions, machine = run["versions"], run["machine"]
    print(
        f"\n{training['steps']:,} steps, {training['tokens']:,} tokens, {machine['threads']} threads of "
        f"{machine['cores']} cores, peak {run['peak_memory_mb']:,} MB, torch {versions['torch']}, seed 0."
    )
    if arguments.figure:
        figure(training["measured"], arguments.to, arguments.figure)


if __name__ == "__main__":
    sys.exit(main())
