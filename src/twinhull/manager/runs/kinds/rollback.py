"""``rollback``: put a machine back to an earlier point, where it is."""

from __future__ import annotations

from dataclasses import dataclass

from twinhull.actions.requests import RollbackRequest
from twinhull.manager.runs.desk import Desk, other_site, require_answer, running_side
from twinhull.manager.runs.kinds.kind import Kind, Words
from twinhull.manager.runs.kinds.texts import CAPTURED, FREEZE, RTO
from twinhull.manager.runs.outlook import Outlook
from twinhull.manager.runs.wants import Want
from twinhull.manager.sites.names import Named
from twinhull.model.machine import RunId
from twinhull.recovery.previews import plan_rollback
from twinhull.recovery.rollback import ROLLBACK as ACTION
from twinhull.runs.codec import options
from twinhull.runs.subject import Subject, SubjectKind


@dataclass(frozen=True, slots=True)
class RollbackOptions:
    """To which point (``N-2``, ``12``, ``20:15``), and how. ``is_starting`` None: start it if it ran before."""

    to: str
    is_starting: bool | None = None
    is_keeping_present: bool = True


def want_rollback(
    desk: Desk, machine: Named, to: str, *, is_starting: bool | None = None, is_keeping_present: bool = True
) -> Want:
    """Put the machine back to a point where it is."""
    to_point_id = desk.point_id(machine, to)

    def make(run_id: RunId) -> RollbackRequest:
        plan, situation, _ = desk.look(machine)
        site = running_side(plan, situation)
        require_answer(situation.side(site), machine, "so it cannot be put back")
        return RollbackRequest(
            run_id=run_id,
            machine_id=machine.machine_id,
            site=site,
            other_sites=(other_site(plan, site),),
            to_point_id=to_point_id,
            is_starting=is_starting,
            is_keeping_present=is_keeping_present,
        )

    # "N-2" means another point once the present was captured: an unfinished rollback that ended was this one.
    return Want(ROLLBACK.word, machine.subject, make, lambda run: run.kind == ROLLBACK.word)


def _want(desk: Desk, subject: Subject, words: Words) -> Want:
    asked = options(RollbackOptions, words)
    return want_rollback(
        desk,
        Named.of(subject),
        asked.to,
        is_starting=asked.is_starting,
        is_keeping_present=asked.is_keeping_present,
    )


def _preview(look: Outlook, request: RollbackRequest) -> list[str]:
    situation, points = look.sides()
    return plan_rollback(request, situation, points, look.now, look.obstacles(situation.side(request.site)))


ROLLBACK = Kind(
    action=ACTION,
    request=RollbackRequest,
    about=SubjectKind.MACHINE,
    want=_want,
    preview=_preview,
    is_move=True,
    is_asked_about=True,
    sites=lambda request: (request.site, *request.other_sites),
    stays_on=lambda request: request.site,
    told={**CAPTURED, "present_point_id": "what was there before", **FREEZE, **RTO},
)
