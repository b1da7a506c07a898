"""What the links are worth to a transfer: retrieval right after initialisation, with one kind of link after the other.

Takes the target tokenizers of finished ``benchmarks/transfer.py MODEL --objective none`` runs, aligns the same bitext
on subwords in several ways, makes a translation table of each, grafts it and scores FLORES retrieval; nothing is
trained. Choices between variants of one kind are made on XNLI dev hypotheses, which are printed beside.

    python benchmarks/tables.py MODEL --lab LAB --runs RUNS --work WORK [--eflomal COMMAND] [--languages fr,hi]

Links: ``soft``, the expected links as `lingraft transfer` takes them, means of both directions' posteriors; ``product``
and ``geometric``, with products and geometric means instead; ``posterior`` and ``gdfa``, hard links of the same model
by posterior threshold and by grow-diag-final-and; ``eflomal``, eflomal's two directions under grow-diag-final-and.
``soft/P`` drops what is less than the share P of a row, ``soft^G`` raises the counts to the power G.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from hard_links import parsed, symmetrized
from lab import add_lab, given_lab
from scipy import sparse

from lingraft.corpus import Counts, TokenSequences, clean_pairs, read_bitext, read_lines
from lingraft.evidence import bitext_evidence, build_table, encode
from lingraft.evidence.alignment import Links, Training
from lingraft.evidence.alignment.settings import FOR_TABLES
from lingraft.evidence.alignment.symmetrize import joined, symmetrize
from lingraft.surgery import LanguageModel, graft, load_model, load_tokenizer
from lingraft.tasks import evaluate_retrieval

LANGUAGES = ("fr", "ru", "vi", "hi", "ar", "zh")


def hard_counts(links: Links, english: TokenSequences, foreign: TokenSequences, shape: tuple[int, int]) -> Any:
    """Numbers of links between types."""
    pair = np.repeat(np.arange(len(links)), np.diff(links.pair_offsets))
    rows = foreign.ids[foreign.offsets[pair] + links.foreign]
    columns = english.ids[english.offsets[pair] + links.english]
    return sparse.csr_matrix((np.ones(rows.size, np.float32), (rows, columns)), shape=shape)


def eflomal_counts(
    command: str, work: Path, english: TokenSequences, foreign: TokenSequences, shape: tuple[int, int]
) -> Any:
    """eflomal's links of the same subwords, ids written as words, both directions joined by grow-diag-final-and."""
    names = [work / name for name in ("eflomal.en", "eflomal.xx", "eflomal.forward", "eflomal.reverse")]
    if not names[3].is_file():
        for name, side in zip(names[:2], (english, foreign), strict=True):
            name.write_text("".join(" ".join(map(str, side[k])) + "\n" for k in range(len(side))), encoding="utf-8")
        options = [f"-{flag}={name}" for flag, name in zip("stfr", names, strict=True)]
        flags = [part for option in options for part in option.split("=")]
        subprocess.run([command, *flags, "--overwrite"], check=True, stderr=subprocess.DEVNULL)
    sides = [[parsed(line) for line in name.read_text(encoding="utf-8").splitlines()] for name in names[2:]]
    links = symmetrized(*sides, english.lengths.tolist(), foreign.lengths.tolist(), "grow-diag-final-and")
    return hard_counts(links, english, foreign, shape)


def all_counts(
    arguments: argparse.Namespace, language: str, source: LanguageModel, target: Any, wanted: list[str]
) -> dict[str, Any]:
    """Counts, foreign types x English types, of each kind of link."""
    name = str(arguments.lab / "parallel" / f"en-{language}.tsv.zst")
    pairs = list(clean_pairs(read_bitext(name, Counts()), 2000, Counts()))
    english, foreign = encode(source.tokenizer, [p[0] for p in pairs]), encode(target, [p[1] for p in pairs])
    short = (english.lengths <= 1000) & (foreign.lengths <= 1000)
    english, foreign = english.select(short), foreign.select(short)
    shape = len(target), len(source.tokenizer)
    counts: dict[str, Any] = {}
    with Training(english, foreign, shape[1], shape[0], FOR_TABLES) as training:
        indptr, columns, values = training.expected_links()
        soft = sparse.csr_matrix((values, columns, indptr), shape=shape)
        hard: dict[str, list[Links]] = {"posterior": [], "gdfa": []}
        for kind in ("product", "geometric"):
            counts[kind] = sparse.csr_matrix(shape, dtype=np.float32)
        for block, posteriors in training.posteriors():
            one, other = posteriors.foreign_posterior, posteriors.english_posterior
            tokens = np.repeat(np.arange(block.foreign.size), np.diff(posteriors.offsets))
            pair = np.repeat(np.arange(block.foreign_offsets.size - 1), np.diff(block.foreign_offsets))[tokens]
            cells = block.foreign[tokens], block.english[block.english_offsets[pair] + posteriors.english]
            for kind, value in (("product", one * other), ("geometric", np.sqrt(one * other))):
                counts[kind] = counts[kind] + sparse.csr_matrix((value, cells), shape=shape)
            for kind, method in (("posterior", "posterior"), ("gdfa", "grow-diag-final-and")):
                hard[kind].append(symmetrize(posteriors, block.english_offsets, block.foreign_offsets, method))
    for kind, blocks in hard.items():
        counts[kind] = hard_counts(joined(blocks), english, foreign, shape)
    for variant in wanted:
        if variant == "soft":
            counts[variant] = soft
        elif variant.startswith("soft/"):
            pruned = soft.copy()
            share = pruned.data / np.repeat(np.maximum(soft.sum(1).A1, 1e-12), np.diff(soft.indptr))
            pruned.data[share < float(variant[5:])] = 0
            counts[variant] = pruned
        elif variant.startswith("soft^"):
            powered = soft.copy()
            powered.data **= float(variant[5:])
            counts[variant] = powered
    if "eflomal" in wanted:
        work = arguments.work / language
        work.mkdir(parents=True, exist_ok=True)
        counts["eflomal"] = eflomal_counts(arguments.eflomal, work, english, foreign, shape)
    return {variant: counts[variant] for variant in wanted}


def main() -> None:
    """Runs what is asked for, appends each result to WORK/tables.jsonl and prints it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    add_lab(parser)
    parser.add_argument("--runs", type=Path, required=True, help="with none-LANG/target from benchmarks/transfer.py")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--eflomal", default="eflomal-align")
    parser.add_argument("--languages", default=",".join(LANGUAGES))
    parser.add_argument("--links", default="soft,posterior,gdfa,eflomal")
    arguments = parser.parse_args()
    arguments.lab = given_lab(parser, arguments)
    wanted = arguments.links.split(",")
    arguments.work.mkdir(parents=True, exist_ok=True)
    source = load_model(str(arguments.model))
    for language in arguments.languages.split(","):
        target = load_tokenizer(str(arguments.runs / f"none-{language}" / "target"))
        tests = {"flores": [], "xnli-dev": []}  # type: dict[str, list[tuple[str, str]]]
        lines = (read_lines(arguments.lab / "flores" / f"devtest.{side}.txt") for side in ("en", language))
        tests["flores"] = list(zip(*lines, strict=True))
        dev = [arguments.lab / "xnli" / f"dev.{side}.tsv" for side in ("en", language)]
        dev = [path if path.is_file() else path.with_name(path.name + ".zst") for path in dev]
        columns = ([line.split("\t")[1] for line in read_lines(path)][1:1501] for path in dev)
        tests["xnli-dev"] = list(zip(*columns, strict=True))
        for variant, counts in all_counts(arguments, language, source, target, wanted).items():
            model = graft(
                source,
                target,
                build_table(source.tokenizer, target, [bitext_evidence(counts, source.tokenizer)]),
                "lingraft",
                0,
            )
            result: dict[str, Any] = {"language": language, "links": variant, "entries": int(counts.nnz)}
            for test, pairs in tests.items():
                score = evaluate_retrieval(source, dataclasses.replace(model), pairs)
                result[test] = [round(100 * score[side], 1) for side in ("en_to_xx", "xx_to_en")]
            with (arguments.work / "tables.jsonl").open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(result) + "\n")
            print(json.dumps(result), flush=True)


if __name__ == "__main__":
    sys.exit(main())
