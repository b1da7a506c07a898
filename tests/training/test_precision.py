"""Which arithmetic `auto` is, by what the machine can do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from lingraft.training import precision

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    """The answer is kept for a process: no test may see another's."""
    precision._bf16_pays.cache_clear()
    yield
    precision._bf16_pays.cache_clear()


def processor(monkeypatch: pytest.MonkeyPatch, *, amx: bool, avx512: bool, bf16: float, float32: float) -> list[str]:
    """Pretends a processor with these instructions and rates; what was timed goes into the list."""
    timed: list[str] = []

    def rate(device: torch.device, dtype: torch.dtype, seconds: float) -> float:
        timed.append(str(dtype))
        return bf16 if dtype == torch.bfloat16 else float32

    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512, raising=False)
    monkeypatch.setattr(precision, "matrix_rate", rate)
    return timed


@pytest.mark.parametrize(
    ("amx", "avx512", "bf16", "chosen", "times"),
    [
        (False, True, 2.1, "bf16", 2),
        (False, True, 0.5, "float32", 2),  # has the instructions and is slower with them
        (False, True, 1.1, "float32", 2),  # conversions would take what little there is
        (True, True, 0.5, "bf16", 0),
        (False, False, 2.1, "float32", 0),
    ],
)
def test_auto_takes_bf16_where_it_is_faster(
    monkeypatch: pytest.MonkeyPatch, amx: bool, avx512: bool, bf16: float, chosen: str, times: int
) -> None:
    timed = processor(monkeypatch, amx=amx, avx512=avx512, bf16=bf16, float32=1.0)
    assert precision.resolve_precision("auto", CPU) == chosen
    assert precision.resolve_precision("auto", CPU) == chosen
    assert len(timed) == times, "the machine is timed once a process, and only where its instructions do not tell"


def test_an_older_torch_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    processor(monkeypatch, amx=True, avx512=True, bf16=9.0, float32=1.0)
    monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported")
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported")
    assert precision.resolve_precision("auto", CPU) == "float32"


@pytest.mark.parametrize("wanted", ["float32", "bf16", "fp16"])
def test_what_is_named_is_taken(monkeypatch: pytest.MonkeyPatch, wanted: str) -> None:
    timed = processor(monkeypatch, amx=False, avx512=True, bf16=1.0, float32=1.0)
    assert precision.resolve_precision(wanted, CPU) == wanted
    assert not timed


def test_timing_leaves_the_random_state_alone() -> None:
    before = torch.random.get_rng_state()
    precision.resolve_precision("auto", CPU)
    assert torch.equal(before, torch.random.get_rng_state())
