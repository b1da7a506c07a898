"""Every family, its kinds of tokenizers, tied and untied, to every kind of tokenizer: the whole way."""

from __future__ import annotations

from pathlib import Path

import pytest

import families


@pytest.mark.parametrize("cell", families.cells(), ids=str)
def test_the_whole_way(cell: families.Cell, tmp_path: Path) -> None:
    run = families.Run(cell, tmp_path)
    for step in families.STEPS.values():
        step(run)
