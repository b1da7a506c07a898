from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

import toy
from lingraft.errors import RunError
from lingraft.training.precision import LossScale
from lingraft.training.update import NOT_FINITE, Update, is_out_of_memory
from toy import ToyObjective, same

CPU = torch.device("cpu")


def cuda_error() -> Exception:
    return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def host_error() -> Exception:
    return RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried")


ERRORS = [cuda_error, host_error, MemoryError, lambda: RuntimeError("DefaultCPUAllocator: not enough memory: you")]


def update_of(objective: ToyObjective, micro_batch: int | None = None, precision: str = "float32") -> Update:
    optimizer = objective.groups().optimizer(toy.schedule())
    for group in optimizer.param_groups:
        group["lr"] = group["peak"]
    return Update(objective, optimizer, precision, CPU, objective.batch_size, micro_batch)


def needs(parts_needed: int, error):
    """Memory for no more than so small a part; runs out at the second part if there are several."""

    def before(step: int, part: int, parts: int) -> None:
        if parts < parts_needed and part == min(1, parts - 1):
            raise error()

    return before


def test_a_pass_holds_no_more_examples_than_the_objective_says(tmp_path: Path):
    small = ToyObjective()
    toy.trainer(small, tmp_path / "small", micro_batch=2).run()
    seen: set[tuple[int, int]] = set()
    limited = ToyObjective(before=lambda _, part, parts: seen.add((part, parts)))
    limited.limit = 2
    report = toy.trainer(limited, tmp_path / "limited", micro_batch=4).run()
    assert same(small.weights(), limited.weights())
    assert seen == {(part, 4) for part in range(4)}
    assert report["micro_batch"] == 4


@pytest.mark.parametrize("error", ERRORS)
def test_out_of_memory_ends_with_the_weights_of_a_run_that_began_with_that_many_parts(
    tmp_path: Path, error, caplog: pytest.LogCaptureFixture
):
    small = ToyObjective()
    toy.trainer(small, tmp_path / "small", micro_batch=2).run()
    large = ToyObjective(before=needs(4, error))
    with caplog.at_level(logging.WARNING, "lingraft"):
        report = toy.trainer(large, tmp_path / "large").run()
    assert same(small.weights(), large.weights())
    assert (report["micro_batch"], report["out_of_memory"]) == (2, 2)
    assert "Memory ran out at step 1: from here on 4 of the 8 examples" in caplog.text
    assert "from here on 2 of the 8 examples" in caplog.text


def test_parts_give_the_gradient_of_the_whole():
    whole, parts = ToyObjective(batch_size=7), ToyObjective(batch_size=7)
    losses = [update_of(whole)(3, both=True), update_of(parts, 2)(3, both=True)]
    for one, other in zip(whole.module.parameters(), parts.module.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)
    assert losses[0].keys() == losses[1].keys() == {"loss_xx", "loss_en", NOT_FINITE}
    for name in losses[0]:
        torch.testing.assert_close(losses[0][name], losses[1][name])


def test_more_parts_than_examples_do_no_harm():
    """The last batch of an epoch may be smaller than the batch size."""
    whole, parts = ToyObjective(batch_size=3), ToyObjective(batch_size=3)
    update = update_of(parts)
    update._batch_size, update.micro_batch = 8, 1
    update_of(whole)(0, both=True)
    update(0, both=True)
    torch.testing.assert_close(whole.weights(), parts.weights(), rtol=0, atol=1e-6)


def test_memory_that_runs_out_later_is_remembered_by_checkpoints(tmp_path: Path):
    def before(step: int, part: int, parts: int) -> None:
        if step == 5 and parts == 1:
            raise cuda_error()
        if step == 20:
            raise toy.KillError

    with pytest.raises(toy.KillError):
        toy.trainer(ToyObjective(before=before), tmp_path).run()
    parts_seen = set()
    again = ToyObjective(before=lambda *place: parts_seen.add(place[2]))
    report = toy.trainer(again, tmp_path).run()
    assert parts_seen == {2}
    assert (report["micro_batch"], report["out_of_memory"]) == (4, 1)


def test_one_example_that_does_not_fit_ends_the_run_with_advice(tmp_path: Path):
    objective = ToyObjective(before=needs(9, cuda_error))
    with pytest.raises(RunError, match=r"at step 1 with one example at a time\. Give a shorter training\.sequence"):
        toy.trainer(objective, tmp_path).run()


def test_other_errors_are_not_taken_for_it(tmp_path: Path):
    def broken(*_: int) -> None:
        raise RuntimeError("size mismatch")

    with pytest.raises(RuntimeError, match="size mismatch"):
        toy.trainer(ToyObjective(before=broken), tmp_path).run()
    assert not is_out_of_memory(ValueError("not enough memory"))


def test_an_allocation_that_cannot_be_met_is_recognised():
    with pytest.raises((RuntimeError, MemoryError)) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize("factor", [0.1, 30.0])
def test_clipping_is_that_of_torch(factor: float):
    """One with our division inside the optimizer, the other with clip_grad_norm_ and a plain AdamW."""
    ours, theirs = (ToyObjective(spoil=lambda _, loss: factor * loss) for _ in range(2))
    update = update_of(ours)
    reference = theirs.groups().optimizer(toy.schedule())
    for group in reference.param_groups:
        group["lr"] = group["peak"]
    for step in range(5):
        update(step, both=True)
        reference.zero_grad()
        theirs.loss(step, both=True)[0].backward()
        norm = torch.nn.utils.clip_grad_norm_(theirs.module.parameters(), 1.0)
        assert (norm > 1) == (factor > 1)
        reference.step()
    torch.testing.assert_close(ours.weights(), theirs.weights(), rtol=1e-5, atol=1e-6)


def test_a_gradient_that_is_not_finite_leaves_weights_and_moments_as_they_are():
    objective = ToyObjective(spoil=lambda step, loss: loss * (float("inf") if step == 1 else 1.0))
    update = update_of(objective)
    assert update(0, both=True)[NOT_FINITE] == 0
    weights = objective.weights()
    moments = {
        (id(parameter), name): value.clone()
        for parameter, state in update._optimizer.state.items() for name, value in state.items()
    }  # fmt: skip
    assert update(1, both=True)[NOT_FINITE] == 1
    assert same(weights, objective.weights())
    for parameter, state in update._optimizer.state.items():
        for name, value in state.items():
            assert torch.equal(value, moments[id(parameter), name])


def test_the_loss_scale_follows_torchs_grad_scaler():
    ours = LossScale(CPU)
    theirs = torch.amp.GradScaler("cpu", init_scale=2.0**16, growth_interval=2000)
    parameter = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([parameter], lr=0.0)
    overflows = {0, 1, 5, 1500, 3499, 3501, 3502}
    for step in range(6000):
        bad = step in overflows
        parameter.grad = None
        theirs.scale((parameter * (float("inf") if bad else 1.0)).sum()).backward()
        theirs.step(optimizer)
        theirs.update()
        ours.update(torch.tensor(float(bad)))
        if step % 50 == 0 or bad:
            assert ours.value.item() == theirs.get_scale()
    assert ours.value.item() == theirs.get_scale()


def test_fp16_learns_as_float32_does_and_recovers_from_overflow(tmp_path: Path):
    exact, scaled = ToyObjective(), ToyObjective()
    one = toy.trainer(exact, tmp_path / "exact", steps=60, checkpoint_seconds=3600.0).run()
    other = toy.trainer(scaled, tmp_path / "fp16", "fp16", steps=60, checkpoint_seconds=3600.0).run()
    assert other["history"][-1]["loss_xx"] == pytest.approx(one["history"][-1]["loss_xx"], rel=0.05)
    loud = ToyObjective(spoil=lambda _, loss: loss * 1e3)  # overflows until the scale has come down
    trainer = toy.trainer(loud, tmp_path / "loud", "fp16", steps=60, checkpoint_seconds=3600.0)
    report = trainer.run()
    assert 0 < report["updates_not_finite"] < 20
    assert trainer._update.loss_scale.value < 2.0**16


def test_the_loss_scale_is_in_the_checkpoint(tmp_path: Path):
    def kill(step: int, *_: int) -> None:
        if step == 20:
            raise toy.KillError

    def loud(step: int, loss: torch.Tensor) -> torch.Tensor:
        return loss * 1e3

    whole, resumed = ToyObjective(spoil=loud), ToyObjective(spoil=loud)
    toy.trainer(whole, tmp_path / "whole", "fp16").run()
    with pytest.raises(toy.KillError):
        toy.trainer(ToyObjective(spoil=loud, before=kill), tmp_path / "killed", "fp16").run()
    toy.trainer(resumed, tmp_path / "killed", "fp16").run()
    assert same(whole.weights(), resumed.weights())
