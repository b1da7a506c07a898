"""The fenced blocks of a Markdown page, and a folder with small files and models of the names that pages use."""

from __future__ import annotations

import lzma
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from itertools import islice
from pathlib import Path

import numpy as np

import tiny
from conftest import as_tsv, on_disk
from lingraft.demo import sample_bitext
from lingraft.vocabulary import train_tokenizer

ROOT = Path(__file__).parents[1]

_FENCE = re.compile(r"^(`{3,})(.*)$")
_COMMENT = re.compile(r"^<!-- (not run|file): (.+) -->$")


@dataclass(frozen=True)
class Block:
    """A fenced block. not_run: why it cannot be run here; file: the name it is to have as a file; both may be empty."""

    language: str
    text: str
    line: int
    not_run: str = ""
    file: str = ""

    @property
    def commands(self) -> list[list[str]]:
        """The words of every command of a block of shell, comments left out."""
        joined = self.text.replace("\\\n", " ").splitlines()
        return [words for words in (shlex.split(line, comments=True) for line in joined) if words]


def blocks(page: Path) -> Iterator[Block]:
    """All fenced blocks of a page, in order. ValueError for a fence that is not closed or has no language."""
    lines = page.read_text(encoding="utf-8").splitlines()
    number = 0
    while number < len(lines):
        fence = _FENCE.match(lines[number])
        if not fence:
            number += 1
            continue
        comment = _COMMENT.match(lines[number - 1]) if number else None
        try:
            end = lines.index(fence[1], number + 1)
        except ValueError:
            raise ValueError(f"{page}:{number + 1}: the block is not closed") from None
        if not fence[2]:
            raise ValueError(f"{page}:{number + 1}: the block says no language; give one, or text for output")
        said = {comment[1].replace(" ", "_"): comment[2]} if comment else {}
        yield Block(fence[2], "\n".join(lines[number + 1 : end]), number + 1, **said)
        number = end + 1


def indented_commands(page: Path) -> list[list[str]]:
    """The commands in indented blocks, which are those of benchmarks."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    return [shlex.split(line) for line in text.splitlines() if re.match(r" {4}(lingraft|python) ", line)]


def _vectors(path: Path, words: list[str], seed: int) -> None:
    random = np.random.default_rng(seed)
    rows = [f"{word} {' '.join(f'{x:.3f}' for x in random.normal(size=16))}" for word in words]
    path.write_text("\n".join([f"{len(rows)} 16", *rows]) + "\n", encoding="utf-8")


def _words(lines: list[str], n: int) -> list[str]:
    return list(dict.fromkeys(word for line in lines for word in line.lower().strip(".?!").split()))[:n]


def small_lexicons(folder: Path) -> Path:
    """The first few hundred entries of each lexicon of the package, under the same names."""
    folder.mkdir()
    for entry in (files("lingraft") / "data" / "lexicons").iterdir():
        if entry.name.endswith(".xz"):
            with lzma.open(str(entry), "rt", encoding="utf-8") as lines, lzma.open(folder / entry.name, "wt") as out:
                out.writelines(islice(lines, 300))
    return folder


def library(folder: Path) -> Path:
    """Writes everything that pages speak of: French from the sample, other languages by name alone."""
    pairs = [tuple(line.split("\t")) for line in sample_bitext("en-fr.tsv").read_text(encoding="utf-8").splitlines()]
    # names, which both languages write alike
    names = [" ".join(tiny.words()[start : start + 10]) + "." for start in range(0, 80, 10)] * 6
    english, french = ([pair[side] for pair in pairs[:700]] + names for side in (0, 1))
    for name in ("pairs.tsv", "pairs.fr.tsv", "pairs.hi.tsv", "pairs.vi.tsv"):
        as_tsv(folder / name, pairs[:250])
    as_tsv(folder / "heldout.tsv", pairs[-40:])
    for name, lines in (
        ("en.txt", english), ("fr.txt", french), ("more.en.txt", english[:50]), ("more.fr.txt", french[:50]),
        *((f"{tag}.txt", french[:200]) for tag in ("hi", "vi", "ht")), ("heldout.fr.txt", french[-50:]),
        ("text.txt", french[:3]),
    ):  # fmt: skip
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "gold.txt").write_text("0-0 1?1\n" * len(english), encoding="utf-8")
    with lzma.open(files("lingraft") / "data" / "lexicons" / "en-fr.tsv.xz", "rt", encoding="utf-8") as entries:
        known = set(_words(english, 5000)), set(_words(french, 5000))
        words = [line.split("\t")[:2] for line in entries]
        words = [pair for pair in words if pair[0] in known[0] and pair[-1].strip() in known[1]][:500]
    (folder / "words.tsv").write_text("".join(f"{en}\t{fr.strip()}\n" for en, fr in words), encoding="utf-8")
    _vectors(folder / "wiki.en.vec", _words([" ".join(tiny.words()[:80]), *english], 700), 0)
    _vectors(folder / "wiki.fr.vec", _words([" ".join(tiny.words()[:80]), *french], 700), 1)
    _tasks(folder, pairs)
    _models(folder, english)
    (folder / "recipes").mkdir()
    for recipe in (ROOT / "recipes").glob("*.yaml"):
        (folder / "recipes" / recipe.name).write_bytes(recipe.read_bytes())
    return folder


def _tasks(folder: Path, pairs: list[tuple[str, ...]]) -> None:
    labels = ("entailment", "neutral", "contradiction")
    for name, side, some in (
        ("train.tsv", 0, pairs[:12]), ("dev.tsv", 0, pairs[12:18]), ("dev.fr.tsv", 1, pairs[12:18]),
        ("test.fr.tsv", 1, pairs[18:24]),
    ):  # fmt: skip
        rows = [f"{pair[side]}\t{pairs[k][side]}\t{labels[k % 3]}\n" for k, pair in enumerate(some)]
        (folder / name).write_text("premise\thypothesis\tlabel\n" + "".join(rows), encoding="utf-8")
    for name, side, some in (
        ("train.conllu", 0, pairs[:8]), ("dev.conllu", 0, pairs[8:12]), ("test.fr.conllu", 1, pairs[12:16]),
    ):  # fmt: skip
        (folder / name).write_text("".join(_sentence(pair[side].split()) for pair in some), encoding="utf-8")


def _sentence(words: list[str]) -> str:
    """CoNLL-U of a sentence in which every word hangs from the one before it."""
    rows = [
        f"{k}\t{word}\t_\t{'VERB' if k == 1 else 'NOUN'}\t_\t_\t{k - 1}\t{'root' if k == 1 else 'dep'}\t_\t_\n"
        for k, word in enumerate(words, 1)
    ]
    return "".join(rows) + "\n"


def _models(folder: Path, english: list[str]) -> None:
    wordpiece = train_tokenizer(tiny.wordpiece_tokenizer(), english, 500)
    tiny.sentence_folder(str(folder / "sentence-transformers" / "all-MiniLM-L6-v2"), wordpiece)
    on_disk(folder / "google-bert" / "bert-base-uncased", tiny.bert(wordpiece), wordpiece)
    on_disk(folder / "english", tiny.bert(wordpiece), wordpiece)
    bytes_ = train_tokenizer(tiny.bytebpe_tokenizer(), english, 500)
    on_disk(folder / "HuggingFaceTB" / "SmolLM2-135M", tiny.llama(bytes_, tied=True), bytes_)
