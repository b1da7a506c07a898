"""Ways to make the rows of a new vocabulary, language by language: bits per byte before and after a short probe,
retrieval, seconds and memory, as Markdown tables.

Reads a folder with ``parallel/en-XX.tsv``, ``dictionaries/en-XX.tsv``, ``mono/{en,XX}.txt`` (each plain or ``.zst``)
and ``flores/devtest.{en,XX}.txt``, named by --lab or LINGRAFT_LAB:

    python benchmarks/initialisers.py MODEL --lab LAB --out OUT

All methods have the same inputs: a tokenizer trained on ``mono`` and the bitext, the bitext, the dictionary, word
vectors of 100 dimensions trained on ``mono``, and a sample of ``mono``, on which the probe is too; --inputs leaves
some out. With ``--inputs vectors`` the dictionary serves to bring the vectors into one space and for nothing else. A
sentence encoder gets its language-modelling head once, for all languages. Every cell (a language and a method, all
seeds) is a file in OUT and is not made again, so a run that was killed goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from lab import add_lab, given_lab, lab_file

import lingraft
from lingraft.cache import replacing, write_aside
from lingraft.comparison import with_warm_head
from lingraft.corpus import Counts, clean_text, read_text, sample_lines
from lingraft.evidence import build_table, encode, read_lexicons
from lingraft.evidence.vectors import align_vectors, read_vectors, train_vectors, vector_evidence, write_vectors
from lingraft.report import environment
from lingraft.surgery import METHODS, load_model, load_tokenizer, save_model, save_tokenizer
from lingraft.surgery.initialisers.files import read_pairs
from lingraft.training import text_stream
from lingraft.vocabulary import train_tokenizer

LANGUAGES = ("fr", "ru", "vi", "hi", "ar", "zh")

#: what methods may work from; the tokenizer and the text are always there
INPUTS = ("bitext", "vectors", "lexicon")

#: English text that a fresh head is warmed up on
_HEAD_BYTES = 1 << 24

Cell = dict[str, Any]


class Inputs:
    """What all methods start from, made once and kept in OUT."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._lab, self._out = Path(arguments.lab), Path(arguments.out)
        self._model = str(arguments.model)
        self._bytes = round(1e6 * arguments.megabytes)

    def bitext(self, language: str) -> Path:
        return lab_file(self._lab, f"parallel/en-{language}.tsv")

    def text(self, language: str) -> Path:
        """A sample of the running text, spread over all of it."""
        path = self._out / f"{language}.txt"
        if not path.is_file():
            write_aside(path, "".join(line + "\n" for line in sample_lines(self._lines(language), self._bytes)))
        return path

    def lexicon(self, language: str) -> Path:
        return lab_file(self._lab, f"dictionaries/en-{language}.tsv")

    def vector_table(self, language: str) -> Path:
        """The translation table of word vectors alone, aligned on the dictionary."""
        path = self._out / language / "vectors.npz"
        if not path.is_file():
            source, target = load_tokenizer(self.model()), load_tokenizer(self.tokenizer(language))
            english, foreign = (read_vectors(self.vectors(side)) for side in ("en", language))
            aligned = align_vectors(english, foreign, read_lexicons([str(self.lexicon(language))], language))
            build_table(source, target, [vector_evidence(source, target, aligned)]).save(path)
        return path

    def held_out(self, language: str) -> str:
        return ",".join(str(lab_file(self._lab, f"flores/devtest.{side}.txt")) for side in ("en", language))

    def model(self) -> Path:
        """The model, with a warm head where it has none."""
        source = load_model(self._model)
        if source.has_head:
            return Path(self._model)
        folder = self._out / "headed"
        if not folder.is_dir():
            lines = list(sample_lines(self._lines("en"), _HEAD_BYTES))
            text = text_stream(source, encode(source.tokenizer, lines))
            headed = with_warm_head(source, text, on_progress=progress)
            with replacing(folder) as aside:
                save_model(headed, aside)
        return folder

    def tokenizer(self, language: str) -> Path:
        """Trained on the text of the language and its side of the bitext."""
        folder = self._out / language / "tokenizer"
        if not folder.is_dir():
            lines = [*self._lines(language), *(xx for _, xx in read_pairs([str(self.bitext(language))]))]
            made = train_tokenizer(load_model(self._model).tokenizer, lines)
            folder.parent.mkdir(parents=True, exist_ok=True)
            with replacing(folder) as aside:
                save_tokenizer(made, aside)
        return folder

    def vectors(self, language: str) -> Path:
        """Trained on the running text of a language, in lower case."""
        path = self._out / f"{language}.vec"
        if not path.is_file():
            progress("vectors", 0.0, language)
            lines = self._lines(language)
            made = train_vectors(lines, lowercase=True)
            write_vectors(made, path)
        return path

    def _lines(self, language: str) -> Iterator[str]:
        path = lab_file(self._lab, f"mono/{language}.txt")
        return clean_text(read_text(path), 1_000_000, Counts())


def progress(stage: str, share: float, note: str) -> None:
    """One line on standard error."""
    sys.stderr.write(f"\r{stage:<8} {100 * share:5.1f} %  {note:<100.100}")
    sys.stderr.flush()


def cell(arguments: argparse.Namespace, inputs: Inputs, language: str, method: str) -> Cell:
    """All seeds of a method in a language."""
    name = f"{method}-{arguments.steps}x{arguments.batch_size}-{arguments.seed}-{arguments.seeds}"
    if tuple(arguments.inputs) != INPUTS:
        name += "-" + "+".join(arguments.inputs)
    path = arguments.out / language / f"{name}.json"
    if not path.is_file():
        given = arguments.inputs
        alone = given == ["vectors"] and method == "lingraft"
        made = lingraft.compare(
            inputs.model(), inputs.tokenizer(language), text=inputs.text(language), source_text=inputs.text("en"),
            bitext=inputs.bitext(language) if "bitext" in given else (),
            vectors=(inputs.vectors("en"), inputs.vectors(language)) if "vectors" in given else None,
            table=inputs.vector_table(language) if alone else None,
            lexicon=inputs.lexicon(language) if "lexicon" in given else (), eval_bitext=inputs.held_out(language),
            methods=[method], probe_steps=arguments.steps, seeds=arguments.seeds, seed=arguments.seed,
            settings={"training.batch_size": arguments.batch_size}, on_progress=progress,
        )  # fmt: skip
        sys.stderr.write("\n")
        write_aside(path, json.dumps(made.as_dict(), indent=2) + "\n")
    result: Cell = json.loads(path.read_text(encoding="utf-8"))["methods"][0]
    return result


def spread(values: Iterable[float], form: str) -> str:
    """Mean and standard deviation over the seeds."""
    each = np.array(list(values))
    mean = form.format(each.mean())
    return mean if each.size == 1 else f"{mean} ± {form.format(each.std(ddof=1))}"


def row(result: Cell) -> list[str]:
    """A method's line of a table."""
    probes = result["probes"]
    both = [[100 * probe["retrieval"][side] for probe in probes] for side in ("en_to_xx", "xx_to_en")]
    memory = result["peak_memory_mb"]
    return [
        result["method"], spread((probe["before"] for probe in probes), "{:.3f}"),
        spread((probe["after"] for probe in probes), "{:.3f}"), *(spread(values, "{:.1f}") for values in both),
        f"{100 * result['text_coverage']:.1f}", f"{result['seconds']:.1f}", f"{memory:,}" if memory else "",
    ]  # fmt: skip


def print_table(headings: list[str], rows: list[list[str]]) -> None:
    """A Markdown table."""
    print(f"| {' | '.join(headings)} |")
    print("|---" + "|---:" * (len(headings) - 1) + "|")
    for cells in rows:
        print(f"| {' | '.join(cells)} |")


def main() -> None:
    """Makes the cells that are missing and prints the tables of all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    add_lab(parser)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--languages", default=",".join(LANGUAGES))
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument(
        "--inputs", type=lambda given: [kind for kind in INPUTS if kind in given.split(",")], default=list(INPUTS),
        help=f"{','.join(INPUTS)} or some of them",
    )  # fmt: skip
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch-size", type=int, default=4, help="sequences of 128 tokens a language and step")
    parser.add_argument("--megabytes", type=float, default=8.0, help="of running text, for probes and FOCUS")
    arguments = parser.parse_args()
    arguments.lab = given_lab(parser, arguments)
    logging.basicConfig(format="%(message)s")
    arguments.out.mkdir(parents=True, exist_ok=True)
    inputs = Inputs(arguments)
    languages, methods = arguments.languages.split(","), arguments.methods.split(",")
    results = {language: [cell(arguments, inputs, language, method) for method in methods] for language in languages}
    names = ["method", "bits per byte before", "after", "en→xx %", "xx→en %", "tokens with evidence %", "seconds",
             "peak MB"]  # fmt: skip
    for language, cells in results.items():
        print(f"\n{language}\n")
        print_table(names, [row(result) for result in cells])
    for what, title in (("after", "Bits per byte after the probe"), ("en_to_xx", "en→xx %"), ("xx_to_en", "xx→en %")):
        print(f"\n{title}\n")
        rows = []
        for number, method in enumerate(methods):
            probes = [results[language][number]["probes"] for language in languages]
            form = "{:.3f}" if what == "after" else "{:.1f}"
            values = [
                [probe["after"] if what == "after" else 100 * probe["retrieval"][what] for probe in each]
                for each in probes
            ]
            rows.append([method, *(spread(each, form) for each in values)])
        print_table(["method", *languages], rows)
    made = environment()
    versions, machine = made["versions"], made["machine"]
    print(
        f"\nPython {versions['python']}, torch {versions['torch']}, transformers {versions['transformers']}, "
        f"{machine['architecture']}, {machine['cores']} cores, {machine['threads']} threads; probe of "
        f"{arguments.steps} steps of 2 x {arguments.batch_size} x 128 tokens, {arguments.seeds} seeds from "
        f"{arguments.seed} on."
    )


if __name__ == "__main__":
    sys.exit(main())
