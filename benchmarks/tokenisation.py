"""Text to token shards, against the tokenizers library alone; and what a corpus of any size costs in memory.

    python benchmarks/tokenisation.py speed  TOKENIZER [--text FILE] [--tokens 10_000_000] [--repeats 3]
    python benchmarks/tokenisation.py memory TOKENIZER [--text FILE] [--megabytes 100,1000] [--steps 2000]

TOKENIZER is a model folder with a tokenizer.json. FILE is text, a line a line, plain or compressed; it is repeated as
often as the size asks for. Without it text is generated: random words of a vocabulary with Zipf's frequencies.

speed: the same lines in the same batches go in turn, a million tokens each, through lingraft (`write_shards`: lines
from a list, ids into arrays, counted, hashed, written to disk) and through ``Tokenizer.encode_batch`` and
``encode_batch_fast``, of which only the call is timed: their encodings are thrown away untimed, no id is looked at.
Short turns, because a machine is not equally fast all the time. Ratio: seconds of the library over those of lingraft.
Cores: CPU seconds by wall seconds, which other programs bring down.

memory: a file of so many megabytes goes the way of a run, each in a process of its own: split by content, tokenised
into shards (`lingraft.texts.make_shards`), then batches of 32 blocks of 256 tokens out of all of it, and then out of
ten times as many shards (the same files listed ten times). Peak memory is the kernel's VmHWM of that process, which
the imports are part of; it is printed after each part.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from lingraft.corpus import TokenStream

BATCH_CHARACTERS = 1 << 20
TURN_TOKENS = 1_000_000
LIBRARY = ("encode_batch", "encode_batch_fast")
SIDES = ("lingraft", *LIBRARY)


def peak_mb() -> int:
    """The most memory that this program has had, in MB."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text(encoding="utf-8"))
    return int(found[1]) // 1024 if found else 0


def generated(seed: int = 0) -> Iterator[str]:
    """Lines of random words, without end: 50,000 words of 2 to 9 letters, the k-th with frequency 1 / (k + 3)."""
    random = np.random.default_rng(seed)
    letters = np.array(list("etaoinshrdlucmfwypvbgkjqxz"))
    weights = 1 / np.arange(1, 27)
    words = np.array(
        ["".join(random.choice(letters, n, p=weights / weights.sum())) for n in random.integers(2, 10, 50_000)]
    )
    frequencies = 1 / (np.arange(50_000) + 3)
    frequencies /= frequencies.sum()
    while True:
        drawn = random.choice(words, 200_000, p=frequencies)
        ends = np.cumsum(random.integers(5, 40, 10_000))
        for line in np.split(drawn, ends[ends < drawn.size]):
            yield " ".join(line)


def lines_of(name: str | None) -> Iterator[str]:
    """The lines of a text over and over, without end."""
    from lingraft.corpus import read_text

    if name is None:
        return generated()
    return chain.from_iterable(map(read_text, repeat(name)))


def batches_of(lines: Iterator[str]) -> Iterator[list[str]]:
    """Batches as `write_shards` makes them."""
    while True:
        batch: list[str] = []
        size = 0
        while size < BATCH_CHARACTERS:
            batch.append(next(lines))
            size += len(batch[-1])
        yield batch


def timed_run(side: str, backend: Any, batches: list[list[str]], scratch: Path) -> tuple[float, float, int]:
    """Wall and CPU seconds, and tokens."""
    from lingraft.corpus import open_shards, write_shards

    tokens, seconds = 0, np.zeros(2)
    if side == "lingraft":
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            before = np.array([time.perf_counter(), time.process_time()])
            write_shards(Path(folder), chain.from_iterable(batches), backend, 0, batch_characters=BATCH_CHARACTERS)
            seconds = np.array([time.perf_counter(), time.process_time()]) - before
            shards = open_shards(Path(folder), verify=True)
            tokens = shards.size - shards.lines
    else:
        for batch in batches:
            before = np.array([time.perf_counter(), time.process_time()])
            encodings = getattr(backend, side)(batch, add_special_tokens=False)
            seconds += np.array([time.perf_counter(), time.process_time()]) - before
            tokens += sum(map(len, encodings))
            del encodings
    return float(seconds[0]), float(seconds[1]), tokens


def quietly(_share: float, _note: str) -> None:
    """Shows no progress."""


def longer(folder: Path, times: int) -> TokenStream:
    """The shards of a folder, listed so many times."""
    from lingraft.corpus import open_shards

    path = folder / "index.json"
    index = json.loads(path.read_text(encoding="utf-8"))
    index["shards"] *= times
    index |= {name: times * index[name] for name in ("tokens", "lines")}
    path.write_text(json.dumps(index), encoding="utf-8")
    np.save(folder / "counts.npy", times * np.load(folder / "counts.npy"))
    return open_shards(folder)


def one_memory(tokenizer: str, text: str, steps: int) -> dict[str, Any]:
    """One run: what is in memory after each part, in MB."""
    from lingraft.cache import StageCache
    from lingraft.recipe import build_recipe
    from lingraft.surgery import load_tokenizer
    from lingraft.texts import Corpus, Inputs, make_shards
    from lingraft.training.data import PackedBlocks

    result: dict[str, Any] = {"imports_mb": peak_mb()}
    loaded = load_tokenizer(tokenizer)
    with tempfile.TemporaryDirectory(dir=Path(text).parent) as scratch:
        folder = Path(scratch) / "corpus"
        folder.mkdir()
        (folder / "text.xx").symlink_to(text)
        inputs = Inputs(build_recipe({"source": "m", "language": "fr"}), folder, {})
        began = time.perf_counter()
        made = make_shards(StageCache(Path(scratch)), inputs, Corpus(folder), "xx", loaded, quietly, causal=False)
        result |= made.report | {"tokenise_s": time.perf_counter() - began, "tokenised_mb": peak_mb()}
        for name, times in (("", 1), ("_10x", 10)):
            blocks = PackedBlocks(longer(made.folder, times), 256, 0)
            began = time.perf_counter()
            for step in range(times * steps):
                blocks.batch(step, 32, 0)
            milliseconds = 1000 * (time.perf_counter() - began) / (times * steps)
            result |= {f"batch_ms{name}": milliseconds, f"trained_mb{name}": peak_mb()}
        result["epochs"] = times * steps * 32 / blocks.n_blocks
    return result


def say(line: str) -> None:
    """Prints now."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def speed(arguments: argparse.Namespace, scratch: Path) -> None:
    """Alternating runs and their ratios."""
    from lingraft.surgery import load_tokenizer
    from lingraft.vocabulary import plain_backend

    backend = plain_backend(load_tokenizer(arguments.tokenizer))
    turns: list[list[list[str]]] = [[]]
    total, tokens = 0, 0
    for batch in batches_of(lines_of(arguments.text)):
        tokens += sum(map(len, backend.encode_batch_fast(batch, add_special_tokens=False)))
        turns[-1].append(batch)
        if total + tokens >= arguments.tokens:
            break
        if tokens >= TURN_TOKENS:
            total, tokens = total + tokens, 0
            turns.append([])
    say("| round | side | tokens | wall s | CPU s | cores | tokens/s | load |\n" + "|---" * 8 + "|")
    ratios: dict[str, list[float]] = {name: [] for name in LIBRARY}
    for number in range(arguments.repeats):
        sums = {side: np.zeros(3) for side in SIDES}
        for turn, batches in enumerate(turns):
            first = (number + turn) % len(SIDES)
            for side in SIDES[first:] + SIDES[:first]:
                sums[side] += timed_run(side, backend, batches, scratch)
        for side, (wall, cpu, done) in sums.items():
            say(
                f"| {number + 1} | {side} | {done:,.0f} | {wall:.1f} | {cpu:.1f} | {cpu / wall:.2f} "
                f"| {done / wall:,.0f} | {os.getloadavg()[0]:.1f} |"
            )
        for name in LIBRARY:
            ratios[name].append(sums[name][0] / sums["lingraft"][0])
    for name in LIBRARY:
        say(f"ratio to {name}: {', '.join(f'{x:.2f}' for x in ratios[name])}; median {np.median(ratios[name]):.2f}")


def memory(arguments: argparse.Namespace, scratch: Path) -> None:
    """One run a size."""
    names = (
        "imports_mb",
        "lines",
        "tokens",
        "tokenise_s",
        "tokenised_mb",
        "batch_ms",
        "trained_mb",
        "batch_ms_10x",
        "trained_mb_10x",
        "epochs",
    )
    say(f"| text MB | {' | '.join(names)} |\n" + "|---" * (len(names) + 1) + "|")
    for size in map(int, arguments.megabytes.split(",")):
        text = scratch / f"{size}.txt"
        written = 0
        with text.open("w", encoding="utf-8") as stream:
            for line in lines_of(arguments.text):
                written += stream.write(line + "\n")
                if written >= size * 1_000_000:
                    break
        given = ["one-memory", arguments.tokenizer, "--text", str(text), "--steps", str(arguments.steps)]
        done = subprocess.run([sys.executable, __file__, *given], check=True, stdout=subprocess.PIPE, text=True)
        got = json.loads(done.stdout)
        say(f"| {text.stat().st_size / 1e6:,.0f} | {' | '.join(f'{round(got[name], 2):,}' for name in names)} |")
        text.unlink()


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "memory", "one-memory"])
    parser.add_argument("tokenizer")
    parser.add_argument("--text")
    parser.add_argument("--tokens", type=int, default=10_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--megabytes", default="100,1000")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--scratch", type=Path, help="where files go; else the system's temporary folder")
    arguments = parser.parse_args()
    if arguments.what == "one-memory":
        say(json.dumps(one_memory(arguments.tokenizer, arguments.text, arguments.steps)))
    else:
        say(
            f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
            f"tokenizers {version('tokenizers')}, numpy {version('numpy')}"
        )
        with tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch:
            {"speed": speed, "memory": memory}[arguments.what](arguments, Path(scratch))


if __name__ == "__main__":
    main()
