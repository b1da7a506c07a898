from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

import tiny
from lingraft.corpus import TokenStream, open_shards, write_shards
from lingraft.errors import CorpusError
from lingraft.vocabulary import plain_backend

LINES = tiny.english_lines(300, seed=3)


def everything(stream: TokenStream) -> list[int]:
    """All tokens in their order."""
    return [int(token) for token in stream.take(np.array([0]), stream.size)[0]]


def numbers(size: int) -> Tokenizer:
    """A tokenizer whose tokens are the numbers below ``size``, written with spaces between."""
    backend = Tokenizer(models.WordLevel({str(k): k for k in range(size)}, unk_token="0"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return backend


@pytest.fixture
def written(tmp_path: Path) -> Path:
    write_shards(tmp_path, ["1 2 3", "4 5", "6"], numbers(10), 0, shard_tokens=4)
    return tmp_path


@pytest.mark.parametrize("separator", [None, 3])
def test_tokens_are_those_of_the_tokenizer(
    tmp_path: Path, any_tokenizer: PreTrainedTokenizerFast, separator: int | None
):
    write_shards(tmp_path, iter(LINES), plain_backend(any_tokenizer), separator, shard_tokens=700, batch_characters=900)
    stream = open_shards(tmp_path, verify=True)
    lines = [any_tokenizer(line, add_special_tokens=False).input_ids for line in LINES]
    flat = [token for line in lines for token in (line if separator is None else [*line, separator])]
    assert everything(stream) == flat
    assert (stream.size, stream.lines) == (len(flat), len(LINES))
    assert {k: n for k, n in enumerate(stream.counts.tolist()) if n} == {
        token: sum(line.count(token) for line in lines) for token in {token for line in lines for token in line}
    }
    index = json.loads((tmp_path / "index.json").read_text())
    sizes = [shard["tokens"] for shard in index["shards"]]
    assert len(sizes) > 1
    assert sizes == [700] * (len(flat) // 700) + [len(flat) % 700] * bool(len(flat) % 700)
    assert (index["dtype"], index["tokens"], index["lines"]) == ("<u2", len(flat), len(LINES))


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.integers(1, 9), max_size=5), max_size=12), st.integers(1, 9), st.integers(1, 30))
def test_no_token_is_lost_at_any_border(
    tmp_path_factory: pytest.TempPathFactory, lines: list[list[int]], shard_tokens: int, batch_characters: int
):
    folder = tmp_path_factory.mktemp("shards")
    text = (" ".join(map(str, line)) for line in lines)
    write_shards(folder, text, numbers(10), 0, shard_tokens=shard_tokens, batch_characters=batch_characters)
    stream = open_shards(folder, verify=True)
    flat = [token for line in lines for token in [*line, 0]]
    assert stream.size == len(flat)
    if flat:
        assert everything(stream) == flat
        assert stream.take(np.array([len(flat) - 1]), 3).tolist() == [(flat[-1:] + flat * 3)[:3]]
    assert [path.stat().st_size for path in sorted(folder.glob("tokens-*"))] == [
        2 * len(flat[start : start + shard_tokens]) for start in range(0, len(flat), shard_tokens)
    ]


@pytest.mark.parametrize(("size", "dtype"), [(65_536, "<u2"), (65_537, "<u4")])
def test_the_type_follows_the_vocabulary(tmp_path: Path, size: int, dtype: str):
    write_shards(tmp_path, [f"{size - 1} 7"], numbers(size), None)
    assert json.loads((tmp_path / "index.json").read_text())["dtype"] == dtype
    assert everything(open_shards(tmp_path)) == [size - 1, 7]
    assert (tmp_path / "tokens-00000.bin").stat().st_size == 2 * np.dtype(dtype).itemsize


def test_the_largest_id_counts_not_the_number_of_tokens(tmp_path: Path):
    backend = Tokenizer(models.WordLevel({"0": 0, "1": 70_000}, unk_token="0"))
    write_shards(tmp_path, ["1"], backend, None)
    stream = open_shards(tmp_path)
    assert everything(stream) == [70_000]
    assert stream.counts[70_000] == 1


def test_lines_are_read_while_the_batch_before_is_tokenised_and_not_further(tmp_path: Path):
    taken = 0
    seen: list[int] = []

    class Backend:
        """Notes how many lines were taken when a batch was tokenised."""

        inner = numbers(10)

        def get_vocab(self, with_added_tokens: bool) -> dict[str, int]:
            return self.inner.get_vocab(with_added_tokens)

        def encode_batch_fast(self, batch: list[str], add_special_tokens: bool) -> list[object]:
            assert threading.current_thread() is not threading.main_thread()
            seen.append(taken)
            return self.inner.encode_batch_fast(batch, add_special_tokens=add_special_tokens)

    def lines() -> Iterator[str]:
        nonlocal taken
        for taken in range(1, 1001):  # noqa: B007
            yield "1234567890"

    write_shards(tmp_path, lines(), Backend(), 0, batch_characters=100)  # type: ignore[arg-type]
    assert len(seen) == 100
    assert all(10 * (k + 1) <= count <= 10 * (k + 3) for k, count in enumerate(seen))


def test_an_error_in_the_text_is_passed_on(tmp_path: Path):
    def lines() -> Iterator[str]:
        yield "1 2"
        raise CorpusError("line 2 is wrong")

    with pytest.raises(CorpusError, match="line 2 is wrong"):
        write_shards(tmp_path, lines(), numbers(10), 0, batch_characters=1)


def test_an_empty_text_is_an_empty_stream(tmp_path: Path):
    write_shards(tmp_path, [], numbers(10), 0)
    stream = open_shards(tmp_path, verify=True)
    assert (stream.size, stream.lines, stream.counts.tolist()) == (0, 0, [0] * 10)


def test_shards_cannot_be_written_to(written: Path):
    stream = open_shards(written)
    windows = stream.take(np.array([0]), 3)
    windows[:] = 9
    assert everything(stream) == [1, 2, 3, 0, 4, 5, 0, 6, 0]


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda folder: (folder / "tokens-00001.bin").unlink(), "tokens-00001.bin has 0 bytes, 8 were expected"),
        (lambda folder: (folder / "tokens-00002.bin").write_bytes(b"123"), "has 3 bytes, 2 were expected"),
        (lambda folder: (folder / "index.json").unlink(), "FileNotFoundError"),
        (lambda folder: (folder / "index.json").write_text("{"), "JSONDecodeError"),
        (lambda folder: (folder / "index.json").write_text("[]"), "TypeError"),
        (lambda folder: (folder / "index.json").write_text("{}"), "KeyError"),
        (lambda folder: (folder / "counts.npy").write_bytes(b""), "counts|Error"),
        (lambda folder: np.save(folder / "counts.npy", np.ones(10, np.int64)), "do not add up to 9 tokens"),
    ],
)
def test_damaged_shards_are_refused(written: Path, damage, says: str):
    damage(written)
    with pytest.raises(CorpusError, match=says) as caught:
        open_shards(written)
    assert f"'{written}'" in str(caught.value)
    assert "Remove that folder" in str(caught.value)


def test_a_changed_byte_is_found_when_asked_for(written: Path):
    path = written / "tokens-00001.bin"
    path.write_bytes(b"\7" + path.read_bytes()[1:])
    open_shards(written)
    with pytest.raises(CorpusError, match=r"the content of tokens-00001.bin has changed"):
        open_shards(written, verify=True)


_MEASURE = """
import re, sys
from pathlib import Path
import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers
from lingraft.corpus import HeldOut, open_shards, write_shards

def peak():  # of this program alone: what getrusage tells counts the process that it was forked from
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024

"""

_WRITE = """
backend = Tokenizer(models.WordLevel({str(k): k for k in range(1000)}, unk_token="0"))
backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()

def text(n):
    for number in range(n):
        yield " ".join(str(k % 1000) for k in range(number, number + 60))

folder = Path(sys.argv[1])
sizes = []
for number, n in enumerate([3_000, 3_000, 30_000]):
    made = folder / str(number)
    made.mkdir()
    held = HeldOut(text(n))
    write_shards(made, (line for line in text(n) if line not in held), backend, 0, batch_characters=1 << 15)
    sizes.append(peak())
print(*sizes)
"""

_READ = """
stream = open_shards(Path(sys.argv[1]))
before = peak()
random = np.random.default_rng(0)
for start in range(0, stream.size, 1 << 20):
    stream.take(random.permutation(np.arange(start, start + (1 << 20), 1 << 10)), 256)
print(before, peak())
"""


def measured(script: str, folder: Path) -> list[int]:
    done = subprocess.run([sys.executable, "-c", _MEASURE + script, str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return list(map(int, done.stdout.split()))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_peak_memory_of_writing_does_not_grow_with_the_text(tmp_path: Path):
    _, small, large = measured(_WRITE, tmp_path)
    assert large - small < 5  # MB, for ten times the text, of which there are 7 MB


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_peak_memory_of_reading_does_not_grow_with_the_shards(tmp_path: Path):
    """200 MB of tokens, every page of them looked at."""
    tokens = 100 << 20
    with (tmp_path / "tokens-00000.bin").open("wb") as stream:
        stream.truncate(2 * tokens)
    np.save(tmp_path / "counts.npy", np.array([tokens]))
    shards = [{"file": "tokens-00000.bin", "tokens": tokens, "sha256": ""}]
    index = {"dtype": "<u2", "tokens": tokens, "lines": 0, "separator": None, "shards": shards}
    (tmp_path / "index.json").write_text(json.dumps(index))
    before, after = measured(_READ, tmp_path)
    assert after - before < 40
