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
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

LANGUAGES = ("fr", "ru", "vi", "hi", "ar", "zh")

Run = dict[str, Any]


def run(arguments: argparse.Namespace, language: str) -> Run:
    """One transfer; its run.json."""
    name = arguments.objective if arguments.budget is None else f"{arguments.objective}-{arguments.budget}"
    out = arguments.out / f"{name}-{language}"
    if not (out / "run.json").is_file():
        lab = arguments.lab
        command = [
            "lingraft", "transfer", str(arguments.model), "--to", language, "--out", str(out), "--json", "--quiet",
            "--bitext", f"{lab}/parallel/en-{language}.tsv.zst", "--objective", arguments.objective,
            *(["--budget", arguments.budget] if arguments.budget else []),
        ]  # fmt: skip
        if arguments.objective != "mlm":
            command += ["--eval-bitext", f"{lab}/flores/devtest.en.txt,{lab}/flores/devtest.{language}.txt"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
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
    parser.add_argument("--lab", type=Path, default=os.environ.get("LINGRAFT_LAB"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--objective", default="none")
    parser.add_argument("--budget")
    parser.add_argument("--languages", default=",".join(LANGUAGES))
    arguments = parser.parse_args()
    if arguments.lab is None:
        parser.error("say where the data lies: --lab FOLDER or LINGRAFT_LAB")
    runs = {language: run(arguments, language) for language in arguments.languages.split(",")}
    shown = {name: cell for name, cell in COLUMNS.items() if any(cell(result) for result in runs.values())}
    print(f"| | {' | '.join(shown)} |")
    print("|---" * (len(shown) + 1) + "|")
    for language, result in runs.items():
        print(f"| {language} | {' | '.join(cell(result) for cell in shown.values())} |")
    versions, machine = result["versions"], result["machine"]
    print(
        f"\nPython {versions['python']}, torch {versions['torch']}, transformers {versions['transformers']}, "
        f"{machine['architecture']}, {machine['cores']} cores, {machine['threads']} threads, one run each, seed 0."
    )


if __name__ == "__main__":
    sys.exit(main())
