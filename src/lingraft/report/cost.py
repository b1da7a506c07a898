"""What a run took: time by stage, processor time, memory, steps, tokens and operations; nothing is guessed."""

from __future__ import annotations

from typing import Any


def cost_rows(numbers: dict[str, Any]) -> list[dict[str, Any]]:
    """Seconds of every stage, with its share of all, and its processor seconds (None where they were not measured)."""
    seconds = {name: value for name, value in numbers.get("seconds", {}).items() if name != "this_call"}
    cpu, reused = numbers.get("cpu_seconds", {}), set(numbers.get("reused_stages", []))
    total = sum(seconds.values()) or 1.0
    return [
        {"stage": name, "seconds": value, "share": value / total, "cpu": cpu.get(name), "reused": name in reused}
        for name, value in seconds.items()
    ]


def machine_rows(numbers: dict[str, Any]) -> list[tuple[str, str]]:
    """(what, value) of the machine, of the memory and of the training."""
    machine, training = numbers.get("machine", {}), numbers.get("training") or {}
    rows = []
    if machine:
        threads = machine.get("threads")
        device = machine.get("cuda") or "no CUDA card"
        cores = f"{machine.get('cores')} cores, {threads} thread{'s' * (threads != 1)}"
        rows.append(("machine", f"{machine.get('system')} {machine.get('architecture')}, {cores}, {device}"))
    if numbers.get("peak_memory_mb") is not None:
        rows.append(("peak memory of the process", f"{numbers['peak_memory_mb']:,} MB"))
    seconds = [value for name, value in numbers.get("seconds", {}).items() if name != "this_call"]
    rows.append(("time of all stages", f"{sum(seconds):,.0f} s"))
    cpu = numbers.get("cpu_seconds", {})
    if cpu and len(cpu) == len(seconds) and not training.get("replicas"):  # the others' is not in it
        rows.append(("processor time of all stages", f"{sum(cpu.values()):,.0f} s"))
    if training:
        if replicas := training.get("replicas"):
            rows.append(("replicas, whose weights are averaged", f"{len(replicas)}; what follows is the first one's"))
        rows.append(("training steps", f"{training['steps']:,}"))
        rows.append(("tokens trained on", f"{training['tokens']:,}"))
        if training.get("seconds"):
            rows.append(("training time", f"{training['seconds']:,.0f} s"))
            rows.append(("tokens a second", f"{training['tokens'] / training['seconds']:,.0f}"))
        if training.get("flop"):
            rows.append(("useful operations in training", f"{training['flop']:.2e} FLOP"))
        if training.get("machine_peak_flops"):
            rows.append(("matrix products of this machine", f"{training['machine_peak_flops']:.2e} FLOP a second"))
    rows += [(f"version of {name}", str(version)) for name, version in numbers.get("versions", {}).items()]
    return rows
