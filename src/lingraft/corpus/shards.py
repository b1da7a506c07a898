"""Text tokenised once into files that are memory-mapped afterwards.

A folder of shards holds ``tokens-00000.bin``, ``tokens-00001.bin`` ... (bare token ids, little-endian, uint16 where the
vocabulary has at most 65,536 tokens, else uint32), ``counts.npy`` (how often each token occurs) and ``index.json``.
"""

from __future__ import annotations

import hashlib
import json
import mmap
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import CorpusError
from .stream import Array, TokenStream, advise

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

_INDEX, _COUNTS = "index.json", "counts.npy"

#: about how many characters are tokenised at once: enough for all cores, few enough to hold two batches in memory
_BATCH_CHARACTERS = 1 << 20

#: tokens of one file: half a gigabyte in uint16
_SHARD_TOKENS = 1 << 28


def write_shards(
    folder: Path,
    lines: Iterable[str],
    backend: Tokenizer,
    separator: int | None,
    *,
    shard_tokens: int = _SHARD_TOKENS,
    batch_characters: int = _BATCH_CHARACTERS,
) -> None:
    """Tokenises lines into a folder, without special tokens but for a separator behind every line.

    lines: taken one by one, never all of them in memory. backend: a tokenizer that neither pads nor truncates; it uses
    all cores and lets go of the interpreter's lock, so that meanwhile the ids of the batch before become an array and
    the lines of the next one are read. separator: its id, or None. shard_tokens: the most tokens in one file.
    batch_characters: of text that is tokenised at a time.
    """
    vocabulary = 1 + max(backend.get_vocab(with_added_tokens=True).values())
    dtype = np.dtype("<u2" if vocabulary <= 1 << 16 else "<u4")
    closing = [] if separator is None else [separator]
    counts = np.zeros(vocabulary, np.int64)
    n_lines = 0

    def tokens() -> Iterator[Array]:
        nonlocal n_lines
        for encodings in _encoded(lines, backend, batch_characters):
            ids = np.fromiter(chain.from_iterable(encoding.ids + closing for encoding in encodings), dtype)
            np.add(counts, np.bincount(ids, minlength=vocabulary), out=counts)
            n_lines += len(encodings)
            yield ids

    shards = _write_tokens(folder, tokens(), shard_tokens)
    if separator is not None:
        counts[separator] -= n_lines
    np.save(folder / _COUNTS, counts)
    index = {
        "dtype": dtype.str, "tokens": sum(shard["tokens"] for shard in shards), "lines": n_lines,
        "separator": separator, "shards": shards,
    }  # fmt: skip
    (folder / _INDEX).write_text(json.dumps(index), encoding="utf-8")


def _batches(lines: Iterable[str], characters: int) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for line in lines:
        batch.append(line)
        size += len(line)
        if size >= characters:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _encoded(lines: Iterable[str], backend: Tokenizer, characters: int) -> Iterator[list[Encoding]]:
    """The batches in their order; one is in the making while the caller works on the one before."""
    with ThreadPoolExecutor(1) as executor:
        running: Future[list[Encoding]] | None = None
        for batch in _batches(lines, characters):
            ahead, running = running, executor.submit(backend.encode_batch_fast, batch, add_special_tokens=False)
            if ahead is not None:
                yield ahead.result()
        if running is not None:
            yield running.result()


def _pieces(arrays: Iterable[Array], shard_tokens: int) -> Iterator[tuple[int, Array]]:
    """The tokens cut where a file is full, each piece with the number of its file."""
    written = 0
    for array in arrays:
        rest = array
        while rest.size:
            number, inside = divmod(written, shard_tokens)
            piece, rest = np.split(rest, [shard_tokens - inside])
            written += piece.size
            yield number, piece


def _write_tokens(folder: Path, arrays: Iterable[Array], shard_tokens: int) -> list[dict[str, Any]]:
    """Writes the tokens into files of so many, the last one shorter; says what is in each."""
    shards: list[dict[str, Any]] = []
    for number, pieces in groupby(_pieces(arrays, shard_tokens), key=itemgetter(0)):
        name, tokens, checksum = f"tokens-{number:05d}.bin", 0, hashlib.sha256()
        with (folder / name).open("wb") as stream:
            for _, piece in pieces:
                stream.write(piece.data)
                checksum.update(piece.data)
                tokens += piece.size
        shards.append({"file": name, "tokens": tokens, "sha256": checksum.hexdigest()})
    return shards


def _damaged(folder: Path, what: str) -> CorpusError:
    return CorpusError(f"'{folder}' holds no whole token shards: {what}. Remove that folder to have them made again.")


def open_shards(folder: Path, *, verify: bool = False) -> TokenStream:
    """The tokens of a folder that `write_shards` has filled, memory-mapped.

    verify: read every file and compare its SHA-256; without it only the sizes are compared. Raises CorpusError if
    something is missing or is not as it was written.
    """
    try:
        index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
        counts = np.load(folder / _COUNTS, allow_pickle=False)
        dtype = np.dtype(index["dtype"])
        files = [(folder / str(shard["file"]), int(shard["tokens"]), shard["sha256"]) for shard in index["shards"]]
        total, lines, separator = int(index["tokens"]), int(index["lines"]), index["separator"]
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise _damaged(folder, f"{type(error).__name__}: {error}") from None
    mappings = []
    for path, tokens, checksum in files:
        found = path.stat().st_size if path.is_file() else 0
        if found != tokens * dtype.itemsize:
            raise _damaged(folder, f"{path.name} has {found:,} bytes, {tokens * dtype.itemsize:,} were expected")
        with path.open("rb") as stream:
            mappings.append(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
        if verify and hashlib.sha256(mappings[-1]).hexdigest() != checksum:
            raise _damaged(folder, f"the content of {path.name} has changed")
        # blocks are read in random order: reading ahead would load what is not wanted
        advise(mappings[-1], "MADV_RANDOM")
    if sum(tokens for _, tokens, _ in files) != total or counts.sum() + (separator is not None) * lines != total:
        raise _damaged(folder, f"index and counts do not add up to {total:,} tokens")
    parts = [np.frombuffer(mapping, dtype) for mapping in mappings]
    return TokenStream(parts, counts, lines, mappings)
