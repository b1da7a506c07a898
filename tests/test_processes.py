"""A whole run by several processes: who works, who speaks, and what becomes of errors."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from conftest import Ranks, returned
from lingraft.errors import LeaderError, LingraftError, RecipeError
from lingraft.processes import processes


def test_the_leader_works_and_the_others_help(tmp_path: Path, ranks: Ranks):
    done = ranks("share_of_work", 3, tmp_path)
    assert returned(done) == "by the leader, seen by 0"
    assert {result["returned"] for result in done["results"]} == {"by the leader, seen by 0"}


def test_what_the_leader_was_given_wrong_ends_all_with_its_status(tmp_path: Path, ranks: Ranks):
    first, *others = ranks("share_of_work", 3, tmp_path, fails="input")["results"]
    assert first == {"error": "CorpusError: that file is not there", "exit_status": 2}
    assert others == 2 * [{"error": "LeaderError: that file is not there", "exit_status": 2}]


def test_what_fails_elsewhere_is_told_by_the_leader_too(tmp_path: Path, ranks: Ranks):
    first, second = ranks("share_of_work", 2, tmp_path, fails="follower")["results"]
    assert second["error"] == "RunError: the disk is full"
    assert first["error"] == "RunError: Process 1 of 2 (counted from 0) has failed: the disk is full"


@pytest.mark.parametrize(("rank", "error"), [(0, RecipeError), (1, LeaderError)])
def test_more_processes_than_cards_are_refused(monkeypatch: pytest.MonkeyPatch, rank: int, error: type[LingraftError]):
    for name, value in {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "MASTER_ADDR": "x",
                        "MASTER_PORT": 1}.items():  # fmt: skip
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(error, match="2 processes were started on a machine with 1 CUDA cards") as caught:
        processes()
    assert caught.value.exit_status == 2


@pytest.fixture
def options(model_folder: Path, bitext_file: Path) -> list[str]:
    return [
        "transfer", str(model_folder), "--to", "fr", "--bitext", str(bitext_file), "--steps", "6", "--json",
        "--set", "training.batch_size=4", "--set", "training.sequence_length=32", "--set",
        "training.embeddings_share=0.34", "--set", "training.precision=float32", "--set",
        "training.checkpoint_seconds=0",
    ]  # fmt: skip


def heard(folder: Path, processes: int, name: str) -> list[str]:
    return [(folder / f"{name}-{rank}").read_text(encoding="utf-8") for rank in range(processes)]


def distance(one: Path, other: Path) -> float:
    sides = [
        (load_file(folder / side / "model.safetensors") for folder in (one, other)) for side in ("target", "source")
    ]
    return max(float((ours[name] - theirs[name]).abs().max()) for ours, theirs in sides for name in ours)


def test_bad_input_is_told_once_and_ends_all_with_status_2(tmp_path: Path, ranks: Ranks, options: list[str]):
    nowhere = [*options[:4], "--bitext", "nowhere.tsv", "--out", str(tmp_path / "run")]
    for line, told in ((nowhere, "nowhere.tsv"), (["transfer", "--no-such"], "No such option"), (options, "--out DIR")):
        done = ranks("command", 2, tmp_path, line=line)
        assert [result["returned"]["status"] for result in done["results"]] == [2, 2]
        first, second = heard(tmp_path, 2, "err")
        assert first.count(told) == 1
        assert "Traceback" not in first
        assert second == ""
        assert heard(tmp_path, 2, "out") == ["", ""]
        assert not (tmp_path / "run" / "recipe.yaml").exists()


def test_stopped_with_two_processes_and_resumed_with_one(tmp_path: Path, ranks: Ranks, options: list[str]):
    """And the other way round, to what one process makes in one go."""
    whole = ranks("command", 1, tmp_path, line=[*options, "--out", str(tmp_path / "whole")])
    assert whole["results"][0]["returned"]["status"] == 0
    for first, then, rank in ((2, 1, 1), (1, 2, 0)):
        out = tmp_path / f"run{first}"
        line = [*options, "--out", str(out), "--quiet"]
        done = ranks("command", first, tmp_path, line=line, die={"rank": rank, "step": 3})
        assert [result["returned"]["status"] for result in done["results"]] == first * [143]
        told = heard(tmp_path, first, "err")
        assert "Stopped by SIGTERM after step 4 of 6, with everything saved. Go on with: lingraft resume" in told[0]
        assert told[1:] == [""] * (first - 1)
        done = ranks("command", then, tmp_path, line=["resume", str(out), "--json"])
        assert [result["returned"]["status"] for result in done["results"]] == then * [0]
        told = heard(tmp_path, then, "out")
        assert json.loads(told[0])["training"]["steps"] == 6
        assert told[1:] == [""] * (then - 1)
        assert distance(tmp_path / "whole", out) < 1e-5


def test_torchrun_starts_it(tmp_path: Path, ranks: Ranks, options: list[str]):
    whole = ranks("command", 1, tmp_path, line=[*options, "--out", str(tmp_path / "whole")])
    assert whole["results"][0]["returned"]["status"] == 0
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python"]
    line = [str(Path(sys.executable).with_name("lingraft")), *options, "--out", str(tmp_path / "run")]
    more = ["--set", "training.parallel=fsdp", "--track", "jsonl"]
    done = subprocess.run([*launcher, *line, *more], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["training"]["steps"] == 6
    assert done.stderr.count("training    100 %") <= 2
    assert len((tmp_path / "run" / "track" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()) == 6
    assert distance(tmp_path / "whole", tmp_path / "run") < 1e-5
