"""What several benchmarks share: the folder of data, a command of lingraft as a process, Markdown tables."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lingraft.corpus import read_lines

#: languages of the tables, in the order of the paper
LANGUAGES = ("fr", "ru", "ar", "hi", "vi", "zh")

#: treebanks to test on; the first of a language is the one in the table, the others stand in the results too
TREEBANKS = {
    "en": ("en_ewt-ud-test", "en_pud-ud-test"), "fr": ("fr_gsd-ud-test", "fr_pud-ud-test"),
    "ru": ("ru_gsd-ud-test", "ru_pud-ud-test"), "ar": ("ar_pud-ud-test",), "hi": ("hi_pud-ud-test",),
    "vi": ("vi_vtb-ud-test",), "zh": ("zh_gsdsimp-ud-test", "zh_pud-ud-test"),
}  # fmt: skip

#: what a task is trained and chosen on in English
ENGLISH = {
    "nli": ("nli/en.train.tsv", "xnli/dev.en.tsv"),
    "parse": ("ud/en_ewt-ud-train.conllu", "ud/en_ewt-ud-dev.conllu"),
}

Result = dict[str, Any]


def add_lab(parser: argparse.ArgumentParser) -> None:
    """The option that says where the data lies."""
    parser.add_argument("--lab", type=Path, default=os.environ.get("LINGRAFT_LAB"), help="the folder of data")


def given_lab(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> Path:
    """The folder of data; ends the program where none is named."""
    if arguments.lab is None:
        parser.error("say where the data lies: --lab FOLDER or LINGRAFT_LAB")
    return Path(arguments.lab)


def lab_file(lab: Path, name: str) -> Path:
    """A file of the lab, compressed or not; FileNotFoundError if it is neither."""
    found = next((path for path in (lab / name, lab / f"{name}.zst") if path.is_file()), None)
    if found is None:
        raise FileNotFoundError(f"There is no {name} (plain or .zst) in '{lab}'.")
    return found


def tests_of(lab: Path, task: str, language: str) -> list[Path]:
    """Test files of a task (nli, parse) in a language, the one of the table first."""
    if task == "nli":
        return [lab_file(lab, f"xnli/test.{language}.tsv")]
    return [lab_file(lab, f"ud/{name}.conllu") for name in TREEBANKS[language]]


def lingraft(*arguments: object) -> Result:
    """What a command prints with --json."""
    done = subprocess.run(
        ["lingraft", *map(str, arguments), "--json", "--quiet"], check=True, stdout=subprocess.PIPE, text=True
    )
    result: Result = json.loads(done.stdout)
    return result


def same_encoder(one: Path, other: Path) -> bool:
    """Whether two model folders hold the same weights."""
    return (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()


def shortened(path: Path, examples: int, out: Path) -> Path:
    """The first examples of a training file: lines below a header, or sentences between blank lines."""
    if not out.is_file():
        lines: list[str] = []
        left = examples if ".conllu" in path.name else examples + 1
        for line in read_lines(path):
            lines.append(line)
            left -= ".conllu" not in path.name or not line
            if not left:
                break
        out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return out


def other_side(english: Path, foreign: Path) -> float:
    """How far the word order of a treebank is from English: share of its words that lie on another side of their head.

    Of every universal relation the share of words before their head is taken in both treebanks; the difference counts
    as the relation is frequent in the foreign one. It is the least share of words whose side would have to change for
    relations to lie as they do in English. Roots and punctuation are left out.
    """
    sides = [Counter[tuple[str, bool]](), Counter[tuple[str, bool]]()]
    for counts, path in zip(sides, (english, foreign), strict=True):
        for line in read_lines(path):
            columns = line.split("\t")
            if len(columns) > 7 and columns[0].isdigit() and columns[6].isdigit() and columns[6] != "0":
                relation = columns[7].partition(":")[0]
                if relation != "punct":
                    counts[relation, int(columns[0]) < int(columns[6])] += 1
    theirs, ours = (
        {relation: each[relation, True] / (each[relation, True] + each[relation, False]) for relation, _ in each}
        for each in sides
    )
    moved = sum(
        (sides[1][relation, True] + sides[1][relation, False]) * abs(share - theirs[relation])
        for relation, share in ours.items() if relation in theirs
    )  # fmt: skip
    return moved / max(1, sum(sides[1].values()))


def with_interval(value: float, interval: Sequence[float]) -> str:
    """A score in percent with its interval."""
    low, high = interval
    return f"{100 * value:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def markdown(headings: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    """A Markdown table."""
    head = [str(heading) for heading in headings]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    lines += [f"| {' | '.join(map(str, row))} |" for row in rows]
    return "\n".join(lines)


def made_with(environment: Result) -> str:
    """Versions and machine in a line, of what run.json and the like hold of them."""
    versions, machine = environment["versions"], environment["machine"]
    return (
        f"Python {versions['python']}, torch {versions['torch']}, transformers {versions['transformers']}, "
        f"{machine['architecture']}, {machine['cores']} cores, {machine['threads']} threads"
    )
