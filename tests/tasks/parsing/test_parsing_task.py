"""Training examples, scores of a treebank, and files that are parsed."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
import torch
from trees import random_parser, random_sentences, sentence

from lingraft.errors import CorpusError, RecipeError
from lingraft.tasks.parsing import (
    Parser,
    ParsingTask,
    Sentence,
    count_attachments,
    evaluate_parse,
    parse_file,
    read_conllu,
    write_conllu,
)

SENTENCES = random_sentences(20, seed=3)


@pytest.fixture(scope="module")
def parser() -> Parser:
    return random_parser(SENTENCES)


def test_the_scores_of_a_treebank(parser):
    scores, counts = evaluate_parse(parser, SENTENCES)
    parses = parser.parse(SENTENCES)
    whole, without = (count_attachments(SENTENCES, parses, punct) for punct in (True, False))
    assert scores == {
        "task": "parse", "uas": whole.uas, "las": whole.las, "n_words": sum(map(len, SENTENCES)), "punct": True,
        "uas_without_punct": without.uas, "las_without_punct": without.las, "n_words_without_punct": without.n_words,
        "n": len(SENTENCES),
    }  # fmt: skip
    assert without.n_words < whole.n_words
    assert {name: each.score for name, each in counts.items()} == {name: scores[name] for name in counts}


def test_the_loss_of_a_batch_is_the_mean_over_its_words(parser):
    task = ParsingTask(parser, SENTENCES, SENTENCES)
    assert task.model is parser
    assert task.encoder is parser.encoder
    subwords = [len(parser.tokenizer(" ".join(s.forms), add_special_tokens=False).input_ids) for s in SENTENCES]
    assert task.lengths.tolist() == subwords
    assert task.lengths.dtype == np.int64
    with torch.no_grad():
        together = task.loss(np.array([3, 0, 11]))
        alone = sum(float(task.loss(np.array([k]))) * len(SENTENCES[k]) for k in (3, 0, 11))
    words = sum(len(SENTENCES[k]) for k in (3, 0, 11))
    assert float(together) == pytest.approx(alone / words, rel=1e-4)
    score = task.score()
    assert list(score) == ["las", "uas"]
    assert score["las"] == evaluate_parse(parser, SENTENCES)[0]["las"]


def test_examples_that_cannot_be_learned_are_refused(parser):
    strange = sentence(["ba", "re"], [0, 1], ["root", "weird"])
    with pytest.raises(CorpusError, match="does not know: weird"):
        ParsingTask(parser, [strange], SENTENCES)
    ParsingTask(parser, SENTENCES, [strange])  # what dev has besides is merely wrong
    with pytest.raises(CorpusError, match="needs sentences"):
        ParsingTask(parser, [], SENTENCES)
    bare = Sentence.from_words(["ba"])
    with pytest.raises(CorpusError, match="without a tree"):
        ParsingTask(parser, SENTENCES, [bare])


def test_a_treebank_keeps_all_but_its_trees(parser, tmp_path):
    text = (
        "# text = x\n1-2\tbare\t_\t_\t_\t_\t_\t_\t_\tA=b\n1\tba\tl\tX\ty\tF=g\t_\t_\t_\t_\n"
        "2\tre\tl\tX\ty\tF=g\t1\told\t4:dep\tSpaceAfter=No\n2.1\tmi\t_\t_\t_\t_\t_\t_\t1:dep\t_\n\n"
    )
    source = tmp_path / "in.conllu.gz"
    source.write_bytes(gzip.compress(text.encode()))
    result = parse_file(parser, source, tmp_path / "out.conllu")
    assert (result["sentences"], result["words"]) == (1, 2)
    (parse,) = parser.parse([["ba", "re"]])
    (head, other), (deprel, relation) = parse
    expected = text.replace("F=g\t_\t_\t", f"F=g\t{head}\t{deprel}\t").replace("1\told", f"{other}\t{relation}")
    assert (tmp_path / "out.conllu").read_bytes() == expected.encode()


@pytest.mark.parametrize(("input_format", "n_words"), [(None, 5), ("raw", 5), ("tokenised", 3)])
def test_text_becomes_a_treebank(parser, tmp_path, input_format, n_words):
    (tmp_path / "in.txt").write_text("ba, re.\nmi\n", encoding="utf-8")
    told = []
    result = parse_file(parser, tmp_path / "in.txt", tmp_path / "out.conllu", input_format, on_progress=told.append)
    assert (result["sentences"], result["words"], told) == (2, n_words, [2])
    found = read_conllu(tmp_path / "out.conllu")
    assert [sentence.lines[1] for sentence in found] == ["# text = ba, re.", "# text = mi"]
    parses = parser.parse(found)
    assert [(sentence.heads, sentence.deprels) for sentence in found] == [tuple(parse) for parse in parses]


def test_a_file_is_parsed_in_blocks(parser, tmp_path, monkeypatch):
    from lingraft.tasks.parsing import task

    write_conllu(SENTENCES, tmp_path / "in.conllu")
    parse_file(parser, tmp_path / "in.conllu", tmp_path / "whole.conllu")
    monkeypatch.setattr(task, "_BLOCK", 7)
    told = []
    parse_file(parser, tmp_path / "in.conllu", tmp_path / "blocks.conllu", on_progress=told.append)
    assert told == [7, 14, 20]
    assert (tmp_path / "blocks.conllu").read_bytes() == (tmp_path / "whole.conllu").read_bytes()


def test_a_wrong_file_leaves_nothing_behind(parser, tmp_path):
    (tmp_path / "in.conllu").write_text("1\tba\n", encoding="utf-8")
    with pytest.raises(CorpusError, match="line 1 has 2 columns"):
        parse_file(parser, tmp_path / "in.conllu", tmp_path / "out.conllu")
    with pytest.raises(RecipeError, match="conllu, tokenised or raw; given: 'xml'"):
        parse_file(parser, tmp_path / "in.conllu", tmp_path / "out.conllu", "xml")
    assert [path.name for path in tmp_path.iterdir()] == ["in.conllu"]
