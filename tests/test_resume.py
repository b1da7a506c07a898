from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

STAGES = ["corpus", "vocabulary", "table", "graft", "shards", "shards", "trained", "scores"]


def content(folder):
    """Every file below a folder, with its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def kill_and_resume(tmp_path, recipe, **how):
    """Folders of an uninterrupted run and of one killed and resumed, and all points to kill it at; see killing.py."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    spec = {"recipe": recipe, "whole": str(whole), "broken": str(broken), "batches": [], "commits": False} | how
    program = [sys.executable, str(Path(__file__).with_name("killing.py")), json.dumps(spec)]
    done = subprocess.run(program, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return whole, broken, json.loads(done.stdout)


def assert_same_result(whole, broken):
    for name in ("target", "source"):
        assert "model.safetensors" in content(whole / name)
        assert content(broken / name) == content(whole / name)
    for name in ("table.npz", "recipe.yaml"):
        assert (broken / name).read_bytes() == (whole / name).read_bytes()
    assert names(broken) == names(whole)
    assert names(broken / ".cache") == names(whole / ".cache")
    one, other = (json.loads((folder / "run.json").read_text(encoding="utf-8")) for folder in (whole, broken))
    assert other["scores"] == one["scores"]
    assert other["training"]["steps"] == one["training"]["steps"]
    for told in ("history", "measured"):  # what is measured on the way is kept in the checkpoints
        assert [untimed(entry) for entry in other["training"][told]] == [
            untimed(entry) for entry in one["training"][told]
        ]


def untimed(entry):
    return {name: value for name, value in entry.items() if name != "seconds"}


def test_a_run_killed_before_every_single_commit_ends_with_the_same_weights(
    tmp_path, sentence_model_folder, bitext_file, heldout_file
):
    recipe = {
        "source": str(sentence_model_folder), "language": "fr", "evidence": {"bitext": [str(bitext_file)]},
        "evaluation": {"bitext": str(heldout_file)},
        "training": {"objective": "mlm", "steps": 4, "head_steps": 2, "embeddings_share": 0.34, "batch_size": 4,
                     "sequence_length": 32, "checkpoint_seconds": 0, "evaluations": 2},
    }  # fmt: skip
    whole, broken, points = kill_and_resume(tmp_path, recipe, commits=True)
    assert [point.partition("-")[0] for point in points if "-" in point and "step-" not in point] == STAGES
    assert [point for point in points if "step-" in point] == [f"step-{number:09d}" for number in range(5)]
    assert points[:2] == ["request.sha256", "recipe.yaml"]
    assert points[-6:] == ["table.npz", "target", "source", "README.md", "run.json", "report.html"]
    assert_same_result(whole, broken)


def test_a_run_killed_between_checkpoints_ends_with_the_same_weights(tmp_path, sentence_model_folder, bitext_file):
    recipe = {
        "source": str(sentence_model_folder), "language": "fr", "evidence": {"bitext": [str(bitext_file)]},
        "training": {"objective": "distill", "steps": 6, "batch_size": 16, "embeddings_share": 0.5,
                     "checkpoint_seconds": 1000},
    }  # fmt: skip
    whole, broken, points = kill_and_resume(tmp_path, recipe, batches=[1, 4])
    assert [point for point in points if "step-" in point] == ["step-000000000", "step-000000006"]
    assert_same_result(whole, broken)
