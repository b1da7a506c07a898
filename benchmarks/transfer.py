"""What a transfer is worth, language by language: retrieval and bits per byte before and after, as Markdown tables.

Reads a folder with ``parallel/en-XX.tsv.zst`` and ``flores/devtest.{en,XX}.txt``, named by --lab or LINGRAFT_LAB:

    python benchmarks/transfer.py MODEL --lab LAB --out RUNS --objective none
    python benchmarks/transfer.py MODEL --lab LAB --out RUNS --objective distill --budget 10m
    python benchmarks/transfer.py MODEL --lab LAB --out RUNS --objective mlm --budget 3m

Each language is one ``lingraft transfer`` in a process of its own, one after the other. A finished run is not repeated.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab import add_lab, given_lab, lab_file, lingraft, made_with, markdown

LANGUAGES = ("fr", "ru", "vi", "hi", "ar", "zh")

Run = dict[str, Any]


def run(arguments: argparse.Namespace, language: str) -> Run:
    """One transfer; its run.json."""
    name = arguments.objective if arguments.budget is None else f"{arguments.objective}-{arguments.budget}"
    out = arguments.out / f"{name}-{language}"
    if not (out / "run.json").is_file():
        lab = arguments.lab
        options = ["--budget", arguments.budget] if arguments.budget else []
        if arguments.objective != "mlm":
            options += ["--eval-bitext", f"{lab}/flores/devtest.en.txt,{lab}/flores/devtest.{language}.txt"]
        lingraft(
            "transfer", arguments.model, "--to", language, "--out", out, "--objective", arguments.objective,
            "--bitext", lab_file(lab, f"parallel/en-{language}.tsv"), *options,
        )  # fmt: skip
    result: Run = json.loads((out / "run.json").read_text(encoding="utf-8"))
    return result


def retrieval(state: str) -> Callable[[Run], str]:
    """en→xx / xx→en in percent of a state of the model."""

    def cell(run: Run) -> str:
        score = run["scores"].get(state, {}).get("retrieval")
        return f"{100 * score['en_to_xx']:.1f} / {100 * score['xx_to_en']:.1f}" if score else ""

    return cell


def bits(side: str) -> Callable[[Run], str]:
    """Held-out bits per byte of a language, before and after training."""

    def cell(run: Run) -> str:
        states = [run["scores"].get(state, {}).get(side) for state in ("grafted", "trained")]
        return " → ".join(f"{state['bits_per_byte']:.3f}" for state in states if state)

    return cell


COLUMNS: dict[str, Callable[[Run], str]] = {
    "pairs": lambda run: f"{run['corpus']['bitext']['kept']:,}",
    "tokens": lambda run: f"{run['vocabulary']['size']:,}",
    "untouched": retrieval("untouched"),
    "grafted": retrieval("grafted"),
    "trained": retrieval("trained"),
    "bits per byte, new": bits("lm_xx"),
    "bits per byte, English": bits("lm_en"),
    "English cosine": lambda run: f"{run['scores']['english_cosine']:.4f}" if "english_cosine" in run["scores"] else "",
    "steps": lambda run: f"{run['training']['steps']:,}" if "training" in run else "",
    "seconds": lambda run: f"{run['seconds']['this_call']:.0f}",
    "peak MB": lambda run: f"{run['peak_memory_mb']:,}",
}


def main() -> None:
    """Runs what is missing and prints one table, without the columns that do not apply."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    add_lab(parser)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--objective", default="none")
    parser.add_argument("--budget")
    parser.add_argument("--languages", default=",".join(LANGUAGES))
    arguments = parser.parse_args()
    arguments.lab = given_lab(parser, arguments)
    runs = {language: run(arguments, language) for language in arguments.languages.split(",")}
    shown = {name: cell for name, cell in COLUMNS.items() if any(cell(result) for result in runs.values())}
    rows = [[language, *(cell(result) for cell in shown.values())] for language, result in runs.items()]
    print(markdown(["", *shown], rows))
    print(f"\n{made_with(next(iter(runs.values())))}, one run each, seed 0.")


if __name__ == "__main__":
    sys.exit(main())
