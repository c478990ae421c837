"""The action ``collect``: the space of what no point uses is given back, in one step that is safe to repeat.

It can be stopped anywhere: what it has deleted by then nobody needed, and the next one goes on from what is stored.
"""

from __future__ import annotations

from dataclasses import dataclass

from twinhull.model.errors import RunCancelled
from twinhull.model.steps import Action, Facts, Step
from twinhull.replication.context import Context
from twinhull.replication.requests import Request
from twinhull.repository import Repository


@dataclass(frozen=True, slots=True)
class CollectRequest(Request):
    """Collect the repository; its ``machine_id`` is that of :data:`twinhull.manager.names.REPOSITORY`."""


def _collect(context: Context, _: Facts) -> Facts:
    try:
        report = context.repository.collect(check=context.check)
    except RunCancelled:
        raise RunCancelled(
            "The collection was stopped on demand. What it has deleted until then nobody needed.",
            hint="The next one goes on from there: twinhull repository collect",
        ) from None
    return {
        "freed_bytes": report.bytes_freed,
        "waiting_bytes": report.bytes_waiting,
        "points_gone": list(report.points_gone),
        "reasons": list(report.reasons),
    }


def plan_collect(repository: Repository) -> list[str]:
    """What a collection would free now, and what would wait. Reads as much as a collection, and writes nothing."""
    reasons = repository.collect(is_dry_run=True).reasons
    return list(reasons) or ["Nothing: everything that is stored is used."]


COLLECT: Action[Context] = Action("collect", (Step("collect", _collect),))
