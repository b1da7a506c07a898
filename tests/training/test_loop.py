from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch

import tiny
from lingraft.corpus import TokenStream
from lingraft.errors import CorpusError, RunError, StoppedError
from lingraft.evidence import build_table, encode
from lingraft.recipe import TrainingRecipe
from lingraft.surgery import LanguageModel, from_transformers, graft, load_model, vocabulary_parameters
from lingraft.training import Trainer, distillation_trainer, language_model_trainer, resolve_training, text_stream
from lingraft.vocabulary import train_tokenizer
from toy import KillError


def trainer_of(
    source: LanguageModel, target: LanguageModel, pairs: list[tuple[str, str]], recipe: TrainingRecipe, folder: Path
) -> Trainer:
    return language_model_trainer(source, target, *streams(source, target, pairs), recipe, 0, folder)


def streams(source: LanguageModel, target: LanguageModel, pairs: list[tuple[str, str]]) -> list[TokenStream]:
    """Both sides of the pairs as running text."""
    sides = zip((source, target), zip(*pairs, strict=True), strict=True)
    return [text_stream(model, encode(model.tokenizer, list(lines))) for model, lines in sides]


def models(family: str = "bert") -> tuple[LanguageModel, LanguageModel]:
    tokenizer = tiny.wordpiece_tokenizer()
    source = from_transformers(getattr(tiny, family)(tokenizer), tokenizer)
    target_tokenizer = train_tokenizer(tokenizer, [pair[1] for pair in tiny.cipher_pairs()])
    return source, graft(source, target_tokenizer, build_table(tokenizer, target_tokenizer))


def mlm(
    folder: Path, kill_at: int | None = None, fresh_head: bool = False, measured: list[dict] | None = None,
    **keys: object,
) -> dict[str, torch.Tensor]:  # fmt: skip
    """Trains a few steps (to an end, or to a kill) and returns all weights.

    measured: takes what the run says it measured, of a parameter that trains in every stage.
    """
    source, target = models()
    keys = {"steps": 12, "batch_size": 2, "sequence_length": 16, "head_steps": 3, "checkpoint_seconds": 0} | keys
    recipe = resolve_training(TrainingRecipe(objective="mlm", precision="float32", **keys), "masked")
    pairs = tiny.cipher_pairs(60)
    trainer = language_model_trainer(source, target, *streams(source, target, pairs), recipe, 0, folder, fresh_head)
    if kill_at is not None:
        inner = trainer._objective.loss

        def loss(step: int, *arguments: object) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
            if step == kill_at:
                raise KillError
            return inner(step, *arguments)

        trainer._objective.loss = loss
    watched = vocabulary_parameters(target.model)["bias"]
    measure = None if measured is None else lambda: {"sum": float(watched.detach().double().sum())}
    report = trainer.run(measure=measure)
    assert report["steps"] == len(report["history"])
    if measured is not None:
        measured += report["measured"]
    return {
        f"{side}.{name}": tensor.clone()
        for side, model in (("s", source), ("t", target))
        for name, tensor in model.model.state_dict().items()
    }


@pytest.mark.parametrize("kill_at", [0, 1, 2, 3, 5, 8, 11])
def test_killed_and_resumed_is_uninterrupted(tmp_path: Path, kill_at: int):
    whole = mlm(tmp_path / "whole", fresh_head=True)
    with pytest.raises(KillError):
        mlm(tmp_path / "killed", kill_at, fresh_head=True)
    resumed = mlm(tmp_path / "killed", fresh_head=True)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.parametrize(("evaluations", "steps"), [(1, [3, 12]), (3, [3, 6, 9, 12]), (9, list(range(3, 13)))])
def test_what_is_measured_on_the_way_is_evenly_spread_and_changes_nothing(tmp_path, evaluations, steps):
    measured: list[dict] = []
    with_measures = mlm(tmp_path / "one", fresh_head=True, measured=measured, evaluations=evaluations)
    without = mlm(tmp_path / "other", fresh_head=True)
    assert [entry["step"] for entry in measured] == steps
    assert len({entry["sum"] for entry in measured}) == len(steps)
    assert all(torch.equal(with_measures[name], without[name]) for name in without)


@pytest.mark.parametrize("kill_at", [2, 3, 4, 7, 11])
@pytest.mark.parametrize("checkpoint_seconds", [0, 3600])
def test_a_killed_run_measures_what_it_would_have(tmp_path, kill_at, checkpoint_seconds):
    keys = {"fresh_head": True, "evaluations": 3, "checkpoint_seconds": checkpoint_seconds}
    whole: list[dict] = []
    mlm(tmp_path / "whole", measured=whole, **keys)
    resumed: list[dict] = []
    with pytest.raises(KillError):
        mlm(tmp_path / "killed", kill_at, measured=[], **keys)
    mlm(tmp_path / "killed", measured=resumed, **keys)
    assert [{**entry, "seconds": 0} for entry in resumed] == [{**entry, "seconds": 0} for entry in whole]


def test_a_signal_while_something_is_measured_loses_nothing(tmp_path):
    whole = mlm(tmp_path / "whole", fresh_head=True)
    calls = 0

    def measure() -> dict[str, float]:
        nonlocal calls
        calls += 1
        if calls == 2:
            signal.raise_signal(signal.SIGTERM)
        return {"call": calls}

    source, target = models()
    keys = {"steps": 12, "batch_size": 2, "sequence_length": 16, "head_steps": 3, "checkpoint_seconds": 3600}
    recipe = TrainingRecipe(objective="mlm", precision="float32", evaluations=3, **keys)
    texts = streams(source, target, tiny.cipher_pairs(60))
    trainer = language_model_trainer(
        source, target, *texts, resolve_training(recipe, "masked"), 0, tmp_path / "stopped", True
    )
    with pytest.raises(StoppedError, match=r"after step 7 of 12, with everything saved"):
        trainer.run(measure=measure)
    assert (tmp_path / "stopped" / "step-000000007").is_dir()
    resumed = mlm(tmp_path / "stopped", fresh_head=True, evaluations=3, checkpoint_seconds=3600)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_killed_between_checkpoints(tmp_path: Path):
    whole = mlm(tmp_path / "whole")
    with pytest.raises(KillError):
        mlm(tmp_path / "killed", 7, checkpoint_seconds=3600)
    resumed = mlm(tmp_path / "killed")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_stages_train_what_they_say(tmp_path: Path):
    source, target = models()
    before = {name: p.detach().clone() for name, p in source.model.named_parameters()}
    new_rows = vocabulary_parameters(target.model)["input"].detach().clone()
    recipe = resolve_training(
        TrainingRecipe(objective="mlm", steps=4, batch_size=2, sequence_length=16, embeddings_share=1.0), "masked"
    )
    pairs = tiny.cipher_pairs(60)
    trainer_of(source, target, pairs, recipe, tmp_path).run()
    assert all(torch.equal(before[name], p) for name, p in source.model.named_parameters())
    assert not torch.equal(new_rows, vocabulary_parameters(target.model)["input"])
    # both models still have one body
    assert source.model.base_model.encoder.layer[0].output.dense.weight is (
        target.model.base_model.encoder.layer[0].output.dense.weight
    )


def test_full_training_moves_both_languages_and_learns(tmp_path: Path):
    source, target = models()
    recipe = resolve_training(
        TrainingRecipe(objective="mlm", steps=150, batch_size=8, sequence_length=16, learning_rate=2e-3,
                       embedding_learning_rate=5e-3), "masked"
    )  # fmt: skip
    pairs = tiny.cipher_pairs(200)
    report = trainer_of(source, target, pairs, recipe, tmp_path).run()
    history = report["history"]
    assert history[-1]["loss_xx"] < history[0]["loss_xx"] - 0.5
    assert history[-1]["loss_en"] < 5.0
    assert report["embedding_steps"] == 45


def test_budget_ends_in_time_and_is_planned_once(tmp_path: Path):
    source, target = models()
    recipe = resolve_training(
        TrainingRecipe(objective="mlm", budget="3s", batch_size=2, sequence_length=16, checkpoint_seconds=0.2), "masked"
    )
    pairs = tiny.cipher_pairs(60)
    report = trainer_of(source, target, pairs, recipe, tmp_path).run()
    assert report["steps"] >= 1
    assert report["history"][-1]["step"] == report["steps"]


def test_timing_the_steps_moves_no_parameter(tmp_path: Path):
    source, target = models()
    recipe = resolve_training(TrainingRecipe(objective="mlm", budget="2s", batch_size=2, sequence_length=16), "masked")
    pairs = tiny.cipher_pairs(50)
    trainer = trainer_of(source, target, pairs, recipe, tmp_path)
    before = {name: p.detach().clone() for name, p in target.model.named_parameters()}
    trainer._planned()
    assert all(torch.equal(before[name], p) for name, p in target.model.named_parameters())


def test_tokens_set_the_number_of_steps(tmp_path: Path):
    source, target = models()
    recipe = resolve_training(
        TrainingRecipe(objective="mlm", tokens=1000, batch_size=2, sequence_length=16, embeddings_share=0.0), "masked"
    )
    pairs = tiny.cipher_pairs(50)
    report = trainer_of(source, target, pairs, recipe, tmp_path).run()
    assert report["steps"] == -(-1000 // 64)
    assert report["tokens"] == report["steps"] * 64
    assert report["flop"] > 1000 * report["tokens"]


def test_a_fresh_head_starts_from_token_frequencies(tmp_path: Path):
    source, target = models()
    recipe = resolve_training(TrainingRecipe(objective="mlm", steps=2, batch_size=2, sequence_length=16), "masked")
    pairs = [("mara mara mara", "cédé"), ("fodo", "bîvî bîvî")]
    language_model_trainer(source, target, *streams(source, target, pairs), recipe, 0, tmp_path, fresh_head=True)
    bias = vocabulary_parameters(source.model)["bias"].detach()
    frequent = source.tokenizer("mara", add_special_tokens=False)["input_ids"][0]
    rare = source.tokenizer("fodo", add_special_tokens=False)["input_ids"][0]
    absent = source.tokenizer.mask_token_id
    assert bias[frequent] - bias[absent] == pytest.approx(torch.log(torch.tensor(4.0)).item(), abs=1e-5)
    assert bias[rare] - bias[absent] == pytest.approx(torch.log(torch.tensor(2.0)).item(), abs=1e-5)


def test_a_model_that_gives_no_numbers_stops_the_run(tmp_path: Path):
    source, target = models()
    with torch.no_grad():
        source.model.base_model.encoder.layer[0].output.dense.weight.fill_(float("nan"))
    recipe = resolve_training(
        TrainingRecipe(objective="mlm", steps=5, batch_size=2, sequence_length=16, max_rollbacks=2), "masked"
    )
    pairs = tiny.cipher_pairs(50)
    with pytest.raises(RunError, match=r"loss_xx was nan at step 3\. Before that, step 1, 2 had been left out"):
        trainer_of(source, target, pairs, recipe, tmp_path).run()


def test_text_the_tokenizer_does_not_know_is_refused(tmp_path: Path):
    source, target = models()
    recipe = resolve_training(TrainingRecipe(objective="mlm", steps=2), "masked")
    with pytest.raises(CorpusError, match="knows no token"):
        trainer_of(source, target, [("ba de", "中文 中文")] * 3, recipe, tmp_path)


@pytest.mark.parametrize("encoder", ["own", "shared"])
def test_distillation_brings_the_languages_together_and_leaves_english(
    tmp_path: Path, sentence_model_folder: Path, encoder: str
):
    source = load_model(sentence_model_folder)
    pairs = tiny.cipher_pairs(200)
    tokenizer = train_tokenizer(source.tokenizer, [pair[1] for pair in pairs])
    target = graft(source, tokenizer, build_table(source.tokenizer, tokenizer), "random")
    before = {name: p.detach().clone() for name, p in source.model.named_parameters()}
    recipe = resolve_training(TrainingRecipe(steps=120, batch_size=32, contrast=0.0, encoder=encoder), "sentence")
    assert recipe.objective == "distill"
    report = distillation_trainer(source, target, pairs, recipe, 0, tmp_path).run()
    assert report["history"][-1]["loss_xx"] < 0.5 * report["history"][0]["loss_xx"]
    assert all(torch.equal(before[name], p) for name, p in source.model.named_parameters())
    words = {id(p) for p in vocabulary_parameters(target.model).values()}
    inner = [name for name, p in target.model.named_parameters() if id(p) not in words and "pooler" not in name]
    moved = [not torch.equal(before[name], dict(target.model.named_parameters())[name]) for name in inner]
    assert all(moved) if encoder == "own" else not any(moved)
