"""What `lingraft doctor` says of clean text and of text that was damaged in ten ways, as a Markdown table.

Reads a folder with ``parallel/en-XX.tsv.zst`` and ``mono/XX.txt.zst``, named by --lab or LINGRAFT_LAB:

    python benchmarks/doctor.py MODEL --lab LAB

Each cell is the statistic that decides, and the findings that were made, errors with an exclamation mark. Damages are
made on the first --pairs pairs, so that all of it takes minutes; clean text is looked at as a whole.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import lingraft
from lingraft.corpus import read_lines
from lingraft.doctor import Diagnosis, duplicates, encoding, language, parallel
from lingraft.doctor import coverage as evidence

LANGUAGES = ("fr", "ru", "vi", "hi", "ar", "zh")
#: another language for each, of the same script where there is one
OTHERS = {"fr": "vi", "vi": "fr", "ru": "ar", "ar": "hi", "hi": "zh", "zh": "ru"}

Pairs = list[tuple[str, str]]


def garbled(text: str) -> str:
    """UTF-8 read as Windows-1252, or as Latin-1 where that has no such byte."""
    return "".join(
        bytes([byte]).decode("cp1252") if byte not in (0x81, 0x8D, 0x8F, 0x90, 0x9D) else chr(byte)
        for byte in text.encode()
    )


def swapped(pairs: Pairs, _: Pairs) -> Pairs:
    return [(foreign, english) for english, foreign in pairs]


def shifted(pairs: Pairs, _: Pairs) -> Pairs:
    return [(one[0], other[1]) for one, other in pairwise(pairs)]


def half_shifted(pairs: Pairs, _: Pairs) -> Pairs:
    half = len(pairs) // 2
    return pairs[:half] + shifted(pairs[half:], [])


def half_other(pairs: Pairs, others: Pairs) -> Pairs:
    return [other if number % 2 else pair for number, (pair, other) in enumerate(zip(pairs, others, strict=False))]


def mojibake(pairs: Pairs, _: Pairs) -> Pairs:
    return [(english, garbled(foreign)) for english, foreign in pairs]


def some_mojibake(pairs: Pairs, _: Pairs) -> Pairs:
    return [(english, garbled(foreign) if k % 20 == 0 else foreign) for k, (english, foreign) in enumerate(pairs)]


def replaced(pairs: Pairs, _: Pairs) -> Pairs:
    """Characters outside of ASCII lost in every tenth line."""
    return [
        (english, foreign.encode("ascii", "replace").decode().replace("?", "\ufffd") if k % 10 == 0 else foreign)
        for k, (english, foreign) in enumerate(pairs)
    ]


def english_target(pairs: Pairs, _: Pairs) -> Pairs:
    """Not a copy of the other side: English sentences from elsewhere."""
    return [(english, pairs[-k - 1][0]) for k, (english, _) in enumerate(pairs)]


def duplicated(pairs: Pairs, _: Pairs) -> Pairs:
    """Of all lines 30 % are repetitions."""
    kept = pairs[: len(pairs) * 7 // 10]
    return kept + kept[: len(pairs) - len(kept)]


def tiny(pairs: Pairs, _: Pairs) -> Pairs:
    return pairs[:500]


#: a damage, the statistic that shows it, its threshold, and the findings that count as having caught it
DAMAGES: dict[str, tuple[Callable[[Pairs, Pairs], Pairs], str, str, set[str]]] = {
    "sides swapped": (swapped, "english_side", "< 0.5", {"swapped-sides"}),
    "shifted by one line": (shifted, "agreement", f"< {parallel.WARNING}", {"shifted"}),
    "second half shifted": (
        half_shifted, "weakest_tenth", f"< {parallel.SECTION} of the best",
        {"partly-parallel", "not-parallel", "shifted"},
    ),
    "half in another language": (half_other, "own_language", f"< {language.WARNING}", {"language"}),
    "mojibake": (mojibake, "mojibake", f">= {encoding.WARNING}", {"mojibake"}),
    "mojibake in 5 %": (some_mojibake, "mojibake", f">= {encoding.WARNING}", {"mojibake"}),
    "U+FFFD in 10 %": (replaced, "replacement_characters", f">= {encoding.WARNING}", {"replacement-characters"}),
    "English as target": (english_target, "english", f">= {language.ENGLISH}", {"target-is-english"}),
    "30 % duplicates": (duplicated, "duplicates", f">= {duplicates.WARNING}", {"duplicates"}),
    "500 pairs": (tiny, "vocabulary", f"< {evidence.FEW_TOKENS}", {"weak-coverage", "small-corpus"}),
}  # fmt: skip

CLEAN = (
    "own_language", "english", "english_side", "mojibake", "replacement_characters", "duplicates", "agreement",
    "weakest_tenth", "length_correlation", "vocabulary", "text_weak", "vocabulary_without_row", "own_script",
    "strange_scripts", "copied",
)  # fmt: skip


def read(lab: Path, tag: str, most: int) -> Pairs:
    pairs: Pairs = []
    for line in read_lines(lab / "parallel" / f"en-{tag}.tsv.zst"):
        english, _, foreign = line.partition("\t")
        pairs.append((english, foreign))
        if len(pairs) == most:
            break
    return pairs


def number(value: float) -> str:
    """A share, or how many."""
    return f"{value:.3f}" if value <= 1 else f"{value:,.0f}"


def cell(result: Diagnosis, tag: str, statistic: str, wanted: set[str]) -> str:
    value = result.statistics[tag].get(statistic)
    codes = [f"{f.code}{'!' if f.severity == 'error' else ''}" for f in result.findings if f.severity != "info"]
    caught = bool(wanted.intersection(f.code for f in result.findings if f.severity != "info"))
    shown = "" if value is None else f"{number(value)} "
    return f"{shown}{', '.join(codes)}{'' if caught else ' **MISSED**'}"


def rows(arguments: argparse.Namespace) -> Iterator[list[str]]:
    yield ["damage", "statistic", "threshold", *arguments.languages]
    pairs = {tag: read(arguments.lab, tag, arguments.pairs) for tag in {*arguments.languages, *OTHERS.values()}}
    for name, (damage, statistic, threshold, wanted) in DAMAGES.items():
        if arguments.damages and name not in arguments.damages:
            continue
        row = [name, statistic, threshold]
        for tag in arguments.languages:
            given = damage(pairs[tag], pairs[OTHERS[tag]])
            result = lingraft.doctor(arguments.model, to=tag, bitext=given, probe=False)
            row.append(cell(result, tag, statistic, wanted))
        yield row


def clean_rows(arguments: argparse.Namespace) -> Iterator[list[str]]:
    yield ["clean", *CLEAN, "findings", "seconds"]
    for tag in arguments.languages:
        bitext = str(arguments.lab / "parallel" / f"en-{tag}.tsv.zst")
        text = str(arguments.lab / "mono" / f"{tag}.txt.zst")
        for what, given in {"bitext": {}, "bitext and text": {"text": text}, "text alone": {"text": text}}.items():
            if what not in arguments.clean:
                continue
            pairs = {"bitext": bitext} if "bitext" in what else {}
            result = lingraft.doctor(arguments.model, to=tag, **pairs, **given, probe=False)
            told = result.statistics[tag]
            values = [number(told[name]) if name in told else "" for name in CLEAN]
            codes = ", ".join(f"{finding.code} ({finding.severity})" for finding in result.findings)
            yield [f"{tag}, {what}", *values, codes, f"{result.seconds:.0f}"]


def show(table: Iterator[list[str]]) -> None:
    for line, row in enumerate(table):
        print("|", " | ".join(row), "|", flush=True)
        if line == 0:
            print("|", " | ".join("---" for _ in row), "|")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--lab", type=Path, default=os.environ.get("LINGRAFT_LAB"))
    parser.add_argument("--languages", type=lambda text: text.split(","), default=list(LANGUAGES))
    parser.add_argument("--pairs", type=int, default=6000)
    parser.add_argument("--clean", type=lambda text: text.split(","), default=["bitext", "bitext and text"])
    parser.add_argument("--damages", type=lambda text: text.split(","), help="only these")
    parser.add_argument("--only", choices=["clean", "damages"])
    arguments = parser.parse_args()
    if arguments.lab is None:
        sys.exit("Name the lab's folder with --lab or LINGRAFT_LAB.")
    arguments.lab = Path(arguments.lab)
    if arguments.only != "clean":
        show(rows(arguments))
        print()
    if arguments.only != "damages":
        show(clean_rows(arguments))


if __name__ == "__main__":
    main()
