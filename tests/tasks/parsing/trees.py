"""Random dependency trees, and sentences made of invented words around them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch

import tiny
from lingraft.surgery import from_transformers
from lingraft.tasks.parsing import Parser, ParserSettings, build_parser
from lingraft.tasks.parsing.treebank import Sentence, iter_conllu

RELATIONS = ["nsubj", "obj", "nmod", "nmod:poss", "acl:relcl", "punct", "case"]


def leads_to_the_root(heads: Sequence[int]) -> bool:
    """Whether from every word, however slowly, the heads lead to the root."""
    for word in range(1, len(heads) + 1):
        for _ in heads:
            word = heads[word - 1] if word else 0
        if word:
            return False
    return True


@lru_cache
def all_trees(n: int) -> np.ndarray:
    """Every tree with one root over n words, int64 (trees, n)."""
    candidates = itertools.product(range(n + 1), repeat=n)
    trees = [heads for heads in candidates if heads.count(0) == 1 and leads_to_the_root(heads)]
    assert len(trees) == n ** (n - 1)  # Cayley's formula, times the choices of the root
    return np.array(trees, np.int64)


def random_tree(n: int, random: np.random.Generator) -> list[int]:
    """A tree with one root: words are attached, in a random order, to words that already are."""
    order = random.permutation(n) + 1
    heads = [0] * n
    for k in range(1, n):
        heads[order[k] - 1] = int(order[random.integers(k)])
    return heads


def sentence(
    forms: Sequence[str], heads: Sequence[int], deprels: Sequence[str], upos: Sequence[str] | None = None
) -> Sentence:
    """A sentence with its tree, read from lines."""
    tags = upos or ["X"] * len(forms)
    lines = [
        f"{k}\t{form}\t_\t{tag}\t_\t_\t{head}\t{deprel}\t_\t_"
        for k, (form, tag, head, deprel) in enumerate(zip(forms, tags, heads, deprels, strict=True), 1)
    ]
    return next(iter_conllu(lines, "a test"))


def random_sentences(count: int, seed: int = 0, shortest: int = 1, longest: int = 9) -> list[Sentence]:
    """Sentences of invented words with random trees and relations; about a fifth of the words is punctuation."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        n = int(random.integers(shortest, longest + 1))
        heads = random_tree(n, random)
        deprels = [str(random.choice(RELATIONS)) if head else "root" for head in heads]
        tags = [str(tag) for tag in random.choice(["PUNCT", "NOUN", "VERB", "ADP", "X"], n)]
        found.append(sentence([str(word) for word in random.choice(tiny.words(), n)], heads, deprels, tags))
    return found


def random_parser(sentences: Sequence[Sentence]) -> Parser:
    """A small parser of random weights for the relations of these sentences; scores of its trees differ."""
    tokenizer = tiny.wordpiece_tokenizer()
    made = build_parser(
        from_transformers(tiny.bert(tokenizer), tokenizer), sentences, ParserSettings(arc_size=32, label_size=16)
    )
    torch.manual_seed(0)
    with torch.no_grad():
        made.head.arc_weight.normal_()
        made.head.label_weight.normal_()
    return made
