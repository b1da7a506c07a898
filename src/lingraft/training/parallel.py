"""How the work of a step is shared out between processes: not at all, by DDP, or by FSDP2.

An objective's batch is a function of (seed, step) and its loss a sum over micro-batches (`Objective.loss`). So each
process takes its share of the micro-batches, gradients are summed, not averaged, and any number of processes learns
from a step what one would. What is decided on the way (to save, to stop, to halve the micro-batch) is decided for all.
"""

from __future__ import annotations

import contextlib
import copy
import gc
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from ..errors import RecipeError, RunError
from ..processes import Processes
from ..surgery import LanguageModel
from .encoder import layers_of
from .objectives import Objective

T = TypeVar("T")

Loss = Callable[[int, bool, int, int], tuple[Tensor, dict[str, Tensor]]]
Readings = list[tuple[int, dict[str, float]]]


class MemoryRanOutError(RunError):
    """Memory ran out in one of several processes, in a step that can only be repeated by all. micro_batch: to try next.

    The run has to be resumed, and then goes on with that.
    """

    def __init__(self, message: str, micro_batch: int) -> None:
        super().__init__(f"{message} Go on with lingraft resume, which takes {micro_batch} at a time.")
        self.micro_batch = micro_batch


class OneProcess:
    """All of the work is this process's; and what the others have in common."""

    def __init__(self, processes: Processes | None = None) -> None:
        self.processes = processes or Processes()
        #: signals that all processes know of
        self._asked: int | None = None
        self._objective: Objective | None = None

    @property
    def leads(self) -> bool:
        """Whether this process is the one that writes."""
        return self.processes.leads

    # ---- what is trained

    def models(
        self, source: LanguageModel, targets: Mapping[str, LanguageModel]
    ) -> tuple[LanguageModel, dict[str, LanguageModel]]:
        """The models to train in place of these, which share their body already; see `publish`."""
        return source, dict(targets)

    def attach(self, objective: Objective) -> None:
        """Takes the objective whose work is shared out; before the optimizer is made of its parameters."""
        self._objective = objective

    def publish(self) -> None:
        """Gives the leader's models that `models` was given the weights of now, on the device."""

    def withdraw(self) -> None:
        """Undoes what `publish` took of the device's memory."""

    def whole(self, tensor: Tensor) -> Tensor:
        """All of a parameter, or of a moment of the optimizer; of use to the leader alone, called by all."""
        return tensor

    def share(self, tensor: Tensor, like: Tensor) -> Tensor:  # noqa: ARG002
        """Of such a tensor what this process has of the parameter ``like``."""
        return tensor

    # ---- one step

    def parts(self, batch_size: int, micro_batch: int) -> tuple[range, int]:
        """This process's micro-batches, by number, and how many all have together."""
        size = self.processes.size
        mine = -(-self.largest_micro_batch(batch_size) // micro_batch)
        return range(self.processes.rank * mine, (self.processes.rank + 1) * mine), mine * size

    def largest_micro_batch(self, batch_size: int) -> int:
        """Examples that a process has of a batch."""
        return -(-batch_size // self.processes.size)

    def new_stage(self) -> None:
        """Other parameters have gradients from now on."""

    def rehearsed(self, run: Callable[[Loss], bool]) -> bool:  # noqa: ARG002
        """Whether a micro-batch of this stage fits into all processes' memory, where that can be asked beforehand.

        run: a forward and backward pass of a loss, which leaves gradients; whether memory was enough.
        """
        return True

    def part(self, last: bool) -> contextlib.AbstractContextManager[None]:  # noqa: ARG002
        """Around the forward and backward pass of a micro-batch; gradients are summed with the last one's."""
        return contextlib.nullcontext()

    @property
    def loss(self) -> Loss:
        """`Objective.loss`, by which gradients get summed."""
        return self.objective.loss

    @property
    def objective(self) -> Objective:
        """What was attached."""
        if self._objective is None:
            raise ValueError("no objective is attached")
        return self._objective

    def norm(self, gradients: Sequence[Tensor]) -> Tensor:
        """Norm of all gradients as one vector, ()."""
        return torch.nn.utils.get_total_norm(gradients)

    @property
    def retries(self) -> bool:
        """Whether a step in which memory ran out can be repeated."""
        return True

    # ---- decisions

    def agree(self, value: T) -> T:
        """The leader's value, in all processes."""
        return self.processes.agree(value)

    def decide(self, received: int | None, saving: bool) -> bool:
        """Whether to save; takes in the signal that this process received, if any. Called by all in every step."""
        self._asked = received
        return saving or received is not None

    @property
    def asked(self) -> int | None:
        """The signal that ends the run, if one was there when it was last decided whether to save."""
        return self._asked

    def total(self, readings: Readings) -> Readings:
        """Losses of steps summed over processes."""
        return readings


class _Loss(nn.Module):
    """An objective as a module, whose forward pass is its loss, times the number of processes.

    DDP and FSDP take the mean of the processes' gradients, and the sum is wanted.
    """

    def __init__(self, objective: Objective, processes: int) -> None:
        super().__init__()
        self.module = objective.module
        self._loss = objective.loss
        self._processes = processes

    def forward(self, step: int, both: bool, part: int, parts: int) -> tuple[Tensor, dict[str, Tensor]]:
        loss, named = self._loss(step, both, part, parts)
        if not loss.requires_grad:
            # the last batch of an epoch may have fewer examples than there are parts; gradients are summed only if all
            # processes have some of the same parameters
            loss, named = 0.0 * self._loss(step, both, 0, parts)[0], {}
        return self._processes * loss, named


class _Several(OneProcess):
    """What DDP and FSDP have in common."""

    @property
    def retries(self) -> bool:
        # the others are in the middle of an exchange that this process cannot finish any more
        return False

    def decide(self, received: int | None, saving: bool) -> bool:
        signal, due = self.processes.largest([received or 0, int(saving and self.leads)])
        self._asked = self._asked or signal or None
        return bool(due) or self._asked is not None

    def total(self, readings: Readings) -> Readings:
        from .update import NOT_FINITE

        everyone = self.processes.gathered(readings)
        summed: Readings = []
        for same in zip(*everyone, strict=True):
            losses: dict[str, float] = {}
            for _, mine in same:
                for name, value in mine.items():
                    losses[name] = value if name == NOT_FINITE else losses.get(name, 0.0) + value
            summed.append((same[0][0], losses))
        return summed


class Replicated(_Several):
    """Every process has all parameters; DistributedDataParallel sums their gradients while the backward pass runs."""

    def __init__(self, processes: Processes, device: torch.device) -> None:
        super().__init__(processes)
        self._device = device
        self._module: _Loss | None = None
        self._wrapped: nn.parallel.DistributedDataParallel | None = None

    def attach(self, objective: Objective) -> None:
        super().attach(objective)
        self._module = _Loss(objective, self.processes.size)

    def new_stage(self) -> None:
        self._wrapped = None
        gc.collect()  # its hooks on the parameters go with it

    def rehearsed(self, run: Callable[[Loss], bool]) -> bool:
        """Finds out whether a micro-batch fits, and which parameters get a gradient: DDP has to know before it starts.

        DDP orders its buckets by the first backward pass. Here that is one that counts for nothing, so a run that was
        resumed adds up in the order of one that was not.
        """
        if self._wrapped is not None:
            return True
        if self._module is None:
            raise ValueError("no objective is attached")
        with torch.random.fork_rng([torch.cuda.current_device()] if self._device.type == "cuda" else []):
            fits = run(self._module)
            if self.processes.largest([int(not fits)])[0]:
                return False
            unused = [p for p in self._module.parameters() if p.requires_grad and p.grad is None]
            for parameter in unused:
                parameter.requires_grad_(False)
            self._wrapped = _replicated(self._module)
            for parameter in unused:
                parameter.requires_grad_(True)
            if not run(self._wrapped):
                raise RunError(
                    "Memory ran out in the first exchange of gradients; give a smaller training.micro_batch."
                )
        return True

    def part(self, last: bool) -> contextlib.AbstractContextManager[None]:
        if self._wrapped is None or last:
            return contextlib.nullcontext()
        return self._wrapped.no_sync()

    @property
    def loss(self) -> Loss:
        if self._wrapped is None:
            raise ValueError("a stage begins with a rehearsal")
        return self._wrapped


def _replicated(module: nn.Module) -> nn.parallel.DistributedDataParallel:
    """A module under DDP; no buffer of it ever changes."""
    taken = inspect.signature(nn.parallel.DistributedDataParallel).parameters
    # its name since torch 2.12 or so, and the one before
    buffers: Any = {"forward_sync_buffers" if "forward_sync_buffers" in taken else "broadcast_buffers": False}
    return nn.parallel.DistributedDataParallel(module, gradient_as_bucket_view=True, **buffers)


class Sharded(_Several):
    """Parameters, gradients and moments are divided between the processes by FSDP2, layer by layer of the body.

    What belongs to no layer (vocabularies, heads) is one more unit, the root's, for vocabularies may be tied to heads.
    The models that were given stay as they are, in the memory of the host: they are the leader's to save.
    """

    def __init__(self, processes: Processes, device: torch.device) -> None:
        super().__init__(processes)
        self._device = device
        self._given: list[LanguageModel] = []
        self._trained: list[LanguageModel] = []
        self._root: Any = None

    def models(
        self, source: LanguageModel, targets: Mapping[str, LanguageModel]
    ) -> tuple[LanguageModel, dict[str, LanguageModel]]:
        self._given = [source, *targets.values()]
        models = copy.deepcopy([given.model for given in self._given])  # at once: they share their body
        self._to(torch.device("cpu"))
        self._trained = [given.with_model(model) for given, model in zip(self._given, models, strict=True)]
        return self._trained[0], dict(zip(targets, self._trained[1:], strict=True))

    def _to(self, device: torch.device) -> None:
        for language_model in self._given:
            language_model.model.to(device)  # type: ignore[arg-type]

    def attach(self, objective: Objective) -> None:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import FSDPModule, fully_shard

        super().attach(objective)
        mesh = init_device_mesh(self._device.type, (self.processes.size,))
        self._root = _Loss(objective, self.processes.size)
        for language_model in self._trained:
            for layer in layers_of(language_model.model):
                if not isinstance(layer, FSDPModule):  # the other models' layers are the same objects
                    fully_shard(layer, mesh=mesh)
        fully_shard(self._root, mesh=mesh)

    def publish(self) -> None:
        for given, trained in zip(self._given, self._trained, strict=True):
            for old, new in zip(given.model.parameters(), trained.model.parameters(), strict=True):
                whole = self.whole(new.detach())
                if self.leads:
                    with torch.no_grad():
                        old.copy_(whole)
        if self.leads:
            self._to(self._device)

    def withdraw(self) -> None:
        self._to(torch.device("cpu"))

    def whole(self, tensor: Tensor) -> Tensor:
        from torch.distributed.tensor import DTensor

        if not isinstance(tensor, DTensor):
            return tensor
        gathered = tensor.full_tensor()
        return gathered.cpu() if self.leads else gathered.new_empty(0)

    def share(self, tensor: Tensor, like: Tensor) -> Tensor:
        from torch.distributed.tensor import DTensor, distribute_tensor

        if not isinstance(like, DTensor) or tensor.shape != like.shape:
            return tensor
        return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)

    @contextmanager
    def part(self, last: bool) -> Iterator[None]:
        self._root.set_requires_gradient_sync(last)
        yield

    @property
    def loss(self) -> Loss:
        return self._root  # type: ignore[no-any-return]

    def norm(self, gradients: Sequence[Tensor]) -> Tensor:
        from torch.distributed.tensor import DTensor

        norm = super().norm(gradients)
        return norm.full_tensor() if isinstance(norm, DTensor) else norm


def share_out(
    processes: Processes, how: Literal["auto", "ddp", "fsdp"], device: torch.device, batch_size: int
) -> OneProcess:
    """What the recipe's ``training.parallel`` asks for, with as many processes as there are; see `check_share`."""
    if processes.size == 1:
        return OneProcess(processes)
    check_share(processes, batch_size)
    return Sharded(processes, device) if how == "fsdp" else Replicated(processes, device)


def check_share(processes: Processes, batch_size: int | None) -> None:
    """RecipeError if a batch has fewer examples than there are processes.

    batch_size: examples of a step; None where it is not settled yet.
    """
    if batch_size is not None and batch_size < processes.size:
        raise RecipeError(
            f"training.batch_size={batch_size} is less than the number of processes, {processes.size}: some would have "
            "nothing to do. Start fewer processes or give a larger batch."
        )
