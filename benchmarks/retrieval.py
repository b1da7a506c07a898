"""What a graft is worth: FLORES-style retrieval before and after, language by language, as a Markdown table.

Reads a folder with ``parallel/en-XX.tsv.zst`` and ``flores/devtest.{en,XX}.txt``, named by --lab or LINGRAFT_LAB:

    python benchmarks/retrieval.py MODEL --lab LAB --out RUNS --objective none
    python benchmarks/retrieval.py MODEL --lab LAB --out RUNS --objective distill --budget 10m

Each language is one ``lingraft transfer`` in a process of its own, alone on the machine. A finished run stays.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

LANGUAGES = ("fr", "ru", "vi", "hi", "ar", "zh")


def run(arguments: argparse.Namespace, language: str) -> dict[str, Any]:
    """One transfer; its run.json, with the wall time of the process that made it."""
    name = arguments.objective if arguments.budget is None else f"{arguments.objective}-{arguments.budget}"
    out = arguments.out / f"{name}-{language}"
    wall = out / "wall.json"
    if not wall.is_file():
        lab = arguments.lab
        command = [
            "lingraft", "transfer", str(arguments.model), "--to", language, "--out", str(out), "--json", "--quiet",
            "--bitext", f"{lab}/parallel/en-{language}.tsv.zst", "--objective", arguments.objective,
            "--eval-bitext", f"{lab}/flores/devtest.en.txt,{lab}/flores/devtest.{language}.txt",
            *(["--budget", arguments.budget] if arguments.budget else []),
        ]  # fmt: skip
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        wall.write_text(json.dumps(time.perf_counter() - began), encoding="utf-8")
    result: dict[str, Any] = json.loads((out / "run.json").read_text(encoding="utf-8"))
    return result | {"wall": json.loads(wall.read_text(encoding="utf-8"))}


def shown(score: dict[str, Any] | None) -> str:
    """en→xx / xx→en in percent."""
    if score is None:
        return ""
    return f"{100 * score['retrieval']['en_to_xx']:.1f} / {100 * score['retrieval']['xx_to_en']:.1f}"


def main() -> None:
    """Runs what is missing and prints the table."""
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
    print("| | pairs | tokens | untouched | grafted | trained | English cosine | seconds |")
    print("|---|---|---|---|---|---|---|---|")
    result: dict[str, Any] = {}
    for language in arguments.languages.split(","):
        result = run(arguments, language)
        scores = result["scores"]
        cosine = scores.get("english_cosine")
        print(
            f"| {language} | {result['corpus']['bitext']['kept']:,} | {result['vocabulary']['size']:,} "
            f"| {shown(scores['untouched'])} | {shown(scores['grafted'])} | {shown(scores.get('trained'))} "
            f"| {'' if cosine is None else f'{cosine:.4f}'} | {result['wall']:.0f} |",
            flush=True,
        )
    versions, machine = result["versions"], result["machine"]
    print(
        f"\nPython {platform.python_version()}, torch {versions['torch']}, transformers {versions['transformers']}, "
        f"{machine['architecture']}, {machine['cores']} cores, {machine['threads']} threads, seed 0, n = 1 run each."
    )


if __name__ == "__main__":
    sys.exit(main())
