"""Tagged sentences: parts of speech out of CoNLL-U, named entities out of CoNLL-2003 and BIO files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Literal

from ..corpus import read_lines
from ..errors import CorpusError, RecipeError
from .parsing.treebank import is_conllu, iter_conllu

TagKind = Literal["pos", "ner"]

#: entity tags of every scheme: IOB1, IOB2, BIOES (also written with M and W or with L and U); a type may be missing
_ENTITY_TAG = re.compile(r"O|[BIESLUMW](-.*)?")

#: the entity tags that begin an entity whatever stands before them, and those that end it
_BEGINNING, _ENDING = frozenset("BSUW"), frozenset("ESLUW")


@dataclass(frozen=True)
class TaggedSentences:
    """Words and their tags, sentence by sentence, as many of one as of the other.

    kind: ``pos`` for parts of speech, ``ner`` for named entities; the tags of entities are IOB2 (``B-PER``, ``I-PER``,
    ``O``), whatever scheme the file has. source: where they were read from.
    """

    words: list[list[str]]
    tags: list[list[str]]
    kind: TagKind
    source: str

    def __len__(self) -> int:
        return len(self.words)

    @property
    def n_words(self) -> int:
        """Words of all sentences."""
        return sum(map(len, self.words))


def check_kind(known: TagKind, sentences: TaggedSentences) -> None:
    """Raises CorpusError unless the sentences have the kind of tags that a model knows."""
    if known != sentences.kind:
        names = {"pos": "parts of speech", "ner": "named entities"}
        raise CorpusError(
            f"'{sentences.source}' has {names[sentences.kind]} and the model tags {names[known]}; "
            "data of the model's own kind was expected."
        )


def read_tags(path: Path, kind: TagKind | Literal["auto"] = "auto") -> TaggedSentences:
    """Reads tagged sentences, plain or compressed.

    kind: ``auto`` takes a file for CoNLL-U if its first word has ten columns separated by tabs, the first of them an
    id, and else for entities. Raises CorpusError with file and line.
    """
    if kind == "auto":
        kind = "pos" if is_conllu(path) else "ner"
    if kind not in ("pos", "ner"):
        raise RecipeError(f"There is no kind of tags '{kind}'; auto, pos or ner was expected.")
    return read_conllu_tags(path) if kind == "pos" else read_entity_tags(path)


def read_conllu_tags(path: Path) -> TaggedSentences:
    """FORM and UPOS of the words of a CoNLL-U file, which are the lines with an integer as id.

    Multiword tokens and empty nodes are passed over. Raises CorpusError for whatever is no CoNLL-U
    (`lingraft.tasks.parsing.read_conllu`, without trees), for a word without UPOS, and for a file without a word.
    """
    behind = 0  # number of the line behind the sentence that was read last

    def lines() -> Iterator[str]:
        nonlocal behind
        for behind, line in enumerate(chain(read_lines(path), [""]), 1):  # noqa: B007
            yield line

    words: list[list[str]] = []
    tags: list[list[str]] = []
    for sentence in iter_conllu(lines(), str(path), trees=False):
        for row, tag in zip(sentence.rows, sentence.upos, strict=True):
            if not tag.strip() or tag == "_":
                number = behind - len(sentence.lines) + row
                raise CorpusError(f"'{path}': line {number} has a word without UPOS.")
        words.append(list(sentence.forms))
        tags.append(list(sentence.upos))
    return TaggedSentences(words, tags, "pos", str(path))


def read_entity_tags(path: Path) -> TaggedSentences:
    """Words and entity tags, the first and the last column of a CoNLL-2003 or BIO file.

    Columns are separated by tabs where a line has one, so that a word may hold spaces, and else by spaces. Blank lines
    stand between sentences; lines that begin with ``-DOCSTART-`` are passed over, and so are those that begin with
    ``#`` and do not end with a tag. Raises CorpusError for a line with a single column, for a last column that is no
    tag, and for a file without a word.
    """
    words: list[list[str]] = []
    tags: list[list[str]] = []
    for block in _blocks(path):
        sentence: list[tuple[str, str]] = []
        for number, line in block:
            columns = line.split("\t") if "\t" in line else line.strip(" ").split(" ")
            word, tag = columns[0].strip(" "), columns[-1].strip(" ")
            if line.startswith("#") and not (len(columns) > 1 and _ENTITY_TAG.fullmatch(tag)):
                continue
            if len(columns) < 2 or not word:
                raise CorpusError(
                    f"'{path}': line {number} has no word and tag; the word in the first column and its entity tag in "
                    "the last were expected, separated by a tab or spaces."
                )
            if not _ENTITY_TAG.fullmatch(tag):
                raise CorpusError(
                    f"'{path}': line {number} ends with '{tag[:40]}', which is no entity tag; O, B-TYPE, I-TYPE, "
                    "E-TYPE or S-TYPE was expected."
                )
            sentence.append((word, tag))
        if sentence:
            words.append([word for word, _ in sentence])
            tags.append(as_iob2([tag for _, tag in sentence]))
    if not words:
        raise CorpusError(f"'{path}' has no tagged word.")
    return TaggedSentences(words, tags, "ner", str(path))


def _blocks(path: Path) -> Iterator[list[tuple[int, str]]]:
    """Numbered lines between blank lines and starts of documents."""
    block: list[tuple[int, str]] = []
    for number, line in enumerate(read_lines(path), 1):
        if line.strip() and not line.startswith("-DOCSTART-"):
            block.append((number, line))
        elif block:
            yield block
            block = []
    if block:
        yield block


def entities(tags: Sequence[str]) -> list[tuple[int, int, str]]:
    """The entities of a tagged sentence as (first word, word behind the last, type), in their order.

    Any scheme and any mixture, by the rules of the CoNLL-2000 evaluation (``conlleval``), which seqeval follows in its
    default mode: an entity begins at B or S, and at any other tag of another type or behind none; it ends before
    ``O``, before another begins, and behind E or S (in other notations L and U or W).
    """
    found: list[tuple[int, int, str]] = []
    start, kind, closed = 0, "", True  # of the entity that is open, if one is
    for place, tag in enumerate([*tags, "O"]):
        prefix, _, named = tag.partition("-")
        begins = prefix != "O" and (closed or prefix in _BEGINNING or named != kind)
        if not closed and (begins or prefix == "O"):
            found.append((start, place, kind))
            closed = True
        if begins:
            start, kind, closed = place, named, False
        if prefix in _ENDING and not closed:
            found.append((start, place + 1, kind))
            closed = True
    return found


def as_iob2(tags: Sequence[str]) -> list[str]:
    """The same entities in IOB2: B at the first word of each, I at its others, O elsewhere."""
    result = ["O"] * len(tags)
    for start, end, kind in entities(tags):
        ending = f"-{kind}" if kind else ""
        result[start:end] = ["B" + ending, *["I" + ending] * (end - start - 1)]
    return result
