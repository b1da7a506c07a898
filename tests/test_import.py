from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from inspect import isfunction
from pathlib import Path

import pytest

import lingraft
from lingraft import tasks
from lingraft.evidence import vectors
from lingraft.tasks import parsing

SRC = Path(lingraft.__file__).parents[1]
HEAVY = ["torch", "transformers", "numpy", "scipy", "numba", "sentence_transformers", "tokenizers", "pydantic", "typer"]
TREEBANK = "1\tba\t_\tX\t_\t_\t0\troot\t_\t_\n\n"
PAIRS = "premise\thypothesis\tlabel\nba\tre\tneutral\n"


def fresh(code):
    """What the code prints as JSON in an interpreter of its own."""
    start = f"import sys, json; sys.path.insert(0, {str(SRC)!r})\n"
    done = subprocess.run([sys.executable, "-c", start + code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_importing_the_package_imports_nothing_heavy():
    loaded = fresh(
        "before = set(sys.modules)\nimport lingraft\n"
        "print(json.dumps([sorted(set(sys.modules) - before), dir(lingraft), lingraft.__version__]))"
    )
    modules, names, version = loaded
    assert "lingraft" in modules
    assert not set(HEAVY) & {module.partition(".")[0] for module in modules}
    assert set(lingraft.__all__) <= set(names)
    assert version == lingraft.__version__


def test_the_errors_come_without_anything_heavy():
    modules = fresh("import lingraft\nlingraft.InputError\nprint(json.dumps(list(sys.modules)))")
    assert not set(HEAVY) & {module.partition(".")[0] for module in modules}


def test_aligning_imports_nothing_heavy_but_numba():
    program = "import lingraft\nlingraft.align([('a b', 'x y')] * 9)\nprint(json.dumps(list(sys.modules)))"
    loaded = {module.partition(".")[0] for module in fresh(program)}
    assert set(HEAVY) & loaded <= {"numba", "numpy", "scipy"}  # numba imports scipy


def test_vectors_of_words_need_no_torch():
    names = "read_vectors, align_vectors, similarity_rows"
    program = f"from lingraft.evidence.vectors import {names}\nprint(json.dumps(list(sys.modules)))"
    loaded = {module.partition(".")[0] for module in fresh(program)}
    assert set(HEAVY) & loaded <= {"numba", "numpy", "scipy"}


def test_importing_the_module_transfer_leaves_the_function_in_its_place(monkeypatch):
    function = lingraft.transfer
    monkeypatch.delitem(sys.modules, "lingraft.transfer")
    module = import_module("lingraft.transfer")
    assert module is sys.modules["lingraft.transfer"]
    assert lingraft.transfer is function
    monkeypatch.delattr(lingraft, "transfer")
    assert isfunction(lingraft.transfer)


@pytest.mark.parametrize(
    ("program", "content"),
    [
        ("from lingraft.tasks.parsing import read_conllu\nread_conllu(path)", TREEBANK),
        ("from lingraft.tasks.tag_data import read_tags\nread_tags(path)", TREEBANK),
        ("from lingraft.tasks.nli_data import read_nli\nread_nli(str(path))", PAIRS),
    ],
)
def test_reading_examples_imports_no_torch(program, content, tmp_path):
    (tmp_path / "data").write_text(content, encoding="utf-8")
    path = f"from pathlib import Path\npath = Path({str(tmp_path / 'data')!r})\n"
    loaded = {module.partition(".")[0] for module in fresh(f"{path}{program}\nprint(json.dumps(list(sys.modules)))")}
    assert set(HEAVY) & loaded <= {"numpy"}


@pytest.mark.parametrize("package", [tasks, parsing, vectors], ids=lambda package: package.__name__)
def test_the_names_of_a_lazy_package_are_sorted_and_resolve(package):
    assert package.__all__ == sorted(package.__all__) == list(package._HOMES)
    for name in package.__all__:
        assert getattr(package, name).__module__.startswith(f"{package.__name__}.{package._HOMES[name]}")


@pytest.mark.parametrize("name", lingraft.__all__)
def test_every_public_name_resolves(name):
    value = getattr(lingraft, name)
    assert value.__name__ == name
    assert value.__module__.startswith(f"lingraft.{lingraft._HOMES[name]}")


def test_the_public_names_are_sorted_and_have_their_homes():
    assert lingraft.__all__ == sorted(lingraft.__all__)
    assert list(lingraft._HOMES) == lingraft.__all__


def test_every_error_is_public():
    from lingraft import errors

    defined = {name for name, value in vars(errors).items() if isinstance(value, type)}
    assert defined <= set(lingraft.__all__)
    assert all(issubclass(getattr(errors, name), errors.LingraftError) for name in defined)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'lingraft' has no attribute 'grafted'"):
        lingraft.grafted  # noqa: B018
