"""Which unfinished runs come before a wanted one, and what a run is alone on."""

from __future__ import annotations

from twinhull.manager.catalog.records import RunRecord
from twinhull.manager.record.claims import machine_claim
from twinhull.manager.record.history import RunHistory
from twinhull.manager.runs.kinds.registry import KINDS
from twinhull.manager.runs.wants import Want
from twinhull.model.machine import RunId
from twinhull.runs.subject import Subject


def unfinished_before(history: RunHistory, want: Want) -> list[RunRecord]:
    """The unfinished runs that are gone on with before what is wanted, the earliest first; none if it only reads."""
    if want.is_ahead or KINDS.named(want.kind).is_reading:
        return []
    return [run for run in history.unfinished_runs(want.subject.key) if not KINDS.of(run).is_reading]


def claim_of(kind: str, subject: Subject, run_id: RunId) -> str:
    """The claim that a run holds: its subject's, or one of its own if it only reads."""
    return f"run-{run_id}" if KINDS.is_reading(kind) else machine_claim(subject.key)
