"""Text to token shards, against the tokenizers library alone; and what a corpus of any size costs in memory.

    python benchmarks/tokenisation.py speed  TOKENIZER [--text FILE] [--tokens 10_000_000] [--repeats 3]
    python benchmarks/tokenisation.py memory TOKENIZER [--text FILE] [--megabytes 100,1000] [--steps 2000]

TOKENIZER is a model folder with a tokenizer.json. FILE is text, a line a line, plain or compressed; it is repeated as
often as the size asks for. Without it text is generated: random words of a vocabulary with Zipf's frequencies.

speed: the same lines in the same batches go in turn through lingraft (`write_shards`: lines from a list, ids into
arrays, counted, hashed, written to disk) and through ``Tokenizer.encode_batch`` and ``encode_batch_fast``, of which
only the call is timed: their encodings are thrown away, no id is looked at. Every run is a process of its own. Ratio:
tokens a second of lingraft over those of the library in the same round. Cores: CPU seconds by wall seconds.

memory: a file of so many megabytes goes the way of a run, each in a process of its own: split by content, tokenised
into shards (`lingraft.texts.make_shards`), then batches of 32 blocks of 256 tokens out of all of it. Peak memory is
the kernel's VmHWM of that process, which the imports are part of; it is printed after each part.
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
from typing import Any

import numpy as np

BATCH_CHARACTERS = 1 << 20
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


def one_speed(side: str, tokenizer: str, text: str) -> dict[str, Any]:
    """One run: wall and CPU seconds and tokens a second."""
    from lingraft.corpus import open_shards, write_shards
    from lingraft.surgery import load_tokenizer
    from lingraft.vocabulary import plain_backend

    backend = plain_backend(load_tokenizer(tokenizer))
    with Path(text).open(encoding="utf-8") as stream:
        batches = [json.loads(line) for line in stream]
    backend.encode_batch_fast(batches[0][:100])  # threads are started
    before, cpu = time.perf_counter(), time.process_time()
    if side == "lingraft":
        with tempfile.TemporaryDirectory() as folder:
            write_shards(Path(folder), chain.from_iterable(batches), backend, 0, batch_characters=BATCH_CHARACTERS)
            wall, cpu = time.perf_counter() - before, time.process_time() - cpu
            shards = open_shards(Path(folder), verify=True)
            tokens = shards.size - shards.lines
    else:
        tokens, wall, used = 0, 0.0, 0.0
        for batch in batches:
            before, cpu = time.perf_counter(), time.process_time()
            encodings = getattr(backend, side)(batch, add_special_tokens=False)
            wall, used = wall + time.perf_counter() - before, used + time.process_time() - cpu
            tokens += sum(map(len, encodings))
            del encodings
        cpu = used
    return {"tokens": tokens, "wall_s": wall, "cpu_s": cpu, "tokens_per_s": tokens / wall, "mb": peak_mb()}


def quietly(_share: float, _note: str) -> None:
    """Shows no progress."""


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
        blocks = PackedBlocks(made.stream, 256, 0)
        result |= made.report | {"tokenise_s": time.perf_counter() - began, "tokenised_mb": peak_mb()}
        began = time.perf_counter()
        for step in range(steps):
            blocks.batch(step, 32, 0)
        result |= {"batch_ms": 1000 * (time.perf_counter() - began) / steps, "trained_mb": peak_mb()}
        result["epochs"] = steps * 32 / blocks.n_blocks
    return result


def child(*arguments: object) -> dict[str, Any]:
    """What another process of this program says."""
    done = subprocess.run(
        [sys.executable, __file__, *map(str, arguments)], check=True, stdout=subprocess.PIPE, text=True
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
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
    text = scratch / "batches.jsonl"
    tokens = 0
    with text.open("w", encoding="utf-8") as stream:
        for batch in batches_of(lines_of(arguments.text)):
            tokens += sum(map(len, backend.encode_batch_fast(batch, add_special_tokens=False)))
            stream.write(json.dumps(batch) + "\n")
            if tokens >= arguments.tokens:
                break
    say("| round | side | tokens | wall s | CPU s | cores | tokens/s | peak MB | load |\n" + "|---" * 9 + "|")
    ratios: dict[str, list[float]] = {name: [] for name in LIBRARY}
    for number in range(arguments.repeats):
        rates = {}
        for side in SIDES[number % 3 :] + SIDES[: number % 3]:
            got = child("one-speed", arguments.tokenizer, "--side", side, "--text", text)
            rates[side] = got["tokens_per_s"]
            say(
                f"| {number + 1} | {side} | {got['tokens']:,} | {got['wall_s']:.1f} | {got['cpu_s']:.1f} "
                f"| {got['cpu_s'] / got['wall_s']:.2f} | {got['tokens_per_s']:,.0f} | {got['mb']:,} "
                f"| {os.getloadavg()[0]:.1f} |"
            )
        for name in LIBRARY:
            ratios[name].append(rates["lingraft"] / rates[name])
    for name in LIBRARY:
        say(f"ratio to {name}: {', '.join(f'{x:.2f}' for x in ratios[name])}; median {np.median(ratios[name]):.2f}")


def memory(arguments: argparse.Namespace, scratch: Path) -> None:
    """One run a size."""
    names = ("imports_mb", "lines", "tokens", "tokenise_s", "tokenised_mb", "batch_ms", "epochs", "trained_mb")
    say(f"| text MB | {' | '.join(names)} |\n" + "|---" * (len(names) + 1) + "|")
    for size in map(int, arguments.megabytes.split(",")):
        text = scratch / f"{size}.txt"
        written = 0
        with text.open("w", encoding="utf-8") as stream:
            for line in lines_of(arguments.text):
                written += stream.write(line + "\n")
                if written >= size * 1_000_000:
                    break
        got = child("one-memory", arguments.tokenizer, "--text", text, "--steps", arguments.steps)
        say(f"| {text.stat().st_size / 1e6:,.0f} | {' | '.join(f'{round(got[name], 2):,}' for name in names)} |")
        text.unlink()


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "memory", "one-speed", "one-memory"])
    parser.add_argument("tokenizer")
    parser.add_argument("--text")
    parser.add_argument("--tokens", type=int, default=10_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--megabytes", default="100,1000")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--side", choices=SIDES)
    parser.add_argument("--scratch", type=Path, help="where files go; else the system's temporary folder")
    arguments = parser.parse_args()
    if arguments.what == "one-speed":
        say(json.dumps(one_speed(arguments.side, arguments.tokenizer, arguments.text)))
    elif arguments.what == "one-memory":
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
