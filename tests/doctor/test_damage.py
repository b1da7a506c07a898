from __future__ import annotations

import gzip

import pytest

from lingraft.corpus import read_bitext
from lingraft.doctor import duplicates, encoding, sampling
from lingraft.errors import CorpusError

LINES = [f"Élève {k} : « déjà vu », où ça ? Très près de l'été, mon frère espère {k} fois." for k in range(200)]


def garbled(text):
    return text.encode().decode("latin-1")


def found_in(lines):
    statistics: dict[str, float] = {}
    return {f.code: f.severity for f in encoding.encoding_findings(lines, "fr", "here", statistics)}, statistics


@pytest.mark.parametrize(
    "text",
    [*LINES[:5], "Việc này không dễ, nhưng chúng tôi sẽ cố gắng.", "यह काम आसान नहीं है।", "Это непросто.", "هذا صعب.",
     "这件事不容易。", "CLÉ», DÉSOLÉ !", "Ä»", "naïve café: 5 € – 10 £"],
)  # fmt: skip
def test_accents_and_scripts_are_no_damage(text):
    assert found_in([text] * 10)[0] == {}


@pytest.mark.parametrize("codec", ["latin-1", "cp1252"])
@pytest.mark.parametrize(
    "text", ["Élève déjà vu", "यह काम आसान", "Это непросто", "هذا صعب", "这件事不容易", "Việc này không dễ"]
)
def test_mojibake(text, codec):
    damaged = text.encode().decode(codec, "ignore")
    found, statistics = found_in([damaged] * 10)
    assert found == {"mojibake": "error"}
    assert statistics["mojibake"] == 1


def test_some_mojibake_is_a_warning():
    lines = [garbled(line) if k % 20 == 0 else line for k, line in enumerate(LINES)]
    assert found_in(lines)[0] == {"mojibake": "warning"}


def test_replacement_characters():
    lines = [line.replace("é", "\ufffd") if k % 20 == 0 else line for k, line in enumerate(LINES)]
    assert found_in(lines)[0] == {"replacement-characters": "warning"}
    assert found_in([line.replace("é", "\ufffd") for line in LINES])[0]["replacement-characters"] == "error"


def sample_of(tmp_path, lines):
    path = tmp_path / "text.txt"
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return sampling.sample_text([str(path)])


@pytest.mark.parametrize(("repeated", "severity"), [(0, None), (10, None), (90, "warning"), (4000, "error")])
def test_duplicates(tmp_path, repeated, severity):
    statistics: dict[str, float] = {}
    lines = [*LINES, *(LINES * 20)[:repeated], *[""] * 500]
    found = duplicates.duplicate_findings(sample_of(tmp_path, lines), "lines", "fr", statistics)
    assert [finding.severity for finding in found] == ([severity] if severity else [])
    assert statistics["duplicates"] == pytest.approx(repeated / (200 + repeated))


def test_a_long_text_is_sampled_evenly_in_blocks_and_always_alike(tmp_path, monkeypatch):
    monkeypatch.setattr(sampling, "KEPT_BYTES", 20_000)
    lines = [f"line number {k}" for k in range(20_000)]
    one, other = sample_of(tmp_path, lines), sample_of(tmp_path, lines)
    assert one.lines == other.lines
    assert (one.read, one.whole, one.total) == (20_000, True, 20_000)
    assert 5_000 < sum(map(len, one.lines)) <= 20_000
    numbers = [int(line.split()[-1]) for line in one.lines]
    assert all(number // sampling.BLOCK == block for number, block in zip(numbers, one.blocks, strict=True))
    gaps = {after - before for before, after in zip(one.blocks, one.blocks[1:], strict=False)} - {0}
    assert len(gaps) == 1
    few = [int(line.split()[-1]) for line in one.some(160)]
    assert len(few) == 160
    assert max(few) > 16_000


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_of_a_larger_file_a_part_is_read_and_its_lines_are_estimated(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(sampling, "READ_BYTES", 64_000)
    lines = [f"{k * k % 9973:x} {k * 7919 % 10007:x} {k * k * k % 99991:x} word" for k in range(20_000)]
    content = "".join(line + "\n" for line in lines).encode()
    path = tmp_path / f"text{suffix}"
    path.write_bytes(gzip.compress(content) if suffix else content)
    sample = sampling.sample_text([str(path)])
    assert not sample.whole
    assert sample.read < 8_000
    assert sample.total == pytest.approx(20_000, rel=0.2)
    assert set(sample.lines) <= set(lines)
    if not suffix:  # not only the beginning
        assert lines.index(sample.lines[-1]) > 19_000


def test_pairs_of_a_larger_tsv(tmp_path, monkeypatch):
    monkeypatch.setattr(sampling, "READ_BYTES", 32_000)
    path = tmp_path / "pairs.tsv"
    path.write_text("".join(f"one {k}\tun {k}\n" for k in range(20_000)), encoding="utf-8")
    sample = sampling.sample_pairs([str(path)])
    assert not sample.whole
    assert all(one.split()[1] == other.split()[1] for one, other in sample.lines)
    assert sample.total == pytest.approx(20_000, rel=0.1)
    path.write_text("only one column here\n" * 20_000, encoding="utf-8")
    with pytest.raises(CorpusError, match="1 column"):
        sampling.sample_pairs([str(path)])


def test_bad_bytes_of_a_larger_file_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr(sampling, "READ_BYTES", 32_000)
    path = tmp_path / "text"
    path.write_bytes("déjà vu\n".encode("latin-1") * 20_000)
    with pytest.raises(CorpusError, match="0xe9"):
        sampling.sample_text([str(path)])
    path.write_bytes(b"a\0b\n" * 20_000)
    with pytest.raises(CorpusError, match="NUL"):
        sampling.sample_text([str(path)])


@pytest.mark.parametrize("content", ["\n \n", "one\t\n\ttwo\n"])
def test_nothing_left_is_refused_as_in_a_run(tmp_path, content):
    path = tmp_path / "pairs.tsv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(CorpusError, match="No sentence pair is left"):
        sampling.sample_pairs([str(path)])


def test_pairs_are_those_a_run_reads(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text("".join(f"one {k}\tun {k}\n" for k in range(100)), encoding="utf-8")
    from lingraft.corpus import Counts

    assert sampling.sample_pairs([str(path)]).lines == list(read_bitext(str(path), Counts()))
