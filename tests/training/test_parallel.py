from __future__ import annotations

from pathlib import Path

import pytest
import torch

from conftest import Ranks, returned


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "weights.pt")


def distance(one: Path, other: Path) -> float:
    ours, theirs = weights(one), weights(other)
    assert ours.keys() == theirs.keys()
    return max(float((ours[name] - theirs[name]).abs().max()) for name in ours)


def close(one: list[dict], other: list[dict], tolerance: float = 1e-6) -> None:
    """The meter's losses, which are float32."""
    for mine, theirs in zip(one, other, strict=True):
        names = [name for name in mine if name not in ("seconds", "stage")]
        assert [mine[name] for name in names] == pytest.approx([theirs[name] for name in names], abs=tolerance)


EXACT = {"double": True, "objective": "mlm"}


@pytest.mark.parametrize(("objective", "more"), [("mlm", {"translation_weight": 0.5}), ("clm", {})])
def test_two_processes_learn_what_one_does(tmp_path: Path, ranks: Ranks, objective: str, more: dict):
    """In double precision, with the whole batch at once in one process."""
    keys = {"objective": objective, "double": True, **more}
    one = returned(ranks("train", 1, tmp_path / "one", **keys))
    for how in ("ddp", "fsdp"):
        two = returned(ranks("train", 2, tmp_path / how, parallel=how, **keys))
        assert distance(tmp_path / "one", tmp_path / how) < 1e-10
        close(one["history"], two["history"])
        assert one["tokens"] == two["tokens"]


def test_micro_batches_and_a_third_process_change_nothing(tmp_path: Path, ranks: Ranks):
    """Six sequences: of two processes each takes three, one by one; of four two take two; clipping is at work."""
    returned(ranks("train", 1, tmp_path / "one", clip=0.1, **EXACT))
    for processes, more in ((2, {"micro_batch": 1}), (2, {"micro_batch": 2, "parallel": "fsdp"}), (4, {"steps": 8})):
        folder = tmp_path / f"{processes}{len(more)}"
        returned(ranks("train", processes, folder, clip=0.1, **more, **EXACT))
        assert distance(tmp_path / "one", folder) < 1e-10


@pytest.mark.parametrize("how", ["ddp", "fsdp"])
def test_distillation_tells_sentences_of_the_whole_batch_apart(
    tmp_path: Path, ranks: Ranks, how: str, sentence_model_folder: Path
):
    """Bit for bit what one process does in two halves; the last batch of an epoch has two of 50 sentences.

    The pooler never gets a gradient, and so no weight decay. Of shards the kernels round the last elements otherwise.
    """
    keys = {"objective": "distill", "model": str(sentence_model_folder), "contrast": 1.0, "clip": 1e9, "steps": 10,
            "weight_decay": 0.5}  # fmt: skip
    returned(ranks("train", 1, tmp_path / "one", micro_batch=3, **keys))
    returned(ranks("train", 2, tmp_path / "two", parallel=how, **keys))
    assert distance(tmp_path / "one", tmp_path / "two") <= (0 if how == "ddp" else 1e-6)


def test_a_batch_too_small_for_all_processes(tmp_path: Path, ranks: Ranks, sentence_model_folder: Path):
    """Three processes, two sentences at the end of an epoch: one has nothing to do and sends zeros."""
    keys = {"objective": "distill", "model": str(sentence_model_folder), "steps": 10, "embeddings_share": 0.2,
            "encoder": "shared"}  # fmt: skip
    one = returned(ranks("train", 1, tmp_path / "one", **keys))
    for how in ("ddp", "fsdp"):
        three = returned(ranks("train", 3, tmp_path / how, parallel=how, **keys))
        close(one["history"], three["history"], 2e-3)


@pytest.mark.parametrize("micro_batch", [None, 1])
@pytest.mark.parametrize("encoder", ["shared", "own"])
def test_languages_run_out_of_sentences_at_different_steps(
    tmp_path: Path, ranks: Ranks, sentence_model_folder, micro_batch, encoder
):
    """One sentence of one language is left at the end of its epoch, while the other has as many as always, or two.

    In step 6 it is one and two: of two processes that take sentences one by one, the second has none of the one
    language at first and none of the other later, and shards of bodies must come together in one order all the same.
    """
    keys = {"objective": "distill", "model": str(sentence_model_folder), "steps": 10, "embeddings_share": 0.2,
            "encoder": encoder, "second": 13, "micro_batch": micro_batch}  # fmt: skip
    one = returned(ranks("train", 1, tmp_path / "one", **keys))
    for how in ("ddp", "fsdp"):
        two = returned(ranks("train", 2, tmp_path / how, parallel=how, **keys))
        close(one["history"], two["history"], 2e-3)


@pytest.mark.parametrize(("first", "last"), [("ddp", "ddp"), ("fsdp", "ddp"), ("ddp", "fsdp")])
def test_killed_with_two_goes_on_with_one_and_with_two_again(tmp_path: Path, ranks: Ranks, first: str, last: str):
    """In the end there are the weights of a run that was never interrupted, with DDP bit for bit."""
    keys = {**EXACT, "clip": 1e9, "micro_batch": 3}
    whole = returned(ranks("train", 1, tmp_path / "whole", **keys))
    broken = tmp_path / "broken"
    for processes, dying in ((2, {"rank": 1, "step": 3}), (1, {"rank": 0, "step": 5})):
        done = ranks("train", processes, broken, parallel=first, die=dying, **keys)
        assert done["statuses"][dying["rank"]] == 9
        assert None not in done["statuses"], "a process waits for one that is gone"
        assert 0 not in done["statuses"]
    report = returned(ranks("train", 2, broken, parallel=last, **keys))
    assert distance(tmp_path / "whole", broken) <= (0 if first == last == "ddp" else 1e-12)
    close(report["history"], whole["history"])


@pytest.mark.parametrize("how", ["ddp", "fsdp"])
def test_resumed_with_as_many_processes_is_bit_for_bit_the_same(tmp_path: Path, ranks: Ranks, how: str):
    """With three, where the order in which gradients are added up shows, and clipping."""
    keys = {"objective": "mlm", "parallel": how, "clip": 0.1, "steps": 6}
    returned(ranks("train", 3, tmp_path / "whole", **keys))
    done = ranks("train", 3, tmp_path / "broken", die={"rank": 0, "step": 4}, **keys)
    assert None not in done["statuses"]
    returned(ranks("train", 3, tmp_path / "broken", **keys))
    assert distance(tmp_path / "whole", tmp_path / "broken") == 0


def test_memory_that_one_process_lacks_at_first_halves_the_micro_batch_of_all(tmp_path: Path, ranks: Ranks):
    fails = {"kind": "memory", "rank": 1, "step": 0, "parts_needed": 4}
    done = ranks("toy_run", 2, tmp_path / "two", fails=fails)
    report = returned(done)
    assert (report["micro_batch"], report["out_of_memory"]) == (2, 1)
    for result in done["results"]:
        assert {parts for step, _, parts in result["returned"]["seen"] if step} == {4}
    assert returned(ranks("toy_run", 2, tmp_path / "small", micro_batch=2))["weights"] == report["weights"]


def test_memory_that_one_process_lacks_later_ends_all_and_is_remembered(tmp_path: Path, ranks: Ranks):
    fails = {"kind": "memory", "rank": 1, "step": 8, "parts_needed": 4}
    done = ranks("toy_run", 2, tmp_path, fails=fails)
    assert done["statuses"] == [1, 1]
    assert done["results"][1]["micro_batch"] == 2
    assert "Memory ran out at step 9. Go on with lingraft resume" in done["results"][1]["error"]
    report = returned(ranks("toy_run", 2, tmp_path, fails=fails))
    assert (report["micro_batch"], report["out_of_memory"]) == (2, 1)


def test_a_loss_that_is_no_number_in_one_process_takes_all_back(tmp_path: Path, ranks: Ranks):
    done = ranks("toy_run", 2, tmp_path, fails={"kind": "nan", "rank": 1, "step": 7})
    reports = [result["returned"] for result in done["results"]]
    assert {tuple(report["skipped_steps"]) for report in reports} == {(8,)}
    assert reports[0]["rollbacks"] == 1
    assert reports[0]["weights"] == reports[1]["weights"]


@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_to_one_process_stops_all_behind_the_same_step(tmp_path: Path, ranks: Ranks, rank: int):
    fails = {"kind": "signal", "rank": rank, "step": 8}
    whole = returned(ranks("toy_run", 2, tmp_path / "whole"))
    done = ranks("toy_run", 2, tmp_path / "stopped", fails=fails, checkpoint_seconds=3600.0)
    for result in done["results"]:
        assert "Stopped by SIGTERM after step 9 of 12, with everything saved." in result["error"]
        assert result["exit_status"] == 143
    assert returned(ranks("toy_run", 2, tmp_path / "stopped"))["weights"] == whole["weights"]


def test_a_time_budget_ends_for_all_at_the_same_step(tmp_path: Path, ranks: Ranks):
    done = ranks("toy_run", 2, tmp_path, seconds=1.0)
    reports = [result["returned"] for result in done["results"]]
    assert reports[0]["steps"] == reports[1]["steps"]
    assert reports[0]["weights"] == reports[1]["weights"]


def test_an_error_of_one_process_ends_the_others(tmp_path: Path, ranks: Ranks):
    done = ranks("toy_run", 2, tmp_path, fails={"kind": "error", "rank": 1, "step": 9})
    assert done["statuses"] == [1, 1]
    assert done["results"][1]["error"] == "ValueError: a defect"


def test_a_batch_that_is_smaller_than_the_number_of_processes_is_refused(tmp_path: Path, ranks: Ranks):
    done = ranks("train", 2, tmp_path, objective="mlm", batch_size=1)
    assert {result["exit_status"] for result in done["results"]} == {2}
    assert "batch_size=1 is less than the number of processes, 2" in done["results"][0]["error"]
