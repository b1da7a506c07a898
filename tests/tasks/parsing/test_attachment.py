"""Attachment scores are those of the evaluation of Universal Dependencies."""

from __future__ import annotations

import io

import numpy as np
import pytest
from trees import RELATIONS, random_sentences, random_tree, sentence

from lingraft.errors import CorpusError
from lingraft.tasks.parsing import Parse, Sentence, count_attachments


def perturbed(gold: list[Sentence], share: float, seed: int) -> list[Parse]:
    """Other trees for a share of the sentences, other relations for a share of the words."""
    random = np.random.default_rng(seed)
    parses = []
    for right in gold:
        heads = random_tree(len(right), random) if random.random() < share else right.heads
        deprels = [str(random.choice(RELATIONS)) if random.random() < share else deprel for deprel in right.deprels]
        parses.append(Parse(tuple(heads), tuple(deprels)))
    return parses


def official(gold: list[Sentence], parsed: list[Parse]) -> dict[str, float]:
    """UAS and LAS of the official script."""
    evaluation = pytest.importorskip("udtools.udeval")

    def loaded(sentences: list[Sentence]):
        text = "".join("\n".join(one.lines) + "\n\n" for one in sentences)
        return evaluation.load_conllu(io.StringIO(text), "a test", {})

    system = [right.with_tree(*parse) for right, parse in zip(gold, parsed, strict=True)]
    scores = evaluation.evaluate(loaded(gold), loaded(system))
    return {name: scores[name].f1 for name in ("UAS", "LAS")}


@pytest.mark.parametrize("share", [0.0, 0.2, 0.6, 1.0])
def test_scores_are_those_of_the_official_script(share):
    gold = random_sentences(60, seed=5)
    parsed = perturbed(gold, share, seed=6)
    counts = count_attachments(gold, parsed)
    expected = official(gold, parsed)
    assert counts.uas == pytest.approx(expected["UAS"], abs=1e-12)
    assert counts.las == pytest.approx(expected["LAS"], abs=1e-12)
    assert (counts.las < counts.uas < 1) == (share > 0)


def test_multiword_tokens_and_empty_nodes_change_nothing():
    gold = random_sentences(20, seed=7, shortest=3)
    parsed = perturbed(gold, 0.5, seed=8)
    row = "\t".join(["{}", "{}", *"_" * 8])
    dressed = [
        Sentence(
            one.forms, one.upos, one.heads, one.deprels,
            (row.format("1-2", "".join(one.forms[:2])), *one.lines[:2], row.format("2.1", "x"), *one.lines[2:]),
            (1, 2, *range(4, len(one) + 2)),
        )
        for one in gold
    ]  # fmt: skip
    expected = official(dressed, parsed)
    counts = count_attachments(dressed, parsed)
    assert (counts.uas, counts.las) == pytest.approx((expected["UAS"], expected["LAS"]), abs=1e-12)


def test_counts_by_hand():
    gold = [
        sentence(["a", "b", "c", "."], [2, 0, 2, 2], ["nmod:poss", "root", "obj", "punct"], ["X", "X", "X", "PUNCT"]),
        sentence(["!", "d"], [0, 1], ["root", "punct"], ["PUNCT", "SYM"]),
    ]
    parsed = [Parse((2, 0, 1, 2), ("nmod", "root", "obj", "dep")), Parse((2, 0), ("punct", "root"))]
    counts = count_attachments(gold, parsed)
    assert [counts.words.tolist(), counts.heads.tolist(), counts.labelled.tolist()] == [[4, 2], [3, 0], [2, 0]]
    assert (counts.uas, counts.las, counts.n_words) == (3 / 6, 2 / 6, 6)
    counts = count_attachments(gold, parsed, punct=False)  # by the gold tag alone, not by relations
    assert [counts.words.tolist(), counts.heads.tolist(), counts.labelled.tolist()] == [[3, 1], [2, 0], [2, 0]]


def test_other_words_are_refused():
    gold = random_sentences(2, seed=1, shortest=3, longest=3)
    with pytest.raises(CorpusError, match="1 parsed sentences were given for 2"):
        count_attachments(gold, gold[:1])
    with pytest.raises(CorpusError, match="Sentence 2 has 3 words in the gold standard, 1 in the parse"):
        count_attachments(gold, [gold[0], Parse((0,), ("root",))])
    with pytest.raises(CorpusError, match="no word to be scored besides punctuation"):
        count_attachments([sentence(["."], [0], ["root"], ["PUNCT"])], [Parse((0,), ("root",))], punct=False)
    with pytest.raises(CorpusError, match="no word to be scored"):
        count_attachments([], [])
    with pytest.raises(CorpusError, match="Sentence 1 of the gold standard has a word without a head"):
        count_attachments([Sentence.from_words(["a"])], [Parse((0,), ("root",))])
