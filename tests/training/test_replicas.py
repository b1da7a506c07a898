"""One training several times at once, and the mean of the weights."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lingraft import resume, transfer
from lingraft.children import python, reason
from lingraft.errors import RecipeError, RunError, StoppedError
from lingraft.processes import Processes
from lingraft.recipe import TrainingRecipe, read_recipe_file
from lingraft.report.cost import machine_rows
from lingraft.report.findings import find_all
from lingraft.report.summary import summary_rows
from lingraft.surgery import load_model
from lingraft.training import check_replicas, distillation_trainer, resolve_training, threads_shared
from lingraft.training.checkpoint import save_checkpoint
from lingraft.training.replicas import Alongside, Job, average, finished, replica_seed

SETTINGS = {
    "training.steps": 6, "training.batch_size": 16, "training.checkpoint_seconds": 0, "training.precision": "float32",
}  # fmt: skip
GUARD = {"rollbacks": 1, "skipped": [4], "unapplied": 0}


def at_the_end(folder: Path, tensors: dict[str, torch.Tensor], steps: int = 6, of: int = 6) -> Path:
    plan = {"embeddings_from": 0, "all_from": 0, "planned": of}
    state = {"plan": plan | {"steps": of}, "pace": {}, "step": steps, "tokens": 7, "seconds": 1.5, "micro_batch": 4,
             "guard": GUARD}  # fmt: skip
    save_checkpoint(folder, steps, {f"parameter.{name}": value for name, value in tensors.items()}, state)
    return folder


def test_the_mean_of_weights(tmp_path: Path):
    """Of seven, where the mean of the same in single precision is another number."""
    same = torch.rand(1000, generator=torch.Generator().manual_seed(0))
    assert not torch.equal(sum([same] * 6, same) / 7, same)
    parameters = {"same": same.clone().requires_grad_(True), "moved": torch.tensor([[1.0, 2.0]])}
    folders = [
        at_the_end(tmp_path / str(number), {"same": same, "moved": torch.tensor([[number, 7.0]])})
        for number in range(2, 8)
    ]
    told = average(parameters, folders)
    assert torch.equal(parameters["same"], same)
    assert torch.equal(parameters["moved"], torch.tensor([[4.0, 44 / 7]]))
    assert told == 6 * [
        {"steps": 6, "tokens": 7, "seconds": 1.5, "micro_batch": 4, "out_of_memory": 0, "rollbacks": 1,
         "skipped_steps": [5], "updates_not_finite": 0}
    ]  # fmt: skip
    with pytest.raises(RunError, match="has none"):
        average(parameters, [tmp_path / "nowhere"])


def test_what_is_finished(tmp_path: Path):
    assert not finished(tmp_path / "nowhere")
    assert finished(at_the_end(tmp_path / "whole", {"x": torch.ones(1)}))
    assert not finished(at_the_end(tmp_path / "half", {"x": torch.ones(1)}, steps=3))


def test_seeds_differ_and_the_first_is_the_run_s():
    seeds = {replica_seed(seed, number) for seed in range(20) for number in range(8)}
    assert len(seeds) == 160
    assert [replica_seed(seed, 0) for seed in (0, 7)] == [0, 7]


@pytest.mark.parametrize("encoder", ["own", "shared"])
def test_a_run_of_three_is_the_mean_of_three_runs(
    tmp_path: Path, sentence_model_folder: Path, bitext_file: Path, heldout_file: Path, encoder: str
):
    out = tmp_path / "run"
    more = {"training.replicas": 3, "training.encoder": encoder, "training.embeddings_share": 0.5}
    result = transfer(
        str(sentence_model_folder), to="fr", bitext=[str(bitext_file)], eval_bitext=str(heldout_file), out=out, seed=3,
        objective="distill", settings=SETTINGS | more,
    )  # fmt: skip
    told = result.run["training"]["replicas"]
    assert [(one["steps"], one["tokens"] > 0) for one in told] == 3 * [(6, True)]
    assert not list(out.glob(".cache/checkpoints*"))
    assert "first of 3 such trainings" in (out / "target" / "README.md").read_text(encoding="utf-8")
    assert dict(summary_rows(result.run))["training"].startswith("mean of 3 replicas, the first: 6 steps, ")
    rows = dict(machine_rows(result.run))
    assert rows["replicas, whose weights are averaged"].startswith("3; ")
    assert "processor time of all stages" not in rows

    recipe = result.recipe.training.model_copy(update={"replicas": 1})
    corpus = next(out.glob(".cache/corpus-*"))
    pairs = list(zip(*((corpus / f"bitext.{side}").read_text().split("\n")[:-1] for side in ("en", "xx")), strict=True))
    trained = []
    for number in range(3):
        source, target = load_model(sentence_model_folder), load_model(next(out.glob(".cache/graft-*")) / "target")
        seed = replica_seed(3, number)
        distillation_trainer(source, target, pairs, recipe, seed, tmp_path / str(number)).run()
        trained.append({"source": dict(source.model.state_dict()), "target": dict(target.model.state_dict())})
    for side in ("source", "target"):
        spread = 0.0
        for name, value in load_file(out / side / "model.safetensors").items():
            mine = [one[side][name] for one in trained]
            spread = max(spread, float((mine[0] - mine[1]).abs().max()))
            assert torch.allclose(value, torch.stack(mine).mean(0), atol=1e-6), name
        assert (spread > 1e-4) == (side == "target" or encoder == "shared"), side
    if encoder == "own":
        name = "model.safetensors"
        assert (out / "source" / name).read_bytes() == (sentence_model_folder / name).read_bytes()


class Run:
    """A run of two replicas in a process of its own, which trains until it is told to stop or killed."""

    def __init__(self, folder: Path, model: Path, bitext: Path) -> None:
        self.out = folder / "run"
        command = [
            str(Path(sys.executable).with_name("lingraft")), "transfer", str(model), "--to", "fr", "--bitext",
            str(bitext), "--out", str(self.out), "--steps", "20000", "--quiet",
        ]  # fmt: skip
        for setting in ("batch_size=4", "checkpoint_seconds=0", "replicas=2", "precision=float32"):
            command += ["--set", f"training.{setting}"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def steps(self, where: str) -> list[int]:
        return sorted(int(path.name.removeprefix("step-")) for path in self.out.glob(f".cache/checkpoints-*/{where}"))

    def until(self, true: Callable[[], object]) -> None:
        end = time.monotonic() + 120
        while not true():
            assert self.process.poll() is None, self.process.communicate()[1]
            assert time.monotonic() < end
            time.sleep(0.05)

    def both_train(self) -> int:
        """Waits until both have made some steps; gives the number of the other replica's process."""
        self.until(lambda: max(self.steps("step-*"), default=0) > 2 and max(self.steps("*/step-*"), default=0) > 2)
        (other,) = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(other)


def gone(process: int) -> bool:
    """Whether a process ends within a minute; one that nobody has asked about since is gone, too."""
    stat, end = Path(f"/proc/{process}/stat"), time.monotonic() + 60
    while time.monotonic() < end:
        try:
            state = stat.read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state in "ZX":
            return True
        time.sleep(0.05)
    return False


@pytest.fixture
def run(tmp_path: Path, sentence_model_folder: Path, bitext_file: Path):
    made = Run(tmp_path, sentence_model_folder, bitext_file)
    yield made
    made.process.kill()
    made.process.communicate()


def test_a_run_that_is_stopped_stops_its_replicas_with_everything_saved(run: Run):
    other = run.both_train()
    run.process.send_signal(signal.SIGTERM)
    said = run.process.communicate(timeout=90)[1]
    assert run.process.returncode == 143, said
    assert "with everything saved. Go on with: lingraft resume" in said
    assert gone(other)
    log = next(run.out.glob(".cache/checkpoints-*/replica-2/log.txt")).read_text(encoding="utf-8")
    assert f"Stopped by SIGTERM after step {run.steps('replica-2/step-*')[-1]:,} of 20,000" in log


def test_a_run_that_is_killed_takes_its_replicas_along(run: Run):
    other = run.both_train()
    run.process.kill()
    assert gone(other)


def test_a_replica_that_is_killed_ends_the_run(run: Run):
    os.kill(run.both_train(), signal.SIGKILL)
    said = run.process.communicate(timeout=90)[1]
    assert run.process.returncode == 1
    assert "One of the replicas has failed: its process was ended by SIGKILL, perhaps for want of memory" in said
    assert "Traceback" not in said
    assert "lingraft resume" in said


def test_stopped_in_the_middle_a_run_of_two_ends_with_the_same_weights(
    tmp_path: Path, monkeypatch, sentence_model_folder: Path, bitext_file: Path
):
    """The first one is stopped at a step of its own, the other is done by then and is not trained again."""
    made = []
    for name in ("whole", "broken"):
        given = {"to": "fr", "bitext": [str(bitext_file)], "out": tmp_path / name, "objective": "distill"}
        settings = SETTINGS | {"training.replicas": 2}
        if name == "broken":

            def stop(stage: str, _share: float, note: str) -> None:
                folder = next((tmp_path / "broken").glob(".cache/checkpoints-*"), None)
                if stage == "training" and "all 3/6" in note and folder is not None:
                    end = time.monotonic() + 60
                    while not (folder / "replica-2" / "step-000000006" / "manifest.json").exists():
                        assert time.monotonic() < end
                        time.sleep(0.05)
                    time.sleep(1.0)  # it ends
                    signal.raise_signal(signal.SIGTERM)

            with pytest.raises(StoppedError, match="after step 4 of 6"):
                transfer(str(sentence_model_folder), **given, settings=settings, on_progress=stop)
            monkeypatch.setattr("lingraft.stages.Job", None)  # there is nothing left for another process
            made.append(resume(tmp_path / name))
        else:
            made.append(transfer(str(sentence_model_folder), **given, settings=settings))
    whole, broken = ((tmp_path / name / "target" / "model.safetensors").read_bytes() for name in ("whole", "broken"))
    assert whole == broken
    assert [one["steps"] for one in made[1].run["training"]["replicas"]] == [6, 6]


def nap() -> None:
    """A job that can be stopped at any time."""
    while True:
        time.sleep(0.05)


def stopped_by_itself() -> None:
    raise StoppedError("Stopped.", signal.SIGTERM)


def job(tmp_path: Path, work: Callable[..., object], *arguments: object) -> Job:
    return Job(work, arguments, tmp_path / "replica" / "log.txt")


@pytest.mark.parametrize(
    ("work", "argument", "why"),
    [
        (read_recipe_file, Path("nowhere.yaml"), "nowhere.yaml"),
        (Path.unlink, Path("nowhere"), "FileNotFoundError"),
        (os._exit, 3, "its process ended with status 3"),
    ],
)
def test_why_a_replica_failed_is_told(tmp_path: Path, work, argument, why: str):
    with pytest.raises(RunError, match="One of the replicas has failed: ") as caught:  # noqa: SIM117
        with Alongside([job(tmp_path, work, argument)], 1) as others:
            others.wait()
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "log.txt" in str(caught.value)


def test_one_that_somebody_stopped_has_not_failed(tmp_path: Path):
    with pytest.raises(StoppedError, match="each goes on from its newest checkpoint"):  # noqa: PT012, SIM117
        with Alongside([job(tmp_path, stopped_by_itself)], 1) as others:
            others.processes[0].wait()
            others.check()
            others.wait()


def test_a_signal_while_others_train_on_stops_them(tmp_path: Path):
    """SIGTERM, for SIGINT stays ignored where it was before, as under nohup."""
    with pytest.raises(StoppedError) as caught:  # noqa: PT012, SIM117
        with Alongside([job(tmp_path, nap)], 1) as others:
            child = python(f"import os, signal, time; time.sleep(2); os.kill({os.getpid()}, signal.SIGTERM)")
            with subprocess.Popen(child):
                others.wait()
    assert caught.value.exit_status == 143
    assert [process.returncode for process in others.processes] == [143]


def test_the_working_folder_is_no_place_to_import_from(tmp_path: Path, monkeypatch):
    (tmp_path / "filelock.py").write_text("raise SystemExit('imported')")
    monkeypatch.chdir(tmp_path)
    done = subprocess.run(python("import filelock"), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_last_line_says_why(tmp_path: Path):
    log = tmp_path / "log.txt"
    log.write_bytes(b"a warning\nValueError: \xff no\n\n")
    assert reason(1, log) == "ValueError: \ufffd no"


def test_threads_are_shared_out_and_given_back():
    before = torch.get_num_threads()
    torch.set_num_threads(5)
    try:
        with threads_shared(2) as share:
            assert (share, torch.get_num_threads()) == (2, 2)
        assert torch.get_num_threads() == 5
        with threads_shared(9) as share:
            assert share == 1
    finally:
        torch.set_num_threads(before)


def test_a_launcher_s_processes_are_no_replicas():
    class Three(Processes):
        size = 3

    check_replicas(Processes(), 2)
    check_replicas(Three(), 1)
    with pytest.raises(RecipeError, match="a launcher has started 3"):
        check_replicas(Three(), 2)


def test_replicas_are_for_distillation():
    with pytest.raises(RecipeError, match=r"training\.replicas=2 is for the objective 'distill'; this run has 'mlm'"):
        resolve_training(TrainingRecipe(objective="mlm", replicas=2), "masked")


def test_what_went_wrong_in_another_replica_is_told_too():
    good = {"steps": 6, "rollbacks": 0, "skipped_steps": [], "history": []}
    bad = good | {"rollbacks": 2, "skipped_steps": [5, 9]}
    found = find_all({"training": good | {"replicas": [good, bad]}}, {})
    assert [str(finding).partition(".")[0] for finding in found] == [
        "Training diverged 2 times and went back (steps left out: 5, 9)"
    ]


def test_replicas_are_a_number_of_a_recipe_file(tmp_path: Path):
    path = tmp_path / "recipe.yaml"
    path.write_text("training: {replicas: 2}", encoding="utf-8")
    assert json.loads(json.dumps(read_recipe_file(path)))["training"] == {"replicas": 2}
