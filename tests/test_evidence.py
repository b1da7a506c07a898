"""Transfers from other evidence than sentence pairs, and from several kinds at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lingraft
import tiny
from lingraft.correspondence import warn_of_vectors
from lingraft.errors import CorpusError, RecipeError
from lingraft.evidence.alignment import Lexicon, write_lexicon
from lingraft.evidence.vectors import WordVectors, read_vectors
from lingraft.inputs import Lines


def lexicon(words: int = 300) -> Lexicon:
    """The cipher language's words with the frequencies of its sentences."""
    english = list(tiny.words()[:words])
    counts = 1000 / np.arange(1, words + 1)
    one = np.ones(words, np.float32)
    return Lexicon(english, [tiny.cipher_word(word) for word in english], one, one, counts.astype(np.float32))


def vectors() -> tuple[WordVectors, WordVectors]:
    """Vectors of English and of the cipher language that differ by a rotation and a little noise."""
    random = np.random.default_rng(5)
    english = random.normal(size=(len(tiny.words()), 16)).astype(np.float32)
    rotation = np.linalg.qr(random.normal(size=(16, 16)))[0]
    foreign = (english @ rotation + 0.01 * random.normal(size=english.shape)).astype(np.float32)
    words = [tiny.cipher_word(word) for word in tiny.words()]
    return WordVectors(list(tiny.words()), english), WordVectors(words, foreign)


@pytest.fixture
def transfer(model_folder: Path, heldout_file: Path, tmp_path: Path) -> Any:
    """Transfers the small BERT to the cipher language; gives the result."""

    def run(**arguments: Any) -> lingraft.TransferResult:
        return lingraft.transfer(
            model_folder, **{"to": "eo", "out": tmp_path / "out", "eval_bitext": heldout_file} | arguments
        )

    return run


def grafted(result: lingraft.TransferResult) -> list[float]:
    scores = result.scores["grafted"]["retrieval"]
    return [scores["en_to_xx"], scores["xx_to_en"]]


def test_a_lexicon_alone_makes_a_vocabulary_and_a_graft(transfer: Any) -> None:
    result = transfer(lexicon=lexicon())
    assert min(grafted(result)) > 0.8
    assert result.run["table"]["shares"]["lexicon"] > 0.2
    assert result.run["table"]["lexicon_entries"] == {result.recipe.evidence.lexicon[0]: 300}
    assert result.recipe.training.objective == "none", "there is nothing to train on"
    assert "needs sentence pairs (--bitext) or text (--text) of eo" in result.run["notes"][0]
    assert "training" not in result.run


def test_a_run_on_a_lexicon_goes_on_and_is_not_repeated(transfer: Any, tmp_path: Path) -> None:
    first = transfer(lexicon=lexicon())
    again = lingraft.resume(tmp_path / "out")
    assert again.run == first.run
    assert transfer(lexicon=lexicon()).run["reused_stages"]


def test_vectors_alone_are_aligned_on_what_there_is(transfer: Any, tmp_path: Path) -> None:
    text = Lines(xx for _, xx in tiny.cipher_pairs())
    with pytest.raises(CorpusError, match="written the same in both languages"):
        transfer(vectors=vectors(), text=text, objective="none")
    assert not (tmp_path / "out").exists()
    english, foreign = vectors()
    # names that both languages have
    shared = WordVectors(foreign.words[:200] + english.words[200:], foreign.matrix)
    result = transfer(vectors=(english, shared), text=text, objective="none")
    assert result.run["table"]["shares"]["vectors"] > 0.2


def test_all_evidence_together(transfer: Any, bitext_file: Path, tmp_path: Path) -> None:
    result = transfer(bitext=bitext_file, lexicon=lexicon(), vectors=vectors(), objective="none")
    assert min(grafted(result)) > 0.9
    told = result.run["table"]
    assert told["vectors"]["kind"] == "lexicon"
    assert told["vectors"]["anchors"] == 300
    assert told["vectors"]["similarity"] > 0.8
    assert list(told["lexicon_entries"].values()) == [300]
    assert len(result.run["inputs"]) == 5
    alone = transfer(bitext=bitext_file, objective="none", out=tmp_path / "alone")
    one, other = (lingraft.TranslationTable.load(run.directory / "table.npz").evidence.sum() for run in (result, alone))
    assert one > other


def test_vectors_are_trained_where_there_is_text_alone(transfer: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "lingraft")
    numbers = [str(number) for number in range(100, 160)]  # what both languages have in common
    source_text, text = (
        Lines(f"{line} {numbers[k % len(numbers)]}" for k, line in enumerate(lines))
        for lines in zip(*tiny.cipher_pairs(400), strict=True)
    )
    result = transfer(text=text, source_text=source_text, objective="none")
    assert result.recipe.evidence.vectors == "train"
    assert "they are trained on its text" in caplog.text
    assert result.run["table"]["vectors"]["kind"] == "identical"
    assert {"vectors-en", "vectors-eo"} <= set(result.run["seconds"])


@pytest.mark.parametrize("name", ["uncased", "cased"])
def test_vectors_are_trained_in_the_case_that_the_tokenizers_have(
    name: str, model_folder: Path, tmp_path: Path
) -> None:
    source = lingraft.load_model(model_folder)
    if name == "cased":
        normalizer = json.loads(source.tokenizer.backend_tokenizer.to_str())["normalizer"] | {"lowercase": False}
        source = source.with_model(source.model, tiny.rebuilt(source.tokenizer, normalizer=normalizer))
    numbers = [str(number) for number in range(100, 160)]
    source_text, text = (
        Lines(f"{line.title() if k % 2 else line} {numbers[k % len(numbers)]}" for k, line in enumerate(lines))
        for lines in zip(*tiny.cipher_pairs(400), strict=True)
    )
    lingraft.transfer(source, to="eo", out=tmp_path / "out", text=text, source_text=source_text, objective="none")
    for language in ("en", "eo"):
        folder = next((tmp_path / "out" / ".cache").glob(f"vectors-{language}-*"))
        words = read_vectors(folder / "words.npz").words
        assert any(word != word.lower() for word in words) == (name == "cased")


def test_vectors_that_cannot_be_aligned_are_told_of(
    transfer: Any, bitext_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    random = np.random.default_rng(3)
    words = [f"{one}{other}" for one in tiny.words()[:30] for other in tiny.words()[:20]]
    one, other = (WordVectors(words, random.normal(size=(len(words), 16)).astype(np.float32)) for _ in range(2))
    lexicon_file = tmp_path / "words.tsv"
    lexicon_file.write_text("".join(f"{word}\t{word}\n" for word in words), encoding="utf-8")
    result = transfer(bitext=bitext_file, lexicon=lexicon_file, vectors=(one, other), objective="none")
    assert result.run["table"]["vectors"]["precision"] < 0.05
    notes = [note for note in result.run["notes"] if "word vectors is worthless" in note]
    assert len(notes) == 1
    assert "more text, or a dictionary (--lexicon) with more of their words" in notes[0]
    assert notes[0] in caplog.text
    assert not warn_of_vectors({}), "a table without vectors"
    assert not warn_of_vectors({"vectors": {"kind": "identical", "precision": None}}), "not measured"
    assert not warn_of_vectors({"vectors": {"kind": "identical", "precision": 0.3}})
    assert "give a dictionary (--lexicon)" in str(warn_of_vectors({"vectors": {"kind": "identical", "precision": 0}}))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"steps": 5}, r"needs sentence pairs \(--bitext\) or text \(--text\) of eo"),
        ({"objective": "mlm"}, r"needs sentence pairs \(--bitext\) or text \(--text\) of eo"),
        ({"text": Lines(["à é"] * 20)}, r"needs English text \(--source-text\)"),
    ],
)
def test_training_that_was_asked_for_needs_text(transfer: Any, given: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        transfer(lexicon=lexicon(), **given)


def test_a_sentence_encoder_needs_pairs_to_be_distilled(transfer: Any, sentence_model_folder: Path) -> None:
    with pytest.raises(RecipeError, match=r"'distill' needs sentence pairs \(--bitext\) of eo"):
        lingraft.transfer(sentence_model_folder, to="eo", out="unused", lexicon=lexicon(), steps=3)
    assert not Path("unused").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"vectors": "one.vec"}, "EN_FILE,XX_FILE, or 'train'"),
        ({"vectors": "train"}, "give --text and --source-text, or a --bitext"),
        ({"lexicon": "builtin"}, "no built-in lexicon for 'eo'"),
    ],
)
def test_evidence_that_cannot_be_used_is_refused(transfer: Any, given: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        transfer(**{"lexicon": lexicon()} | given)


def test_a_lexicon_the_wrong_way_round_is_refused(transfer: Any, tmp_path: Path) -> None:
    right = lexicon()
    wrong = Lexicon(right.foreign, right.english, right.foreign_given_english, right.english_given_foreign, right.count)
    with pytest.raises(CorpusError, match="wrong way round"):
        transfer(lexicon=wrong)
    assert not (tmp_path / "out").exists()


def test_several_languages_each_with_evidence_of_its_own(model_folder: Path, bitext_file: Path, tmp_path: Path) -> None:
    result = lingraft.transfer(
        model_folder, to=["eo", "ia"], out=tmp_path / "out", objective="none",
        bitext={"eo": bitext_file}, lexicon={"ia": lexicon()},
    )  # fmt: skip
    assert "lexicon" not in result.run["table"]["eo"]["shares"]
    assert result.run["table"]["ia"]["shares"]["lexicon"] > 0.2


def test_the_command_line_takes_the_same(command: Any, model_folder: Path, heldout_file: Path, tmp_path: Path) -> None:
    write_lexicon(lexicon(), tmp_path / "words.tsv")
    line = ["transfer", model_folder, "--to", "eo", "--lexicon", tmp_path / "words.tsv", "--out", tmp_path / "out"]
    status, out, err = command(*line, "--eval-bitext", heldout_file, "--json")
    assert status == 0, err
    assert json.loads(out)["table"]["shares"]["lexicon"] > 0.2
    status, _, err = command("table", model_folder, tmp_path / "out" / "target", "--lexicon", tmp_path / "words.tsv",
                             "--out", tmp_path / "table.npz")  # fmt: skip
    assert status == 0, err
    made, stage = (
        lingraft.TranslationTable.load(path) for path in (tmp_path / "table.npz", tmp_path / "out/table.npz")
    )
    assert (made.matrix != stage.matrix).nnz == 0
