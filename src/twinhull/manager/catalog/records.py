"""What the manager remembers, as plain data: plans, runs and their steps, and what was last seen of machines.

A run's states::

    running ──▶ done
       ├──▶ failed      undone; the error says why
       ├──▶ cancelled   stopped by its user, and undone
       └──▶ stopped ──▶ running        the only way is forward, or an undo failed: it is resumed there
               ├──▶ abandoned          the user gave it up
               └──▶ failed             another run was wanted, and its undo failed once more

A run that is ``running`` while nobody holds its machine's lock was killed: it is gone on with, like a stopped one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from pydantic import JsonValue  # noqa: TC002 - the catalog reads the fields' types while running

from twinhull.model.machine import MachineId, PlanName, PointId, RunId, SiteName
from twinhull.repository import RetentionRules
from twinhull.runs.subject import Subject

WEEK_SECONDS = 7 * 86_400.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What the user asks for. ``machines`` are in boot order; ``networks`` go from the source's names to the target's.

    ``source`` is where the machines are at home; after a failover the direction of a sync follows the machine.
    ``full_compare_seconds`` is how long trackers are trusted on end; 0: for ever.
    """

    name: PlanName
    machines: tuple[MachineId, ...]
    source: SiteName
    target: SiteName
    rpo_seconds: float
    retention: RetentionRules = field(default_factory=RetentionRules)
    networks: Mapping[str, str] = field(default_factory=dict)
    boot_mode: str | None = None
    full_compare_seconds: float = WEEK_SECONDS
    is_freezing: bool = True
    is_paused: bool = False


class RunState(StrEnum):
    """See the drawing above."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    STOPPED = "stopped"
    ABANDONED = "abandoned"

    @property
    def is_unfinished(self) -> bool:
        """Whether there is something left to do."""
        return self in (RunState.RUNNING, RunState.STOPPED)


class StepState(StrEnum):
    """``running`` in a run that nobody works on: killed in this step."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One step of a run, or its undo. ``attempt_count`` is above 1 where a kill or a stop had it repeated."""

    position: int
    name: str
    is_undo: bool
    state: StepState
    started_at: datetime
    seconds: float | None = None
    attempt_count: int = 1
    error: str = ""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run. ``origin`` says who asked for it (``command line``, ``serve``); ``result`` are the facts at its end."""

    run_id: RunId
    kind: str
    machine_id: MachineId
    machine_name: str
    origin: str
    request: Mapping[str, JsonValue]
    state: RunState
    started_at: datetime
    ended_at: datetime | None = None
    result: Mapping[str, JsonValue] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()
    error_kind: str = ""
    error: str = ""
    hint: str = ""

    @property
    def subject(self) -> Subject:
        """What it is about; its key stands in ``machine_id``, what it is called in ``machine_name``."""
        return Subject.of_key(self.machine_id, self.machine_name)


@dataclass(frozen=True, slots=True)
class SeenMachine:
    """A machine as it was last seen on a site; for names and for days on which the site does not answer."""

    machine_id: MachineId
    site: SiteName
    name: str
    power: str
    seen_at: datetime


@dataclass(frozen=True, slots=True)
class LatestPoint:
    """A machine's latest restore point, as far as the catalog knows."""

    machine_id: MachineId
    point_id: PointId
    captured_at: datetime
