"""Lines out of plain and compressed text files, with every way a file can be wrong turned into one clear message."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import zstandard

from ..errors import CorpusError

_SUFFIXES = (".gz", ".zst", ".xz", ".bz2")


class _ZstandardStream(io.RawIOBase):
    """The content of a ``.zst`` file, one frame or more; EOFError for a cut-off one, which zstandard takes as ended."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._frame: zstandard.ZstdDecompressionObj | None = None
        self._unread = b""
        self._content = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._content:
            data = self._unread or self._stream.read(1 << 16)
            if not data and self._frame:
                raise EOFError("Compressed file ended before the end-of-stream marker was reached")
            if not data:
                return 0
            self._frame = self._frame or zstandard.ZstdDecompressor().decompressobj()
            self._content = memoryview(self._frame.decompress(data))
            self._unread = self._frame.unused_data if self._frame.eof else b""
            if self._frame.eof:
                self._frame = None
        size = min(len(buffer), len(self._content))
        buffer[:size], self._content = self._content[:size], self._content[size:]
        return size

    def close(self) -> None:
        self._stream.close()
        super().close()


def _open(path: Path) -> Any:
    if path.suffix == ".gz":
        return gzip.open(path, "rb")
    if path.suffix == ".xz":
        return lzma.open(path, "rb")
    if path.suffix == ".bz2":
        return bz2.open(path, "rb")
    if path.suffix == ".zst":
        return io.BufferedReader(_ZstandardStream(path.open("rb")))
    return path.open("rb")


def check_readable(path: Path) -> None:
    """Raises CorpusError unless the path is a file with something in it."""
    if str(path).startswith("hf:"):
        raise CorpusError(f"'{path}' names a hub data set; only local files are read here (.txt, .tsv, {_LIST}).")
    if path.is_dir():
        raise CorpusError(f"'{path}' is a folder; a text file was expected.")
    if not path.exists():
        raise CorpusError(f"'{path}' does not exist.")
    if path.stat().st_size == 0:
        raise CorpusError(f"'{path}' is empty.")


@dataclass
class _Position:
    """line: how many lines of the file were read."""

    line: int = 0


@contextmanager
def _opened(path: Path, position: _Position) -> Iterator[io.BufferedReader]:
    """The content of a file, decompressed; what goes wrong while it is read, or no line at all, is a CorpusError."""
    check_readable(path)
    try:
        with _open(path) as stream, io.BufferedReader(stream) as buffered:
            yield buffered
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"'{path}' is not UTF-8 text: line {position.line} holds the byte 0x{error.object[error.start]:02x}. "
            "Convert it to UTF-8 first (for example with iconv)."
        ) from None
    except (OSError, EOFError, lzma.LZMAError, zlib.error, zstandard.ZstdError) as error:
        raise CorpusError(f"'{path}' cannot be read after line {position.line}: {error}.") from None
    if position.line == 0:
        raise CorpusError(f"'{path}' is empty.")


def _decoded(raw: bytes, path: Path, line: int) -> str:
    if b"\0" in raw:
        raise CorpusError(
            f"'{path}' is not text: line {line} holds NUL bytes. "
            f"Give UTF-8 text, plain or compressed ({_LIST}) with the matching suffix."
        )
    return raw.decode("utf-8")


def read_lines(path: Path) -> Iterator[str]:
    """Yields the lines of a UTF-8 text file without their line ends; only `\\n` and `\\r\\n` end a line.

    Compression is taken from the suffix. Raises CorpusError when the file is missing, empty, binary, damaged or not
    UTF-8, naming the file and the line.
    """
    position = _Position()
    with _opened(path, position) as stream:
        for raw in stream:
            position.line += 1
            if position.line == 1:
                raw = raw.removeprefix(_BYTE_ORDER_MARK)
            yield _decoded(raw, path, position.line).rstrip("\r\n")


def read_blocks(path: Path, size: int = 1 << 20) -> Iterator[bytes]:
    """Yields the same text as `read_lines` in blocks of whole lines, which is many times faster.

    path: of a file, plain or compressed.

    Every block is valid UTF-8 and ends with `\\n`, also behind a last line without one; `\\r` stays. size: about how
    many bytes a block has; one with a longer line is longer. Raises CorpusError as `read_lines` does, with the same
    line numbers, but the lines that stand before the wrong one in its block are not yielded.
    """
    position = _Position()
    with _opened(path, position) as stream:
        pieces: list[bytes] = []
        held = 0
        # as large as what `read_lines` reads at once, so that both come equally far in a damaged file
        while piece := stream.read1(min(size, io.DEFAULT_BUFFER_SIZE)):
            pieces.append(piece)
            held += len(piece)
            position.line += piece.count(b"\n")
            end = piece.rfind(b"\n") + 1
            if held < size or not end:
                continue
            pieces[-1] = piece[:end]
            yield _checked(b"".join(pieces), path, position)
            pieces = [piece[end:]]
            held = len(pieces[0])
        if held:
            rest = b"".join(pieces)
            if not rest.endswith(b"\n"):
                rest += b"\n"
                position.line += 1
            yield _checked(rest, path, position)


def _checked(block: bytes, path: Path, position: _Position) -> bytes:
    """The block, of which the position is the end, if it is text; its lines one by one only to find the wrong one."""
    first = position.line - block.count(b"\n") + 1
    if first == 1:
        block = block.removeprefix(_BYTE_ORDER_MARK)
    try:
        _decoded(block, path, first)
    except (CorpusError, UnicodeDecodeError):
        for position.line, raw in enumerate(block.split(b"\n"), first):
            _decoded(raw, path, position.line)
        raise
    return block


_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LIST = ", ".join(_SUFFIXES)
