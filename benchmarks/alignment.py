"""What ``lingraft align`` costs and how good its links are, next to the word aligners that pip installs.

    python benchmarks/alignment.py prepare --lab LAB --work WORK
    python benchmarks/alignment.py speed   --work WORK --peers-python /venv/bin/python
    python benchmarks/alignment.py quality --work WORK --peers-python /venv/bin/python
    python benchmarks/alignment.py scale   --work WORK
    python benchmarks/alignment.py report  --work WORK

``prepare`` reads a folder (--lab or LINGRAFT_LAB) with ``parallel/en-XX.tsv.zst``, ``parallel/bible.en-XX.tsv.zst`` and
``alignments/NAME.{en,XX,gold}``, and writes tokenised, lower-cased text into the work folder: the gold sentences of a
pair, if there are any, and then its bitext, so that every aligner sees both. Chinese is cut into characters. The other
commands append each result to ``WORK/results.jsonl``; ``report`` prints Markdown from the latest of each.

Every aligner runs as a process of its own, from two text files to files of links (alignment_peers.py says how). Wall
seconds, processor seconds and peak memory are what the kernel says of the process and all the children it waited for;
the peak is that of the largest of these processes. lingraft compiles its loops on first use, so it starts with an empty
cache and one run more than the others, reported apart.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import itertools
import json
import os
import platform
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from alignment_peers import DIRECTIONS, PEERS, UNSYMMETRIZED
from alignment_report import Record, figure, print_report

Links = Iterable[tuple[int, int]]

GOLD = {"fr": "hansards.en-fr", "zh": "tsinghua.en-zh", "hi": "wpt05.en-hi"}
LANGUAGES = ("fr", "zh", "hi", "ru", "vi", "ar")
#: arguments of lingraft align
LINGRAFT = {"lingraft": (), "lingraft-ibm2": ("--method", "ibm2")}
ALIGNERS = (*LINGRAFT, *PEERS)
USUAL = "lingraft,eflomal,sil-thot-hmm,sil-thot-fast-align,sil-thot-eflomal,systran-align"

# -------------------- prepare

#: the Hansards have elided words written out
ELIDED = {"c": "ce", "d": "de", "j": "je", "l": "le", "m": "me", "n": "ne", "qu": "que", "s": "se", "t": "te"}


def tokenizer(language: str) -> Callable[[str], list[str]]:
    """Lower-cased words, numbers and single marks; characters where the language is written without spaces."""
    import regex

    words = regex.compile(r"(?:\p{L}|qu)['’](?=\p{L})|[\p{L}\p{M}\p{N}]+|[^\s\p{L}\p{M}\p{N}]", regex.IGNORECASE)

    def tokens(text: str) -> list[str]:
        found: list[str] = words.findall(unicodedata.normalize("NFC", text).lower())
        if language == "fr":
            found = [ELIDED.get(word[:-1], word) if word[-1] in "'’" else word for word in found]
        return [unit for word in found for unit in characters(word)] if language == "zh" else found

    return tokens


def characters(word: str) -> list[str]:
    """Every Han character, and every stretch between them."""
    import regex

    found: list[str] = regex.findall(r"\p{Han}|[^\p{Han}]+", word)
    return found


def lab_lines(lab: Path, name: str) -> list[str]:
    """The lines of a file of the lab, compressed or not."""
    import zstandard

    if (lab / name).is_file():
        raw = (lab / name).read_bytes()
    else:
        raw = zstandard.ZstdDecompressor().stream_reader((lab / f"{name}.zst").read_bytes()).read()
    return raw.decode("utf-8").split("\n")[:-1]


def prepare(arguments: argparse.Namespace) -> None:
    """Writes XX.en, XX.xx and, where there is a gold set, XX.gold and XX.map (the word of every unit of XX.xx)."""
    lab, work = arguments.lab, arguments.work
    if lab is None:
        sys.exit("say where the data lies: --lab FOLDER or LINGRAFT_LAB")
    work.mkdir(parents=True, exist_ok=True)
    listing = work / "texts.json"
    texts = json.loads(listing.read_text(encoding="utf-8")) if listing.is_file() else {}
    for language in arguments.languages:
        pairs, gold = [], 0
        if language in GOLD:
            name = f"alignments/{GOLD[language]}"
            english, other, links = (lab_lines(lab, f"{name}.{part}") for part in ("en", language, "gold"))
            gold = len(links)
            words = [line.lower().split() for line in other]
            units = [[characters(w) if language == "zh" else [w] for w in line] for line in words]
            pairs = [(one.lower(), " ".join(itertools.chain(*two))) for one, two in zip(english, units, strict=True)]
            places = (" ".join(str(at) for at, word in enumerate(line) for _ in word) for line in units)
            write(work / f"{language}.map", places)
            write(work / f"{language}.gold", links)
        cut_english, cut_other = tokenizer("en"), tokenizer(language)
        bible = f"parallel/bible.en-{language}.tsv"
        has_bible = any((lab / f"{bible}{end}").is_file() for end in ("", ".zst"))
        for name in (f"parallel/en-{language}.tsv", *([bible] if has_bible else [])):
            for row in lab_lines(lab, name):
                one, two = row.split("\t")[:2]
                pair = " ".join(cut_english(one)), " ".join(cut_other(two))
                if all(pair):
                    pairs.append(pair)
        write(work / f"{language}.en", (one for one, _ in pairs))
        write(work / f"{language}.xx", (two for _, two in pairs))
        tokens = [sum(side.count(" ") + 1 for side in sides) for sides in zip(*pairs, strict=True)]
        texts[language] = {"pairs": len(pairs), "gold": gold, "english_tokens": tokens[0], "other_tokens": tokens[1]}
        print(f"en-{language}: {texts[language]}")
        listing.write_text(json.dumps(texts, indent=1), encoding="utf-8")


def write(path: Path, lines: Iterable[str]) -> None:
    """Lines to a file."""
    with path.open("w", encoding="utf-8", newline="\n") as out:
        out.writelines(f"{line}\n" for line in lines)


# -------------------- measure


def measure() -> None:
    """Runs ``REPORT LIMIT COMMAND...``. A small process of its own: a child's peak memory starts with its parent's."""
    report, limit, command = Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
    out, load = report.with_suffix(".out"), os.getloadavg()[0]
    with out.open("wb") as file:
        start = time.perf_counter()
        child = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
        signal.signal(signal.SIGALRM, lambda *_: os.killpg(child.pid, signal.SIGKILL))
        signal.alarm(limit)
        try:
            _, status, usage = os.wait4(child.pid, 0)
        except BaseException:  # Ctrl-C does not reach another session
            os.killpg(child.pid, signal.SIGKILL)
            raise
        wall = time.perf_counter() - start
        signal.alarm(0)
    record = {
        "status": status,
        "wall": wall,
        "cpu": usage.ru_utime + usage.ru_stime,
        "peak_mb": usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6,
        "load": load,
    }
    report.write_text(json.dumps(record), encoding="utf-8")


class Session:
    """One call of a command: how aligners are started and where results go."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments, self.work, self.kind = arguments, arguments.work, arguments.command
        self.name = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
        self.lingraft = shlex.split(arguments.lingraft)
        self.peers = [arguments.peers_python, str(Path(__file__).with_name("alignment_peers.py"))]
        self.cache = self.work / "numba-cache"
        self.scratch = self.work / "scratch"
        shutil.rmtree(self.scratch, ignore_errors=True)  # a run that was ended leaves its files
        self.scratch.mkdir()
        peers = [name for name in arguments.aligners if name in PEERS]
        asked = [[*self.lingraft, "--version"]] + ([[*self.peers, "--versions"]] if peers else [])
        answers = [subprocess.run(command, check=True, capture_output=True, text=True).stdout for command in asked]
        versions = {"lingraft": answers[0].split()[-1], **(json.loads(answers[1]) if peers else {})}
        self.append({"session": self.name, "kind": "session", "machine": machine(), "versions": versions})

    def texts(self, name: str, pairs: int | None) -> tuple[Path, Path]:
        """Both sides of a text, or their first so many lines."""
        sides = tuple(self.work / f"{name}.{side}" for side in ("en", "xx"))
        if pairs:
            for side in sides:
                with side.open("rb") as file, (self.scratch / side.name).open("wb") as out:
                    out.writelines(itertools.islice(file, pairs))
            sides = tuple(self.scratch / side.name for side in sides)
        return sides[0], sides[1]

    def append(self, record: Record) -> None:
        """One line of results.jsonl."""
        with (self.work / "results.jsonl").open("a", encoding="utf-8") as out:
            out.write(json.dumps(record) + "\n")

    def empty_cache(self) -> None:
        """The next run of lingraft compiles its loops."""
        shutil.rmtree(self.cache, ignore_errors=True)

    def run(self, aligner: str, english: Path, other: Path, *options: str, directions: bool = False) -> Record:
        """One process from two texts to scratch/links, or to scratch/forward and scratch/reverse; what it took."""
        links, report, parts = (self.scratch / name for name in ("links", "run.json", "parts.json"))
        sides = [self.scratch / name for name in ("forward", "reverse")]
        for path in (links, *sides, report, parts):
            path.unlink(missing_ok=True)
        threads = self.arguments.threads
        if aligner in LINGRAFT:
            command = [*self.lingraft, "align", f"{english},{other}", "--out", str(links), "--quiet", "--json"]
            command += [*LINGRAFT[aligner], *options, *(["--threads", str(threads)] if threads else [])]
        else:
            command = [*self.peers, aligner, str(english), str(other), str(links), "--report", str(parts)]
            if directions or aligner in UNSYMMETRIZED:
                command += ["--directions", *map(str, sides)]
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(self.cache)}
        if threads:
            environment["OMP_NUM_THREADS"] = str(threads)
        limit = str(self.arguments.limit)
        subprocess.run([sys.executable, __file__, "measure", report, limit, *command], check=True, env=environment)
        record: Record = json.loads(report.read_text(encoding="utf-8"))
        said = report.with_suffix(".out").read_text(encoding="utf-8", errors="replace")
        with contextlib.suppress(ValueError):  # what lingraft says in JSON
            record["said"] = json.loads(said)
        record["parts"] = json.loads(parts.read_text(encoding="utf-8")) if parts.is_file() else {}
        pairs, made = lines(english), sides[0] if aligner in UNSYMMETRIZED else links
        if record["status"]:
            print(f"{aligner} ended with status {record['status']}:\n{said[-2000:]}", file=sys.stderr)
        elif lines(made) != pairs:
            sys.exit(f"{aligner} wrote {lines(made)} lines of links for {pairs} pairs")
        return {"session": self.name, "kind": self.kind, "aligner": aligner, "pairs": pairs, **record}


def lines(path: Path) -> int:
    """How many lines a file has."""
    with path.open("rb") as file:
        return sum(1 for _ in file)


def machine() -> dict[str, Any]:
    """What the numbers were made on."""
    cpu = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
        cpu = found[1] if found else cpu
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"cpu": cpu, "cores": cores, "system": platform.system(), "python": platform.python_version()}


# -------------------- commands


def speed(arguments: argparse.Namespace) -> None:
    """Whole runs, in turn; lingraft's first, which compiles, apart."""
    session = Session(arguments)
    session.empty_cache()
    for number, language in enumerate(arguments.languages):
        english, other = session.texts(language, arguments.pairs)
        turns = [(name, True) for name in arguments.aligners if name in LINGRAFT and number == 0]
        for turn in range(arguments.repeats):
            turns += [(name, False) for name in arguments.aligners if turn == 0 or name not in arguments.once]
        for aligner, first in turns:
            record = {**session.run(aligner, english, other), "text": f"en-{language}", "first": first}
            session.append(record)
            say(record)


def quality(arguments: argparse.Namespace) -> None:
    """Alignment error rate on the gold sentences, which every aligner sees at the head of its text."""
    from lingraft.evidence.alignment.score import bootstrap_interval, score_alignment

    session = Session(arguments)
    for language in arguments.languages:
        if language not in GOLD:
            continue
        english, other = session.texts(language, arguments.pairs)
        gold = session.work / f"{language}.gold"
        with (session.work / f"{language}.map").open(encoding="utf-8") as file:
            places = [[int(at) for at in line.split()] for line in file]
        for aligner in arguments.aligners:
            for turn in range(arguments.quality_repeats if aligner in PEERS else 1):
                for symmetrization, run, links in alignments(session, aligner, english, other, len(places)):
                    words = [{(i, place[j]) for i, j in pair} for pair, place in zip(links, places, strict=True)]
                    score = score_alignment(words, gold)
                    low, high = bootstrap_interval(words, gold, samples=1000, seed=0, level=0.95)
                    result = {"aer": score.aer, "precision": score.precision, "recall": score.recall}
                    result |= {"interval": [low, high], "links": sum(map(len, words)), "turn": turn}
                    record = {**run, "text": f"en-{language}", "symmetrization": symmetrization, **result}
                    session.append(record)
                    print(f"en-{language} {aligner} {symmetrization}: AER {100 * score.aer:.2f}", flush=True)


def alignments(
    session: Session, aligner: str, english: Path, other: Path, sentences: int
) -> Iterator[tuple[str, Record, Iterable[Links]]]:
    """The links of the first sentences by every symmetrisation that an aligner has or that its two directions allow."""
    from hard_links import HEURISTICS, parsed, symmetrized

    def head(path: Path) -> list[str]:
        with path.open(encoding="utf-8") as file:
            return list(itertools.islice(file, sentences))

    def links(name: str) -> list[Links]:
        return [parsed(line) for line in head(session.scratch / name)]

    if aligner in LINGRAFT:
        for symmetrization in ("default", *HEURISTICS):
            options = () if symmetrization == "default" else ("--symmetrize", symmetrization)
            run = session.run(aligner, english, other, *options)
            if not run["status"]:
                yield symmetrization, run, links("links")
        return
    run = session.run(aligner, english, other, directions=aligner in DIRECTIONS)
    if run["status"]:
        return
    if aligner not in DIRECTIONS:
        yield "its own", run, links("links")
        return
    lengths = [[len(line.split()) for line in head(path)] for path in (english, other)]
    for symmetrization in HEURISTICS:
        yield symmetrization, run, symmetrized(links("forward"), links("reverse"), *lengths, symmetrization)


def scale(arguments: argparse.Namespace) -> None:
    """All bitexts mixed, in four sizes; the words of each language are kept apart by its name."""
    if not arguments.with_peers:
        arguments.aligners = [name for name in arguments.aligners if name in LINGRAFT]
    session = Session(arguments)
    pairs = mix(session.work, arguments.largest)
    sizes = sorted({min(size, arguments.largest) for size in (pairs // 16, pairs // 4, pairs, arguments.largest)})
    for aligner in arguments.aligners:
        if aligner in LINGRAFT:  # compiles, if need be
            session.run(aligner, *session.texts("mix", 1000))
    records = []
    for size in sizes[: arguments.sizes]:
        texts = session.texts("mix", size)
        for aligner in arguments.aligners:
            records.append({**session.run(aligner, *texts), "text": "mixed"})
            session.append(records[-1])
            say(records[-1])
    (session.work / "scale.json").write_text(json.dumps(records, indent=1), encoding="utf-8")
    figure(records, session.work / "scale.svg")


def mix(work: Path, largest: int) -> int:
    """Writes the pairs of all languages in random order, and again from the first until there are enough of them."""
    english, other = work / "mix.en", work / "mix.xx"
    pairs = []
    for language in json.loads((work / "texts.json").read_text(encoding="utf-8")):
        with (
            (work / f"{language}.en").open(encoding="utf-8") as one,
            (work / f"{language}.xx").open(encoding="utf-8") as two,
        ):
            for first, second in zip(one, two, strict=True):
                pairs.append((first.rstrip("\n"), " ".join(f"{language}:{word}" for word in second.split())))
    random.Random(0).shuffle(pairs)
    write(english, (one for one, _ in itertools.islice(itertools.cycle(pairs), largest)))
    write(other, (two for _, two in itertools.islice(itertools.cycle(pairs), largest)))
    return len(pairs)


def say(record: Record) -> None:
    """One line a run."""
    note = " (first run)" if record.get("first") else ""
    print(
        f"{record['text']} {record['pairs']:,} pairs, {record['aligner']}{note}: {record['wall']:.2f} s, "
        f"{record['cpu']:.2f} s of processor, {record['peak_mb']:.0f} MB, load before {record['load']:.1f}",
        flush=True,
    )


def report(arguments: argparse.Namespace) -> None:
    """Markdown from results.jsonl: of each text, in its latest size, and aligner, the latest session that has it."""
    print_report(arguments.work, ALIGNERS)


# -------------------- command line


def names(allowed: Iterable[str]) -> Callable[[str], list[str]]:
    """A comma-separated list of these."""

    def parse(text: str) -> list[str]:
        found = [name for name in text.split(",") if name]
        for name in found:
            if name not in allowed:
                raise argparse.ArgumentTypeError(f"'{name}' is none of {', '.join(allowed)}")
        return found

    return parse


def main() -> None:
    """One of the commands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for command in (prepare, speed, quality, scale, report):
        sub = commands.add_parser(command.__name__, help=(command.__doc__ or "").splitlines()[0])
        sub.set_defaults(run=command)
        sub.add_argument("--work", type=Path, required=True, help="folder for texts and results")
        if command is prepare:
            sub.add_argument("--lab", type=Path, default=os.environ.get("LINGRAFT_LAB"))
            sub.add_argument("--languages", type=names(LANGUAGES), default=",".join(LANGUAGES))
        if command in (prepare, report):
            continue
        sub.add_argument("--lingraft", default="lingraft", help="command, for example 'python -m lingraft.cli'")
        sub.add_argument("--peers-python", default=sys.executable, help="the Python where the peers are installed")
        sub.add_argument("--aligners", type=names(ALIGNERS), default=USUAL, help=f"of {','.join(ALIGNERS)}")
        sub.add_argument("--threads", type=int, help="for lingraft, and as OMP_NUM_THREADS for the peers")
        sub.add_argument("--limit", type=int, default=7200, help="seconds after which a run is ended")
        if command is scale:
            sub.add_argument("--with-peers", action="store_true")
            sub.add_argument("--largest", type=int, default=1_000_000, help="pairs of the largest text")
            sub.add_argument("--sizes", type=int, default=4, help="how many of the four sizes to run, from the least")
            continue
        usual = "fr,zh,ru" if command is speed else "fr,zh,hi"
        sub.add_argument("--languages", type=names(LANGUAGES), default=usual)
        sub.add_argument("--pairs", type=int, help="only the first so many pairs of each text")
        if command is speed:
            sub.add_argument("--repeats", type=int, default=3)
            sub.add_argument("--once", type=names(ALIGNERS), default="", help="aligners to run once only")
        else:
            sub.add_argument("--quality-repeats", type=int, default=1, help="runs of each peer; most are random")
    arguments = parser.parse_args()
    arguments.work = arguments.work.absolute()
    arguments.run(arguments)


if __name__ == "__main__":
    measure() if sys.argv[1:2] == ["measure"] else main()
