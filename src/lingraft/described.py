"""How a setting says what it is: unit and effect stand beside its default, and the documentation is made of them."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

#: the limits of a key, as they are written in front of the number
_SIGNS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}

_NAMES: Mapping[Any, str] = {str: "text", int: "whole number", float: "number", bool: "true or false"}


def key(default: Any, unit: str, effect: str, **limits: float) -> Any:
    """A key of a pydantic model; ``...`` for a default means that there is none.

    unit: of its value, empty where it has none. effect: what it does, a phrase without a full stop. limits: as pydantic
    knows them, ``ge`` and the like.
    """
    from pydantic import Field  # the aligner does without it

    more: dict[str, Any] = {"description": effect, "json_schema_extra": {"unit": unit}, **limits}
    return Field(default, **more)


def setting(default: Any, unit: str, effect: str) -> Any:
    """The same for a field of a dataclass."""
    return dataclasses.field(default=default, metadata={"unit": unit, "effect": effect})


@dataclass(frozen=True)
class Described:
    """A setting in words. type: what may be given, its limits included. default: as YAML writes it, empty for none."""

    name: str
    type: str
    unit: str
    default: str
    effect: str


def described(settings: type) -> list[Described]:
    """The settings of a pydantic model or a dataclass, in their order; a section of a model is left to itself."""
    if is_section(settings):
        keys: dict[str, FieldInfo] = settings.model_fields  # type: ignore[attr-defined]
        return [_of_model(name, info) for name, info in keys.items() if not is_section(info.annotation)]
    hints = get_type_hints(settings)
    return [
        Described(
            field.name, _type(hints[field.name]), field.metadata.get("unit", ""), written(field.default),
            field.metadata.get("effect", ""),
        )
        for field in dataclasses.fields(settings)
    ]  # fmt: skip


def is_section(annotation: Any) -> bool:
    """Whether a key of this type holds keys of its own."""
    from pydantic import BaseModel

    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def written(value: Any) -> str:
    """A value as YAML writes it in one line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(written, value))}]"
    return str(value)


def _of_model(name: str, info: FieldInfo) -> Described:
    extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    limits = [
        f"{sign} {getattr(one, limit):,}" for one in info.metadata for limit, sign in _SIGNS.items()
        if getattr(one, limit, None) is not None
    ]  # fmt: skip
    kind = ", ".join([_type(info.annotation), *limits])
    default = "" if info.is_required() else written(info.default)
    return Described(name, kind, str(extra.get("unit", "")), default, info.description or "")


def _type(annotation: Any) -> str:
    """A type in words; of a union with None the rest, as null is what such a key has by default."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_type(one) for one in arguments if one is not type(None)))
    if origin in (tuple, list):
        return f"list of {_type(arguments[0])}"
    if origin is dict:
        return f"mapping by language of {_type(arguments[1])}"
    if hasattr(annotation, "__metadata__"):  # Annotated
        return _type(arguments[0])
    return _NAMES.get(annotation, getattr(annotation, "__name__", str(annotation)))
