"""The training loop of all task models: English examples in, the state that does best on English dev out."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import takewhile
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ..errors import RecipeError, RunError
from ..training.data import LengthBatches
from ..training.encoder import layers_of
from ..training.memory import memory_kept
from ..training.precision import autocast, default_device, resolve_precision
from .settings import FinetuneSettings

Array = np.ndarray[Any, Any]
Scores = Mapping[str, float]
State = dict[str, Tensor]


class Task(Protocol):
    """What the loop needs of a task."""

    @property
    def model(self) -> nn.Module:
        """All that trains."""
        ...

    @property
    def encoder(self) -> PreTrainedModel:
        """The transformer inside the model, without a head."""
        ...

    @property
    def lengths(self) -> Array:
        """Tokens of every training example, int64 (examples,)."""
        ...

    def loss(self, batch: Array) -> Tensor:
        """Mean loss of the training examples with these numbers, int64 (batch,)."""
        ...

    def score(self, precision: str) -> Scores:
        """Scores on the English dev set, worked out in that precision; the first is what is maximised."""
        ...


@dataclass(frozen=True)
class FinetuneProgress:
    """One line of the meter; loss: of the last step. dev: scores of the last evaluation, empty before the first.

    step, steps: done, and in all. examples_per_second: of training.
    """

    step: int
    steps: int
    loss: float
    examples_per_second: float
    dev: Scores

    def note(self, examples: str, dev: str) -> str:
        """The line in words; examples, dev: what to call the training examples and the set that is scored."""
        scores = " ".join(f"{dev} {name} {value:.3f}" for name, value in self.dev.items())
        return f"loss {self.loss:.3f} {self.examples_per_second:,.0f} {examples}/s {scores}"


def _freeze(encoder: PreTrainedModel, settings: FinetuneSettings) -> set[int]:
    """Ids of the encoder's parameters that do not train."""
    embeddings: Any = encoder.get_input_embeddings()
    frozen: list[nn.Parameter] = [] if settings.train_embeddings else list(embeddings.parameters())
    if settings.frozen_layers:
        layers = layers_of(encoder)
        if settings.frozen_layers > len(layers):
            raise RecipeError(f"--frozen-layers {settings.frozen_layers}: the encoder has {len(layers)} layers.")
        inside = {id(parameter) for layer in layers for parameter in layer.parameters()}
        # what stands before the first layer: word, position and type embeddings, their norm
        frozen += takewhile(lambda parameter: id(parameter) not in inside, encoder.parameters())
        frozen += [parameter for layer in layers[: settings.frozen_layers] for parameter in layer.parameters()]
    return {id(parameter) for parameter in frozen}


def _optimizer(task: Task, settings: FinetuneSettings) -> torch.optim.AdamW:
    encoder = {id(parameter) for parameter in task.encoder.parameters()}
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for parameter in task.model.parameters():
        if parameter.requires_grad:
            groups.setdefault((id(parameter) in encoder, parameter.ndim > 1), []).append(parameter)
    return torch.optim.AdamW(
        [
            {
                "params": parameters,
                "peak": settings.learning_rate if inside else settings.head_learning_rate,
                "weight_decay": settings.weight_decay if matrix else 0.0,
            }
            for (inside, matrix), parameters in groups.items()
        ],
        lr=0.0,
        fused=True,
    )


@contextmanager
def _noise(encoder: PreTrainedModel, amount: float) -> Iterator[None]:
    """Inside, word embeddings come with normal noise whenever the encoder is in training mode."""
    if not amount:
        yield
        return
    embeddings: Any = encoder.get_input_embeddings()
    spread = amount * float(embeddings.weight.detach().float().std())

    def disturb(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        return output + spread * torch.randn_like(output) if encoder.training else output

    handle = embeddings.register_forward_hook(disturb)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _repeatable(seed: int) -> Iterator[None]:
    """Inside, torch's global random state (dropout) starts from the seed; afterwards it is what it was."""
    cuda = list(range(torch.cuda.device_count()))
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(seed)
        yield


def _state(model: nn.Module) -> State:
    """Copies of the parameters that train."""
    return {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}


def _load(model: nn.Module, state: State) -> None:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in state:
                parameter.copy_(state[name])


def _mean(states: list[State]) -> State:
    return {name: torch.stack([state[name] for state in states]).mean(0) for name in states[0]}


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """In evaluation mode, and so that nothing drawn inside changes what training draws afterwards."""
    model.eval()
    try:
        with torch.inference_mode(), torch.random.fork_rng(devices=list(range(torch.cuda.device_count()))):
            yield
    finally:
        model.train()


def train_task(
    task: Task,
    settings: FinetuneSettings,
    on_progress: Callable[[FinetuneProgress], None] | None = None,
    watch: Mapping[str, Callable[[], Scores]] | None = None,
) -> dict[str, Any]:
    """Trains a task's model in place and leaves it, in evaluation mode, in its best state on English dev.

    on_progress: called with every line of the meter. watch: further scores to take at every evaluation, for example on
    the target language's dev set; they choose nothing, and the best each would have chosen is reported as its
    ``oracle``. Returns settings, history and dev scores for run.json. Raises RunError when the loss is no longer a
    number, RecipeError for settings that do not fit the encoder.
    """
    device = default_device()
    model = task.model.to(device)
    precision = resolve_precision(settings.precision, device)
    frozen = _freeze(task.encoder, settings)
    for parameter in model.parameters():
        parameter.requires_grad_(id(parameter) not in frozen)
    batches = LengthBatches(task.lengths, settings.batch_size, settings.seed)
    steps = max(1, math.ceil(settings.epochs * batches.per_epoch))
    marks = {math.ceil((k + 1) * steps / settings.evaluations) for k in range(settings.evaluations)}
    optimizer = _optimizer(task, settings)
    history: list[dict[str, Any]] = []
    states: list[State] = []
    best: tuple[float, int, State] | None = None
    dev: Scores = {}
    seen, began, last = 0, time.perf_counter(), -math.inf
    model.train()
    with _repeatable(settings.seed), _noise(task.encoder, settings.embedding_noise), memory_kept(device):
        for step in range(steps):
            rate = _rate(step, steps, settings.warmup_share)
            for group in optimizer.param_groups:
                group["lr"] = rate * group["peak"]
            batch = batches[step]
            optimizer.zero_grad(set_to_none=True)
            with autocast(precision, device):
                loss = task.loss(batch)
            loss.backward()
            nn.utils.clip_grad_norm_([p for p in model.parameters() if p.grad is not None], 1.0)
            optimizer.step()
            seen += batch.size
            now = time.perf_counter()
            if step + 1 in marks:
                value = _finite(loss, step + 1)
                with _evaluating(model):
                    dev = task.score(precision)
                    watched = {name: dict(scores()) for name, scores in (watch or {}).items()}
                first = next(iter(dev.values()))
                history.append({"step": step + 1, "loss": value, "dev": dict(dev), **watched})
                state = _state(model)
                if settings.average:
                    states = [*states, state][-settings.average :]
                elif best is None or first > best[0]:
                    best = (first, step + 1, state)
            if on_progress and (now - last > 1 or step + 1 in marks):
                last = now
                taken = time.perf_counter() - began
                on_progress(FinetuneProgress(step + 1, steps, _finite(loss, step + 1), seen / taken, dev))
    report: dict[str, Any] = {"settings": asdict(settings) | {"precision": precision}, "steps": steps}
    if settings.average:
        _load(model, _mean(states))
        with _evaluating(model):
            report["dev"] = dict(task.score(precision))
    elif best is not None:
        _load(model, best[2])
        report["chosen_step"] = best[1]
        report["dev"] = next(entry["dev"] for entry in history if entry["step"] == best[1])
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(True)
        if not torch.isfinite(parameter).all():
            raise RunError(f"The parameter '{name}' is no number after training. Lower the learning rates.")
    model.eval()
    report |= {"history": history, "seconds": time.perf_counter() - began}
    if watch:
        report["oracle"] = {name: _oracle(history, name) for name in watch}
    return report


def _rate(step: int, steps: int, warmup_share: float) -> float:
    """Share of the peak rate: linear rise over the warm-up, then linear fall to zero behind the last step."""
    warmup = max(1, round(warmup_share * steps))
    return min((step + 1) / warmup, (steps - step) / max(1, steps - warmup))


def _finite(loss: Tensor, step: int) -> float:
    value = float(loss.detach())
    if not math.isfinite(value):
        raise RunError(f"The loss is no number at step {step}. Lower the learning rates.")
    return value


def _oracle(history: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """The evaluation that the watched score itself would have chosen: not a result, a bound on what choice can give."""
    chosen = max(history, key=lambda entry: next(iter(entry[name].values())))
    return {"chosen_step": chosen["step"], **chosen[name]}
