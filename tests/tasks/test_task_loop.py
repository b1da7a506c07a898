from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers import BertConfig, BertModel, GPT2Config, GPT2Model

from lingraft.errors import RecipeError, RunError
from lingraft.tasks.loop import train_task
from lingraft.tasks.settings import FinetuneSettings
from lingraft.training.encoder import layers_of

FAST = FinetuneSettings(epochs=4, batch_size=8, learning_rate=1e-3, head_learning_rate=1e-2, precision="float32")


class Parity(nn.Module):
    def __init__(self, encoder: BertModel) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(16, 2)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.encoder(input_ids=ids).last_hidden_state.mean(1))


class ParityTask:
    """Is token 7 among the tokens?"""

    def __init__(self, n: int = 64, dropout: float = 0.1) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            config = BertConfig(
                vocab_size=12, hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32,
                max_position_embeddings=16, hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout,
            )  # fmt: skip
            self.encoder: Any = BertModel(config, add_pooling_layer=False)
            self.model: Any = Parity(self.encoder)
        random = np.random.default_rng(0)
        self.ids = [random.integers(0, 12, random.integers(2, 6)) for _ in range(n)]
        self.labels = torch.tensor([int(7 in row) for row in self.ids])
        self.lengths = np.array([row.size for row in self.ids])
        self.scored = 0

    def _logits(self, number: int) -> torch.Tensor:
        return self.model(torch.from_numpy(self.ids[number])[None])

    def loss(self, batch: np.ndarray) -> torch.Tensor:
        logits = torch.cat([self._logits(int(number)) for number in batch])
        return nn.functional.cross_entropy(logits, self.labels[torch.from_numpy(batch)])

    def score(self, precision="float32") -> dict[str, float]:
        assert not self.model.training
        self.scored += 1
        right = [int(self._logits(k).argmax()) == int(self.labels[k]) for k in range(len(self.ids))]
        return {"accuracy": float(np.mean(right))}


def parameters(task: ParityTask) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in task.model.named_parameters()}


def changed(task: ParityTask, before: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, p in task.model.named_parameters() if not torch.equal(p, before[name])}


def test_it_learns_and_reports():
    task = ParityTask()
    lines = []
    report = train_task(task, FinetuneSettings(**{**vars(FAST), "epochs": 20}), lines.append)
    assert report["dev"]["accuracy"] >= 0.95
    assert task.score() == report["dev"]
    assert [entry["step"] for entry in report["history"]] == [40, 80, 120, 160]
    assert report["chosen_step"] in (40, 80, 120, 160)
    assert lines[-1].step == lines[-1].steps == report["steps"] == 160
    assert not task.model.training
    assert all(p.requires_grad for p in task.model.parameters())


def test_the_same_seed_gives_the_same_weights_and_leaves_the_global_random_state_alone():
    first, second, other = ParityTask(), ParityTask(), ParityTask()
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    train_task(first, FAST)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.rand(3)
    train_task(second, FAST)
    train_task(other, FinetuneSettings(**{**vars(FAST), "seed": 1}))
    assert not changed(second, parameters(first))
    assert changed(other, parameters(first))


def test_word_embeddings_stay_as_they_are_unless_asked_for():
    name = "encoder.embeddings.word_embeddings.weight"
    task = ParityTask()
    before = parameters(task)
    train_task(task, FAST)
    assert changed(task, before) == set(before) - {name}
    task = ParityTask()
    train_task(task, FinetuneSettings(**{**vars(FAST), "train_embeddings": True}))
    assert name in changed(task, before)


def test_frozen_layers_stay_as_they_are_with_all_that_lies_below_them():
    task = ParityTask()
    before = parameters(task)
    train_task(task, FinetuneSettings(**{**vars(FAST), "frozen_layers": 2}))
    assert {name.split(".")[3] if "layer." in name else "head" for name in changed(task, before)} == {"2", "head"}
    with pytest.raises(RecipeError, match="the encoder has 3 layers"):
        train_task(ParityTask(), FinetuneSettings(**{**vars(FAST), "frozen_layers": 4}))


def test_positions_freeze_with_the_lowest_layer_whatever_they_are_called():
    task = ParityTask()
    torch.manual_seed(0)
    task.encoder = GPT2Model(GPT2Config(vocab_size=12, n_positions=16, n_embd=16, n_layer=2, n_head=2))
    task.model = Parity(task.encoder)
    before = parameters(task)
    train_task(task, FinetuneSettings(**{**vars(FAST), "frozen_layers": 1}))
    assert not any(name.startswith(("encoder.w", "encoder.h.0")) for name in changed(task, before))
    assert {"encoder.ln_f.weight", "encoder.h.1.ln_1.weight"} <= changed(task, before)


def test_what_an_evaluation_draws_changes_nothing():
    plain, drawing = ParityTask(), ParityTask()
    train_task(plain, FAST)
    train_task(drawing, FAST, watch={"fr": lambda: {"accuracy": float(torch.rand(()))}})
    assert not changed(drawing, parameters(plain))


def test_weights_that_are_no_numbers_are_never_left():
    task = ParityTask()
    honest = task.score

    def spoil(precision: str) -> dict[str, float]:
        with torch.no_grad():
            task.model.head.bias.fill_(float("nan"))
        return honest(precision)

    task.score = spoil
    with pytest.raises(RunError, match=r"head\.bias"):
        train_task(task, FinetuneSettings(**{**vars(FAST), "evaluations": 1}))


def test_layers_are_found_in_order():
    encoder = ParityTask().encoder
    assert [id(layer) for layer in layers_of(encoder)] == [id(layer) for layer in encoder.encoder.layer]


class Falling(ParityTask):
    """Dev scores that are best in the middle; keeps the states they were taken in."""

    def __init__(self) -> None:
        super().__init__()
        self.states: list[dict[str, torch.Tensor]] = []

    def score(self, precision="float32") -> dict[str, float]:
        self.states.append(parameters(self))
        return {"accuracy": [0.2, 0.9, 0.9, 0.1, 0.5][len(self.states) - 1]}


def test_the_first_of_the_best_states_is_kept():
    task = Falling()
    report = train_task(task, FAST)
    assert report["chosen_step"] == 16
    assert not changed(task, task.states[1])


def test_averaging_takes_the_mean_of_the_last_states():
    task = Falling()
    report = train_task(task, FinetuneSettings(**{**vars(FAST), "average": 3}))
    mean = {name: torch.stack([state[name] for state in task.states[1:4]]).mean(0) for name in task.states[0]}
    for name, parameter in task.model.named_parameters():
        torch.testing.assert_close(parameter, mean[name])
    assert report["dev"] == {"accuracy": 0.5}


def test_noise_disturbs_training_only():
    quiet, noisy = ParityTask(dropout=0), ParityTask(dropout=0)
    settings = FinetuneSettings(**{**vars(FAST), "embedding_noise": 0.5})
    train_task(quiet, FAST)
    train_task(noisy, settings)
    assert changed(noisy, parameters(quiet))
    ids = torch.tensor([[1, 2, 3]])
    assert torch.equal(noisy.model(ids), noisy.model(ids))
    noisy.model.train()
    assert torch.equal(noisy.model(ids), noisy.model(ids))  # the hook is gone


def test_what_is_watched_chooses_nothing_and_gives_the_oracle():
    values = iter([0.3, 0.4, 0.9, 0.1])
    plain, watched = Falling(), Falling()
    train_task(plain, FAST)
    report = train_task(watched, FAST, watch={"fr": lambda: {"accuracy": next(values)}})
    assert not changed(watched, parameters(plain))
    assert report["oracle"] == {"fr": {"chosen_step": 24, "accuracy": 0.9}}
    assert [entry["fr"]["accuracy"] for entry in report["history"]] == [0.3, 0.4, 0.9, 0.1]


def test_a_loss_that_is_no_number_ends_the_run():
    task = ParityTask()
    task.loss = lambda _batch: task.model.head.weight.sum() * float("nan")
    with pytest.raises(RunError, match="no number at step"):
        train_task(task, FAST)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"epochs": 0}, "--epochs is above 0"),
        ({"epochs": float("inf")}, "--epochs is above 0"),
        ({"learning_rate": float("inf")}, "--learning-rate is at least 0"),
        ({"seed": 1 << 63}, "--seed is below"),
        ({"batch_size": 0}, "--batch-size is at least 1"),
        ({"learning_rate": -1.0}, "--learning-rate is at least 0"),
        ({"learning_rate": float("nan")}, "--learning-rate is at least 0"),
        ({"warmup_share": 1.0}, "--warmup-share"),
        ({"precision": "fp8"}, "float32 or bf16; given: 'fp8'"),
        ({"average": 5}, "--average 5"),
    ],
)
def test_impossible_settings_are_refused(given, message):
    with pytest.raises(RecipeError, match=message):
        FinetuneSettings(**given)


def test_an_epoch_may_be_a_fraction():
    task = ParityTask()
    report = train_task(task, FinetuneSettings(**{**vars(FAST), "epochs": 0.5, "evaluations": 1}))
    assert report["steps"] == 4
    assert report["history"][0]["step"] == 4
