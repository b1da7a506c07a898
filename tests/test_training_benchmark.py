"""What the training benchmark counts by: useful operations, masks, steps."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertConfig, BertForMaskedLM


@pytest.fixture
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The benchmark's module of loops; its neighbours are imported by their bare names, as when it is run."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    import training_methods

    yield training_methods
    for name in ("training_methods", "training_shapes"):
        sys.modules.pop(name, None)


def test_useful_operations_are_those_that_torch_counts(benchmarks):
    import training_shapes

    shape = training_shapes.Shape(layers=2, width=32, heads=4, feed_forward=96, batch_size=1)
    length, vocabulary, batch_size = 24, 160, 2
    config = BertConfig(
        vocab_size=vocabulary, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=96,
        attn_implementation="eager",  # its products are plain ones, which torch counts on every device
    )  # fmt: skip
    model = BertForMaskedLM(config).eval()
    ids = torch.randint(5, vocabulary, (batch_size, length))
    positions = torch.arange(0, ids.numel(), 4)
    with FlopCounterMode(display=False) as counted:
        hidden = model.bert(input_ids=ids).last_hidden_state.flatten(0, 1)[positions]
        model.cls(hidden).sum().backward()
    expected = training_shapes.useful_flop(shape, vocabulary, length, masked=1 / 4) * ids.numel()
    assert counted.get_total_flops() == expected


def test_published_masks(benchmarks):
    blocks = torch.arange(1000, 1000 + 4 * 64).reshape(4, 64)
    changed, positions, true = benchmarks.masked(blocks, 0.15)
    assert positions.numel() == true.numel() == 32  # 38.4, down to a multiple of 8
    assert torch.equal(blocks.flatten()[positions], true)
    assert (positions % 64).all()
    assert len(set(positions.tolist())) == 32
    there = changed.flatten()[positions]
    assert (there == 4).sum() == 29
    assert torch.equal(there[there != 4], true[there != 4])
    others = torch.ones(blocks.numel(), dtype=torch.bool).index_fill(0, positions, False)
    assert torch.equal(changed.flatten()[others], blocks.flatten()[others])


def test_the_clock_ends_the_run_after_the_steps_it_times(benchmarks, tmp_path):
    job = benchmarks.Job("plain", {}, "small", 3, 2, 4, None, 0, None, str(tmp_path))
    clock = benchmarks.Clock(job)
    parameter = torch.zeros(1, requires_grad=True)
    optimizer, other = (torch.optim.SGD([parameter], lr=0.0) for _ in range(2))
    parameter.grad = torch.ones(1)
    hook = torch.optim.Optimizer.register_step_post_hook
    handles = [hook(each, clock) for each in (optimizer, other)]
    for _ in range(2 + 4 - 1):
        optimizer.step()
        other.step()
    with pytest.raises(benchmarks.Finished):
        optimizer.step()
    for handle in handles:
        handle.remove()
    assert clock.result["tokens"] == 4 * 2 * 3 * 256
    assert clock.result["seconds"] > 0


def test_stand_in_tokenizers_have_the_size_of_the_model(benchmarks):
    tokenizer = benchmarks.stand_in_tokenizer(["b a a", "c a b"])
    assert len(tokenizer) == 30_522
    assert benchmarks.stream(tokenizer, ["a b", "x"], opened=True).tolist() == [2, 5, 6, 3, 2, 1, 3]
