"""Which arithmetic `auto` is, by what the machine can do."""

from __future__ import annotations

import pytest
import torch

from lingraft.machine import processor_name
from lingraft.training import precision

CPU = torch.device("cpu")


def processor(monkeypatch: pytest.MonkeyPatch, *, amx: bool, avx512: bool, name: str) -> None:
    """Pretends a processor with these instructions and this name."""
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512, raising=False)
    monkeypatch.setattr(precision, "processor_name", lambda: name)


@pytest.mark.parametrize(
    ("amx", "avx512", "name", "chosen"),
    [
        (False, True, "znver4", "bf16"),
        (False, True, "emeraldrapids", "float32"),  # has the instructions and is slower with them
        (True, True, "emeraldrapids", "bf16"),
        (False, False, "znver3", "float32"),
        (False, True, "generic", "float32"),
    ],
)
def test_auto_takes_bf16_where_it_is_faster(
    monkeypatch: pytest.MonkeyPatch, amx: bool, avx512: bool, name: str, chosen: str
) -> None:
    processor(monkeypatch, amx=amx, avx512=avx512, name=name)
    assert precision.resolve_precision("auto", CPU) == chosen


def test_an_older_torch_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    processor(monkeypatch, amx=True, avx512=True, name="znver4")
    monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported")
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported")
    assert precision.resolve_precision("auto", CPU) == "float32"


@pytest.mark.parametrize("wanted", ["float32", "bf16", "fp16"])
def test_what_is_named_is_taken(monkeypatch: pytest.MonkeyPatch, wanted: str) -> None:
    processor(monkeypatch, amx=False, avx512=True, name="emeraldrapids")
    assert precision.resolve_precision(wanted, CPU) == wanted


def test_this_machines_processor_has_a_name() -> None:
    assert processor_name().isprintable()
    assert processor_name() == processor_name() != ""
