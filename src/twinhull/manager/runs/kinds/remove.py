"""``prune`` and ``remove``: points of a machine are taken out of sight, by the plan's retention or by name."""

from __future__ import annotations

from dataclasses import dataclass

from twinhull.manager.catalog.records import RunRecord
from twinhull.manager.runs import removing
from twinhull.manager.runs.desk import Desk
from twinhull.manager.runs.kinds.kind import Kind, Words
from twinhull.manager.runs.kinds.texts import REMOVED
from twinhull.manager.runs.outlook import Outlook
from twinhull.manager.runs.removing import RemoveRequest
from twinhull.manager.runs.wants import Want
from twinhull.manager.sites.names import Named
from twinhull.model.errors import UsageError
from twinhull.model.machine import PointId, RunId
from twinhull.runs.codec import options
from twinhull.runs.subject import Subject, SubjectKind


@dataclass(frozen=True, slots=True)
class RemoveOptions:
    """Which point (``N-2``, ``12``, ``20:15``), and why."""

    point: str
    reason: str = "asked for"


def want_removed(repository_id: str, machine: Named, point_id: PointId, reason: str) -> Want:
    """Remove one point, beside whatever works on its machine."""

    def is_same(run: RunRecord) -> bool:
        if run.kind != REMOVE.word:
            return False
        asked = REMOVE.request_of(run)
        return (asked.repository_id, dict(asked.why)) == (repository_id, {point_id: reason})

    def make(run_id: RunId) -> RemoveRequest:
        return RemoveRequest(run_id, machine.machine_id, repository_id, {point_id: reason})

    return Want(REMOVE.word, machine.subject, make, is_same)


def _want(desk: Desk, subject: Subject, words: Words) -> Want:
    asked, machine = options(RemoveOptions, words), Named.of(subject)
    return want_removed(desk.repository().id, machine, desk.point_id(machine, asked.point), asked.reason)


def _want_shown(desk: Desk, subject: Subject, words: Words) -> Want:
    del desk, words
    raise UsageError(
        "What goes is shown before it is agreed to.", hint=f"Prune by hand: twinhull points prune {subject.name}"
    )


def _preview(look: Outlook, request: RemoveRequest) -> list[str]:
    del look
    return [f"Remove the point {point_id}: {reason}." for point_id, reason in request.why.items()]


REMOVE = Kind(
    action=removing.REMOVE,
    request=RemoveRequest,
    about=SubjectKind.MACHINE,
    want=_want,
    preview=_preview,
    is_reading=True,
    is_asked_about=True,
    told=REMOVED,
)
PRUNE = Kind(
    action=removing.PRUNE,
    request=RemoveRequest,
    about=SubjectKind.MACHINE,
    want=_want_shown,
    preview=_preview,
    told=REMOVED,
)
