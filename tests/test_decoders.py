"""What every way to a graft does for decoders alone: shared tokens are copied, the mean prediction is calibrated."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lingraft
import tiny
from conftest import on_disk
from lingraft.evidence import Provenance, TranslationTable
from lingraft.evidence.spelling import spelling_evidence
from lingraft.surgery import load_model, load_tokenizer

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A decoder whose hidden states have something in common, as a trained one's have."""
    tokenizer = tiny.bytebpe_tokenizer()
    model = tiny.with_common_part(tiny.gpt2(tokenizer))
    return on_disk(tmp_path_factory.mktemp("models") / "gpt2", model, tokenizer)


@pytest.fixture(scope="module")
def files(bitext_file: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    text = tmp_path_factory.mktemp("given") / "text.txt"
    text.write_text("".join(f"{xx}\n" for _, xx in tiny.cipher_pairs()), encoding="utf-8")
    return {"bitext": bitext_file, "text": text}


@pytest.fixture(scope="module")
def grafted(decoder: Path, files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Any:
    out = tmp_path_factory.mktemp("run") / "out"
    return lingraft.transfer(decoder, to="fr", bitext=files["bitext"], objective="none", out=out)


def copies_what_it_has(table: TranslationTable, decoder: Path, tokenizer: Path) -> bool:
    overlap, _ = spelling_evidence(load_tokenizer(decoder), load_tokenizer(tokenizer))
    rows = table.matrix[overlap.known]
    return bool((table.provenance[overlap.known] == Provenance.overlap).all() and (rows.data == 1).all())


def test_a_transfer_does_both(grafted: Any, decoder: Path) -> None:
    table = TranslationTable.load(grafted.directory / "table.npz")
    assert copies_what_it_has(table, decoder, grafted.directory / "target")
    assert grafted.run["graft"]["calibration"]["divergence"] > 0


def test_init_and_table_do_so_too(
    command: Command, grafted: Any, decoder: Path, files: dict[str, Path], tmp_path: Path
) -> None:
    given = [decoder, grafted.directory / "target", "--bitext", files["bitext"], "--quiet"]
    assert command("table", *given, "--out", tmp_path / "table.npz")[0] == 0
    made = TranslationTable.load(tmp_path / "table.npz")
    assert copies_what_it_has(made, decoder, grafted.directory / "target")
    status, out, _ = command("init", *given, "--text", files["text"], "--out", tmp_path / "init", "--json")
    assert status == 0
    assert json.loads(out)["calibration"]["divergence"] > 0
    table = ["--table", grafted.directory / "table.npz", "--quiet"]
    assert command("init", *given[:2], *table, "--text", files["text"], "--out", tmp_path / "same")[0] == 0
    one, other = (load_model(tmp_path / name).model.get_input_embeddings().weight for name in ("init", "same"))
    assert one.isclose(other, atol=1e-6).all()


def test_a_comparison_does_so_too(decoder: Path, grafted: Any, files: dict[str, Path]) -> None:
    given = {"to": "fr", "tokenizer": grafted.directory / "target", **files}
    with_text = lingraft.compare(decoder, **given, methods=["lingraft", "random"], probe_steps=0)
    ours, random = (of_it.probes[0].before for of_it in with_text.methods)
    assert ours < random - 0.1
