"""Every public name says what it is: a sentence, its parameters and fields, shapes of arrays, and the errors it raises.

Docstrings are running text, in which a parameter or field is `name: what it is`, or its words stand in a sentence.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import textwrap
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
from pydantic import BaseModel

from lingraft import errors

PACKAGES = [
    "lingraft", "lingraft.corpus", "lingraft.evidence", "lingraft.evidence.alignment", "lingraft.evidence.vectors",
    "lingraft.vocabulary", "lingraft.surgery", "lingraft.surgery.initialisers", "lingraft.training", "lingraft.tasks",
    "lingraft.tasks.parsing", "lingraft.doctor", "lingraft.report",
]  # fmt: skip

ARRAYS = re.compile(r"\b(?:NDArray|ndarray|Tensor|csr_matrix|csr_array|Ints|Floats|Vectors?Array)\b")

#: (batch, width), (n,), V_target x V_source, and the plain word for one number
SHAPE = re.compile(r"\([^()]*\w,[^()]*\)|\b\w+ x \w+\b|\bscalar\b|\bone number\b|\bas long as\b|\bany shape\b")

#: what things of a type are called in a sentence
KINDS = {
    "Path": "files?|folder|place",
    "PathLike": "files?|folder|place",
    "LanguageModel": "models?|encoder",
    "PreTrainedModel": "models?|encoder|transformer",
    "PreTrainedTokenizerBase": "tokenizers?",
    "Recipe": "recipe",
    "TrainingRecipe": "recipe|training",
    "Lexicon": "lexicon",
    "Counts": "count(?:s|ed)",
}

ERRORS = {name: value for name, value in vars(errors).items() if isinstance(value, type)}


def public_objects() -> dict[str, Any]:
    """Classes and functions by their full names, each once, with the public methods and properties of classes."""
    found: dict[str, Any] = {}
    for package in PACKAGES:
        module = import_module(package)
        for name in module.__all__:
            value = getattr(module, name)
            if not (inspect.isclass(value) or inspect.isroutine(value)) or not value.__module__.startswith("lingraft"):
                continue
            found[f"{value.__module__}.{value.__qualname__}"] = value
            for member, inside in vars(value).items() if inspect.isclass(value) else ():
                if not member.startswith("_") and (function := function_of(inside)):
                    found[f"{value.__module__}.{value.__qualname__}.{member}"] = function
    return found


def function_of(member: Any) -> Any:
    """The function behind a method or property that people call; None for anything else, as validators are."""
    if isinstance(member, property):
        return member.fget
    if isinstance(member, classmethod | staticmethod):
        return member.__func__
    wrapped = getattr(member, "func", None)  # a cached property
    return member if inspect.isfunction(member) else wrapped if inspect.isfunction(wrapped) else None


OBJECTS = public_objects()
FUNCTIONS = sorted(name for name, value in OBJECTS.items() if inspect.isroutine(value))
CLASSES = sorted(name for name, value in OBJECTS.items() if inspect.isclass(value))


def words_are_in(name: str, text: str) -> bool:
    """Whether a docstring has a name, or each of its words (or its stem) in a sentence."""
    if re.search(rf"\b{name}\b", text):
        return True
    stems = [word.rstrip("s").removesuffix("ie") for word in name.lower().split("_") if len(word) > 1]
    text = text.lower().replace("_", " ")  # V_source speaks of the source
    return all(re.search(rf"\b{re.escape(stem)}", text) for stem in stems or [name.lower()])


def is_said(parameter: inspect.Parameter, others: list[inspect.Parameter], text: str) -> bool:
    """Whether a docstring has a parameter by its name or, where no other is of its type, by what the type is called."""
    if words_are_in(parameter.name, text):
        return True
    kinds = [words for kind, words in KINDS.items() if re.search(rf"\b{kind}\b", str(parameter.annotation))]
    alone = [p for p in others if p.annotation == parameter.annotation] == [parameter]
    return alone and any(re.search(rf"\b(?:{words})", text) for words in kinds)


def raised(function: Any) -> Iterator[str]:
    """The names of lingraft's errors that a function's own body raises, not those of functions inside it."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function)))).body[0]
    waiting = list(ast.iter_child_nodes(tree))
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name):
            yield node.exc.func.id
        waiting += ast.iter_child_nodes(node)


def parameters(function: Any) -> list[inspect.Parameter]:
    return [
        p for p in inspect.signature(function).parameters.values() if p.name not in ("self", "cls", "args", "kwargs")
    ]


def own_docstring(value: Any) -> str:
    """What is written at the object itself; dataclasses and pydantic put signatures and what is inherited there."""
    text = inspect.cleandoc(value.__doc__ or "")
    return "" if inspect.isclass(value) and text.startswith(f"{value.__name__}(") else text


def problems_of(name: str) -> list[str]:
    value = OBJECTS[name]
    text = own_docstring(value)
    if not text:
        return ["has no docstring"]
    found = []
    first = text.partition("\n\n")[0].partition("\n\n")[0]
    if not re.match(r"[A-Z`(\d\"'RW]|p\(|[a-z]+:|``", first) or not first.rstrip().endswith((".", ":", "?")):
        found.append(f"does not begin with a sentence: {first[:60]!r}")
    return found + (_class_problems(value, text) if inspect.isclass(value) else _function_problems(value, text))


def _function_problems(function: Any, text: str) -> list[str]:
    given = parameters(function)
    if same := re.search(r"arguments are those of `(?:\w+\.)*(\w+)`", text):
        other = next(value for name, value in OBJECTS.items() if name.endswith(f".{same[1]}"))
        given = [p for p in given if p.name not in inspect.signature(other).parameters]
    silent = [p for p in given if len(given) > 1 and not is_said(p, given, text)]  # of one the sentence speaks anyhow
    found = [f"says nothing of '{p.name}'" for p in silent]
    annotations = inspect.get_annotations(inspect.unwrap(function))
    if ARRAYS.search(" ".join(str(a) for a in annotations.values())) and not SHAPE.search(text):
        found.append("takes or gives arrays, and has no shape")
    for error in set(raised(function)) & ERRORS.keys():
        family = [parent.__name__ for parent in ERRORS[error].__mro__ if parent.__name__ in ERRORS]
        if not any(parent in text for parent in family):
            found.append(f"raises {error}, and does not say so")
    return found


def _class_problems(value: type, text: str) -> list[str]:
    source = inspect.getsource(value)
    commented = set(re.findall(r"#: .*\n(?:\s*#.*\n)*\s*(\w+)\s*:", source))
    annotations = inspect.get_annotations(value)
    found = []
    if dataclasses.is_dataclass(value) or issubclass(value, BaseModel) or hasattr(value, "_fields"):
        for field in annotations:
            said = words_are_in(field, text) or field in commented
            if dataclasses.is_dataclass(value):  # `lingraft.described.setting`
                said = said or any(of.metadata.get("effect") for of in dataclasses.fields(value) if of.name == field)
            if issubclass(value, BaseModel) and field in value.model_fields:
                of = value.model_fields[field]
                said = said or bool(of.description) or own_docstring(of.annotation) != ""  # a section says it itself
            if not field.startswith("_") and field != "model_config" and not said:
                found.append(f"says nothing of its field '{field}'")
    elif "__init__" in value.__dict__:
        inner = inspect.cleandoc(value.__init__.__doc__ or "")
        found += [
            f"says nothing of '{p.name}', which it is made of"
            for p in parameters(value.__init__)
            if not words_are_in(p.name, f"{text}\n{inner}")
        ]
    arrays = [name for name, annotation in annotations.items() if ARRAYS.search(str(annotation))]
    if arrays and not SHAPE.search(text + "\n".join(re.findall(r"#:.*", source))):
        found.append(f"has the array '{arrays[0]}', and no shape")
    return found


@pytest.mark.parametrize("name", sorted(OBJECTS))
def test_a_public_name_says_what_it_is(name):
    assert problems_of(name) == []


def test_all_public_names_are_looked_at():
    assert len(FUNCTIONS) > 150
    assert len(CLASSES) > 50
    for package in PACKAGES:
        assert import_module(package).__doc__


def test_what_is_missing_is_seen():
    """The checks themselves, on a function that does everything wrong."""

    def bad(rows, table):
        """makes new rows"""
        raise errors.TableError("no")

    def worse(rows):
        """Makes new rows."""

    bad.__annotations__ = {"rows": "np.ndarray", "table": "int"}
    worse.__annotations__ = {"rows": "Tensor"}
    OBJECTS["bad"], OBJECTS["worse"] = bad, worse
    try:
        assert len(problems_of("bad")) == 3
        assert problems_of("worse") == ["takes or gives arrays, and has no shape"]
    finally:
        del OBJECTS["bad"], OBJECTS["worse"]
