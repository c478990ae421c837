"""What ``serve`` reports: the name of each event, and how much it matters. docs/operations.md explains them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from twinhull.manager.health.health import Health, Level
from twinhull.manager.serve.planner import Act


class Severity(StrEnum):
    """How much an event matters, in the words of log levels."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


_BY_LEVEL = {
    Level.OK: Severity.INFO,
    Level.WARNING: Severity.WARNING,
    Level.UNKNOWN: Severity.WARNING,
    Level.CRITICAL: Severity.ERROR,
}

EVENTS: Mapping[str, Severity] = {
    **{act.value: Severity.INFO for act in Act},
    "serving": Severity.INFO,
    "site": Severity.INFO,
    "clean": Severity.INFO,
    "done": Severity.INFO,
    "failed": Severity.ERROR,
    "health": Severity.INFO,
    "late": Severity.WARNING,
    "in time": Severity.INFO,
    "damaged": Severity.ERROR,
    "clock": Severity.WARNING,
    "trouble": Severity.ERROR,
    "stopping": Severity.INFO,
    "stopped": Severity.INFO,
    "error": Severity.ERROR,
}
"""Every event's name, with its severity unless its facts say more."""


def severity(event: str, facts: Mapping[str, object]) -> Severity:
    """How much this one matters."""
    if event == "health":
        return _BY_LEVEL[Health(str(facts["health"])).level]
    if event == "site" and facts.get("state") != "reachable":
        return Severity.WARNING
    return EVENTS[event]
