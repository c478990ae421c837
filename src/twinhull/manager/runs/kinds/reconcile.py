"""``reconcile``: fence a side that came back with a past epoch, and stop the machine where it must not run."""

from __future__ import annotations

from dataclasses import dataclass

from twinhull.actions.requests import ReconcileRequest
from twinhull.cluster.epochs import corrections
from twinhull.cluster.situation import Situation
from twinhull.manager.catalog.records import Plan
from twinhull.manager.runs.desk import Desk
from twinhull.manager.runs.kinds.kind import Kind, Words
from twinhull.manager.runs.outlook import Outlook
from twinhull.manager.runs.wants import Want
from twinhull.manager.sites.names import Named
from twinhull.model.errors import TwinhullError
from twinhull.model.machine import RunId
from twinhull.recovery.previews import plan_reconcile
from twinhull.recovery.reconcile import RECONCILE as ACTION
from twinhull.repository import RepositoryMissing, StoreError
from twinhull.runs.codec import options
from twinhull.runs.subject import Subject, SubjectKind


@dataclass(frozen=True, slots=True)
class _NoOptions:
    """There is nothing to say."""


def want_reconcile(desk: Desk, machine: Named, *, is_repository_hanging: bool = False) -> Want:
    """What the standings alone say is corrected while the repository is away, too.

    One that hangs is not asked, and no run that may need it is finished first.
    """

    def make(run_id: RunId) -> ReconcileRequest:
        plan, situation, is_without = _wrong_sides(desk, machine, is_repository_hanging=is_repository_hanging)
        sites = tuple(side.site for side in situation.sides if side.is_reachable)
        return ReconcileRequest(run_id, machine.machine_id, sites or (plan.source, plan.target), is_without)

    return Want(RECONCILE.word, machine.subject, make, is_without_repository=True, is_ahead=is_repository_hanging)


def _wrong_sides(desk: Desk, machine: Named, *, is_repository_hanging: bool) -> tuple[Plan, Situation, bool]:
    """The machine's situation, and whether its standings alone say what is to be corrected.

    Raises what keeps the repository from being asked, if the standings alone say nothing.
    """
    reason: TwinhullError = StoreError("The repository hangs.", hint="Is its disk, or the server behind it, hanging?")
    if not is_repository_hanging:
        try:
            return (*desk.look(machine)[:2], False)
        except (RepositoryMissing, StoreError) as error:
            reason = error
    plan, situation, _ = desk.look(machine, is_without_repository=True)
    if not corrections(situation):
        raise reason
    return plan, situation, True


def _want(desk: Desk, subject: Subject, words: Words) -> Want:
    options(_NoOptions, words)
    return want_reconcile(desk, Named.of(subject))


def _preview(look: Outlook, request: ReconcileRequest) -> list[str]:
    del request
    return plan_reconcile(look.sides()[0])


RECONCILE = Kind(
    action=ACTION,
    request=ReconcileRequest,
    about=SubjectKind.MACHINE,
    want=_want,
    preview=_preview,
    is_correction=True,
    is_without_repository=lambda request, _: request.is_without_repository,
    told={"epoch": "epoch"},
)
