"""Time and memory of making the rows of a new vocabulary, next to WECHSEL's.

    python benchmarks/surgery.py [--sizes small large] [--peer-python PYTHON] [--decoder float32 bfloat16] [--threads N]

Prints a Markdown table. Every line is measured in a process of its own, on random rows and a random sparse table:

- ``mix``: from a finished table to the rows, what `lingraft.surgery.graft` does for one parameter;
- ``similarities, mix``: from word vectors of 300 dimensions in one space (ten nearest neighbours, softmax, temperature
  0.1), which is what WECHSEL does;
- ``wechsel 0.0.4``: its `create_target_embeddings` on the same vectors, with the Python where it is installed.

A second table has the steps of a whole graft of a random decoder of 135 million parameters (SmolLM2's shape) onto a
tokenizer of as many tokens, then `lingraft.transfer` without training as a whole, and how many copies of its weights
were in memory at most.

Memory is the process's largest resident size less what it had before the work began, so the inputs are not in it but
the result is.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np


class Size(NamedTuple):
    """tokens of both vocabularies, width of a row, entries of the table a row."""

    tokens: int
    width: int
    entries: int


SIZES = {"small": Size(32_000, 768, 32), "large": Size(128_000, 2048, 32)}

#: of the decoder's vocabulary
DECODER_TOKENS = 49_152

T = TypeVar("T")

DIMENSION, NEIGHBOURS, TEMPERATURE = 300, 10, 0.1


def resident(key: str) -> float:
    """Of this process, in MB of 10^6 bytes: ``VmRSS``, now, or ``VmHWM``, at most so far."""
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    return int(status.partition(f"{key}:")[2].split()[0]) * 1024 / 1e6


def measured(work: Callable[[], Any]) -> dict[str, float]:
    """Seconds and memory of one call."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the largest size starts again from here
    before = resident("VmRSS")
    began, cpu = time.perf_counter(), time.process_time()
    work()
    return {
        "seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu,
        "result_mb": resident("VmHWM") - before,
    }  # fmt: skip


def vectors(size: Size, seed: int) -> np.ndarray[Any, Any]:
    """Normalised float32 (tokens, DIMENSION)."""
    drawn = np.random.default_rng(seed).standard_normal((size.tokens, DIMENSION), dtype=np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)  # type: ignore[no-any-return]


def random_table(size: Size) -> Any:
    """CSR float32 whose rows sum to 1."""
    from scipy import sparse

    random = np.random.default_rng(1)
    weights = random.exponential(size=(size.tokens, size.entries)).astype(np.float32)
    weights /= weights.sum(1, keepdims=True)
    columns = random.integers(0, size.tokens, weights.shape)
    ends = np.arange(0, weights.size + 1, size.entries)
    return sparse.csr_matrix((weights.ravel(), columns.ravel(), ends), shape=(size.tokens, size.tokens))


def random_rows(size: Size, dtype: str) -> Any:
    """A tensor (tokens, width), filled in blocks so that no larger copy of it was ever there."""
    import torch

    rows = torch.empty(size.tokens, size.width, dtype=getattr(torch, dtype))
    torch.manual_seed(0)
    for start in range(0, size.tokens, 4096):
        rows[start : start + 4096] = torch.randn(min(4096, size.tokens - start), size.width)
    return rows


def mix(size: Size, dtype: str) -> dict[str, float]:
    """`lingraft.surgery.mixing.mix` with a twentieth of the rows unknown and their norms half-way to the source's."""
    from lingraft.surgery.mixing import mix as mixed

    table, rows = random_table(size), random_rows(size, dtype)
    known = np.arange(size.tokens) % 20 != 0
    return measured(lambda: mixed(rows, table, known, np.random.default_rng(0), balance=0.5))


def similarities(size: Size, dtype: str) -> dict[str, float]:
    """Neighbours in the space of vectors, then the mixture."""
    from lingraft.evidence.vectors import similarity_rows
    from lingraft.surgery.mixing import mix as mixed

    rows, english, foreign = random_rows(size, dtype), vectors(size, 1), vectors(size, 2)

    def work() -> None:
        table = similarity_rows(foreign, english, activation="softmax", neighbours=NEIGHBOURS, temperature=TEMPERATURE)
        mixed(rows, table, np.ones(size.tokens, bool), np.random.default_rng(0))

    return measured(work)


class Numbers:
    """As much of a tokenizer as WECHSEL looks at: token k is called "k"."""

    def __init__(self, size: int) -> None:
        self.special_tokens_map: dict[str, str] = {}
        self.vocab = {str(k): k for k in range(size)}

    def __len__(self) -> int:
        return len(self.vocab)

    def convert_ids_to_tokens(self, ids: Any) -> Any:
        """Of one id or several."""
        return str(ids) if np.isscalar(ids) else [str(k) for k in ids]


def peer(size: Size) -> dict[str, float]:
    """WECHSEL from vectors to rows; of another Python."""
    import wechsel

    rows = np.random.default_rng(0).standard_normal((size.tokens, size.width), dtype=np.float32)
    english, foreign, tokenizer = vectors(size, 1), vectors(size, 2), Numbers(size.tokens)
    return measured(
        lambda: wechsel.create_target_embeddings(
            english, foreign, tokenizer, tokenizer, rows, NEIGHBOURS, TEMPERATURE, verbose=False
        )
    )


def write_decoder(folder: Path, stored: str) -> Path:
    """A random decoder of SmolLM2's shape, its weights stored in a type, under a tokenizer of numbered words."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    model = Tokenizer(models.WordLevel({f"w{k}": k for k in range(DECODER_TOKENS)}, unk_token="w0"))
    model.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=model, unk_token="w0", eos_token="w1")
    config = LlamaConfig(
        vocab_size=DECODER_TOKENS, hidden_size=576, intermediate_size=1536, num_hidden_layers=30,
        num_attention_heads=9, num_key_value_heads=3, tie_word_embeddings=True, bos_token_id=None, eos_token_id=1,
    )  # fmt: skip
    if not os.fork():  # elsewhere, so that nothing of the making stays in this process
        LlamaForCausalLM(config).to(getattr(torch, stored)).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        os._exit(0)
    os.wait()
    return folder


class Steps:
    """Measures one step after the other, memory in copies of the weights above what the process had at first."""

    def __init__(self, source: Path) -> None:
        self._size = sum(path.stat().st_size for path in source.glob("*.safetensors")) / 1e6
        self._start = resident("VmRSS")
        self.found: list[dict[str, Any]] = []

    def measure(self, what: str, work: Callable[[], T]) -> T:
        """One step, and what it returns."""
        made: list[T] = []
        took = measured(lambda: made.append(work()))
        peak = resident("VmHWM") - self._start
        self.found.append({"what": what, "seconds": took["seconds"], "mb": peak, "copies": peak / self._size})
        return made[0]


def decoder(stored: str) -> list[dict[str, Any]]:
    """Every step of a graft of a decoder, as `lingraft transfer` and `lingraft init` take them."""
    from lingraft.evidence import Provenance, TranslationTable
    from lingraft.surgery import check_folder, expected_of, graft, load_to_graft, norm_bounds, save_model
    from lingraft.vocabulary import tokenizer_hash

    table = random_table(Size(DECODER_TOKENS, 576, 32))
    with tempfile.TemporaryDirectory() as folder:
        place, target = write_decoder(Path(folder) / "source", stored), Path(folder) / "target"
        steps = Steps(place)
        held = {"source": steps.measure("load", lambda: load_to_graft(place))}
        tokenizer, bounds = held["source"].tokenizer, norm_bounds(held["source"])
        kinds = np.full(DECODER_TOKENS, Provenance.bitext, np.uint8)
        name = tokenizer_hash(tokenizer)
        translation = TranslationTable(table, kinds, np.ones(DECODER_TOKENS, np.float32), name, name)
        graft_it = partial(graft, held["source"], tokenizer, translation, take_over=True)
        held = {"target": steps.measure("graft", graft_it)}
        del graft_it
        steps.measure("write", lambda: save_model(held["target"], target))
        expected = steps.measure("self-check, before", lambda: expected_of(held["target"], ["w5 w6 w7"]))
        held.clear()
        steps.measure("self-check, after", lambda: check_folder(expected, target, bounds))
    return steps.found


def whole(stored: str) -> list[dict[str, Any]]:
    """`lingraft.transfer` of the same decoder with 2,000 sentence pairs and no training, above the loaded libraries."""
    import sentence_transformers  # noqa: F401 (its memory is no part of a graft)
    from transformers import LlamaForCausalLM  # noqa: F401 (likewise)

    import lingraft
    from lingraft.stages import make_graft  # noqa: F401 (likewise)

    random = np.random.default_rng(0)
    pairs = [(" ".join(f"w{k}" for k in ids),) * 2 for ids in random.integers(2, DECODER_TOKENS, (2000, 20)).tolist()]
    with tempfile.TemporaryDirectory() as folder:
        place = write_decoder(Path(folder) / "source", stored)
        steps = Steps(place)
        out = Path(folder) / "out"
        steps.measure(
            "whole transfer",
            lambda: lingraft.transfer(place, to="fr", out=out, bitext=pairs, tokenizer=place, objective="none"),
        )
    return steps.found


def run(python: str, threads: int, *arguments: str) -> Any:
    """One measurement in a process of its own."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    done = subprocess.run(
        [python, __file__, "--one", *arguments], env=os.environ | dict.fromkeys(names, str(threads)),
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Prints the table, or measures one line of it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--sizes", nargs="*", choices=SIZES, default=list(SIZES))
    parser.add_argument("--peer-python", help="a Python that has wechsel 0.0.4")
    parser.add_argument("--peer-sizes", nargs="*", choices=SIZES, default=list(SIZES))
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of the linear algebra")
    parser.add_argument("--decoder", nargs="*", choices=["float32", "bfloat16"], default=["float32", "bfloat16"])
    parser.add_argument("--one", nargs=3, metavar=("WHAT", "SIZE", "DTYPE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        what, name, dtype = arguments.one
        if what == "decoder":
            print(json.dumps(decoder(dtype)))
            return
        if what == "whole":
            print(json.dumps(whole(dtype)))
            return
        size = SIZES[name]
        found = peer(size) if what == "peer" else {"mix": mix, "similarities": similarities}[what](size, dtype)
        print(json.dumps(found))
        return
    print("| rows | type | what | seconds | CPU seconds | peak MB above inputs |\n|---|---|---|---:|---:|---:|")
    for name in arguments.sizes:
        lines = [
            ("mix", "mix", sys.executable, "float32"), ("mix", "mix", sys.executable, "bfloat16"),
            ("similarities, mix", "similarities", sys.executable, "float32"),
        ]  # fmt: skip
        if arguments.peer_python and name in arguments.peer_sizes:
            lines.append(("wechsel 0.0.4", "peer", arguments.peer_python, "float32"))
        size = SIZES[name]
        for shown, what, python, dtype in lines:
            found = run(python, arguments.threads, what, name, dtype)
            print(
                f"| {size.tokens:,} x {size.tokens:,} x {size.width:,} | {dtype} | {shown} | {found['seconds']:.1f} | "
                f"{found['cpu']:.1f} | {found['result_mb']:,.0f} |", flush=True,
            )  # fmt: skip
    if arguments.decoder:
        print("\n| decoder of 135 M, stored in | step | seconds | peak MB | copies of the weights |")
        print("|---|---|---:|---:|---:|")
    for dtype in arguments.decoder:
        steps = [run(sys.executable, arguments.threads, what, "small", dtype) for what in ("decoder", "whole")]
        for step in chain.from_iterable(steps):
            print(
                f"| {dtype} | {step['what']} | {step['seconds']:.1f} | {step['mb']:,.0f} | {step['copies']:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
