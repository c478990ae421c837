"""The catalog's tables. A change of them raises ``SCHEMA_VERSION`` and brings its migration.

A table has a column for each field of the record that it keeps (see :mod:`twinhull.manager.catalog.records`), under
its name.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, Boolean, Column, Float, MetaData, String, Table
from sqlalchemy.types import TypeEngine

SCHEMA_VERSION = 4

MIGRATIONS = {
    1: (
        "ALTER TABLE plans ADD COLUMN full_compare_seconds FLOAT NOT NULL DEFAULT 604800",
        "ALTER TABLE plans DROP COLUMN full_compare_every",
    ),
    2: (
        "UPDATE sites SET options = json_set(options, '$.directory', directory) WHERE platform IN ('qemu', 'xen')",
        """UPDATE sites SET options = json_set(options, '$.hooks_directory', hooks_directory)
        WHERE platform IN ('qemu', 'xen')""",
        "ALTER TABLE sites DROP COLUMN directory",
        "ALTER TABLE sites DROP COLUMN hooks_directory",
    ),
    3: (),
}
"""What brings a catalog of that version to the next one."""

metadata = MetaData()

Type = type[TypeEngine[Any]]


def _key(name: str, kind: Type = String) -> Column[Any]:
    return Column(name, kind, primary_key=True)


def _each(kind: Type, *names: str) -> list[Column[Any]]:
    return [Column(name, kind, nullable=False) for name in names]


def _perhaps(name: str, kind: Type = String) -> Column[Any]:
    return Column(name, kind)


def _sought(name: str) -> Column[Any]:
    return Column(name, String, nullable=False, index=True)


settings = Table("settings", metadata, _key("name"), _perhaps("value"))

sites = Table(
    "sites",
    metadata,
    _key("name"),
    *_each(String, "platform", "uri"),
    *_each(JSON, "options"),
)

plans = Table(
    "plans",
    metadata,
    _key("name"),
    *_each(String, "source", "target"),
    *_each(JSON, "machines", "retention", "networks"),
    *_each(Float, "rpo_seconds", "full_compare_seconds"),
    *_each(Boolean, "is_freezing", "is_paused"),
    _perhaps("boot_mode"),
)

machines = Table("machines", metadata, _key("machine_id"), _key("site"), *_each(String, "name", "power", "seen_at"))

latest_points = Table("latest_points", metadata, _key("machine_id"), *_each(String, "point_id", "captured_at"))
