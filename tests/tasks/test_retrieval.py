"""Retrieval: the nearest is the nearest, and an embedding depends on its own sentence only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer

import tiny
from lingraft.errors import CorpusError
from lingraft.surgery import LanguageModel, from_transformers, load_model
from lingraft.tasks import embed_sentences, evaluate_retrieval, nearest, retrieval, retrieval_scores

FAMILIES: dict[str, tuple[Any, str]] = {
    "bert": (tiny.bert, "wordpiece"),
    "roberta": (tiny.roberta, "bytebpe"),
    "xlm-roberta": (tiny.xlm_roberta, "unigram"),
    "gpt2": (tiny.gpt2, "bytebpe"),
    "llama": (tiny.llama, "bytefallback"),
}
#: of very different lengths, so that a batch has much padding
LINES = [" ".join(tiny.english_lines(12)[k : k + 1 + (k % 3)]) for k in range(10)] + ["ba", "re ka"]

#: intervals where every sentence is found
SURE = {"intervals": {"en_to_xx": [1.0, 1.0], "xx_to_en": [1.0, 1.0]}}


@pytest.fixture(params=[*FAMILIES, "sentence"])
def model(request: pytest.FixtureRequest, sentence_model_folder: Path) -> LanguageModel:
    """A model of each family, and a sentence encoder."""
    if request.param == "sentence":
        return load_model(sentence_model_folder)
    make, kind = FAMILIES[request.param]
    tokenizer = tiny.TOKENIZERS[kind]()
    return from_transformers(make(tokenizer), tokenizer)


def unit(n: int, width: int = 8, seed: int = 0) -> np.ndarray[Any, Any]:
    vectors = np.random.default_rng(seed).normal(size=(n, width)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@given(st.integers(0, 23), st.integers(1, 9), st.integers(1, 8), st.integers(0, 99))
def test_nearest_agrees_with_brute_force_in_blocks_of_any_size(
    queries: int, candidates: int, block: int, seed: int
) -> None:
    one, other = unit(queries, seed=seed), unit(candidates, seed=seed + 100)
    expected = [max(range(candidates), key=lambda k: float(np.dot(row, other[k]))) for row in one]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrieval, "_BLOCK", block)
        found = nearest(one, other)
    assert found.tolist() == expected
    assert found.dtype == np.int64


def test_identical_sets_score_one_and_shuffled_ones_what_stays_in_place() -> None:
    english = unit(10)
    assert retrieval_scores(english, english) == {"task": "retrieval", "en_to_xx": 1.0, "xx_to_en": 1.0, "n": 10} | SURE
    order = [0, 1, 2, 3, 4, 5, 7, 6, 9, 8]
    assert retrieval_scores(english, english[order])["en_to_xx"] == 0.6


def test_the_two_directions_are_not_the_same() -> None:
    """One foreign sentence is nearest to every English one, and each English one nearest to its own."""
    english = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
    foreign = np.array([[0.6, 0.1, 0.1], [0.8, 0.9, 0.1], [0.8, 0.1, 0.9]], np.float32)
    scores = retrieval_scores(english, foreign)
    assert scores["en_to_xx"] == pytest.approx(2 / 3)
    assert scores["xx_to_en"] == 1.0


@pytest.mark.parametrize(("english", "foreign"), [(0, 0), (3, 2), (1, 0)])
def test_no_pairs_are_refused(english: int, foreign: int) -> None:
    with pytest.raises(CorpusError, match=f"{english} English, {foreign} foreign"):
        retrieval_scores(unit(english), unit(foreign))


def test_embeddings_are_unit_vectors_in_the_order_of_the_lines(model: LanguageModel) -> None:
    together = embed_sentences(model, LINES)
    assert together.shape == (len(LINES), 32)
    assert together.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)
    assert len(np.unique(together.round(5), axis=0)) == len(LINES), "every line has its own"


def test_neither_padding_nor_the_batch_changes_an_embedding(model: LanguageModel) -> None:
    alone = np.concatenate([embed_sentences(model, [line]) for line in LINES])
    for size in (1, 3, 64):
        np.testing.assert_allclose(embed_sentences(model, LINES, batch_size=size), alone, atol=2e-6)
    backwards = embed_sentences(model, LINES[::-1], batch_size=5)[::-1]
    np.testing.assert_allclose(backwards, alone, atol=2e-6)


def test_an_embedding_is_that_of_the_plain_model_on_the_tokenizers_ids(model: LanguageModel) -> None:
    batch = model.tokenizer(LINES[0], return_tensors="pt").input_ids
    with torch.inference_mode():
        hidden = model.model.base_model(batch).last_hidden_state[0].mean(0)
    np.testing.assert_allclose(embed_sentences(model, LINES[:1])[0], hidden / hidden.norm(), atol=1e-6)


def test_a_sentence_encoder_embeds_as_sentence_transformers_does(sentence_model_folder: Path) -> None:
    plain = SentenceTransformer(str(sentence_model_folder), device="cpu").encode(LINES)
    np.testing.assert_allclose(embed_sentences(load_model(sentence_model_folder), LINES), plain, atol=1e-6)


def test_long_lines_are_cut_and_keep_their_closing_token(model: LanguageModel) -> None:
    long = " ".join(LINES * 3)
    ids = model.tokenizer(long, truncation=True, max_length=model.max_length, return_tensors="pt").input_ids
    assert ids.shape[1] == model.max_length
    with torch.inference_mode():
        expected = torch.nn.functional.normalize(model.embed(ids, torch.ones_like(ids)), dim=-1)
    np.testing.assert_allclose(embed_sentences(model, [long]), expected, atol=1e-6)


def test_no_lines_and_empty_lines(model: LanguageModel) -> None:
    assert embed_sentences(model, []).shape[0] == 0
    assert np.isfinite(embed_sentences(model, ["", "ba"])).all()


def test_an_empty_line_under_a_tokenizer_without_template_is_nobodys_neighbour() -> None:
    tokenizer = tiny.rebuilt(tiny.bytebpe_tokenizer(), post_processor=None)
    model = from_transformers(tiny.gpt2(tokenizer), tokenizer)
    embedded = embed_sentences(model, ["ba", "", "re ka"])
    assert embedded[1].tolist() == [0] * 32
    assert nearest(embedded[[0, 2]], embedded).tolist() == [0, 2]


def test_a_model_finds_its_own_sentences(model: LanguageModel) -> None:
    scores = evaluate_retrieval(model, model, [(line, line) for line in LINES])
    assert scores == {"task": "retrieval", "en_to_xx": 1.0, "xx_to_en": 1.0, "n": len(LINES)} | SURE
