"""Dependency parsing: treebanks in CoNLL-U, a biaffine parser, exact decoding of trees, attachment scores.

    parser = load_parser("my-parser")
    parser.parse([["Dogs", "bark", "."]])

Names are loaded when they are first used: reading and scoring a treebank needs no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...lazy import lazy_names

if TYPE_CHECKING:
    from .attachment import AttachmentCounts, Parse, count_attachments
    from .biaffine import ParserSettings
    from .mst import decode_trees
    from .parser import Parser, build_parser, load_parser
    from .task import ParsingTask, evaluate_parse, parse_file
    from .text import read_text, split_words
    from .treebank import Sentence, read_conllu, write_conllu

_HOMES = {
    "AttachmentCounts": "attachment",
    "Parse": "attachment",
    "Parser": "parser",
    "ParserSettings": "biaffine",
    "ParsingTask": "task",
    "Sentence": "treebank",
    "build_parser": "parser",
    "count_attachments": "attachment",
    "decode_trees": "mst",
    "evaluate_parse": "task",
    "load_parser": "parser",
    "parse_file": "task",
    "read_conllu": "treebank",
    "read_text": "text",
    "split_words": "text",
    "write_conllu": "treebank",
}

__all__ = [
    "AttachmentCounts",
    "Parse",
    "Parser",
    "ParserSettings",
    "ParsingTask",
    "Sentence",
    "build_parser",
    "count_attachments",
    "decode_trees",
    "evaluate_parse",
    "load_parser",
    "parse_file",
    "read_conllu",
    "read_text",
    "split_words",
    "write_conllu",
]


__getattr__ = lazy_names(__name__, _HOMES)
