"""How a run ended, in one sentence: what matters first, housekeeping after it."""

from __future__ import annotations

from twinhull.manager.catalog.records import RunRecord
from twinhull.manager.health.evidence import number_of
from twinhull.model.units import format_bytes, format_duration


def headline(run: RunRecord, seconds: float) -> str:
    """What the run did, such as *synced to point 12 in 4.40 s (2.0 MiB)*."""
    took = format_duration(seconds)
    if run.kind != "sync":
        return f"{run.kind} done in {took}."
    verb = "synced to" if run.request.get("target") else "captured"
    changed = run.result.get("changed_bytes")
    size = f" ({format_bytes(changed)})" if isinstance(changed, int) else ""
    return f"{verb} point {number_of(str(run.result.get('point_id', '')))} in {took}{size}."
