"""The text of a run on disk: nothing of it has to be in memory, and nothing of it is lost."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

import tiny
from lingraft import transfer
from lingraft.cache import StageCache
from lingraft.corpus import HeldOut
from lingraft.surgery import load_model
from lingraft.texts import Corpus, Language, TrainingText, make_shards

LINES = tiny.english_lines(200, seed=9)


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """English text of its own; the foreign text is the bitext's side."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    text = {"text.en": [*LINES, *LINES[:50]], "bitext.en": ["one", "two"], "bitext.xx": ["ùn", "dëux\u2003trois"]}
    for name, lines in text.items():
        (folder / name).write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return Corpus(folder, ["key"])


def quietly(_share: float, _note: str) -> None:
    """Shows no progress."""


def shards(
    corpus: Corpus, cache: StageCache, tokenizer: PreTrainedTokenizerFast, side: Language, causal: bool = False
) -> TrainingText:
    return make_shards(cache, corpus, side, tokenizer, quietly, causal=causal)


def test_text_is_the_text_given_else_the_side_of_the_bitext(corpus: Corpus):
    assert list(corpus.text("en")) == [*LINES, *LINES[:50]]
    assert list(corpus.text("xx")) == ["ùn", "dëux\u2003trois"]
    assert corpus.head("en", 3) == LINES[:3]
    assert corpus.head("xx", 3) == ["ùn", "dëux\u2003trois"]
    assert corpus.distinct("en", 7) == list(dict.fromkeys(LINES))[:7]
    assert corpus.distinct("en", 1000) == list(dict.fromkeys(LINES))


def test_a_sample_is_everything_or_lines_at_even_distances(corpus: Corpus):
    size = (corpus.folder / "text.en").stat().st_size
    everything = list(corpus.text("en"))
    assert corpus.sample("en", size) == corpus.sample("en", 10 * size) == everything
    half = corpus.sample("en", size // 2)
    assert len(half) in (len(everything) // 2 - 1, len(everything) // 2)
    assert half == everything[2::2] or half == everything[1::2]


@pytest.mark.parametrize("causal", [False, True])
def test_every_line_is_trained_on_or_held_out(
    corpus: Corpus, tmp_path: Path, any_tokenizer: PreTrainedTokenizerFast, causal: bool
):
    made = shards(corpus, StageCache(tmp_path / "cache"), any_tokenizer, "en", causal)
    held = HeldOut(corpus.text("en"))
    closing = any_tokenizer.eos_token_id if causal else any_tokenizer.sep_token_id
    closing = any_tokenizer.eos_token_id if closing is None else closing
    flat, n_lines = [], 0
    for line in corpus.text("en"):
        if line not in held:
            n_lines += 1
            flat += any_tokenizer(line, add_special_tokens=False).input_ids + ([] if closing is None else [closing])
    assert made.held_out
    assert made.held_out == [line for line in dict.fromkeys(corpus.text("en")) if line in held]
    assert made.stream.take(np.array([0]), made.stream.size)[0].tolist() == flat
    assert made.report == {"lines": n_lines, "tokens": len(flat), "held_out": len(made.held_out)}


def test_shards_are_made_once_for_a_text_and_a_tokenizer(corpus: Corpus, tmp_path: Path):
    cache = StageCache(tmp_path / "cache")
    first = shards(corpus, cache, tiny.wordpiece_tokenizer(), "en")
    assert not cache.reused
    again = shards(corpus, cache, tiny.wordpiece_tokenizer(), "en")
    assert again.folder == first.folder
    assert cache.reused == ["shards-en"]
    others = [
        shards(corpus, cache, tiny.bytebpe_tokenizer(), "en").folder,
        shards(corpus, cache, tiny.wordpiece_tokenizer(), "xx").folder,
    ]
    assert len({first.folder, *others}) == 3


def test_a_run_trains_on_its_shards(tmp_path: Path, model_folder: Path, bitext_file: Path):
    (tmp_path / "text.txt").write_text("".join(line + "\n" for line in LINES), encoding="utf-8")
    result = transfer(
        model_folder, to="fr", out=tmp_path / "out", bitext=bitext_file, source_text=tmp_path / "text.txt", steps=2,
        settings={"training.batch_size": 2, "training.sequence_length": 16},
    )  # fmt: skip
    tokenizer = load_model(tmp_path / "out" / "source").tokenizer
    held = HeldOut(LINES)
    n_tokens = sum(len(tokenizer(line, add_special_tokens=False).input_ids) + 1 for line in LINES if line not in held)
    text = result.run["training"]["text"]["en"]
    assert (text["tokens"], text["held_out"]) == (n_tokens, sum(line in held for line in dict.fromkeys(LINES)))
    assert json.loads((tmp_path / "out" / "run.json").read_text())["seconds"].keys() >= {"shards-en", "shards-xx"}


@pytest.mark.filterwarnings("default")
def test_a_data_set_of_the_hub_is_text_like_any_other(
    tmp_path: Path, model_folder: Path, bitext_file: Path, monkeypatch: pytest.MonkeyPatch
):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    foreign = [pair[1] for pair in tiny.cipher_pairs(60, seed=4)]
    for name in ("text.txt", "set/train.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("".join(line + "\n" for line in foreign), encoding="utf-8")
    how = {"to": "fr", "bitext": bitext_file, "objective": "none"}
    file = transfer(model_folder, out=tmp_path / "file", text=tmp_path / "text.txt", **how)
    hub = transfer(model_folder, out=tmp_path / "hub", text=f"hf:{tmp_path / 'set'}::train", **how)
    assert hub.run["corpus"] == file.run["corpus"]
    assert hub.run["vocabulary"] == file.run["vocabulary"]
    again = transfer(model_folder, out=tmp_path / "hub", text=f"hf:{tmp_path / 'set'}::train", **how)
    assert again.run["reused_stages"] == ["corpus", "vocabulary", "table", "graft", "scores"]
    (tmp_path / "set" / "train.txt").write_text("".join(line + "\n" for line in foreign[:50]), encoding="utf-8")
    changed = transfer(model_folder, out=tmp_path / "hub", text=f"hf:{tmp_path / 'set'}::train", **how)
    assert changed.run["reused_stages"] == []
    assert changed.run["corpus"]["text"]["kept"] == 50


def test_a_corpus_goes_to_another_process_without_its_text(tmp_path):
    for side, line in (("en", "a dog\n"), ("xx", "un chien\n")):
        (tmp_path / f"bitext.{side}").write_text(line, encoding="utf-8")
    corpus = Corpus(tmp_path, ["key", 1])
    assert corpus.pairs == [("a dog", "un chien")]
    there = pickle.loads(pickle.dumps(corpus))  # noqa: S301
    assert (there.folder, there.key) == (corpus.folder, corpus.key)
    assert "pairs" not in vars(there)
    assert there.pairs == corpus.pairs
