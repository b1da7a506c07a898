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

Every aligner runs as a process of its own, from two text files to one file of links (alignment_peers.py says how). Wall
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
import statistics
import subprocess
import sys
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from alignment_peers import DIRECTIONS, PEERS, SYMMETRIZATIONS, Links, parsed, symmetrize

Record = dict[str, Any]

GOLD = {"fr": "hansards.en-fr", "zh": "tsinghua.en-zh", "hi": "wpt05.en-hi"}
LANGUAGES = ("fr", "zh", "hi", "ru", "vi", "ar")
#: arguments of lingraft align
LINGRAFT = {"lingraft": (), "lingraft-ibm2": ("--method", "ibm2")}
ALIGNERS = (*LINGRAFT, *PEERS)
USUAL = "lingraft,eflomal,sil-thot-hmm,sil-thot-fast-align,sil-thot-eflomal,systran-align"
#: fast_align is not on PyPI: its seconds over eflomal 2.0.0's on one and the same text, measured once elsewhere
FAST_ALIGN_TO_EFLOMAL = {"wall": 36.7 / 39.1, "cpu": 69 / 72}

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
        """One process from two texts to scratch/links (and scratch/forward, scratch/reverse); what it took."""
        links, report, parts = (self.scratch / name for name in ("links", "run.json", "parts.json"))
        for path in (links, report, parts):
            path.unlink(missing_ok=True)
        threads = self.arguments.threads
        if aligner in LINGRAFT:
            command = [*self.lingraft, "align", f"{english},{other}", "--out", str(links), "--quiet", "--json"]
            command += [*LINGRAFT[aligner], *options, *(["--threads", str(threads)] if threads else [])]
        else:
            command = [*self.peers, aligner, str(english), str(other), str(links), "--report", str(parts)]
            if directions:
                command += ["--directions", *(str(self.scratch / name) for name in ("forward", "reverse"))]
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
        pairs = lines(english)
        if record["status"]:
            print(f"{aligner} ended with status {record['status']}:\n{said[-2000:]}", file=sys.stderr)
        elif lines(links) != pairs:
            sys.exit(f"{aligner} wrote {lines(links)} lines of links for {pairs} pairs")
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
) -> Iterator[tuple[str, Record, list[Links]]]:
    """The links of the first sentences by every symmetrisation that an aligner has or that its two directions allow."""

    def links(name: str) -> list[Links]:
        with (session.scratch / name).open(encoding="utf-8") as file:
            return [parsed(line) for line in itertools.islice(file, sentences)]

    if aligner in LINGRAFT:
        for symmetrization in ("default", *SYMMETRIZATIONS):
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
    sides = list(zip(links("forward"), links("reverse"), strict=True))
    for symmetrization in SYMMETRIZATIONS:
        yield symmetrization, run, [symmetrize(forward, reverse, symmetrization) for forward, reverse in sides]


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


def figure(records: list[Record], path: Path) -> None:
    """Seconds and memory against pairs."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print(f"matplotlib is not installed: no {path.name}, the numbers are in scale.json")
        return
    drawing = Figure(figsize=(9, 3.6), layout="constrained")
    panels = drawing.subplots(1, 2)
    for panel, key, label in zip(panels, ("wall", "peak_mb"), ("wall seconds", "peak memory, MB"), strict=True):
        for aligner in dict.fromkeys(record["aligner"] for record in records):
            points = [less_adapter(r) for r in records if r["aligner"] == aligner and not r["status"]]
            panel.plot([r["pairs"] / 1000 for r in points], [r[key] for r in points], marker="o", label=aligner)
        panel.set(xlabel="thousand sentence pairs", ylabel=label, xlim=(0, None), ylim=(0, None))
        panel.grid(visible=True, alpha=0.3)
    panels[0].legend(frameon=False)
    drawing.savefig(path)


def say(record: Record) -> None:
    """One line a run."""
    note = " (first run)" if record.get("first") else ""
    print(
        f"{record['text']} {record['pairs']:,} pairs, {record['aligner']}{note}: {record['wall']:.2f} s, "
        f"{record['cpu']:.2f} s of processor, {record['peak_mb']:.0f} MB, load before {record['load']:.1f}",
        flush=True,
    )


# -------------------- report


def less_adapter(record: Record) -> Record:
    """A run without the seconds that are this benchmark's and not the aligner's."""
    adapter = record["parts"].get("adapter", {"wall": 0.0, "cpu": 0.0})
    return {**record, **{key: record[key] - adapter[key] for key in adapter}, "adapter": adapter["wall"]}


def report(arguments: argparse.Namespace) -> None:
    """Markdown from results.jsonl: of each text, in its latest size, and aligner, the latest session that has it."""
    raw = [json.loads(line) for line in (arguments.work / "results.jsonl").read_text("utf-8").splitlines()]
    sessions = {record["session"]: record for record in raw if record["kind"] == "session"}
    runs = [record for record in raw if record["kind"] != "session"]
    sizes = {(record["kind"], record["text"]): record["pairs"] for record in runs}
    latest: dict[tuple[Any, ...], list[Record]] = {}
    for record in runs:
        key = record["kind"], record["text"], record["aligner"]
        if record["kind"] != "scale" and record["pairs"] != sizes[key[:2]]:
            continue
        if key in latest and latest[key][0]["session"] != record["session"]:
            del latest[key]
        latest.setdefault(key, []).append(record)
    for kind, show in (("speed", speed_table), ("quality", quality_table), ("scale", scale_table)):
        for text in dict.fromkeys(key[1] for key in latest if key[0] == kind):
            print()
            show(text, {name: latest[kind, text, name] for name in ALIGNERS if (kind, text, name) in latest})
    used = [sessions[name] for name in sorted({found[0]["session"] for found in latest.values()})]
    versions = {name: version for session in used for name, version in session["versions"].items() if name != "python"}
    on = used[-1]["machine"]
    load = max(run["load"] for found in latest.values() for run in found)
    print(
        f"\n{', '.join(f'{name} {version}' for name, version in versions.items())}; Python {on['python']}; "
        f"{on['cpu']}, {on['cores']} cores, {on['system']}; {used[0]['session'][:10]} to {used[-1]['session'][:10]}. "
        f"The machine's load before a run was at most {load:.1f}."
    )


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """A Markdown table; the first column is text."""
    header = list(header)
    print(f"| {' | '.join(header)} |\n|---|{'---:|' * (len(header) - 1)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")


def speed_table(text: str, runs: dict[str, list[Record]]) -> None:
    """Medians; the ratios are to lingraft, of seconds without the adapter's."""
    timed = {
        name: [less_adapter(r) for r in records if not (r["first"] or r["status"])] for name, records in runs.items()
    }
    middle = {
        name: {key: statistics.median(r[key] for r in records) for key in ("wall", "cpu", "peak_mb", "adapter")}
        for name, records in timed.items()
        if records
    }
    if "eflomal" in middle:
        derived = {key: middle["eflomal"][key] * ratio for key, ratio in FAST_ALIGN_TO_EFLOMAL.items()}
        middle["fast_align (derived)"] = derived
    ours, pairs = middle.get("lingraft"), next(iter(runs.values()))[0]["pairs"]
    turns = runs["lingraft"][0]["session"] if ours else ""
    rows = []
    for name, found in middle.items():
        records = timed.get(name, [])
        walls = [r["wall"] for r in records]
        span = f" ({min(walls):.1f}–{max(walls):.1f})" if len(walls) > 1 else ""
        apart = " †" if ours and records and records[0]["session"] != turns else ""
        row = [name + apart, f"{len(records) or ''}", f"{found['wall']:.1f}{span}", f"{found['cpu']:.1f}"]
        row += [f"{found['peak_mb']:.0f}" if "peak_mb" in found else "", f"{pairs / found['wall']:,.0f}"]
        row += [f"{found[key] / ours[key]:.2f}" if ours else "" for key in ("wall", "cpu")]
        rows.append([*row, f"{found['adapter']:.1f}" if found.get("adapter") else ""])
    print(f"### {text}, {pairs:,} pairs\n")
    header = "runs", "wall s", "CPU s", "peak MB", "pairs/s", "wall ÷ lingraft", "CPU ÷ lingraft", "adapter s, left out"
    table(("", *header), rows)
    if any("†" in row[0] for row in rows):
        print("\n† measured at another time than lingraft, not in turn with it.")
    for name, records in runs.items():
        for record in records:
            if record["first"]:
                print(f"\nFirst run of {name}, which compiles: {record['wall']:.1f} s, {record['cpu']:.1f} s of CPU.")
            elif record["status"]:
                print(f"\n{name} was stopped or failed after {record['wall']:.0f} s (status {record['status']}).")
    if "fast_align (derived)" in middle:
        wall, cpu = FAST_ALIGN_TO_EFLOMAL.values()
        print(f"\nfast_align was not run: its row is eflomal's times {wall:.3f} (wall) and {cpu:.3f} (CPU),")
        print(
            "from one run of both on another text, 36.7 s and 39.1 s, 69 s and 72 s of CPU. This is rough: fast_align's"
        )
        print(
            "iterations are fixed and eflomal's fall with the root of the text's size, so the ratio changes with size."
        )


def quality_table(text: str, runs: dict[str, list[Record]]) -> None:
    """AER of every aligner and symmetrisation; over several runs their mean, and in brackets the range."""
    rows = []
    for name, records in runs.items():
        for symmetrization in dict.fromkeys(record["symmetrization"] for record in records):
            found = [record for record in records if record["symmetrization"] == symmetrization]
            aer = [100 * record["aer"] for record in found]
            span = f" ({min(aer):.1f}–{max(aer):.1f}, {len(aer)} runs)" if len(aer) > 1 else ""
            low, high = (100 * bound for bound in found[0]["interval"])
            row = [name, symmetrization, f"{statistics.mean(aer):.1f}{span}", f"{low:.1f}–{high:.1f}"]
            row += [f"{100 * statistics.mean(r[key] for r in found):.1f}" for key in ("precision", "recall")]
            rows.append([*row, f"{statistics.mean(r['links'] for r in found):,.0f}"])
    print(f"### {text}, {next(iter(runs.values()))[0]['pairs']:,} pairs\n")
    table(("", "symmetrisation", "AER %", "95 % interval", "precision %", "recall %", "links"), rows)


def scale_table(text: str, runs: dict[str, list[Record]]) -> None:
    """Seconds and memory by size."""
    rows = []
    for name, records in runs.items():
        for run in map(less_adapter, records):
            row = [name, f"{run['pairs']:,}", f"{run['wall']:.1f}", f"{run['cpu']:.1f}", f"{run['peak_mb']:.0f}"]
            each = f"{1e6 * run['wall'] / run['pairs']:.0f}", f"{1e3 * run['peak_mb'] / run['pairs']:.2f}"
            rows.append([*row, *each] if not run["status"] else [*row[:2], f"stopped after {row[2]}", "", "", "", ""])
    print(f"### {text} languages\n")
    table(("", "pairs", "wall s", "CPU s", "peak MB", "µs a pair", "kB a pair"), rows)


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
