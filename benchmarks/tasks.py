"""Zero-shot tasks: trained once in English, tested in every language, as Markdown tables with 95 % intervals.

Reads a folder with ``nli/``, ``xnli/`` and ``ud/`` (--lab or LINGRAFT_LAB) and finished runs of benchmarks/transfer.py:

    python benchmarks/tasks.py nli MODEL --lab LAB --out WORK --runs RUNS/none-XX [--runs RUNS/distill-10m-XX]
    python benchmarks/tasks.py parse MODEL --lab LAB --out WORK --runs RUNS/none-XX

XX stands for the language. Every step is one command of lingraft in a process of its own; what is there is not done
again. ``untouched`` is the English model as it is on the other language's text, the floor. MODEL is fine-tuned once,
and so is every run's English model that training changed.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

from lab import (
    ENGLISH,
    LANGUAGES,
    TREEBANKS,
    Result,
    add_lab,
    given_lab,
    lab_file,
    lingraft,
    markdown,
    same_encoder,
    tests_of,
    with_interval,
)


class Bench:
    """One task: trained models, swapped ones and scores below one folder."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.task: str = arguments.task
        self.lab: Path = arguments.lab
        self.work: Path = arguments.out / arguments.task
        self.arguments = arguments
        self.work.mkdir(parents=True, exist_ok=True)

    def trained(self, encoder: Path) -> Path:
        """The task model on an encoder, fine-tuned in English."""
        # an English model that training left as it is is one and the same encoder
        name = "english" if same_encoder(encoder, self.arguments.model) else encoder.parent.name
        if name == "english" and self.arguments.trained:
            return Path(self.arguments.trained)
        out = self.work / f"trained-{name}"
        if not out.is_dir():
            train, dev = (lab_file(self.lab, name) for name in ENGLISH[self.task])
            sets = [part for setting in self.arguments.set for part in ("--set", setting)]
            lingraft("finetune", self.task, "--model", encoder, "--train", train, "--dev", dev, "--out", out,
                     "--seeds", self.arguments.seeds, *sets)  # fmt: skip
        return out

    def scores(self, model: Path, language: str) -> list[Result]:
        """Scores of a task model on all tests of a language."""
        tests = tests_of(self.lab, self.task, language)
        return [lingraft("evaluate", self.task, "--model", model, "--data", test) for test in tests]

    def run(self) -> dict[str, dict[str, list[Result]]]:
        """Scores by kind of run and language."""
        path = self.work / "results.json"
        results: dict[str, dict[str, list[Result]]] = json.loads(path.read_text("utf-8")) if path.is_file() else {}

        def scored(kind: str, language: str, model: Path) -> None:
            if language not in results.setdefault(kind, {}):
                results[kind][language] = self.scores(model, language)
                path.write_text(json.dumps(results, indent=1), encoding="utf-8")

        languages = self.arguments.languages.split(",")
        english = self.trained(self.arguments.model)
        for language in ("en", *languages):
            scored("untouched", language, english)
        for pattern in self.arguments.runs:
            kind = Path(pattern).name.replace("-XX", "")
            for language in languages:
                transferred = Path(pattern.replace("XX", language))
                trained = self.trained(transferred / "source")
                swapped = self.work / f"{kind}-{language}"
                if not swapped.is_dir():
                    lingraft("swap", "--task-model", trained, "--to", transferred / "target", "--out", swapped)
                scored(kind, language, swapped)
                if trained != english and "en" not in results[kind]:
                    scored(kind, "en", trained)  # training changed the English model too; of the first language's run
                if self.arguments.remove:
                    shutil.rmtree(swapped)
        return results


def cell(result: Result, name: str) -> str:
    """A score in percent with its interval."""
    return with_interval(result[name], result["intervals"][name])


def main() -> None:
    """Runs what is missing and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=("nli", "parse"))
    parser.add_argument("model", type=Path)
    add_lab(parser)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--runs", action="append", default=[], help="folders of transfers, XX for the language")
    parser.add_argument("--languages", default=",".join(LANGUAGES))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--trained", type=Path, help="the task model on MODEL, where it was fine-tuned before")
    parser.add_argument("--set", action="append", default=[], help="a setting of lingraft finetune")
    parser.add_argument("--remove", action="store_true", help="remove swapped models once they are scored")
    arguments = parser.parse_args()
    arguments.lab = given_lab(parser, arguments)
    results = Bench(arguments).run()
    names = ["accuracy"] if arguments.task == "nli" else ["uas", "las", "las_without_punct"]
    languages = ["en", *arguments.languages.split(",")]
    for name in names:
        rows = []
        for kind, scores in results.items():
            rows.append([kind, *(cell(scores[each][0], name) if each in scores else "" for each in languages)])
            if kind != "untouched":
                rows.append([f"{kind}, behind English", *gaps(scores, results["untouched"], languages, name)])
        print(f"\n{name}\n\n{markdown(['', *languages], rows)}")
    if arguments.task == "parse":
        others(results, languages)


def gaps(
    scores: dict[str, list[Result]], untouched: dict[str, list[Result]], languages: list[str], name: str
) -> list[str]:
    """How many points a language is behind English, which the same task model reads as it was trained."""
    english = (scores if "en" in scores else untouched)["en"][0][name]
    return [
        f"{100 * (english - scores[each][0][name]):.1f}" if each in scores and each != "en" else ""
        for each in languages
    ]


def others(results: dict[str, dict[str, list[Result]]], languages: list[str]) -> None:
    """UAS and LAS on the further treebanks of each language."""
    columns = [(each, k) for each in languages for k in range(1, len(TREEBANKS[each]))]
    names = [TREEBANKS[each][k].removesuffix("-ud-test") for each, k in columns]
    rows = []
    for kind, scores in results.items():
        found = [scores[each][k] if each in scores else None for each, k in columns]
        rows.append([kind, *(f"{100 * each['uas']:.1f} / {100 * each['las']:.1f}" if each else "" for each in found)])
    print(f"\nUAS / LAS elsewhere\n\n{markdown(['', *names], rows)}")


if __name__ == "__main__":
    sys.exit(main())
