"""What run.json holds beyond the stages' own numbers, and the one table that is printed at the end."""

from __future__ import annotations

import json
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from ..cache import write_aside

_PACKAGES = ("lingraft", "torch", "transformers", "tokenizers", "sentence-transformers", "numpy", "scipy", "numba")


def environment() -> dict[str, Any]:
    """Versions and machine."""
    import torch

    versions = {"python": platform.python_version()}
    installed = {package: next(iter(metadata.distributions(name=package)), None) for package in _PACKAGES}
    versions |= {package: found.version if found else "unknown" for package, found in installed.items()}
    return {
        "versions": versions,
        "machine": {
            "system": platform.system(),
            "architecture": platform.machine(),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "threads": torch.get_num_threads(),
            "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
    }


def write_run(directory: Path, report: dict[str, Any]) -> None:
    """Writes run.json, whole or not at all.

    directory: of the run. report: its content.
    """
    write_aside(directory / "run.json", json.dumps(report, indent=2, ensure_ascii=False) + "\n")


def summary_rows(report: dict[str, Any]) -> list[tuple[str, str]]:
    """The summary of a run as (what, value) lines for a terminal; of several languages one after the other."""
    language = report["language"]
    several = isinstance(language, list)
    rows = [("languages", ", ".join(language)) if several else ("language", str(language))]
    rows.append(("source model", str(report["source"]["name"])))
    for tag in language if several else [None]:
        own = {key: report[key][tag] if several else report[key] for key in ("corpus", "vocabulary", "table")}
        rows += [(f"{tag}: {what}" if several else what, value) for what, value in _language_rows(own)]
    if "training" in report:
        training = report["training"]
        replicas = len(training.get("replicas", ()))
        each = f"mean of {replicas} replicas, the first: " if replicas else ""
        rows.append(("training", f"{each}{training['steps']:,} steps, {training['tokens']:,} tokens"))
    for tag in language if several else [None]:
        scores = report["scores"][tag] if several else report["scores"]
        rows += [(f"{tag}: {what}" if several else what, value) for what, value in score_rows(scores)]
    rows += [("note", note) for note in report.get("notes", [])]
    seconds = sum(value for name, value in report["seconds"].items() if name != "this_call")
    rows.append(("time", f"{seconds:.0f} s"))
    if report["peak_memory_mb"] is not None:
        rows.append(("peak memory", f"{report['peak_memory_mb']:,} MB"))
    return rows


def _language_rows(own: dict[str, Any]) -> list[tuple[str, str]]:
    """Text, vocabulary and table of a language."""
    rows = []
    if "bitext" in own["corpus"]:
        pairs = own["corpus"]["bitext"]
        rows.append(("sentence pairs", f"{pairs['kept']:,}"))
        dropped = [f"{pairs[name]:,} {name}" for name in ("empty", "overlong", "malformed") if pairs[name]]
        if dropped:
            rows.append(("pairs dropped", ", ".join(dropped)))
    for name, entries in own["table"].get("lexicon_entries", {}).items():
        rows.append((f"lexicon {name}", f"{entries:,} entries"))
    rows.append(("vocabulary", f"{own['vocabulary']['size']:,} tokens"))
    shares = own["table"]["shares"]
    rows.append(("rows from", ", ".join(f"{name} {100 * share:.1f} %" for name, share in shares.items())))
    rows.append(("running text covered", f"{100 * own['table']['text_coverage']:.1f} %"))
    return rows


def score_rows(scores: dict[str, Any]) -> list[tuple[str, str]]:
    """Scores as (what, value) lines."""
    rows = []
    for state, values in scores.items():
        if not isinstance(values, dict):
            continue
        if "retrieval" in values:
            r = values["retrieval"]
            shown = f"en→xx {100 * r['en_to_xx']:.1f} %, xx→en {100 * r['xx_to_en']:.1f} % of {r['n']:,}"
            rows.append((f"retrieval, {state}", shown))
        for side, language in (("lm_xx", "new language"), ("lm_en", "English")):
            if side in values:
                rows.append((f"bits per byte, {language}, {state}", f"{values[side]['bits_per_byte']:.4f}"))
    if "english_cosine" in scores:
        rows.append(("English against untouched", f"mean cosine {scores['english_cosine']:.4f}"))
    return rows
