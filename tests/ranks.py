"""Runs as a program: things that several processes do together, each process a fork of this one.

Reads JSON objects, a line each: name (a function below), processes, folder, arguments. Every process calls
``name(rank, folder, **arguments)`` within a process group over gloo that meets at a file, so no port can be taken.
Prints a JSON object a line: the exit status of every process and what it returned, or its error. No process outlives
the limit.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path

import torch
import torch.distributed as dist

import tiny
import toy
from lingraft import cli
from lingraft.errors import CorpusError, LingraftError, RunError
from lingraft.evidence import build_table, encode
from lingraft.processes import processes
from lingraft.recipe import TrainingRecipe
from lingraft.surgery import from_transformers, graft, load_model
from lingraft.training import distillation_trainer, language_model_trainer, meter, resolve_training, text_stream
from lingraft.training.parallel import MemoryRanOutError, share_out

_LIMIT = 100.0
CPU = torch.device("cpu")


def train(
    rank: int, folder: Path, objective: str, model: str = "", double: bool = False, die: dict | None = None,
    checkpoints: str = "checkpoints", second: int = 0, **keys,
) -> dict:  # fmt: skip
    """Trains a small model, leaving its weights in weights.pt.

    die: rank and step at which a process ends at once. second: sentence pairs of a second language, for distill.
    """
    if objective == "distill":
        source = load_model(model)
    else:
        tokenizer = tiny.wordpiece_tokenizer() if objective == "mlm" else tiny.bytebpe_tokenizer()
        source = from_transformers(tiny.bert(tokenizer) if objective == "mlm" else tiny.llama(tokenizer), tokenizer)
    target = graft(source, source.tokenizer, build_table(source.tokenizer, source.tokenizer))
    if double:
        source.model.double()
        target.model.double()
    values = {"objective": objective, "batch_size": 6, "sequence_length": 16, "embeddings_share": 0.4, "steps": 8,
              "checkpoint_seconds": 0, "precision": "float32", "learning_rate": 1e-3}  # fmt: skip
    recipe = resolve_training(TrainingRecipe(**(values | keys)), source.kind)
    lines = tiny.english_lines(50)
    if objective == "distill":
        pairs = list(zip(lines, lines[1:] + lines[:1], strict=True))
        targets, bitexts = target, pairs
        if second:
            other = graft(source, source.tokenizer, build_table(source.tokenizer, source.tokenizer), seed=1)
            targets, bitexts = {"fr": target, "hi": other}, {"fr": pairs, "hi": pairs[:second]}
        trainer = distillation_trainer(source, targets, bitexts, recipe, 3, folder / checkpoints)
    else:
        text = text_stream(source, encode(source.tokenizer, lines))
        trainer = language_model_trainer(
            source, target, text, text, recipe, 3, folder / checkpoints, pairs=list(zip(lines, lines, strict=True))
        )
    if die and die["rank"] == rank:
        original = trainer._step

        def step(state, *rest) -> None:
            if state.step == die["step"]:
                os._exit(9)
            original(state, *rest)

        trainer._step = step
    report = trainer.run()
    if rank == 0:
        weights = {f"source.{name}": value for name, value in source.model.state_dict().items()}
        weights |= {f"target.{name}": value for name, value in target.model.state_dict().items()}
        torch.save(weights, folder / "weights.pt")
    return {name: value for name, value in report.items() if "second" not in name}


def toy_run(
    rank: int, folder: Path, fails: dict | None = None, examples: int = 8, again: bool = True, **changes
) -> dict:
    """The toy objective. fails: what goes wrong where: kind, rank, step, and for memory parts_needed."""
    seen: list[list[int]] = []
    local = examples

    def before(step: int, part: int, parts: int) -> None:
        seen.append([step, part, parts])
        if not fails or fails["rank"] != rank or step < fails["step"]:
            return
        if fails["kind"] == "memory" and parts < fails["parts_needed"]:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        if fails["kind"] == "signal" and step == fails["step"]:
            os.kill(os.getpid(), signal.SIGTERM)
        if fails["kind"] == "error":
            raise ValueError("a defect")

    def spoil(step: int, loss: torch.Tensor) -> torch.Tensor:
        bad = fails and fails["kind"] == "nan" and (fails["rank"], fails["step"]) == (rank, step)
        return loss * float("nan") if bad else loss

    objective = toy.ToyObjective(batch_size=local, before=before, spoil=spoil)
    keys = {"batch_size": 8, "steps": 12} | changes
    if "seconds" in keys:
        keys["steps"] = None
    parallel = share_out(processes(), "auto", CPU, 8)
    parallel.attach(objective)
    trainer = toy.Trainer(
        objective, objective.groups(), toy.schedule(**keys), "float32", CPU, folder / "checkpoints", parallel=parallel
    )
    report = trainer.run()
    report["weights"] = {name: value.tolist() for name, value in objective.weights().items()}
    report["seen"] = seen
    return report


def share_of_work(rank: int, folder: Path, fails: str = "") -> str:
    """What `Processes.run` is for: the leader works, and has the others help."""
    here = processes()

    def work() -> str:
        if fails == "input":
            raise CorpusError("that file is not there")
        return here.together(helped, str(folder), fails)

    return here.run(work)


def helped(folder: str, fails: str) -> str:
    here = processes()
    if fails == "follower" and not here.leads:
        raise RunError("the disk is full")
    with here.leader_first():
        if here.leads:
            time.sleep(0.3)
            Path(folder, "made").write_text("by the leader", encoding="utf-8")
        text = Path(folder, "made").read_text(encoding="utf-8")
    assert here.gathered(here.rank) == list(range(here.size))
    assert here.largest([here.rank, 5]) == [here.size - 1, 5]
    return here.agree(f"{text}, seen by {here.rank}")


def command(rank: int, folder: Path, line: list[str], die: dict | None = None) -> dict:
    """The command line as a launcher starts it. die: rank and step that gets SIGTERM."""
    if die and die["rank"] == rank:
        from lingraft.training.loop import Trainer

        original = Trainer._step

        def step(self, state, *rest) -> None:
            if state.step == die["step"]:
                os.kill(os.getpid(), signal.SIGTERM)
            original(self, state, *rest)

        Trainer._step = step
    sys.argv = ["lingraft", *line]
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(folder / f"{name}-{rank}", os.O_CREAT | os.O_WRONLY | os.O_TRUNC), number)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    try:
        cli.main()
    except SystemExit as error:
        status = error.code
    sys.stdout.flush()
    sys.stderr.flush()
    atexit._run_exitfuncs()
    return {"status": status}


def in_fork(job: dict, rank: int, meeting: Path) -> int:
    child = os.fork()
    if child:
        return child
    folder, status, result = Path(job["folder"]), 1, {}
    try:
        if job["processes"] > 1:
            os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(job["processes"]), "LOCAL_RANK": str(rank),
                           "MASTER_ADDR": "unused", "MASTER_PORT": "1"}  # fmt: skip
            dist.init_process_group("gloo", init_method=meeting.as_uri(), rank=rank, world_size=job["processes"])
        result = {"returned": globals()[job["name"]](rank, folder, **job["arguments"])}
        status = 0
    except LingraftError as error:
        result = {"error": f"{type(error).__name__}: {error}", "exit_status": error.exit_status}
        if isinstance(error, MemoryRanOutError):
            result["micro_batch"] = error.micro_batch
    except BaseException as error:
        traceback.print_exc()
        result = {"error": f"{type(error).__name__}: {error}"}
    (folder / f"result-{rank}").write_text(json.dumps(result), encoding="utf-8")
    sys.stderr.flush()
    os._exit(status)


def run(job: dict, number: int) -> dict:
    folder = Path(job["folder"])
    for old in folder.glob("result-*"):
        old.unlink()
    children = [in_fork(job, rank, folder / f"meeting-{number}") for rank in range(job["processes"])]
    statuses: list[int | None] = [None] * len(children)
    end = time.monotonic() + _LIMIT
    while None in statuses and time.monotonic() < end:
        for rank, child in enumerate(children):
            if statuses[rank] is None and (ended := os.waitpid(child, os.WNOHANG))[0]:
                statuses[rank] = os.waitstatus_to_exitcode(ended[1])
        time.sleep(0.01)
    for rank, child in enumerate(children):
        if statuses[rank] is None:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    results = [folder / f"result-{rank}" for rank in range(len(children))]
    told = [json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {} for path in results]
    return {"statuses": statuses, "results": told}


if __name__ == "__main__":
    torch.set_num_threads(1)
    meter.matrix_rate = lambda *_: 1e9  # measuring it takes a second
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # their threads do not live on in a fork
    tiny.wordpiece_tokenizer(), tiny.bytebpe_tokenizer()  # trained at random, so once for all processes
    for number, line in enumerate(sys.stdin):
        sys.stdout.write(json.dumps(run(json.loads(line), number)) + "\n")
        sys.stdout.flush()
    os._exit(0)  # all there is to clean up is what was imported
