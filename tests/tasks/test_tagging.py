"""Taggers: they learn, padding and windows lose nothing, scores are the field's, and plain transformers loads them."""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F
from transformers import AutoModelForTokenClassification, AutoTokenizer, pipeline

import tiny
from lingraft.errors import CorpusError, ModelError
from lingraft.surgery import LanguageModel, from_transformers, load_model
from lingraft.tasks import tagging
from lingraft.tasks.tag_data import TaggedSentences, entities
from lingraft.tasks.tagging import (
    TaggingModel,
    TaggingTask,
    evaluate_tagging,
    load_tagger,
    new_tagger,
    tagging_counts,
    tagging_ratio,
)

FAMILIES: dict[str, tuple[Any, str]] = {
    "bert": (tiny.bert, "wordpiece"),
    "roberta": (tiny.roberta, "bytebpe"),
    "xlm-roberta": (tiny.xlm_roberta, "unigram"),
    "gpt2": (tiny.gpt2, "bytebpe"),
}
WORDS = [line.split() for line in tiny.english_lines(20, seed=5, longest=9)]


def pos() -> TaggedSentences:
    """A word's tag depends on its first letter and on whether it is the last of its sentence."""
    return TaggedSentences(
        WORDS,
        [["END" if k == len(s) - 1 else "ABC"[ord(w[0]) % 3] for k, w in enumerate(s)] for s in WORDS],
        "pos",
        "p",
    )


def ner() -> TaggedSentences:
    """The first two words of a sentence are one entity, whose type is that of its length; so is the last word."""
    return TaggedSentences(
        WORDS,
        [[f"B-{'XY'[len(s) % 2]}", f"I-{'XY'[len(s) % 2]}", *["O"] * (len(s) - 3), "B-X"] for s in WORDS],
        "ner",
        "n",
    )


def source(family: str = "bert") -> LanguageModel:
    make, kind = FAMILIES[family]
    tokenizer = tiny.TOKENIZERS[kind]()
    return from_transformers(make(tokenizer), tokenizer)


def shaken(tagger: TaggingModel, scale: float = 0.3) -> TaggingModel:
    """The tagger with parameters away from their initial values, so that its outputs differ from word to word."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in tagger.model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * scale)
    return tagger


@pytest.mark.parametrize("data", [pos(), ner()], ids=["pos", "ner"])
def test_it_learns_twenty_sentences(data):
    tagger = new_tagger(source(), data)
    task = TaggingTask(tagger, data, data)
    name = {"pos": "accuracy", "ner": "f1"}[data.kind]
    assert list(task.score()) == [name]
    optimizer = torch.optim.Adam(task.model.parameters(), lr=3e-3)
    everything = np.arange(len(task.lengths))
    for _ in range(120):
        optimizer.zero_grad()
        loss = task.loss(everything)
        loss.backward()
        optimizer.step()
        if loss < 0.02:
            break
    assert task.score() == {name: 1.0}
    assert evaluate_tagging(tagger, data)[0] == {"task": "tag", name: 1.0, "n": sum(map(len, WORDS))}
    assert tagger.predict(data.words) == data.tags


@pytest.mark.parametrize("family", FAMILIES)
@torch.inference_mode()
def test_padding_changes_no_logit(family):
    tagger = shaken(new_tagger(source(family), pos()))
    sentences = tagger.subwords.encode(WORDS)
    together = tagger.logits(sentences)
    alone = torch.cat([tagger.logits([sentence]) for sentence in sentences])
    torch.testing.assert_close(together, alone, atol=2e-5, rtol=1e-4)
    assert len({sentence.ids.size for sentence in sentences}) > 1
    assert together.shape == (pos().n_words, len(tagger.labels))


@torch.inference_mode()
def test_the_scores_of_a_word_are_those_of_its_first_subword():
    tagger = shaken(new_tagger(source("roberta"), pos()))
    words = WORDS[3]
    encoded = tagger.tokenizer(" ".join(words), return_tensors="pt", return_offsets_mapping=True)
    offsets = encoded.pop("offset_mapping")[0].tolist()
    starts = np.cumsum([0, *(len(word) + 1 for word in words)])[:-1]
    first = [next(k for k, (a, b) in enumerate(offsets) if a <= start < b) for start in starts]
    expected = tagger.model(**encoded).logits[0, first]
    torch.testing.assert_close(tagger.logits(tagger.subwords.encode([words])), expected)


def test_the_loss_is_the_mean_over_words():
    data = pos()
    tagger = shaken(new_tagger(source(), data))
    task = TaggingTask(tagger, data, data)
    batch = np.asarray([7, 2, 11])
    sentences = tagger.subwords.encode(data.words)
    logits = tagger.logits([sentences[k] for k in batch])
    gold = torch.tensor([tagger.labels.index(tag) for k in batch for tag in data.tags[k]])
    torch.testing.assert_close(task.loss(batch), F.cross_entropy(logits, gold))
    assert task.lengths.tolist() == [sentence.ids.size for sentence in sentences]
    assert task.lengths.dtype == np.int64
    assert task.model is tagger.model
    assert task.encoder is tagger.model.base_model


def test_long_sentences_are_tagged_in_windows():
    data = pos()
    whole = shaken(new_tagger(source(), data))
    short = TaggingModel(whole.model, whole.tokenizer, 9)
    tags = short.predict(data.words, "float32")
    assert [len(found) for found in tags] == [len(words) for words in data.words]
    expected: list[list[str]] = []
    n_windows = 0
    for words, sentence in zip(data.words, short.subwords.encode(data.words), strict=True):
        windows = short.subwords.windows(sentence)
        n_windows += len(windows)
        found: list[str] = []
        for start, end, first, last in windows:
            read = np.flatnonzero((sentence.starts >= start) & (sentence.ends <= end))
            seen = whole.predict([words[read[0] : read[-1] + 1]], "float32")[0]
            found += seen[first - read[0] : last - read[0]]
        expected.append(found)
    assert n_windows > len(data)
    assert tags == expected
    task = TaggingTask(short, data, data)
    assert len(task.lengths) == len(data)
    with torch.inference_mode():
        one_by_one = [float(task.loss(np.asarray([k]))) * len(data.words[k]) for k in range(len(data))]
        together = float(task.loss(np.arange(len(data))))
    assert together == pytest.approx(sum(one_by_one) / data.n_words, rel=1e-5)


def test_no_more_windows_than_allowed_are_read_at_once(monkeypatch):
    tagger = shaken(new_tagger(source(), pos()))
    tagger = TaggingModel(tagger.model, tagger.tokenizer, 9)
    book = [*chain(*WORDS)]
    expected = tagger.predict([book, *WORDS], "float32")
    rows: list[int] = []
    tagger.model.register_forward_pre_hook(
        lambda _module, _inputs, named: rows.append(len(named["input_ids"])), with_kwargs=True
    )
    monkeypatch.setattr(tagging, "_BATCH_SIZE", 3)
    assert tagger.predict([book, *WORDS], "float32") == expected
    assert max(rows) == 3


def test_sentences_without_words_are_no_examples():
    tags = pos().tags[0]
    data = TaggedSentences([[], WORDS[0], []], [[], tags, []], "pos", "p")
    tagger = new_tagger(source(), pos())
    task = TaggingTask(tagger, data, pos())
    only = TaggingTask(tagger, TaggedSentences([WORDS[0]], [tags], "pos", "p"), pos())
    assert len(task.lengths) == 1
    assert torch.equal(task.loss(np.asarray([0])), only.loss(np.asarray([0])))


def test_predicting_leaves_the_mode_as_it_was():
    tagger = new_tagger(source(), pos())
    for training in (True, False):
        tagger.model.train(training)
        first = tagger.predict(WORDS)
        assert tagger.model.training is training
        assert tagger.predict(WORDS) == first
    assert tagger.predict([[], ["ba"], []])[::2] == [[], []]
    assert tagger.predict([]) == []


def test_labels_and_kind():
    assert new_tagger(source(), pos()).labels == ["A", "B", "C", "END"]
    tagger = new_tagger(source(), TaggedSentences([["ba"]], [["B-X"]], "ner", "n"))
    assert (tagger.labels, tagger.kind) == (["B-X", "I-X", "O"], "ner")
    assert tagger.model.config.label2id == {"B-X": 0, "I-X": 1, "O": 2}


def test_a_saved_tagger_tags_the_same(tmp_path):
    tagger = shaken(new_tagger(source(), ner()))
    tagger = TaggingModel(tagger.model, tagger.tokenizer, 40)
    tagger.save(tmp_path / "tagger")
    loaded = load_tagger(tmp_path / "tagger")
    assert (loaded.labels, loaded.kind, loaded.max_length) == (tagger.labels, "ner", 40)
    assert loaded.predict(WORDS) == tagger.predict(WORDS)
    assert tagger.tokenizer.model_max_length == 64
    assert not list((tmp_path / "tagger").glob("*.bin"))


@pytest.mark.filterwarnings("default")
def test_plain_transformers_tags_the_same(tmp_path):
    tagger = shaken(new_tagger(source(), ner()))
    tagger.save(tmp_path / "tagger")
    run = pipeline(
        "token-classification",
        model=AutoModelForTokenClassification.from_pretrained(tmp_path / "tagger"),
        tokenizer=AutoTokenizer.from_pretrained(tmp_path / "tagger"),
        aggregation_strategy="first",
        device="cpu",
    )
    for words, tags in zip(WORDS, tagger.predict(WORDS), strict=True):
        text = " ".join(words)
        expected = [(" ".join(words[start:end]), kind) for start, end, kind in entities(tags)]
        found = [(text[group["start"] : group["end"]], group["entity_group"]) for group in run(text)]
        assert [(span, kind) for span, kind in found if kind != "O"] == expected


def test_the_encoder_of_a_sentence_encoder_serves(sentence_model_folder, tmp_path):
    model = load_model(sentence_model_folder)
    tagger = new_tagger(model, pos())
    assert tagger.max_length == model.max_length
    tagger.save(tmp_path / "tagger")
    assert load_tagger(str(tmp_path / "tagger")).predict(WORDS) == tagger.predict(WORDS)


def test_refusals(model_folder):
    tagger = new_tagger(source(), pos())
    with pytest.raises(CorpusError, match="'n' has named entities and the model tags parts of speech"):
        evaluate_tagging(tagger, ner())
    with pytest.raises(CorpusError, match="'n' has named entities"):
        TaggingTask(tagger, pos(), ner())
    with pytest.raises(CorpusError, match="'q' has the tag 'D', which the model does not know"):
        TaggingTask(tagger, TaggedSentences([["ba"]], [["D"]], "pos", "q"), pos())
    with pytest.raises(ModelError, match=r"a '...ForTokenClassification' was expected"):
        load_tagger(model_folder)


# scores


def test_accuracy():
    data = TaggedSentences([["a", "b"], ["c"]], [["X", "Y"], ["X"]], "pos", "p")
    counts = tagging_counts([["X", "X"], ["X"]], data)
    assert counts.tolist() == [[1, 2, 2], [1, 1, 1]]
    assert tagging_ratio(counts).score == pytest.approx(2 / 3)
    assert tagging_ratio(counts[0]).score == 0.5


def test_f1():
    gold = [["B-X", "I-X", "O", "B-Y"], ["O", "O"], ["B-X"]]
    found = [["B-X", "I-X", "B-Y", "I-Y"], ["I-Y", "O"], ["O"]]
    data = TaggedSentences([["w"] * len(tags) for tags in gold], gold, "ner", "n")
    counts = tagging_counts(found, data)
    assert counts.tolist() == [[1, 2, 2], [0, 1, 0], [0, 0, 1]]
    assert tagging_ratio(counts).score == pytest.approx(2 / 6)
    assert tagging_ratio(counts[1:2]).score == 0
    assert tagging_ratio(counts[:0]).score == 0


TAGS = st.sampled_from(["O", "O", *(f"{prefix}-{kind}" for prefix in "BI" for kind in "XYZ")])


@given(st.lists(st.lists(st.tuples(TAGS, TAGS), min_size=1, max_size=8), min_size=1, max_size=5))
def test_f1_is_that_of_nervaluate(sentences):
    nervaluate = pytest.importorskip("nervaluate")
    gold = [[tag for tag, _ in sentence] for sentence in sentences]
    found = [[tag for _, tag in sentence] for sentence in sentences]
    data = TaggedSentences([["w"] * len(tags) for tags in gold], gold, "ner", "n")
    theirs = nervaluate.Evaluator(gold, found, tags=list("XYZ"), loader="list").evaluate()["overall"]["strict"]
    counts = tagging_counts(found, data)
    assert counts.sum(0).tolist() == [theirs.correct, theirs.actual, theirs.possible]
    assert tagging_ratio(counts).score == pytest.approx(theirs.f1)
