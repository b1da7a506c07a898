"""All methods side by side: the same probe for each, one table, and the same numbers for the same seed."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lingraft
import tiny
from conftest import as_tsv, on_disk
from lingraft import comparison
from lingraft.corpus import HeldOut
from lingraft.errors import CorpusError, MissingExtraError, ModelError, RecipeError, RunError, TableError
from lingraft.evidence import encode
from lingraft.machine import peak_memory_mb
from lingraft.recipe import TrainingRecipe
from lingraft.surgery import (
    from_transformers,
    graft_with,
    initialise,
    load_model,
    load_tokenizer,
    save_model,
    with_masked_lm_head,
)
from lingraft.surgery.initialisers import isolated
from lingraft.surgery.initialisers.files import InputFiles
from lingraft.tasks import evaluate_lm, evaluate_retrieval
from lingraft.training import head_trainer, meter, resolve_training, text_stream
from lingraft.vocabulary import train_tokenizer


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A bitext, text of both languages, held-out pairs and a tokenizer on disk."""
    folder = tmp_path_factory.mktemp("given")
    pairs = tiny.cipher_pairs(200)
    train_tokenizer(tiny.wordpiece_tokenizer(), [xx for _, xx in pairs]).save_pretrained(folder / "tokenizer")
    (folder / "text.txt").write_text("".join(xx + "\n" for _, xx in pairs), encoding="utf-8")
    return {
        "tokenizer": str(folder / "tokenizer"),
        "text": str(folder / "text.txt"),
        "bitext": str(as_tsv(folder / "bitext.tsv", pairs)),
        "eval_bitext": str(as_tsv(folder / "eval.tsv", tiny.cipher_pairs(30, seed=7))),
    }


@pytest.fixture(autouse=True)
def unmeasured_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measuring what matrix products reach takes a second a run."""
    monkeypatch.setattr(meter, "matrix_rate", lambda *_: 1e9)


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are made here, as starting a process takes its time."""

    def answer(job: dict[str, Any], _: Path, on_progress: Any) -> dict[str, Any]:
        return isolated.run_job(json.loads(json.dumps(job)), on_progress)

    monkeypatch.setattr(isolated, "_answer", answer)


def test_every_method_goes_through_the_same_probe(
    in_this_process: None, model_folder: Path, given: dict[str, Any]
) -> None:
    said: list[tuple[str, float, str]] = []
    result = lingraft.compare(
        model_folder, **given, methods=["lingraft", "mean", "random"], probe_steps=8, seeds=2, seed=4,
        on_progress=lambda *line: said.append(line),
    )  # fmt: skip
    assert (result.objective, result.steps, result.seeds, result.pairs) == ("mlm", 8, (4, 5), 30)
    assert not result.fresh_head
    by_name = {method.method: method for method in result.methods}
    assert list(by_name) == ["lingraft", "mean", "random"]
    for method in result.methods:
        assert [probe.seed for probe in method.probes] == [4, 5]
        assert all(probe.after < probe.before for probe in method.probes)
        assert method.seconds > 0
        assert method.peak_memory_mb > 100
    # the rows of the mean do not depend on the seed, those that are drawn do
    assert len(set(by_name["mean"].values("before"))) == 1
    assert len(set(by_name["random"].values("before"))) == 2
    assert by_name["mean"].mean("before") == by_name["mean"].probes[0].before
    assert by_name["lingraft"].text_coverage > 0.9
    assert by_name["random"].text_coverage == 0
    assert by_name["lingraft"].mean("en_to_xx") > 2 * by_name["random"].mean("en_to_xx")
    assert {stage for stage, _, _ in said} == {"text", "rows", "probe"}
    assert all(0 <= share <= 1 for _, share, _ in said)
    assert json.loads(json.dumps(result.as_dict()))["methods"][1]["method"] == "mean"


def test_what_is_told_is_what_the_graft_is_worth(
    in_this_process: None, model_folder: Path, given: dict[str, Any]
) -> None:
    result = lingraft.compare(model_folder, **given, methods=["ramen"], probe_steps=0, seed=3)
    source, tokenizer = load_model(model_folder), load_tokenizer(given["tokenizer"])
    files = InputFiles(bitext=(given["bitext"],))
    made = initialise("ramen", source.tokenizer, tokenizer, files.read("ramen"))
    target = graft_with(source, tokenizer, made, seed=3)
    lines = Path(given["text"]).read_text(encoding="utf-8").splitlines()
    held_out = HeldOut(lines)
    kept = list(dict.fromkeys(line for line in lines if line in held_out))
    (probe,) = result.methods[0].probes
    assert probe.before == probe.after == evaluate_lm(target, kept)["bits_per_byte"]
    assert probe.retrieval == evaluate_retrieval(source, target, tiny.cipher_pairs(30, seed=7))
    assert result.held_out == len(kept)


def test_only_lingraft_calibrates_the_mean_prediction(
    in_this_process: None, model_folder: Path, given: dict[str, Any]
) -> None:
    result = lingraft.compare(model_folder, **given, methods=["lingraft", "ramen"], probe_steps=0)
    source, tokenizer = load_model(model_folder), load_tokenizer(given["tokenizer"])
    lines = Path(given["text"]).read_text(encoding="utf-8").splitlines()
    held_out = HeldOut(lines)
    kept = list(dict.fromkeys(line for line in lines if line in held_out))
    files = InputFiles(bitext=(given["bitext"],), text=(given["text"],))
    for method, of_it in zip(("lingraft", "ramen"), result.methods, strict=True):
        made = initialise(method, source.tokenizer, tokenizer, files.read(method))  # type: ignore[arg-type]
        before = evaluate_lm(graft_with(source, tokenizer, made), kept)["bits_per_byte"]
        assert made.calibrated == (method == "lingraft")
        assert (of_it.probes[0].before < before) == made.calibrated
        assert (of_it.probes[0].before == before) != made.calibrated


def test_lingraft_works_from_a_table_that_is_given(
    in_this_process: None, model_folder: Path, given: dict[str, Any], tmp_path: Path
) -> None:
    source, tokenizer = load_model(model_folder), load_tokenizer(given["tokenizer"])
    made = initialise("lingraft", source.tokenizer, tokenizer, InputFiles(bitext=(given["bitext"],)).read("lingraft"))
    made.table.save(tmp_path / "table.npz")
    without = {name: value for name, value in given.items() if name != "bitext"}
    results = [
        lingraft.compare(model_folder, **arguments, source_text=given["text"], methods=["lingraft"], probe_steps=2)
        for arguments in (given, without | {"table": tmp_path / "table.npz"})
    ]
    assert results[0].methods[0].probes == results[1].methods[0].probes
    with pytest.raises(TableError, match="does not exist"):
        lingraft.compare(model_folder, **without, source_text=given["text"], table=tmp_path / "none.npz")


def test_the_same_seed_gives_the_same_numbers_whatever_else_is_compared(
    in_this_process: None, model_folder: Path, given: dict[str, Any]
) -> None:
    both = lingraft.compare(model_folder, **given, methods=["mean", "random"], probe_steps=4)
    alone = lingraft.compare(model_folder, **given, methods=["random"], probe_steps=4)
    assert both.methods[1].probes == alone.methods[0].probes


def test_a_causal_model_is_probed_by_its_own_objective(
    in_this_process: None, causal_model_folder: Path, given: dict[str, Any], tmp_path: Path
) -> None:
    lines = Path(given["text"]).read_text(encoding="utf-8").splitlines()
    train_tokenizer(tiny.bytebpe_tokenizer(), lines).save_pretrained(tmp_path / "tokenizer")
    given = given | {"tokenizer": tmp_path / "tokenizer"}
    result = lingraft.compare(causal_model_folder, **given, methods=["lingraft", "mean"], probe_steps=6)
    assert result.objective == "clm"
    assert all(method.probes[0].after < method.probes[0].before for method in result.methods)


def test_a_sentence_encoder_gets_one_warm_head_for_all(
    in_this_process: None, monkeypatch: pytest.MonkeyPatch, sentence_model_folder: Path, given: dict[str, Any],
    tmp_path: Path,
) -> None:  # fmt: skip
    warmed: list[Any] = []
    make = comparison.head_trainer

    def counted(model: Any, text: Any, recipe: Any, *rest: Any) -> Any:
        warmed.append(recipe.steps)
        return make(model, text, recipe.model_copy(update={"steps": 5}), *rest)

    monkeypatch.setattr(comparison, "head_trainer", counted)
    before = {path.name: path.read_bytes() for path in sentence_model_folder.iterdir() if path.is_file()}
    result = lingraft.compare(sentence_model_folder, **given, methods=["lingraft", "mean"], probe_steps=3)
    assert warmed == [200]
    assert result.fresh_head
    assert before == {path.name: path.read_bytes() for path in sentence_model_folder.iterdir() if path.is_file()}
    # retrieval is the sentence encoder's own, and a saved head is taken as it is
    source = load_model(sentence_model_folder)
    headed = source.with_model(with_masked_lm_head(copy.deepcopy(source.model)))
    save_model(headed, tmp_path / "headed")
    again = lingraft.compare(tmp_path / "headed", **given, methods=["lingraft"], probe_steps=0)
    assert warmed == [200]
    assert not again.fresh_head
    assert again.methods[0].probes[0].retrieval == result.methods[0].probes[0].retrieval


def test_warming_up_trains_the_head_alone_and_helps(tmp_path: Path) -> None:
    tokenizer = tiny.wordpiece_tokenizer()
    model = from_transformers(with_masked_lm_head(tiny.bert(tokenizer, head=False)), tokenizer)
    lines = tiny.english_lines(200)
    text = text_stream(model, encode(tokenizer, lines))
    recipe = resolve_training(TrainingRecipe(objective="mlm", steps=40, sequence_length=32), "masked")
    before = copy.deepcopy(model.model.state_dict())
    untrained = evaluate_lm(model, lines, 32)["loss"]
    report = head_trainer(model, text, recipe, 0, tmp_path).run()
    assert report["steps"] == 40
    assert evaluate_lm(model, lines, 32)["loss"] < untrained
    moved = {name for name, value in model.model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved
    assert all(name.startswith("cls.") and "decoder.weight" not in name for name in moved)


@pytest.mark.parametrize(
    ("changes", "error", "named"),
    [
        ({"methods": ["magic"]}, RecipeError, "'magic'"),
        ({"methods": ["mean", "mean"]}, RecipeError, "every method to compare once; given: mean, mean"),
        ({"methods": []}, RecipeError, "given: none"),
        ({"methods": ["wechsel"]}, RecipeError, "'wechsel' needs"),
        ({"probe_steps": -1}, RecipeError, "given: -1, 1"),
        ({"seeds": 0}, RecipeError, "given: 50, 0"),
        ({"text": ()}, RecipeError, "give --text"),
        ({"bitext": ()}, RecipeError, "--source-text"),
        ({"text": "gone.txt"}, CorpusError, "'gone.txt' does not exist"),
        ({"source_text": "gone.en"}, CorpusError, "'gone.en' does not exist"),
        ({"eval_bitext": "gone.tsv"}, CorpusError, "'gone.tsv' does not exist"),
        ({"lexicon": "gone.lex"}, CorpusError, "'gone.lex' does not exist"),
        ({"tokenizer": "no/tokenizer"}, ModelError, "'no/tokenizer'"),
    ],
    ids=lambda value: str(next(iter(value.items()))) if isinstance(value, dict) else "",
)
def test_what_cannot_be_compared_is_refused(
    model_folder: Path, given: dict[str, Any], changes: dict[str, Any], error: type[Exception], named: str
) -> None:
    with pytest.raises(error, match=named):
        lingraft.compare(model_folder, **given | changes)


def test_one_line_is_no_text(model_folder: Path, given: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("à\nà\n", encoding="utf-8")
    with pytest.raises(CorpusError, match="two different lines"):
        lingraft.compare(model_folder, **given | {"text": tmp_path / "one.txt"}, methods=["mean"])


def test_a_moved_padding_token_is_refused_before_any_work(given: dict[str, Any], tmp_path: Path) -> None:
    english = tiny.bytebpe_tokenizer()
    model = on_disk(tmp_path / "roberta", tiny.roberta(english), english)
    tiny.renumbered(english, [1, 0, *range(2, len(english))]).save_pretrained(tmp_path / "moved")
    with pytest.raises(ModelError, match="positions from the id of its padding token"):
        lingraft.compare(model, **given | {"tokenizer": tmp_path / "moved"}, methods=["mean"])


def test_a_process_of_its_own_gives_the_same_rows_and_its_own_memory(model_folder: Path, given: dict[str, Any]) -> None:
    ballast = np.ones(60_000_000)  # this process has 480 MB more than the other will need
    files = InputFiles(bitext=(given["bitext"],))
    said: list[tuple[float, str]] = []
    made = isolated.measured_initialisation(
        "ramen", str(model_folder), given["tokenizer"], files, 0, lambda *line: said.append(line)
    )
    source, tokenizer = load_model(model_folder), load_tokenizer(given["tokenizer"])
    expected = initialise("ramen", source.tokenizer, tokenizer, files.read("ramen"))
    assert (made.initialisation.table.matrix != expected.table.matrix).nnz == 0
    assert made.initialisation.unknown == "ramen"
    assert said
    assert 0 < made.seconds < 600
    assert made.peak_memory_mb < peak_memory_mb()
    assert ballast.sum() == 60_000_000


def test_what_goes_wrong_in_the_other_process_is_told_here(
    monkeypatch: pytest.MonkeyPatch, model_folder: Path, given: dict[str, Any]
) -> None:
    def started(program: str) -> None:
        monkeypatch.setattr(isolated, "_PROGRAM", program)

    def run() -> None:
        isolated.measured_initialisation("mean", str(model_folder), given["tokenizer"], InputFiles())

    started("import sys\nsys.exit('boom: it broke')")
    with pytest.raises(RunError, match="'mean' failed: boom: it broke"):
        run()
    started("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(RunError, match="ended by SIGKILL, perhaps for want of memory"):
        run()
    started("""print('{"error": "MissingExtraError", "message": "FOCUS needs an optional package."}')""")
    with pytest.raises(MissingExtraError, match=r"^FOCUS needs an optional package\.$"):
        run()


def test_the_command_prints_one_table_or_one_object(
    in_this_process: None, command: Any, model_folder: Path, given: dict[str, Any]
) -> None:
    line = [
        "compare", model_folder, given["tokenizer"], "--text", given["text"], "--bitext", given["bitext"],
        "--eval-bitext", given["eval_bitext"], "--methods", "lingraft, mean", "--probe-steps", 3, "--quiet",
    ]  # fmt: skip
    status, out, err = command(*line, "--json")
    assert (status, err) == (0, "")
    report = json.loads(out)
    assert [method["method"] for method in report["methods"]] == ["lingraft", "mean"]
    assert len(report["methods"][0]["probes"]) == 1
    status, out, _ = command(*line, "--seeds", 2)
    assert status == 0
    assert "mlm, 3 steps, mean and standard deviation of 2 seeds" in out
    assert {"lingraft", "mean"} <= set(out.split())
    status, out, err = command(*line, "--vectors", "one.vec")
    assert (status, out) == (2, "")
    assert "--vectors takes two files" in err
