"""What lexicons are worth without any bitext: retrieval right after the graft, nothing is trained.

    python benchmarks/lexicons.py MODEL --lab LAB --runs RUNS [--languages fr,hi] [--test flores]

RUNS holds finished ``benchmarks/transfer.py MODEL --objective none`` runs, ``none-XX``, whose tokenizers were trained
on the bitext. A row for each of these:

    bitext     the table of the run itself
    builtin    the package's lexicon, on the tokenizer of the bitext
    alone      the package's lexicon, on a tokenizer trained on its words: what a run without any text has
    list       a word list without numbers, on the tokenizer of the bitext
    list alone the same on a tokenizer trained on its words

All have overlap and composition behind the lexicon. tokens: of a sentence of the test, by the tokenizer; lexicon: the
share of them whose row is the lexicon's (the bitext's); nothing: of those without evidence.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from lab import lab_file

from lingraft.corpus import read_lines
from lingraft.evidence import (
    Provenance,
    TranslationTable,
    build_table,
    builtin_lexicon,
    encode,
    lexicon_evidence,
    lexicon_text,
)
from lingraft.evidence.alignment import read_lexicon
from lingraft.surgery import graft, load_model, load_tokenizer
from lingraft.tasks import embed_sentences, retrieval_scores
from lingraft.vocabulary import train_tokenizer

LANGUAGES = ("fr", "ru", "ar", "hi", "vi", "zh")


def sentences(lab: Path, test: str, language: str) -> list[str]:
    """The sentences of a test, the same in every language; of XNLI dev the first 1,500 hypotheses."""
    if test == "flores":
        return list(read_lines(lab / "flores" / f"devtest.{language}.txt"))
    return [line.split("\t")[1] for line in read_lines(lab_file(lab, f"xnli/dev.{language}.tsv"))][1:1501]


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--lab", type=Path, required=True)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--languages", default=",".join(LANGUAGES))
    parser.add_argument("--test", choices=["flores", "xnli-dev"], default="flores")
    arguments = parser.parse_args()
    source = load_model(arguments.model)
    english = embed_sentences(source, sentences(arguments.lab, arguments.test, "en"))
    print("| language | evidence | en to xx | xx to en | tokens | lexicon | nothing |\n" + "|---" * 7 + "|")
    for language in arguments.languages.split(","):
        lines = sentences(arguments.lab, arguments.test, language)
        run = arguments.runs / f"none-{language}"
        trained = load_tokenizer(str(run / "target"))
        builtin = builtin_lexicon(language)
        words = read_lexicon(lab_file(arguments.lab, f"dictionaries/en-{language}.tsv"))

        def show(name: str, target: Any, table: TranslationTable, language: str, lines: list[str]) -> None:
            model = graft(source, target, table)
            score = retrieval_scores(english, embed_sentences(model, lines))
            ids = encode(target, lines).ids
            kinds = table.provenance[ids]
            shares = [float(np.mean(kinds == kind)) for kind in (Provenance.bitext, Provenance.fallback)]
            print(
                f"| {language} | {name} | {100 * score['en_to_xx']:.1f} | {100 * score['xx_to_en']:.1f} "
                f"| {ids.size / len(lines):.1f} | {100 * shares[0]:.1f} % | {100 * shares[1]:.1f} % |",
                flush=True,
            )

        show("bitext", trained, TranslationTable.load(run / "table.npz"), language, lines)
        for name, lexicon in (("builtin", builtin), ("list", words)):
            alone = train_tokenizer(source.tokenizer, lexicon_text(lexicon))
            for title, target in ((name, trained), (f"{name} alone".replace("builtin ", ""), alone)):
                counts = lexicon_evidence(lexicon, source.tokenizer, target)
                show(title, target, build_table(source.tokenizer, target, [counts]), language, lines)


if __name__ == "__main__":
    sys.exit(main())
