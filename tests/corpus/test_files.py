from __future__ import annotations

import bz2
import gzip
import lzma
from pathlib import Path

import pytest
import zstandard

from lingraft.corpus import check_readable, read_lines
from lingraft.errors import CorpusError

COMPRESSORS = {"txt": bytes, "gz": gzip.compress, "zst": zstandard.compress, "xz": lzma.compress, "bz2": bz2.compress}
LINES = [f"line {k}: déjà vu, हिन्दी, 中文 {k * k}" for k in range(20_000)]
CONTENT = "".join(line + "\n" for line in LINES).encode()


@pytest.fixture(params=sorted(COMPRESSORS))
def kind(request):
    return request.param


@pytest.fixture(params=sorted(set(COMPRESSORS) - {"txt"}))
def compressed_kind(request):
    return request.param


def write(folder: Path, content: bytes, name: str = "text.txt") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def read(folder: Path, content: bytes) -> list[str]:
    return list(read_lines(write(folder, content)))


def test_plain_and_compressed_files_read_alike(tmp_path, kind):
    assert list(read_lines(write(tmp_path, COMPRESSORS[kind](CONTENT), f"text.{kind}"))) == LINES


def test_compressed_parts_one_after_the_other_are_all_read(tmp_path, compressed_kind):
    compress = COMPRESSORS[compressed_kind]
    path = write(tmp_path, compress(b"one\ntw") + compress(b"o\n") + compress(b"three\n"), f"text.{compressed_kind}")
    assert list(read_lines(path)) == ["one", "two", "three"]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.999])
def test_a_truncated_compressed_file_is_an_error_with_file_and_line(tmp_path, compressed_kind, share):
    whole = COMPRESSORS[compressed_kind](CONTENT)
    path = write(tmp_path, whole[: int(share * len(whole))], f"cut.{compressed_kind}")
    seen = []
    with pytest.raises(CorpusError) as caught:
        seen.extend(read_lines(path))
    assert f"'{path}' cannot be read after line " in str(caught.value)
    assert "ended before the end-of-stream marker" in str(caught.value)


def test_a_truncated_small_zst_file_is_not_called_empty(tmp_path):
    path = write(tmp_path, zstandard.compress(b"one\ntwo\n")[:-1], "cut.zst")
    with pytest.raises(CorpusError, match="cannot be read after line 0"):
        list(read_lines(path))


def test_a_compression_suffix_on_something_else_is_an_error(tmp_path, compressed_kind):
    path = write(tmp_path, b"plain text\n", f"plain.{compressed_kind}")
    with pytest.raises(CorpusError, match="cannot be read after line 0") as caught:
        list(read_lines(path))
    assert str(path) in str(caught.value)


def test_the_byte_order_mark_goes(tmp_path):
    assert read(tmp_path, b"\xef\xbb\xbfone\ntwo\n") == ["one", "two"]


def test_a_byte_order_mark_inside_stays(tmp_path):
    assert read(tmp_path, "one\n\ufefftwo\n".encode()) == ["one", "\ufefftwo"]


def test_windows_line_ends_go(tmp_path):
    assert read(tmp_path, b"one\r\n\r\ntwo\r\n") == ["one", "", "two"]


def test_a_last_line_without_an_end_counts(tmp_path):
    assert read(tmp_path, b"one\ntwo") == ["one", "two"]


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\v", "\f", "\x1c", "\x1d", "\x1e", "\r"])
def test_only_newline_ends_a_line(tmp_path, separator):
    assert read(tmp_path, f"one{separator}more\ntwo\n".encode()) == [f"one{separator}more", "two"]


def test_a_missing_file_is_named(tmp_path):
    path = tmp_path / "gone.txt"
    with pytest.raises(CorpusError, match="does not exist") as caught:
        list(read_lines(path))
    assert str(path) in str(caught.value)


def test_an_empty_file_is_named(tmp_path):
    path = write(tmp_path, b"")
    with pytest.raises(CorpusError, match="is empty") as caught:
        list(read_lines(path))
    assert str(path) in str(caught.value)


def test_a_compressed_file_of_nothing_is_empty(tmp_path, compressed_kind):
    path = write(tmp_path, COMPRESSORS[compressed_kind](b""), f"nothing.{compressed_kind}")
    with pytest.raises(CorpusError, match="is empty"):
        list(read_lines(path))


def test_a_folder_is_no_text(tmp_path):
    with pytest.raises(CorpusError, match="is a folder") as caught:
        list(read_lines(tmp_path))
    assert str(tmp_path) in str(caught.value)


def test_a_binary_file_is_named_with_the_line(tmp_path):
    path = write(tmp_path, b"one\ntwo\nthr\0ee\n", "model.bin")
    with pytest.raises(CorpusError, match="line 3 holds NUL bytes") as caught:
        list(read_lines(path))
    assert f"'{path}' is not text" in str(caught.value)


def test_text_that_is_not_utf8_is_named_with_line_and_byte(tmp_path):
    path = write(tmp_path, "one\ncafé\n".encode("latin-1"))
    with pytest.raises(CorpusError, match="line 2 holds the byte 0xe9") as caught:
        list(read_lines(path))
    assert f"'{path}' is not UTF-8" in str(caught.value)


def test_utf16_is_refused(tmp_path):
    with pytest.raises(CorpusError, match="line 1"):
        read(tmp_path, "one\ntwo\n".encode("utf-16"))


@pytest.mark.parametrize("name", ["hf:wikipedia", "hf:wikimedia/wikipedia:20231101.fr:train:text"])
def test_hub_names_are_refused_as_such(name):
    for refuse in (check_readable, lambda path: list(read_lines(path))):
        with pytest.raises(CorpusError, match="names a hub data set") as caught:
            refuse(Path(name))
        assert name in str(caught.value)


def test_check_readable_accepts_a_file_with_something_in_it(tmp_path):
    assert check_readable(write(tmp_path, b"x")) is None
