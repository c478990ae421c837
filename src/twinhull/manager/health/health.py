"""A machine's health: one verdict from what both sides, the points, the runs and the plan say. Pure.

The states, in the order of alarm::

    runs twice        two sides run it, or it runs on a side that may not run it
    down              it does not run, and its owner did not switch it off
    RPO missed        the replica is older than the plan allows
    cannot take over  there is a replica that could not be started in place of the machine
    no replica        the machine has no replica at a restore point
    unknown           the site on which it is does not answer, or what it holds cannot be read
    in progress       a run is moving it or is making its first replica, or was interrupted
    paused            its plan is paused
    off               it is switched off, and its replica could take over
    syncing           all is well, and a sync is running
    protected         all is well

Every state has its sentence, the command that helps, and an exit code for monitoring. Each rule that applies gives a
finding; the first in this order is the verdict, and the others follow it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum, StrEnum


class Level(IntEnum):
    """The exit codes that monitoring systems expect of a check."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3

    @classmethod
    def worst(cls, levels: Iterable[Level]) -> Level:
        """Critical before unknown before warning."""
        return max(levels, key=cls.rank, default=cls.OK)

    @classmethod
    def rank(cls, level: Level) -> int:
        """How bad it is, compared with the others."""
        return _RANK.index(level)


_RANK = (Level.OK, Level.WARNING, Level.UNKNOWN, Level.CRITICAL)


class Health(StrEnum):
    """See the table above; in that order."""

    RUNS_TWICE = "runs twice"
    DOWN = "down"
    RPO_MISSED = "RPO missed"
    CANNOT_TAKE_OVER = "cannot take over"
    NO_REPLICA = "no replica"
    UNKNOWN = "unknown"
    IN_PROGRESS = "in progress"
    PAUSED = "paused"
    OFF = "off"
    SYNCING = "syncing"
    PROTECTED = "protected"

    @property
    def level(self) -> Level:
        """What monitoring makes of it."""
        return _LEVELS[self]


_LEVELS = {
    Health.RUNS_TWICE: Level.CRITICAL,
    Health.DOWN: Level.CRITICAL,
    Health.RPO_MISSED: Level.CRITICAL,
    Health.CANNOT_TAKE_OVER: Level.CRITICAL,
    Health.NO_REPLICA: Level.CRITICAL,
    Health.UNKNOWN: Level.UNKNOWN,
    Health.IN_PROGRESS: Level.WARNING,
    Health.PAUSED: Level.WARNING,
    Health.OFF: Level.WARNING,
    Health.SYNCING: Level.OK,
    Health.PROTECTED: Level.OK,
}
_ORDER = tuple(Health)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is so, in one sentence, and the command that helps; empty if none is needed."""

    health: Health
    sentence: str
    command: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """All findings, the most alarming first."""

    findings: tuple[Finding, ...]

    @classmethod
    def of(cls, findings: Iterable[Finding]) -> Verdict:
        """In the order of alarm; two of one state stay as they come."""
        return cls(tuple(sorted(findings, key=lambda finding: _ORDER.index(finding.health))))

    @property
    def health(self) -> Health:
        """The state."""
        return self.findings[0].health

    @property
    def sentence(self) -> str:
        """Its sentence."""
        return self.findings[0].sentence

    @property
    def command(self) -> str:
        """The command that helps."""
        return self.findings[0].command

    @property
    def level(self) -> Level:
        """What monitoring makes of it."""
        return self.health.level
