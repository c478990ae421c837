"""Between the catalog's rows and the records they hold: a column for each field, by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import TypeAdapter

if TYPE_CHECKING:
    from sqlalchemy import RowMapping

Record = TypeVar("Record")
Values = dict[str, Any]
"""What a row is made of: plain JSON data by column."""

_adapters: dict[type, TypeAdapter[Any]] = {}
"""Each is made at its first use: most commands meet few kinds of record."""


def values(record: object) -> Values:
    """The row of a record."""
    found: Values = _adapter(type(record)).dump_python(record, mode="json")
    return found


def record(kind: type[Record], row: RowMapping) -> Record:
    """The record in a row; columns that the record has no field for are passed over."""
    found: Record = _adapter(kind).validate_python(dict(row))
    return found


def _adapter(kind: type) -> TypeAdapter[Any]:
    if kind not in _adapters:
        _adapters[kind] = TypeAdapter(kind)
    return _adapters[kind]
