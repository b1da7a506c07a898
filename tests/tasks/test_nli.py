"""Inference: whole hypotheses, labels in any order, and padding that changes nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import processors
from transformers import BertForSequenceClassification, PreTrainedTokenizerFast

import tiny
from conftest import on_disk
from lingraft.errors import CorpusError, ModelError, RecipeError
from lingraft.surgery import LanguageModel, from_transformers
from lingraft.tasks.kinds import task_kind
from lingraft.tasks.loop import train_task
from lingraft.tasks.nli import (
    NliModel,
    NliTask,
    encode_pairs,
    evaluate_nli,
    label_columns,
    load_nli,
    new_nli_model,
)
from lingraft.tasks.nli_data import LABELS, NliData
from lingraft.tasks.settings import FinetuneSettings
from lingraft.training.data import token_batches


def pairs(n: int = 48, seed: int = 0) -> NliData:
    """Entailed: the premise again; contradicted: the premise behind a word of denial; neutral: another sentence."""
    lines = tiny.english_lines(2 * n, seed, longest=6)
    labels = np.arange(n) % 3
    denial = tiny.words()[50]
    hypotheses = [[lines[k], lines[n + k], f"{denial} {denial} {lines[k]}"][label] for k, label in enumerate(labels)]
    return NliData(lines[:n], hypotheses, labels.astype(np.int64), "made up")


def with_types() -> PreTrainedTokenizerFast:
    """A tokenizer that tells the two sentences apart, as BERT's does."""
    tokenizer = tiny.wordpiece_tokenizer()
    specials = [(token, tokenizer.convert_tokens_to_ids(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=specials
    )
    tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    return tokenizer


def joined(kind: str, premise: str, hypothesis: str, longest: int) -> tuple[list[int], list[int], list[int]]:
    tokenizer = tiny.TOKENIZERS[kind]()
    return (
        encode_pairs(tokenizer, [premise], [hypothesis], longest).ids[0].tolist(),
        tokenizer(premise, add_special_tokens=False)["input_ids"],
        tokenizer(hypothesis, add_special_tokens=False)["input_ids"],
    )


@pytest.mark.parametrize("kind", sorted(tiny.TOKENIZERS))
def test_a_pair_is_what_its_tokenizer_makes_of_it(kind):
    premise, hypothesis = tiny.english_lines(2, seed=4)
    ids, first, second = joined(kind, premise, hypothesis, 512)
    tokenizer = tiny.TOKENIZERS[kind]()
    start, end = tokenizer.cls_token_id, tokenizer.sep_token_id
    assert ids == [start, *first, end, *second, end]


@pytest.mark.parametrize("kind", sorted(tiny.TOKENIZERS))
def test_what_is_too_long_loses_the_end_of_its_premise(kind):
    premise, hypothesis = " ".join(tiny.english_lines(8, seed=4)), tiny.english_lines(1, seed=5)[0]
    ids, first, second = joined(kind, premise, hypothesis, len(joined(kind, "", hypothesis, 512)[0]) + 5)
    tokenizer = tiny.TOKENIZERS[kind]()
    start, end = tokenizer.cls_token_id, tokenizer.sep_token_id
    assert ids == [start, *first[:5], end, *second, end]


@given(st.integers(0, 30), st.integers(0, 30), st.integers(5, 40))
def test_lengths_of_shortened_pairs(n, m, longest):
    word = tiny.words()[0]
    tokenizer = with_types()
    one = len(tokenizer(word, add_special_tokens=False)["input_ids"])
    encoded = encode_pairs(tokenizer, [" ".join([word] * n)], [" ".join([word] * m)], longest)
    assert encoded.lengths[0] == min(one * (n + m) + 3, longest)
    assert encoded.types[0].size == encoded.lengths[0]
    assert encoded.shortened == (one * (n + m) + 3 > longest)
    hypothesis = int((encoded.types[0] == 1).sum()) - 1
    room = longest - 3
    assert hypothesis == min(one * m, room - min(1, one * n))


def test_types_go_only_to_models_that_ask_for_them():
    assert 1 in encode_pairs(with_types(), ["badi"], ["fogu"], 32).types[0]
    tokenizer = tiny.bytebpe_tokenizer()
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    assert encode_pairs(tokenizer, ["badi"], ["fogu"], 32).types[0].size == 0


def test_padding_changes_no_logit(masked: LanguageModel):
    nli = new_nli_model(masked)
    data = pairs()
    encoded = nli.encode(data.premises, data.hypotheses)
    with torch.inference_mode():
        together = nli.logits(encoded, np.arange(len(data)))
        alone = torch.cat([nli.logits(encoded, np.array([k])) for k in range(len(data))])
    assert len(set(encoded.lengths.tolist())) > 3
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("build", [tiny.gpt2, tiny.llama])
@pytest.mark.parametrize("padding", ["<pad>", "</s>", None])
def test_padding_changes_no_logit_of_a_decoder(build, padding, tmp_path):
    """Decoders classify by the last token that is not padding. The padding token is none of the config's at first."""
    tokenizer = tiny.bytebpe_tokenizer()
    tokenizer.pad_token = padding
    model = build(tokenizer)
    model.config.pad_token_id = None
    fresh = new_nli_model(from_transformers(model, tokenizer))
    wanted = tokenizer.convert_tokens_to_ids(padding or "</s>")
    assert fresh.model.config.pad_token_id == wanted
    with torch.no_grad():
        fresh.model.score.weight.mul_(100)
    fresh.save(tmp_path / "nli")
    data = pairs()
    for nli in (fresh, load_nli(tmp_path / "nli")):
        encoded = nli.encode(data.premises, data.hypotheses)
        with torch.inference_mode():
            together = nli.logits(encoded, np.arange(len(data)))
            alone = torch.cat([nli.logits(encoded, np.array([k])) for k in range(len(data))])
        assert len(set(encoded.lengths.tolist())) > 3
        assert alone.std(0).min() > 1e-3
        torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)
    one, two = (each.predict(data.premises, data.hypotheses) for each in (fresh, load_nli(tmp_path / "nli")))
    assert (one == two).all()


def test_a_decoder_without_padding_and_end_is_refused():
    tokenizer = tiny.bytebpe_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token = None
    with pytest.raises(ModelError, match="neither a padding token nor an end token"):
        new_nli_model(from_transformers(tiny.gpt2(tokenizer), tokenizer))


@pytest.mark.parametrize("kind", ["masked", "sentence", "roberta"])
def test_it_learns_what_can_be_seen_from_the_words(kind, masked, sentence_model_folder):
    from lingraft.surgery import load_model

    encoder = {
        "masked": lambda: masked,
        "sentence": lambda: load_model(sentence_model_folder),
        "roberta": lambda: from_transformers(tiny.roberta(tiny.bytebpe_tokenizer()), tiny.bytebpe_tokenizer()),
    }[kind]()
    nli = new_nli_model(encoder)
    data = pairs()
    # denial alone can be seen by a model of two layers in a few steps; the rest is learned by heart
    settings = FinetuneSettings(
        epochs=40, batch_size=16, learning_rate=3e-3, head_learning_rate=3e-3, train_embeddings=True,
        precision="float32", evaluations=2,
    )  # fmt: skip
    report = train_task(NliTask(nli, data, data), settings)
    assert report["dev"]["accuracy"] > 0.6
    result, counts = evaluate_nli(nli, data, "float32")
    assert result == {"task": "nli", "accuracy": report["dev"]["accuracy"], "n": 48}
    assert counts["accuracy"].hits.shape == (48,)


def test_labels_of_a_model_may_be_in_any_order_and_case(tmp_path: Path, masked: LanguageModel):
    nli = new_nli_model(masked)
    data = pairs()
    nli.save(tmp_path / "nli")
    order = [2, 0, 1]
    model = BertForSequenceClassification.from_pretrained(tmp_path / "nli")
    with torch.no_grad():
        model.classifier.weight.copy_(nli.model.classifier.weight[order])
        model.classifier.bias.copy_(nli.model.classifier.bias[order])
    model.config.id2label = {k: LABELS[label].upper() for k, label in enumerate(order)}
    model.config.label2id = {name: k for k, name in model.config.id2label.items()}
    on_disk(tmp_path / "other", model, nli.tokenizer)
    one, two = load_nli(tmp_path / "nli"), load_nli(tmp_path / "other")
    assert two.columns == (1, 2, 0)
    encoded = one.encode(data.premises, data.hypotheses)
    rows = np.arange(len(data))
    with torch.inference_mode():
        assert torch.equal(one.logits(encoded, rows), two.logits(encoded, rows))
    assert (one.predict(data.premises, data.hypotheses) == two.predict(data.premises, data.hypotheses)).all()


@pytest.mark.parametrize("names", [{0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}, {0: "entailment", 1: "neutral"}, {}])
def test_other_labels_are_refused(names):
    with pytest.raises(ModelError, match="entailment, neutral, contradiction, in any order"):
        label_columns(names, "'model'")


def test_a_model_of_another_task_is_refused(model_folder):
    with pytest.raises(ModelError, match="ForSequenceClassification"):
        load_nli(model_folder)


def test_scores_need_labels(masked: LanguageModel):
    with pytest.raises(CorpusError, match="has no labels"):
        evaluate_nli(new_nli_model(masked), NliData(["a"], ["b"], None, "file"))


@given(st.lists(st.integers(1, 60), max_size=50), st.integers(1, 100))
def test_batches_hold_every_example_once_and_no_more_tokens_than_allowed(lengths, limit):
    batches = list(token_batches(np.array(lengths, np.int64), limit))
    assert sorted(k for batch in batches for k in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[k] for k in batch) <= limit


def test_a_longer_input_than_the_encoder_takes_is_never_asked_for(masked: LanguageModel):
    nli = new_nli_model(masked, max_length=4096)
    assert nli.max_length == masked.max_length
    short = task_kind("nli").new(masked, None, FinetuneSettings(), {"max_length": 20})
    assert short.max_length == 20
    with pytest.raises(RecipeError, match="at least 8; given: 7"):
        new_nli_model(masked, max_length=7)
    long = " ".join(tiny.english_lines(30))
    assert isinstance(nli, NliModel)
    assert nli.predict([long], [long]).shape == (1,)


def test_the_length_and_what_was_left_out_are_told(masked: LanguageModel, tmp_path: Path):
    data = replace(pairs(), unlabelled=2)
    nli = new_nli_model(masked, max_length=12)
    longer = int((new_nli_model(masked).encode(data.premises, data.hypotheses).lengths > 12).sum())
    assert 0 < longer < len(data)
    result, _ = evaluate_nli(nli, data)
    assert {name: result.get(name) for name in ("shortened", "unlabelled", "other_languages")} == {
        "shortened": longer, "unlabelled": 2, "other_languages": None,
    }  # fmt: skip
    assert NliTask(nli, replace(data, other_languages=3), data).left_out == {
        "train": {"shortened": longer, "unlabelled": 2, "other_languages": 3},
        "dev": {"shortened": longer, "unlabelled": 2},
    }
    before = nli.tokenizer.model_max_length
    nli.save(tmp_path / "nli")
    assert nli.tokenizer.model_max_length == before
    assert [load_nli(tmp_path / "nli", *given).max_length for given in ((), (10,), (40,))] == [12, 10, 12]
    assert evaluate_nli(load_nli(tmp_path / "nli"), data)[0] == result
