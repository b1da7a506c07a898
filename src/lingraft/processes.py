"""Several processes at work on one run, as torchrun and Accelerate start them; with one, nothing of this happens.

The process of rank 0 leads. It alone reads what was given, holds the folder's lock, writes and speaks. The others wait
until it names a function that all are to run `together`, which is the training, and end when it ends, with its exit
status. Two ways lead from one to another:

- a store of keys and values (torchrun's, or the leader's), for what may take hours: nobody's timeout runs meanwhile;
- collective operations of the training, over a group of CPU sockets (gloo). A process that is gone closes its sockets,
  so the others do not wait for it.
"""

from __future__ import annotations

import atexit
import base64
import os
import pickle
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import lru_cache, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from .cache import StageCache
from .errors import LeaderError, LingraftError, RecipeError, RunError, StoppedError

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

P = ParamSpec("P")
T = TypeVar("T")

#: what a launcher sets for each of its processes
_ENVIRONMENT = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")

#: of a collective operation; a process that has died is noticed at once, this is for one that hangs
_TIMEOUT = timedelta(minutes=30)

#: of the leader's evaluations and checkpoints, during which the others wait in a collective operation
_LONG_TIMEOUT = timedelta(hours=6)

#: seconds between two looks for a message
_LOOK = 0.1

#: seconds in which two processes that fail for the same reason come to know it
_PATIENCE = 5.0


def environment_rank() -> int:
    """Which of the processes of a launcher this one is, from 0; 0 without a launcher. Needs nothing heavy."""
    return int(os.environ["RANK"]) if _launched() else 0


def joined() -> bool:
    """Whether this process has met the others of its launcher."""
    return _joined.cache_info().currsize > 0


def _launched() -> bool:
    return all(os.environ.get(name) for name in _ENVIRONMENT) and int(os.environ["WORLD_SIZE"]) > 1


class Processes:
    """The processes of a run, of which this one is number ``rank`` of ``size``; here: the only one."""

    rank = 0
    size = 1

    @property
    def leads(self) -> bool:
        """Whether this is the one that reads, writes and speaks."""
        return self.rank == 0

    def run(self, work: Callable[[], T]) -> T:
        """The leader works; the others do what it has them do, return what it returns and fail when it fails.

        They raise LeaderError then, for it is the leader that says why.
        """
        return work()

    def together(self, function: Callable[..., T], *arguments: Any) -> T:
        """Runs a function in all processes, called by the leader inside `run`.

        It and its arguments are pickled for the others; arguments that can be called are the leader's alone, and do
        nothing elsewhere.
        """
        return function(*arguments)

    @contextmanager
    def leader_first(self) -> Iterator[None]:
        """The others enter when the leader has left."""
        yield

    def stage(self, cache: StageCache, name: str, key: Any, make: Callable[[Path], None]) -> Path:
        """A cached stage that all processes make together; the leader alone may write into its folder."""
        return cache.stage(name, key, make)

    def agree(self, value: T) -> T:
        """The leader's value, in all processes."""
        return value

    def largest(self, numbers: Sequence[int]) -> list[int]:
        """For each of some numbers the largest that any process gave."""
        return list(numbers)

    def await_end(self) -> None:
        """Waits until the leader has nothing more to say."""

    def gathered(self, value: T) -> list[T]:
        """What each process gave, in the order of ranks."""
        return [value]


def _silent(*_: Any, **__: Any) -> None:
    """Stands for a function of the leader's."""


class SeveralProcesses(Processes):
    """See `Processes`, over torch.distributed, whose default process group must be there.

    store: of that group. ours: the group is to go when the interpreter ends.
    """

    def __init__(self, store: Store, ours: bool = False) -> None:
        import torch.distributed as dist

        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self._store = store
        self._group = dist.new_group(backend="gloo", timeout=_LONG_TIMEOUT)
        self._messages = 0
        self._working = self._training = False
        self._closing = ours  # the process group, at the end
        atexit.register(self._end)

    def _end(self) -> None:
        import torch.distributed as dist

        with suppress(RuntimeError):
            if self.leads:
                self._store.set("lingraft/over", "")
        if self._closing and dist.is_initialized():  # after a failure it might wait for an exchange that nobody ends
            dist.destroy_process_group()

    def await_end(self) -> None:
        """Waits until the leader has nothing more to say and ends, but not for long.

        A launcher ends all processes when the first ends with an error, and takes that one's status for the cause.
        """
        end = time.monotonic() + 2 * _PATIENCE
        with suppress(RuntimeError):
            while time.monotonic() < end and not self._store.check(["lingraft/over"]):
                time.sleep(_LOOK)
        time.sleep(1.0)

    def _post(self, *message: Any) -> None:
        self._store.set(f"lingraft/{self._messages}", base64.b64encode(pickle.dumps(message)).decode())
        self._messages += 1

    def _next(self, seconds: float | None = None) -> tuple[Any, ...] | None:
        """The leader's next message; None if there is none in that time. LeaderError if it has failed."""
        key, end = f"lingraft/{self._messages}", time.monotonic() + (seconds or 0.0)
        try:
            while not self._store.check([key]):
                if seconds is not None and time.monotonic() > end:
                    return None
                time.sleep(_LOOK)
            # written by a process of this run, as in torch's own broadcast_object_list
            message: tuple[Any, ...] = pickle.loads(base64.b64decode(self._store.get(key)))  # noqa: S301
        except RuntimeError as error:  # the leader held the store
            raise LeaderError("the leader is gone", 1) from error
        self._messages += 1
        if message[0] in ("failed", "done"):
            self._store.set(f"lingraft/{self._messages}/{self.rank}", "heard")
        if message[0] == "failed":
            raise LeaderError(*message[1:])
        return message

    def _await_hearers(self) -> None:
        """Until the others have the last message, but not for long: the store may end with this process."""
        names = [f"lingraft/{self._messages}/{rank}" for rank in range(1, self.size)]
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end and not self._store.check(names):
            time.sleep(_LOOK)

    def run(self, work: Callable[[], T]) -> T:
        """See `Processes`."""
        if self._working:
            return work()
        self._working = True
        try:
            return self._lead(work) if self.leads else self._follow()
        finally:
            self._working = False

    def _lead(self, work: Callable[[], T]) -> T:
        import torch.distributed as dist

        try:
            result = work()
        except BaseException as error:
            lost = self._lost(error) if isinstance(error, RuntimeError) else None
            status = error.exit_status if isinstance(error, LingraftError) else 1
            self._post("failed", str(lost or error), status)
            if self._training and not isinstance(error, StoppedError):
                self._closing = False
                dist.destroy_process_group(self._group)  # wakes those that wait for this process
            self._await_hearers()
            if lost:
                raise lost from error
            raise
        self._post("done", result)
        self._await_hearers()
        return result

    def _lost(self, error: RuntimeError) -> RunError | None:
        """The error to raise where another process was lost; None where this one itself has failed."""
        import torch.distributed as dist

        if not (isinstance(error, dist.DistError) or "gloo" in str(error)):
            return None
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            for rank in range(1, self.size):
                if self._store.check([f"lingraft/failed/{rank}"]):
                    why = self._store.get(f"lingraft/failed/{rank}").decode()
                    return RunError(f"Process {rank} of {self.size} (counted from 0) has failed: {why}")
            time.sleep(_LOOK)
        return RunError(
            f"One of the {self.size} processes of this run is gone or cannot be reached ({str(error).splitlines()[0]})."
        )

    def _follow(self) -> Any:
        while True:
            kind, *rest = self._next() or ()
            if kind == "done":
                return rest[0]
            function, arguments = rest
            try:
                function(*arguments)
            except LeaderError:
                raise
            except Exception as error:
                self._fallen(error)

    def _fallen(self, error: Exception) -> None:
        """Raises the leader's error where it has failed too, else this one."""
        if isinstance(error, StoppedError):  # agreed on; the leader raises it when everything is saved
            self._next()
        self._closing = False
        try:
            self._store.set(f"lingraft/failed/{self.rank}", str(error) or type(error).__name__)
        except RuntimeError as gone:  # the leader held the store
            raise LeaderError("the leader is gone", 1) from gone
        self._next(_PATIENCE)
        raise error

    def together(self, function: Callable[..., T], *arguments: Any) -> T:
        """See `Processes`."""
        self._post("call", function, tuple(_silent if callable(value) else value for value in arguments))
        self._training = True
        result = function(*arguments)
        self._training = False
        return result

    @contextmanager
    def leader_first(self) -> Iterator[None]:
        """See `Processes`."""
        if not self.leads:
            self._next()
        yield
        if self.leads:
            self._post("go")

    def stage(self, cache: StageCache, name: str, key: Any, make: Callable[[Path], None]) -> Path:
        """See `Processes`."""
        final = cache.path(name, key)
        there = self.agree(final.is_dir())
        if self.leads:
            return cache.stage(name, key, make)
        if not there:
            make(final)
        return final

    def agree(self, value: T) -> T:
        """See `Processes`."""
        import torch.distributed as dist

        values = [value if self.leads else None]
        dist.broadcast_object_list(values, src=0, group=self._group)
        return values[0]  # type: ignore[return-value]

    def largest(self, numbers: Sequence[int]) -> list[int]:
        """See `Processes`."""
        import torch
        import torch.distributed as dist

        values = torch.tensor(numbers, dtype=torch.int64)
        dist.all_reduce(values, dist.ReduceOp.MAX, group=self._group)
        return [int(value) for value in values]

    def gathered(self, value: T) -> list[T]:
        """See `Processes`."""
        import torch.distributed as dist

        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value, group=self._group)
        return values


_ALONE = Processes()


def processes() -> Processes:
    """The processes of this run. Under a launcher the first call joins the others; RecipeError where that cannot be.

    A process group of torch.distributed that is there already is used as it is.
    """
    return _joined() if _launched() else _given()


def _given() -> Processes:
    import sys

    if "torch.distributed" not in sys.modules:
        return _ALONE
    import torch.distributed as dist

    several = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
    return _joined() if several else _ALONE


@lru_cache
def _joined() -> Processes:
    """Kept as long as the interpreter lives, as torch's process group is."""
    import torch
    import torch.distributed as dist
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    if dist.is_initialized():
        return SeveralProcesses(dist.distributed_c10d._get_default_store())
    local, per_machine = (int(os.environ.get(name, "0")) for name in ("LOCAL_RANK", "LOCAL_WORLD_SIZE"))
    cuda = torch.cuda.is_available()
    if cuda:
        cards = torch.cuda.device_count()
        if max(local + 1, per_machine) > cards:
            message = (
                f"{max(local + 1, per_machine)} processes were started on a machine with {cards} CUDA cards; a card "
                f"takes one. Start {cards} (torchrun --nproc-per-node {cards}), or hide the cards: "
                "CUDA_VISIBLE_DEVICES=''."
            )
            raise LeaderError(message, RecipeError.exit_status) if environment_rank() else RecipeError(message)
        torch.cuda.set_device(local)
    launcher_store, rank, size = next(rendezvous("env://", timeout=_TIMEOUT))
    # torchrun keeps its store when it starts all processes again, with the addresses of those that are gone
    store = PrefixStore(f"lingraft-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", launcher_store)
    dist.init_process_group(
        "nccl" if cuda else "gloo", store=store, rank=rank, world_size=size, timeout=_TIMEOUT,
        device_id=torch.device("cuda", local) if cuda else None,
    )  # fmt: skip
    return SeveralProcesses(store, ours=True)


def leading(function: Callable[P, T]) -> Callable[P, T]:
    """Has a function run in the leading process alone; see `Processes.run`."""

    @wraps(function)
    def led(*arguments: P.args, **named: P.kwargs) -> T:
        return processes().run(lambda: function(*arguments, **named))

    return led
