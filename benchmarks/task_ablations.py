"""What options of fine-tuning are worth in languages the task model never saw, as one Markdown table a task.

    python benchmarks/task_ablations.py nli MODEL --lab LAB --out WORK --runs RUNS/none-XX --examples 10000
    python benchmarks/task_ablations.py parse MODEL --lab LAB --out WORK --runs RUNS/none-XX --examples 6000

Reads the lab's data as tasks.py does and finished transfers that left the English model as it is (XX: the language).
A row is one option changed against lingraft's defaults: MODEL is fine-tuned in English on the first so many training
examples, swapped into each language and scored on the development sets, which no result is reported on. The oracle is
the evaluation that a language's own development set would have chosen; it is a bound, not a result. Every step is one
command of lingraft; what is there is not done again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

from lab import add_lab, given_lab, lab_file, lingraft, shortened

#: option by name: settings of lingraft finetune
VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "nli": {
        "defaults": {},
        "embedding_noise=0.1": {"embedding_noise": 0.1},
        "frozen_layers=2": {"frozen_layers": 2},
        "average=3": {"average": 3},
        "train_embeddings=true": {"train_embeddings": "true"},
    },
    "parse": {
        "defaults": {},
        "embedding_noise=0.1": {"embedding_noise": 0.1},
        "embedding_noise=0.3": {"embedding_noise": 0.3},
        "frozen_layers=2": {"frozen_layers": 2},
        "average=3": {"average": 3},
        "pooling=first": {"pooling": "first"},
        "layers=last": {"layers": "last"},
        "pooling=first, layers=last": {"pooling": "first", "layers": "last"},
        "learning_rate=3e-5": {"learning_rate": 3e-5},
    },
}

#: development sets by language
DEV = {
    "nli": {each: f"xnli/dev.{each}.tsv" for each in ("fr", "ru", "ar", "hi", "vi", "zh")},
    "parse": {
        "fr": "ud/fr_gsd-ud-dev.conllu", "ru": "ud/ru_gsd-ud-dev.conllu", "vi": "ud/vi_vtb-ud-dev.conllu",
        "zh": "ud/zh_gsdsimp-ud-dev.conllu",
    },
}  # fmt: skip
#: what differs from the defaults of lingraft finetune in every row
BASE: dict[str, dict[str, Any]] = {"nli": {"learning_rate": 1e-4}, "parse": {}}

ENGLISH = {
    "nli": ("nli/en.train.tsv", "xnli/dev.en.tsv", "accuracy"),
    "parse": ("ud/en_ewt-ud-train.conllu", "ud/en_ewt-ud-dev.conllu", "las"),
}


def row(arguments: argparse.Namespace, name: str, settings: dict[str, Any], train: Path) -> dict[str, Any]:
    """Scores on development: English, every language, and the oracle of the first one."""
    work, task = arguments.out / "ablations" / arguments.task, arguments.task
    _, dev, score = ENGLISH[task]
    languages = DEV[task]
    watched = next(iter(languages))
    done = work / f"{name}.json"
    if done.is_file():
        found: dict[str, Any] = json.loads(done.read_text(encoding="utf-8"))
        return found
    trained = work / name
    target = {language: Path(arguments.runs.replace("XX", language)) / "target" for language in languages}
    if not trained.is_dir():
        chosen = {
            "epochs": arguments.epochs,
            "evaluations": 4,
            **({"learning_rate": 1e-4} if task == "nli" else {}),
            **settings,
        }
        sets = [part for key, value in chosen.items() for part in ("--set", f"{key}={value}")]
        lingraft("finetune", task, "--model", arguments.model, "--train", train, "--dev", lab_file(arguments.lab, dev),
                 "--out", trained, "--seeds", arguments.seeds, "--oracle", target[watched],
                 "--oracle-dev", lab_file(arguments.lab, languages[watched]), *sets)  # fmt: skip
    run = json.loads((trained / "run.json").read_text(encoding="utf-8"))
    found = {
        "en": statistics.mean(report["dev"][score] for report in run["runs"]),
        "oracle": statistics.mean(report["oracle"][score] for report in run["runs"]),
    }
    for language, data in languages.items():
        swapped = work / f"{name}-{language}"
        if not swapped.is_dir():
            lingraft("swap", "--task-model", trained, "--to", target[language], "--out", swapped)
        found[language] = lingraft("evaluate", task, "--model", swapped, "--data", lab_file(arguments.lab, data))[score]
    done.write_text(json.dumps(found), encoding="utf-8")
    return found


def main() -> None:
    """Runs what is missing and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=tuple(VARIANTS))
    parser.add_argument("model", type=Path)
    add_lab(parser)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--runs", required=True, help="folders of transfers, XX for the language")
    parser.add_argument("--examples", type=int, default=10_000, help="training examples")
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--seeds", type=int, default=1)
    arguments = parser.parse_args()
    arguments.lab = given_lab(parser, arguments)
    work = arguments.out / "ablations" / arguments.task
    work.mkdir(parents=True, exist_ok=True)
    source = lab_file(arguments.lab, ENGLISH[arguments.task][0])
    train = shortened(source, arguments.examples, work / f"train-{arguments.examples}{Path(source.stem).suffix}")
    languages = list(DEV[arguments.task])
    watched = languages[0]
    print(f"| | en | {' | '.join(languages)} | mean of {len(languages)} | {watched}, oracle |")
    print("|---" * (len(languages) + 4) + "|")
    for name, settings in VARIANTS[arguments.task].items():
        found = row(arguments, name, settings, train)
        scores = [found["en"], *(found[each] for each in languages)]
        scores += [statistics.mean(scores[1:]), found["oracle"]]
        print(f"| {name} | {' | '.join(f'{100 * score:.1f}' for score in scores)} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
