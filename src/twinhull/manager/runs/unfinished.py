"""Which unfinished runs come before a wanted one, and what a run is alone on."""

from __future__ import annotations

from pathlib import Path

from twinhull.manager.catalog.catalog import Catalog
from twinhull.manager.catalog.records import RunRecord
from twinhull.manager.catalog.state import StateDirectory
from twinhull.manager.runs.kinds.registry import KINDS
from twinhull.manager.runs.wants import Want
from twinhull.model.machine import RunId
from twinhull.runs.subject import Subject


def unfinished_before(catalog: Catalog, want: Want) -> list[RunRecord]:
    """The unfinished runs that are gone on with before what is wanted, the earliest first; none if it only reads."""
    if want.is_ahead or KINDS.named(want.kind).is_reading:
        return []
    return [run for run in catalog.unfinished_runs(want.subject.key) if not KINDS.of(run).is_reading]


def lock_of(state: StateDirectory, kind: str, subject: Subject, run_id: RunId) -> Path:
    """The lock that a run holds: its subject's, or one of its own if it only reads."""
    if KINDS.is_reading(kind):
        return state.run_lock(run_id)
    return state.machine_lock(subject.key)
