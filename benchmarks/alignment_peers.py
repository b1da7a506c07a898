"""Runs one of the word aligners that pip installs, from two text files to files of links.

``alignment.py`` starts this in a process of its own, with the Python where the aligners are installed:

    python alignment_peers.py sil-thot-hmm TEXT.en TEXT.xx LINKS [--directions FORWARD REVERSE] [--report REPORT.json]
    python alignment_peers.py --versions

Every aligner uses the cores as it will, with the settings its own authors call the usual ones:

- ``eflomal``: ``eflomal.Aligner()`` as it is (model 3, three samplers), what ``eflomal-align -s -t -f -r`` runs too. It
  makes two directions only and is spared their symmetrisation: there is no file LINKS.
- ``sil-thot-hmm``, ``sil-thot-fast-align``, ``sil-thot-eflomal``: the schedules of sil-machine, the package of the same
  house that trains these models: 5 iterations of IBM model 1 and 4 of the HMM; 4 of fast_align with variational Bayes;
  eflomal's own number. The alignments are those of the training, so no second pass over the text is paid for, and
  sil-thot symmetrises them itself. Its HMM leaves sentences of more than 200 tokens without links.
- ``systran-align``: fast_align as a library, with the three options that fast_align's own documentation recommends
  (``-d -o -v``), and symmetrised by itself. ``systran-align-plain`` is the same with its defaults, all three off.

What happens here in Python only because a peer does not read or write the files of this benchmark is timed apart as
"adapter", and the tables leave it out of the peer's seconds: text into systran-align's format, asking sil-thot for the
links of one sentence after another, and links into text.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import itertools
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO


def written(links: Iterable[tuple[int, int]]) -> str:
    """One line of a links file."""
    return " ".join(f"{i}-{j}" for i, j in sorted(links)) + "\n"


@contextlib.contextmanager
def opened(*paths: Path) -> Iterator[list[TextIO]]:
    """Text files to read line by line, so that what Python holds does not count as a peer's memory."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(path.open(encoding="utf-8", newline="\n")) for path in paths]


class Phases:
    """Wall and processor seconds of the parts of a run, children included."""

    def __init__(self) -> None:
        self.seconds: dict[str, dict[str, float]] = {}

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        start, before = time.perf_counter(), sum(os.times()[:4])
        yield
        spent = self.seconds.setdefault(name, {"wall": 0.0, "cpu": 0.0})
        spent["wall"] += time.perf_counter() - start
        spent["cpu"] += sum(os.times()[:4]) - before


class Job:
    """One alignment to make: the two texts, where the links go, and the two directions if they are asked for."""

    def __init__(self, english: Path, other: Path, links: Path, directions: list[Path]) -> None:
        self.english, self.other, self.links, self.directions = english, other, links, directions
        self.phase = Phases()


def eflomal(job: Job) -> None:
    """eflomal's own model 3 in both directions, which it leaves as they are."""
    from eflomal import Aligner

    forward, reverse = map(str, job.directions)
    with job.phase("align"), opened(job.english, job.other) as (english, other):
        Aligner().align(english, other, links_filename_fwd=forward, links_filename_rev=reverse)


def sil_thot(train: Callable[[Any, Path, Path], Any]) -> Callable[[Job], None]:
    """A model of sil-thot in both directions, symmetrised by sil-thot."""

    def run(job: Job) -> None:
        import thot.alignment as ta

        with job.phase("align"):
            direct = train(ta, job.english, job.other)
            inverse = train(ta, job.other, job.english)
            both = ta.SymmetrizedAlignmentModel(direct, inverse)
            both.heuristic = ta.SymmetrizationHeuristic.GROW_DIAG_FINAL_AND
        pairs = direct.num_sentence_pairs
        with job.phase("adapter"), job.links.open("w", encoding="utf-8") as out:
            for number in range(pairs):
                out.write(written(_cells(both.get_training_alignment(number)[1])))
        if job.directions:
            for model, path in zip((direct, inverse), job.directions, strict=True):
                with path.open("w", encoding="utf-8") as out:
                    for number in range(pairs):
                        cells = _cells(model.get_training_alignment(number)[1])
                        out.write(written(cells if model is direct else ((j, i) for i, j in cells)))

    return run


def _cells(matrix: Any) -> list[tuple[int, int]]:
    rows, columns = matrix.to_numpy().nonzero()
    return list(zip(rows.tolist(), columns.tolist(), strict=True))


def _iterate(model: Any, iterations: int | None = None) -> Any:
    model.start_training()
    for _ in range(model.scheduled_iterations if iterations is None else iterations):
        model.train()
    model.end_training()
    return model


def thot_hmm(ta: Any, source: Path, target: Path) -> Any:
    """IBM model 1, then the HMM."""
    first = ta.Ibm1AlignmentModel()
    model = ta.HmmAlignmentModel(first)
    model.emit_training_alignments = True
    model.read_sentence_pairs(str(source), str(target))  # into the text that both models share
    _iterate(first, 5)
    return _iterate(model, 4)


def thot_fast_align(ta: Any, source: Path, target: Path) -> Any:
    """sil-thot's reimplementation of fast_align."""
    model = ta.FastAlignModel()
    model.variational_bayes = True
    model.emit_training_alignments = True
    model.read_sentence_pairs(str(source), str(target))
    return _iterate(model, 4)


def thot_eflomal(ta: Any, source: Path, target: Path) -> Any:
    """sil-thot's reimplementation of eflomal, which finds its number of iterations from the size of the text."""
    model = ta.EflomalAlignmentModel()
    model.emit_training_alignments = True
    model.read_sentence_pairs(str(source), str(target))
    return _iterate(model)


def systran_align(**options: bool) -> Callable[[Job], None]:
    """fast_align as systran-align packs it: tables to files, files to an aligner, which symmetrises."""

    def run(job: Job) -> None:
        import systran_align as library

        with tempfile.TemporaryDirectory(dir=job.links.parent) as folder:
            joint, forward, backward = (Path(folder, name) for name in ("joint", "forward", "backward"))
            with (
                job.phase("adapter"),
                opened(job.english, job.other) as texts,
                joint.open("w", encoding="utf-8") as out,
            ):
                out.writelines(f"{one.rstrip()} ||| {two}" for one, two in zip(*texts, strict=True))
            with job.phase("align"):
                library.generate_alignment_probabilities(str(joint), str(forward), str(backward), **options)
                aligner = library.Aligner(str(forward), str(backward))
            with opened(job.english, job.other) as texts, job.links.open("w", encoding="utf-8") as out:
                while True:
                    with job.phase("adapter"):
                        english, other = ([line.split() for line in itertools.islice(text, 10_000)] for text in texts)
                    if not english:
                        break
                    with job.phase("align"):
                        found = aligner.align_batch(english, other)
                    with job.phase("adapter"):
                        out.writelines(written(result["alignments"]) for result in found)

    return run


PEERS: dict[str, Callable[[Job], None]] = {
    "eflomal": eflomal,
    "sil-thot-hmm": sil_thot(thot_hmm),
    "sil-thot-fast-align": sil_thot(thot_fast_align),
    "sil-thot-eflomal": sil_thot(thot_eflomal),
    "systran-align": systran_align(favor_diagonal=True, optimize_tension=True, variational_bayes=True),
    "systran-align-plain": systran_align(),
}
#: those that can say what each direction found; the others give their own symmetrised links only
DIRECTIONS = tuple(name for name in PEERS if not name.startswith("systran"))
#: those that say nothing else
UNSYMMETRIZED = ("eflomal",)


def versions() -> dict[str, str]:
    """What is installed here."""
    found = {"python": platform.python_version()}
    for name in ("eflomal", "sil-thot", "systran-align"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def main() -> None:
    """One run; --report holds the seconds of its parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--versions", action="store_true")
    parser.add_argument("peer", choices=sorted(PEERS), nargs="?")
    parser.add_argument("texts", type=Path, nargs="*", metavar="TEXT.en TEXT.xx LINKS")
    parser.add_argument("--directions", type=Path, nargs=2, default=[])
    parser.add_argument("--report", type=Path)
    arguments = parser.parse_args()
    if arguments.versions:
        print(json.dumps(versions()))
        return
    if arguments.peer is None or len(arguments.texts) != 3:
        parser.error("expected PEER TEXT.en TEXT.xx LINKS")
    job = Job(*arguments.texts, arguments.directions)
    if arguments.directions and arguments.peer not in DIRECTIONS:
        parser.error(f"{arguments.peer} does not give its two directions")
    if not arguments.directions and arguments.peer in UNSYMMETRIZED:
        parser.error(f"{arguments.peer} gives its two directions only: --directions FORWARD REVERSE")
    PEERS[arguments.peer](job)
    if arguments.report:
        arguments.report.write_text(json.dumps(job.phase.seconds), encoding="utf-8")


if __name__ == "__main__":
    main()
