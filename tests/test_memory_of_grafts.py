"""How many sets of weights a graft holds in memory: counted tensors, not measured memory."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import lingraft
import tiny
from conftest import on_disk
from lingraft import run, stages
from lingraft.surgery import load_to_graft, load_tokenizer, save_model, save_tokenizer, without_weights


def live() -> dict[int, int]:
    """Bytes of the numbers that parameters hold in memory, by their place; what is shared is there once."""
    found = (each for each in gc.get_objects() if type(each) is nn.Parameter)
    return {each.data_ptr(): each.numel() * each.element_size() for each in found if each.device.type != "meta"}


class Watch:
    """Counts what has come alive since it was made whenever one of the functions it is put around begins."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        gc.collect()
        self._before, self._monkeypatch = set(live()), monkeypatch
        self.seen: dict[str, int] = {}

    def now(self) -> int:
        """Bytes."""
        return sum(size for place, size in live().items() if place not in self._before)

    def watch(self, module: Any, name: str) -> None:
        """Has a function of a module watched."""
        original: Callable[..., Any] = getattr(module, name)

        def watched(*given: Any, **options: Any) -> Any:
            self.seen[name] = self.now()
            made = original(*given, **options)
            self.seen[f"after {name}"] = self.now()
            return made

        self._monkeypatch.setattr(module, name, watched)


def size_of(folder: Path) -> int:
    model = lingraft.load_model(folder).model
    return sum(each.numel() * each.element_size() for each in {id(one): one for one in model.parameters()}.values())


@pytest.mark.parametrize("kind", ["model_folder", "causal_model_folder", "sentence_model_folder"])
def test_the_graft_of_a_transfer_holds_one_set_of_weights_at_a_time(
    kind: str, request: pytest.FixtureRequest, bitext_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = request.getfixturevalue(kind)
    gc.disable()  # what goes has to go by itself
    try:
        watch = Watch(monkeypatch)
        watch.watch(run.correspondence, "make_vocabulary")
        for name in ("load_to_graft", "graft", "save_model", "check_folder"):
            watch.watch(stages, name)
        lingraft.transfer(source, to="fr", out=tmp_path / "out", bitext=bitext_file, objective="none")
    finally:
        gc.enable()
    size, grafted = size_of(source), size_of(tmp_path / "out" / "target")
    assert watch.seen["make_vocabulary"] == 0, "the source is not held while the vocabulary is being made"
    assert watch.seen["load_to_graft"] == 0
    assert watch.seen["graft"] == size
    rows = len(load_tokenizer(tmp_path / "out" / "target")) / len(load_tokenizer(source))
    assert watch.seen["after graft"] < (1 + rows) * size, "the two vocabularies, and one body"
    assert watch.seen["after graft"] < size + grafted
    assert watch.seen["save_model"] == grafted
    assert watch.seen["check_folder"] == 0, "the check has the model that it reads back to itself"


def test_init_holds_one_set_of_weights_at_a_time(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Any
) -> None:
    from lingraft import surgery

    save_tokenizer(tiny.bytebpe_tokenizer(), tmp_path / "tokenizer")
    watch = Watch(monkeypatch)
    for name in ("save_model", "check_folder"):
        watch.watch(surgery, name)
    arguments = ("init", model_folder, tmp_path / "tokenizer", "--method", "mean", "--out", tmp_path / "out")
    assert command(*arguments)[0] == 0
    assert watch.seen["save_model"] == size_of(tmp_path / "out")
    assert watch.seen["check_folder"] == 0


def test_a_model_without_weights_is_as_it_was_but_for_them(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(monkeypatch)
    loaded = lingraft.load_model(model_folder)
    assert watch.now() == size_of(model_folder)
    shapes = {name: each.shape for name, each in loaded.model.named_parameters()}
    empty = without_weights(loaded)
    assert watch.now() == 0
    assert {name: each.shape for name, each in empty.model.named_parameters()} == shapes
    assert empty.has_head
    assert (empty.kind, empty.max_length, empty.tokenizer) == (loaded.kind, loaded.max_length, loaded.tokenizer)


@pytest.mark.parametrize(("stored", "held"), [("float32", "float32"), ("bfloat16", "bfloat16"), ("float16", "float32")])
def test_a_model_is_grafted_in_the_type_it_is_stored_in_if_that_is_wide_enough(
    stored: str, held: str, tmp_path: Path
) -> None:
    tokenizer = tiny.bytebpe_tokenizer()
    on_disk(tmp_path / "model", tiny.gpt2(tokenizer).to(getattr(torch, stored)), tokenizer)
    loaded = load_to_graft(tmp_path / "model")
    assert loaded.model.dtype == getattr(torch, held)
    assert loaded.stored_dtype == getattr(torch, stored)
    save_model(loaded, tmp_path / "again")
    assert lingraft.load_model(tmp_path / "again").stored_dtype == getattr(torch, stored)
