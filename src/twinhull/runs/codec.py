"""The one codec between frozen dataclasses and what is recorded of a run: plain JSON, checked when it is read.

A record is versioned by its optional fields: one that an older version wrote lacks some, one that a newer version wrote
has others, which are ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from twinhull.model.errors import DataError, UsageError
from twinhull.model.steps import JsonValue

T = TypeVar("T")


def encode(record: object) -> dict[str, JsonValue]:
    """The dataclass as plain JSON."""
    found: dict[str, JsonValue] = _adapter(type(record)).dump_python(record, mode="json")
    return found


def decode(kind: type[T], document: Mapping[str, Any]) -> T:
    """The dataclass again; raises DataError where a field is missing or is not what it must be."""
    try:
        found: T = _adapter(kind).validate_python(dict(document))
    except ValidationError as error:
        raise DataError(f"What was recorded is no {kind.__name__}: {_told(error)}.") from error
    return found


def options(kind: type[T], words: Mapping[str, str]) -> T:
    """The dataclass of options from words that a person typed (``is_verifying=yes``); raises UsageError."""
    names = [item.name for item in fields(kind)]  # type: ignore[arg-type]
    hint = f"It takes {', '.join(names)}." if names else "It takes no options."
    unknown = sorted(set(words) - set(names))
    if unknown:
        raise UsageError(f"There is no option '{unknown[0]}'.", hint=hint)
    try:
        asked: T = _adapter(kind).validate_strings(dict(words))
    except ValidationError as error:
        raise UsageError(f"{_told(error)}.", hint=hint) from error
    return asked


_ADAPTERS: dict[Any, TypeAdapter[Any]] = {}


def _adapter(kind: Any) -> TypeAdapter[Any]:  # noqa: ANN401 - any dataclass
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


def _told(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"'{where}': {first['msg'][:1].lower()}{first['msg'][1:]}"
