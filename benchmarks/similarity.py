"""What rows of weights out of similarities cost, next to the plain way: one dense matrix product and its top k.

    python benchmarks/similarity.py [--target 32000] [--source 29000] [--dimension 300] [--repeats 3]

Every way runs alternately in a process of its own, with the threads the environment gives (OMP_NUM_THREADS). Printed
are the seconds of each (without compiling, which a small run before does), their ratio to the better of the two plain
ways, and the peak memory of the process, vectors included.

- ``sparsemax``, ``softmax``, ``csls``: `lingraft.evidence.vectors.similarity_rows`; the last is sparsemax with CSLS 10.
- ``numpy``, ``torch``: the product of unit vectors in float32, whole, and the 10 largest of every row by
  ``numpy.argpartition`` or ``torch.topk``.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

import numpy as np

OURS: dict[str, dict[str, Any]] = {
    "sparsemax": {"temperature": 0.1},
    "softmax": {"activation": "softmax", "temperature": 0.1},
    "csls": {"temperature": 0.1, "csls": 10},
}
PLAIN = ("numpy", "torch")


def vectors(rows: int, dimension: int, seed: int) -> np.ndarray[Any, Any]:
    """Vectors that share directions, as those of words do."""
    random = np.random.default_rng(seed)
    topics = np.random.default_rng(0).normal(size=(100, dimension)).astype(np.float32)
    return random.normal(size=(rows, 100)).astype(np.float32) ** 3 @ topics


def seconds(way: str, target: Any, source: Any) -> float:
    """Of one run."""
    if way in OURS:
        from lingraft.evidence.vectors import similarity_rows

        similarity_rows(target[:100], source[:1000], **OURS[way])
        start = time.perf_counter()
        similarity_rows(target, source, **OURS[way])
        return time.perf_counter() - start
    if way == "torch":
        import torch

        start = time.perf_counter()
        unit = torch.nn.functional.normalize
        torch.topk(unit(torch.from_numpy(target)) @ unit(torch.from_numpy(source)).T, 10)
        return time.perf_counter() - start
    start = time.perf_counter()
    target, source = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in (target, source))
    np.argpartition(target @ source.T, -10, axis=1)[:, -10:]
    return time.perf_counter() - start


def main() -> None:
    """Runs all ways, or in a child one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", type=int, default=32_000)
    parser.add_argument("--source", type=int, default=29_000)
    parser.add_argument("--dimension", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--ways", default=",".join((*OURS, *PLAIN)))
    parser.add_argument("--only", help="run this way once and print its numbers")
    options = parser.parse_args()
    if options.only:
        spent = seconds(
            options.only,
            vectors(options.target, options.dimension, 1),
            vectors(options.source, options.dimension, 2),
        )
        print(json.dumps([spent, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
        return
    ways = options.ways.split(",")
    found: dict[str, list[list[float]]] = {way: [] for way in ways}
    for _ in range(options.repeats):
        for way in ways:
            done = subprocess.run([sys.executable, *sys.argv, "--only", way], capture_output=True, text=True)
            if done.returncode:
                print(f"{way} ended with status {done.returncode}: {done.stderr.strip()[-200:]}", file=sys.stderr)
                continue
            found[way].append(json.loads(done.stdout))
    medians = {way: statistics.median(spent for spent, _ in runs) for way, runs in found.items() if runs}
    best = min((medians[way] for way in PLAIN if way in medians), default=float("nan"))
    print(f"{options.target:,} x {options.source:,} x {options.dimension}, median of {options.repeats}\n")
    print("| | seconds | of plain | peak MB |\n|---|---|---|---|")
    for way, median in medians.items():
        print(f"| {way} | {median:.2f} | {median / best:.2f} | {max(peak for _, peak in found[way]):,.0f} |")
    print(f"\nPython {platform.python_version()}, numpy {np.__version__}, {platform.machine()}.")


if __name__ == "__main__":
    main()
