"""Lines out of plain and compressed text files, with every way a file can be wrong turned into one clear message."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
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
        raise CorpusError(f"'{path}' names a hub data set; this version reads local files only (.txt, .tsv, {_LIST}).")
    if path.is_dir():
        raise CorpusError(f"'{path}' is a folder; a text file was expected.")
    if not path.exists():
        raise CorpusError(f"'{path}' does not exist.")
    if path.stat().st_size == 0:
        raise CorpusError(f"'{path}' is empty.")


def read_lines(path: Path) -> Iterator[str]:
    """Yields the lines of a UTF-8 text file without their line ends; only `\\n` and `\\r\\n` end a line.

    Compression is taken from the suffix. Raises CorpusError when the file is missing, empty, binary, damaged or not
    UTF-8, naming the file and the line.
    """
    check_readable(path)
    number = 0
    try:
        with _open(path) as stream, io.BufferedReader(stream) as buffered:
            for raw in buffered:
                number += 1
                if number == 1:
                    raw = raw.removeprefix(b"\xef\xbb\xbf")
                if b"\0" in raw:
                    raise CorpusError(
                        f"'{path}' is not text: line {number} holds NUL bytes. "
                        f"Give UTF-8 text, plain or compressed ({_LIST}) with the matching suffix."
                    )
                yield raw.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"'{path}' is not UTF-8 text: line {number} holds the byte 0x{error.object[error.start]:02x}. "
            "Convert it to UTF-8 first (for example with iconv)."
        ) from None
    except (OSError, EOFError, lzma.LZMAError, zlib.error, zstandard.ZstdError) as error:
        raise CorpusError(f"'{path}' cannot be read after line {number}: {error}.") from None
    if number == 0:
        raise CorpusError(f"'{path}' is empty.")


_LIST = ", ".join(_SUFFIXES)
