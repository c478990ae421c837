"""The catalog's tables. A change of them raises ``SCHEMA_VERSION`` and brings its migration into ``catalog.py``."""

from __future__ import annotations

from sqlalchemy import JSON, Boolean, Column, Float, Integer, MetaData, PrimaryKeyConstraint, String, Table

SCHEMA_VERSION = 1

metadata = MetaData()

settings = Table("settings", metadata, Column("name", String, primary_key=True), Column("value", String))

sites = Table(
    "sites",
    metadata,
    Column("name", String, primary_key=True),
    Column("platform", String, nullable=False),
    Column("uri", String, nullable=False),
    Column("directory", String, nullable=False),
    Column("hooks_directory", String, nullable=False),
    Column("options", JSON, nullable=False),
)

plans = Table(
    "plans",
    metadata,
    Column("name", String, primary_key=True),
    Column("machines", JSON, nullable=False),
    Column("source", String, nullable=False),
    Column("target", String, nullable=False),
    Column("rpo_seconds", Float, nullable=False),
    Column("retention", JSON, nullable=False),
    Column("networks", JSON, nullable=False),
    Column("boot_mode", String),
    Column("full_compare_every", Integer, nullable=False),
    Column("is_freezing", Boolean, nullable=False),
    Column("is_paused", Boolean, nullable=False),
)

machines = Table(
    "machines",
    metadata,
    Column("machine_id", String, nullable=False),
    Column("site", String, nullable=False),
    Column("name", String, nullable=False),
    Column("power", String, nullable=False),
    Column("seen_at", String, nullable=False),
    PrimaryKeyConstraint("machine_id", "site"),
)

latest_points = Table(
    "latest_points",
    metadata,
    Column("machine_id", String, primary_key=True),
    Column("point_id", String, nullable=False),
    Column("captured_at", String, nullable=False),
)

runs = Table(
    "runs",
    metadata,
    Column("run_id", String, primary_key=True),
    Column("kind", String, nullable=False),
    Column("machine_id", String, nullable=False, index=True),
    Column("machine_name", String, nullable=False),
    Column("origin", String, nullable=False),
    Column("request", JSON, nullable=False),
    Column("state", String, nullable=False, index=True),
    Column("started_at", String, nullable=False, index=True),
    Column("ended_at", String),
    Column("result", JSON, nullable=False),
    Column("reasons", JSON, nullable=False),
    Column("error_kind", String, nullable=False),
    Column("error", String, nullable=False),
    Column("hint", String, nullable=False),
)

steps = Table(
    "steps",
    metadata,
    Column("run_id", String, nullable=False),
    Column("position", Integer, nullable=False),
    Column("is_undo", Boolean, nullable=False),
    Column("name", String, nullable=False),
    Column("state", String, nullable=False),
    Column("started_at", String, nullable=False),
    Column("seconds", Float),
    Column("attempt_count", Integer, nullable=False),
    Column("error", String, nullable=False),
    PrimaryKeyConstraint("run_id", "position", "is_undo"),
)
