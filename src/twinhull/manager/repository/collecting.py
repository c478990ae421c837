"""The action ``collect``: the space of what no point uses is given back, in one step that is safe to repeat.

It can be stopped anywhere: what it has deleted by then nobody needed, and the next one goes on from what is stored.
"""

from __future__ import annotations

from dataclasses import dataclass

from twinhull.actions.context import Context
from twinhull.actions.requests import Request
from twinhull.model.errors import RunCancelled
from twinhull.model.steps import Action, Facts, Step
from twinhull.repository import Repository


@dataclass(frozen=True, slots=True)
class CollectRequest(Request):
    """Collect the repository. ``is_now``: nothing waits for its grace."""

    is_now: bool = False


_WHAT_NOW_MEANS = (
    "Removed points cannot be taken back after that. All other points keep what they hold.",
    "A capture that is running now may fail, and must be repeated then.",
    "Every Twinhull that writes to this repository must be of this version or later, or be stopped.",
)


def _collect(context: Context, facts: Facts) -> Facts:
    request = CollectRequest.of(facts)
    try:
        report = context.repository.collect(is_now=request.is_now, check=context.check)
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


def plan_collect(repository: Repository, *, is_now: bool) -> list[str]:
    """What a collection would free now, and what would wait. Reads as much as a collection, and writes nothing."""
    reasons = repository.collect(is_now=is_now, is_dry_run=True).reasons
    return [*reasons, *(_WHAT_NOW_MEANS if is_now else ())] or ["Nothing: everything that is stored is used."]


COLLECT: Action[Context] = Action("collect", (Step("collect", _collect),))
