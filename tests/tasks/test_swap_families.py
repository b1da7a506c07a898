"""Task models of every family under a permuted vocabulary: the same answers, whatever is on top."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers import SentenceTransformer
from transformers import (
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

import families
import tiny
from conftest import on_disk
from families import FAMILIES
from lingraft.surgery import graft, load_model, load_tokenizer, save_model
from lingraft.tasks.parsing import build_parser, load_parser
from lingraft.tasks.parsing.treebank import iter_conllu
from lingraft.tasks.swap import swap

CLASSES: dict[str, Any] = {
    "sequence": AutoModelForSequenceClassification,
    "token": AutoModelForTokenClassification,
    "question": AutoModelForQuestionAnswering,
}

#: forms of a family that transformers does not have
MISSING = {("Gemma 2", "question"), ("Gemma 3", "token"), ("Gemma 3", "question")}

LINES = tiny.english_lines(3, seed=9)


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def run(family: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder whose new language is English with its vocabulary permuted."""
    made = FAMILIES[family]
    folder = tmp_path_factory.mktemp("run")
    source, _, _ = families.made(families.Cell(family, made.kinds[0], made.targets[0], made.tied[-1]))
    other, order = families.permuted(source.tokenizer)
    table = families.mapping_table(source.tokenizer, other, order)
    save_model(source, folder / "source")
    save_model(graft(source, other, table), folder / "target")
    table.save(folder / "table.npz")
    return folder


def chain(line: str) -> str:
    """A tree in which every word hangs on the one before it, as CoNLL-U."""
    words = enumerate(line.split())
    return "\n".join(f"{k + 1}\t{word}\t_\tX\t_\t_\t{k}\t{'root' if k == 0 else 'obj'}\t_\t_" for k, word in words)


def same(before: Any, after: Any, own: Any, other: Any) -> None:
    """The same answers to the same lines, each model with its tokenizer, to the last bit."""
    for line in LINES:
        with torch.inference_mode():
            answers = [
                model(torch.tensor([tokenizer(line)["input_ids"]]))[0]
                for model, tokenizer in ((before, own), (after, other))
            ]
        torch.testing.assert_close(*answers)


@pytest.mark.parametrize("task", CLASSES)
def test_a_task_model_answers_the_same(family: str, run: Path, task: str, tmp_path: Path) -> None:
    if (family, task) in MISSING:
        with pytest.raises(ValueError, match="Unrecognized configuration class"):
            CLASSES[task].from_pretrained(run / "source")
        return
    torch.manual_seed(3)
    source = load_model(run / "source", dtype=None).model
    model = CLASSES[task].from_pretrained(run / "source")
    # transformers finds only some families' encoders in a causal model's files
    model.base_model.load_state_dict(source.base_model.state_dict(), strict=False)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter is not model.get_input_embeddings().weight:
                parameter.add_(torch.randn_like(parameter) * 0.02)
    folder = on_disk(tmp_path / "task", model, load_tokenizer(run / "source"))
    result = swap(folder, run / "target", tmp_path / "out")
    assert result.report == {"origin": "verified", "note": "", "drift": False, "encoder": 0}
    read = CLASSES[task].from_pretrained(tmp_path / "out").eval()
    assert {p.dtype for p in read.parameters()} == {FAMILIES[family].dtype}
    same(model.eval(), read, load_tokenizer(folder), load_tokenizer(tmp_path / "out"))


def test_a_parser_finds_the_same_trees(family: str, run: Path, tmp_path: Path) -> None:
    sentences = list(iter_conllu("\n\n".join(map(chain, LINES)).split("\n"), "a test"))
    parser = build_parser(load_model(run / "source"), sentences)
    with torch.no_grad():
        for parameter in parser.head.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    parser.save(tmp_path / "task")
    swap(tmp_path / "task", run / "target", tmp_path / "out")
    words = [list(sentence.forms) for sentence in sentences]
    assert load_parser(tmp_path / "out").parse(words, precision="float32") == parser.parse(words, precision="float32")


def test_a_sentence_encoder_with_a_dense_layer_gives_the_same_embeddings(
    family: str, run: Path, tmp_path: Path
) -> None:
    folder = families.sentence_folder(tmp_path / "encoder", load_model(run / "source", dtype=None))
    swap(folder, run / "target", tmp_path / "out", source=run / "source")
    before, after = (SentenceTransformer(str(each), device="cpu") for each in (folder, tmp_path / "out"))
    assert [type(module).__name__ for module in after] == ["Transformer", "Pooling", "Dense", "Normalize"]
    torch.testing.assert_close(torch.from_numpy(before.encode(LINES)), torch.from_numpy(after.encode(LINES)))
