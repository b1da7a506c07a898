"""What each source of evidence is worth, alone and together: retrieval right after the graft, nothing trained.

Takes the target tokenizers of finished ``benchmarks/transfer.py MODEL --objective none`` runs and makes a table of each
set of sources for the same two vocabularies.

    python benchmarks/fusion.py MODEL --lab LAB --runs RUNS --work WORK --sets bitext,lexicon,vectors,all
    python benchmarks/fusion.py MODEL --lab LAB --runs RUNS --work WORK --sets all --pairs 1000,10000
    python benchmarks/fusion.py MODEL --lab LAB --runs RUNS --work WORK --trust lexicon=1,4 --trust vectors=0,0
    python benchmarks/fusion.py MODEL --lab LAB --runs RUNS --work WORK --tests flores --seeds 3

Sets: names of sources joined by ``+`` (bitext, lexicon: the package's own, dictionary: the lab's, vectors: trained on
the lab's running text and aligned on the package's lexicon; spelling is always there), or ``all``: bitext, lexicon and
vectors. --pairs: of the bitext the first so many. --trust KIND=RATE,MOST: in place of the package's. What was computed
once (links, vectors) is kept in WORK. Settings are chosen on XNLI dev hypotheses, which are printed beside FLORES
(--tests takes some of them); --seeds: so many draws of the rows without evidence, whose scores are printed one by one.
"""

from __future__ import annotations

import argparse
import json
import sys
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from lab import add_lab, given_lab, lab_file
from scipy import sparse

from lingraft.corpus import Counts, clean_pairs, read_bitext, read_lines
from lingraft.evidence import (
    TRUST,
    Evidence,
    Provenance,
    Trust,
    bitext_counts,
    bitext_evidence,
    build_table,
    read_lexicons,
)
from lingraft.evidence.lexicon import lexicon_evidence
from lingraft.evidence.vectors import (
    WordVectors,
    align_vectors,
    read_vectors,
    train_vectors,
    vector_evidence,
    write_vectors,
)
from lingraft.surgery import LanguageModel, graft, load_model, load_tokenizer
from lingraft.tasks import embed_sentences, retrieval_scores

LANGUAGES = ("fr", "ru", "vi", "hi", "ar", "zh")


class Language:
    """The evidence and the test sentences of one language."""

    def __init__(self, arguments: argparse.Namespace, source: LanguageModel, language: str) -> None:
        self.lab: Path = arguments.lab
        self.work: Path = arguments.work
        self.source, self.language = source, language
        self.wanted, self.seeds = arguments.tests.split(","), arguments.seeds
        self.target = load_tokenizer(str(arguments.runs / f"none-{language}" / "target"))

    def counts(self, pairs: int | None) -> sparse.csr_matrix:
        """Expected links of the first so many pairs of the bitext."""
        path = self.work / f"links-{self.language}-{pairs or 'all'}.npz"
        if not path.is_file():
            rows = clean_pairs(read_bitext(str(lab_file(self.lab, f"parallel/en-{self.language}.tsv")), Counts()), 2000,
                               Counts())  # fmt: skip
            counts, _ = bitext_counts(list(islice(rows, pairs)), self.source.tokenizer, self.target)
            sparse.save_npz(path, counts)
        return sparse.csr_matrix(sparse.load_npz(path))

    def vectors(self, language: str) -> WordVectors:
        """Word vectors trained on the running text of a language."""
        path = self.work / f"{language}.vec"
        if not path.is_file():
            lines = read_lines(lab_file(self.lab, f"mono/{language}.txt"))
            write_vectors(train_vectors(lines, lowercase=True), path)
        return read_vectors(path)

    def evidence(self, name: str, pairs: int | None) -> Evidence:
        """The rows of one source."""
        one, other = self.source.tokenizer, self.target
        if name == "bitext":
            return bitext_evidence(self.counts(pairs), one)
        if name == "lexicon":
            return lexicon_evidence(read_lexicons(["builtin"], self.language), one, other)
        if name == "dictionary":
            path = str(lab_file(self.lab, f"dictionaries/en-{self.language}.tsv"))
            return lexicon_evidence(read_lexicons([path], self.language), one, other)
        return self._vector_evidence

    @cached_property
    def _vector_evidence(self) -> Evidence:
        anchors = read_lexicons(["builtin"], self.language)
        english, foreign = self.vectors("en"), self.vectors(self.language)
        aligned = align_vectors(english, foreign, anchors)
        return vector_evidence(self.source.tokenizer, self.target, aligned)

    @cached_property
    def tests(self) -> dict[str, tuple[Any, list[str]]]:
        """English embeddings and foreign sentences of each test set that is asked for."""
        flores = [list(read_lines(self.lab / "flores" / f"devtest.{side}.txt")) for side in ("en", self.language)]
        dev = [
            [line.split("\t")[1] for line in read_lines(lab_file(self.lab, f"xnli/dev.{side}.tsv"))][1:1501]
            for side in ("en", self.language)
        ]
        return {
            name: (embed_sentences(self.source, english), foreign)
            for name, (english, foreign) in {"xnli-dev": dev, "flores": flores}.items()
            if name in self.wanted
        }

    def score(self, names: list[str], pairs: int | None, trust: dict[Provenance, Trust]) -> dict[str, Any]:
        """Retrieval in percent, both directions, under a graft from these sources; of several seeds, each."""
        evidence = [self.evidence(name, pairs) for name in names if name != "spelling"]
        table = build_table(self.source.tokenizer, self.target, evidence, trust)
        found: dict[str, list[list[float]]] = {test: [] for test in self.tests}
        for seed in range(self.seeds):
            model = graft(self.source, self.target, table, seed=seed)
            for test, (english, foreign) in self.tests.items():
                score = retrieval_scores(english, embed_sentences(model, foreign))
                found[test].append([round(100 * score[side], 1) for side in ("en_to_xx", "xx_to_en")])
        result: dict[str, Any] = {test: each if self.seeds > 1 else each[0] for test, each in found.items()}
        return result | {"shares": {name: round(share, 3) for name, share in table.shares().items()}}


def read_trust(given: list[str]) -> dict[Provenance, Trust]:
    """The package's trust with what --trust says."""
    trust = dict(TRUST)
    for assignment in given:
        kind, _, numbers = assignment.partition("=")
        rate, most = map(float, numbers.split(","))
        trust[Provenance[kind]] = Trust(rate, most)
    return trust


def main() -> None:
    """Runs what is asked for, appends each result to WORK/fusion.jsonl and prints it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    add_lab(parser)
    parser.add_argument("--runs", type=Path, required=True, help="with none-LANG/target from benchmarks/transfer.py")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--languages", default=",".join(LANGUAGES))
    parser.add_argument("--sets", default="spelling,bitext,lexicon,dictionary,vectors,all")
    parser.add_argument("--pairs", default="0", help="sizes of the bitext, with commas between; 0 for all of it")
    parser.add_argument("--tests", default="xnli-dev,flores")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--trust", action="append", default=[])
    arguments = parser.parse_args()
    arguments.lab = given_lab(parser, arguments)
    arguments.work.mkdir(parents=True, exist_ok=True)
    source, trust = load_model(str(arguments.model)), read_trust(arguments.trust)
    for tag in arguments.languages.split(","):
        language = Language(arguments, source, tag)
        for pairs in map(int, arguments.pairs.split(",")):
            for wanted in arguments.sets.split(","):
                names = "bitext+lexicon+vectors" if wanted == "all" else wanted
                scores = language.score(names.split("+"), pairs or None, trust)
                told = {"language": tag, "set": names, "pairs": pairs, "trust": arguments.trust}
                line = json.dumps(told | scores)
                with (arguments.work / "fusion.jsonl").open("a", encoding="utf-8") as stream:
                    stream.write(line + "\n")
                print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
