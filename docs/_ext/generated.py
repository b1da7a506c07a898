"""Pages that are made of the code: a comment ``<!-- generated: NAME -->`` in a page is replaced by what NAME gives."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import typer
from sphinx.application import Sphinx

import lingraft
from lingraft.cli import app as command_line
from lingraft.described import Described, described, is_section
from lingraft.recipe import Recipe
from lingraft.tasks.kinds import KINDS
from lingraft.tasks.parsing import ParserSettings
from lingraft.tasks.settings import FinetuneSettings

_MARK = re.compile(r"^<!-- generated: ([a-z-]+) -->$", re.MULTILINE)

#: what every command takes; told once
_COMMON = ("--json", "--quiet", "--seed", "--help")

_TYPES = {"str": "TEXT", "int": "N", "float": "NUMBER", "Path": "PATH"}


def recipe_sections(section: type[Any] = Recipe, prefix: str = "") -> Iterator[tuple[str, type[Any]]]:
    """Every section of a recipe: the prefix of its keys, and its class; the recipe itself first."""
    yield prefix, section
    for name, info in section.model_fields.items():
        if is_section(info.annotation):
            yield from recipe_sections(info.annotation, f"{prefix}{name}.")


def _entry(one: Described, prefix: str = "") -> str:
    facts = [one.type, *([one.unit] if one.unit else []), f"default `{one.default}`" if one.default else "required"]
    place = f"{prefix}{one.name}".replace(".", "-")
    return f"[`{prefix}{one.name}`]{{#{place}}}\n: {_sentence(one.effect)}\n  \n  *{'; '.join(facts)}*\n"


def _sentence(phrase: str) -> str:
    return phrase[:1].upper() + phrase[1:] + "."


def recipe() -> str:
    """All keys of a recipe."""
    parts = []
    for prefix, section in recipe_sections():
        parts.append(f"## {prefix.rstrip('.') or 'The run'}\n\n{_text(section)}\n")
        parts += [_entry(one, prefix) for one in described(section)]
    return "\n".join(parts)


def finetune_settings() -> str:
    """The settings of fine-tuning, with what differs by task."""
    parts = ["## All tasks\n", _text(FinetuneSettings), "", *map(_entry, described(FinetuneSettings))]
    parts += ["## What differs by task\n", "| task | setting | default |", "|---|---|---|"]
    parts += [
        f"| {task} | `{name}` | `{value:g}` |" for task, kind in KINDS.items() for name, value in kind.defaults.items()
    ]
    parts += ["", "## nli alone\n", "[`max_length`]{#max_length}\n: Longer pairs lose the end of their premise."]
    parts += [f"  \n  *whole number; tokens; default `{KINDS['nli'].options['max_length']}`*\n"]
    return "\n".join([*parts, "## parse alone\n", _text(ParserSettings), "", *map(_entry, described(ParserSettings))])


def aligner_settings() -> str:
    """The settings of the aligner."""
    return "\n".join(map(_entry, described(lingraft.AlignerSettings)))


def _text(documented: Any) -> str:
    """A docstring as Markdown."""
    return (inspect.getdoc(documented) or "").replace("``", "`")


def commands(group: Any = None, prefix: str = "lingraft") -> Iterator[tuple[str, Any]]:
    """Every command by its full name, groups left out."""
    group = group or typer.main.get_command(command_line)
    for name, command in group.commands.items():
        full = f"{prefix} {name}"
        if hasattr(command, "commands"):
            yield from commands(command, full)
        else:
            yield full, command


def command_reference() -> str:
    """All commands with their arguments and options."""
    parts = []
    for name, command in commands():
        arguments = [one for one in command.params if one.param_type_name == "argument"]
        options = [one for one in command.params if one.param_type_name == "option" and one.opts[0] not in _COMMON]
        usage = [name, *(_argument(one) for one in arguments), *(f"{_option(one)}" for one in options if one.required)]
        parts.append(f"## {name}\n\n{_text(command.callback)}\n\n```text\n{' '.join(usage)} [OPTIONS]\n```\n")
        parts += [f"`{_argument(one)}`\n: {one.help}\n" for one in arguments]
        parts += [_option_entry(one) for one in options]
    return "\n".join(parts)


def _argument(parameter: Any) -> str:
    name = parameter.name.upper()
    return name if parameter.required else f"[{name}]"


def _option(parameter: Any) -> str:
    annotation = parameter.type_descriptor.annotation
    inner = getattr(annotation, "__args__", (annotation,))[0]
    return parameter.opts[0] if inner is bool else f"{parameter.opts[0]} {_TYPES.get(inner.__name__, 'TEXT')}"


def _option_entry(parameter: Any) -> str:
    facts = ["required"] if parameter.required else []
    facts += ["may be given several times"] if getattr(parameter, "multiple", False) else []
    default = parameter.default
    if default not in (None, False, (), []) and not callable(default):
        facts.append(f"default `{default}`")
    return f"`{_option(parameter)}`\n: {parameter.help}\n" + (f"  \n  *{'; '.join(facts)}*\n" if facts else "")


def python_reference() -> str:
    """All public names of the package."""
    found: dict[str, list[str]] = {"Functions": [], "Classes": [], "Errors": []}
    for name in lingraft.__all__:
        value = getattr(lingraft, name)
        if not inspect.isclass(value):
            found["Functions"].append(f".. autofunction:: lingraft.{name}\n")
        elif issubclass(value, Exception):
            found["Errors"].append(f".. autoexception:: lingraft.{name}\n   :show-inheritance:\n")
        else:
            found["Classes"].append(f".. autoclass:: lingraft.{name}\n   :members:\n   :class-doc-from: class\n")
    return "\n".join(
        f"## {heading}\n\n```{{eval-rst}}\n{chr(10).join(directives)}```\n" for heading, directives in found.items()
    )


MAKERS: dict[str, Callable[[], str]] = {
    "recipe": recipe,
    "finetune-settings": finetune_settings,
    "aligner-settings": aligner_settings,
    "commands": command_reference,
    "python": python_reference,
}


def _fill(_app: Sphinx, _page: str, source: list[str]) -> None:
    source[0] = _MARK.sub(lambda mark: MAKERS[mark[1]](), source[0])


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("source-read", _fill)
    return {"parallel_read_safe": True}
