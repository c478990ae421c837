"""``failover`` and ``failback``: start a machine on the plan's other site in place of the one where it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from twinhull.actions.requests import FailoverRequest
from twinhull.cluster.epochs import primary
from twinhull.cluster.situation import Side, Situation
from twinhull.manager.catalog.records import Plan, RunRecord
from twinhull.manager.runs.desk import Desk, boot_mode_from, networks_from
from twinhull.manager.runs.kinds.kind import Kind, Words
from twinhull.manager.runs.kinds.texts import CAPTURED, DIVERGENT, FREEZE, RTO
from twinhull.manager.runs.outlook import Outlook
from twinhull.manager.runs.wants import Want
from twinhull.manager.sites.names import Named
from twinhull.model.errors import AlreadyThere, ReplicaDirty, SiteUnreachable, TwinhullError
from twinhull.model.machine import PointId, RunId, SiteName
from twinhull.model.steps import Action
from twinhull.recovery.before_stop import objections
from twinhull.recovery.failover import action
from twinhull.recovery.failover.action import is_past_the_repository
from twinhull.recovery.failover.looking import asked_by_failover, replica_point
from twinhull.recovery.previews import plan_failover
from twinhull.repository import RepositoryMissing, StoreError
from twinhull.runs.codec import options
from twinhull.runs.subject import Subject, SubjectKind

_RUNS_LOOKED_AT = 1000
"""So many of a machine's runs are looked through for when its replica's point was captured."""


@dataclass(frozen=True, slots=True)
class FailoverOptions:
    """How a failover or failback is wanted. ``is_planned`` None: planned, and refused where the source is silent.

    ``is_without_repository``: unplanned, from the replica as it is, with the repository not asked.
    """

    is_planned: bool | None = None
    point: str | None = None
    grace_seconds: float = 120.0
    start_timeout_seconds: float = 120.0
    is_verifying: bool = False
    is_without_repository: bool = False
    is_dropping_divergent: bool = False


def want_failover(desk: Desk, machine: Named, asked: FailoverOptions) -> Want:
    """Start the machine on the plan's target in place of its source."""
    plan = desk.plan_of(machine)
    return _move(desk, FAILOVER, machine, asked, (plan.source, plan.target))


def want_failback(desk: Desk, machine: Named, asked: FailoverOptions) -> Want:
    """The same, homewards."""
    plan = desk.plan_of(machine)
    return _move(desk, FAILBACK, machine, asked, (plan.target, plan.source))


def _move(
    desk: Desk, kind: Kind[FailoverRequest], machine: Named, asked: FailoverOptions, way: tuple[SiteName, SiteName]
) -> Want:
    source, target = way
    named = _named_point(desk, machine, asked.point) if asked.point else None

    def make(run_id: RunId) -> FailoverRequest:
        if isinstance(named, TwinhullError):
            raise named
        plan, situation = _situation(desk, kind, machine, asked)
        _require_not_there(kind, machine, plan, situation, target)
        request = FailoverRequest(
            run_id=run_id,
            machine_id=machine.machine_id,
            source=source,
            target=target,
            is_planned=_settle_planned(machine, situation.side(source), asked),
            to_point_id=named,
            networks=networks_from(plan, source),
            boot_mode=boot_mode_from(plan, source),
            grace_seconds=asked.grace_seconds,
            start_timeout_seconds=asked.start_timeout_seconds,
            is_verifying=asked.is_verifying,
            is_dropping_divergent=asked.is_dropping_divergent,
        )
        return _as_it_is(desk, machine, request, situation) if asked.is_without_repository else request

    def is_same(run: RunRecord) -> bool:
        return run.kind == kind.word and kind.request_of(run).target == target

    return Want(kind.word, machine.subject, make, is_same, asked.is_without_repository)


def _named_point(desk: Desk, machine: Named, name: str) -> PointId | TwinhullError:
    """The point, looked up once; or why there is none, which is of this machine, and keeps no other one back."""
    try:
        return desk.point_id(machine, name)
    except TwinhullError as error:
        return error


def _situation(desk: Desk, kind: Kind[Any], machine: Named, asked: FailoverOptions) -> tuple[Plan, Situation]:
    try:
        plan, situation, _ = desk.look(machine, is_without_repository=asked.is_without_repository)
    except (RepositoryMissing, StoreError) as error:
        way = f"'twinhull {kind.word} {machine.name} --unplanned --without-repository'"
        hint = f"{error.hint} If it stays away, {way} starts the replica at the point that it is at."
        raise type(error)(error.message, hint=hint.strip()) from error
    return plan, situation


def _as_it_is(desk: Desk, machine: Named, request: FailoverRequest, situation: Situation) -> FailoverRequest:
    """From the replica as it is, with what the runs of the machine know of its point."""
    point_id = replica_point(situation.side(request.target))
    if point_id is None:
        raise ReplicaDirty(
            f"The replica of {machine.name} on {request.target} is at no point to start from; nothing was done.",
            hint="Only the repository could bring it to one: see docs/repository.md for where it is gone.",
        )
    runs = desk.history.runs(machine_id=machine.machine_id, last=_RUNS_LOOKED_AT)
    captured = {run.result.get("point_id"): run.result.get("captured_at") for run in runs}
    return replace(
        request,
        to_point_id=point_id,
        is_without_repository=True,
        captured_at=str(captured.get(point_id) or ""),
    )


def _require_not_there(kind: Kind[Any], machine: Named, plan: Plan, situation: Situation, target: SiteName) -> None:
    holder = primary(situation)
    if target == plan.source and not any(side.standing for side in situation.sides):
        raise AlreadyThere(
            f"{machine.name} is at home, and was never synced; nothing was done.",
            hint=f"'twinhull sync {machine.name}' makes its replica on {plan.target}.",
        )
    if holder and holder.site == target:
        back = FAILBACK if kind is FAILOVER else FAILOVER
        state = "runs" if holder.is_running else "is, though switched off,"
        raise AlreadyThere(
            f"{machine.name} {state} on {target} already; nothing was done.",
            hint=f"'twinhull {back.word} {machine.name}' moves it to the other site.",
        )


def _settle_planned(machine: Named, source: Side, asked: FailoverOptions) -> bool:
    if asked.is_planned is not False and not source.is_reachable:
        raise SiteUnreachable(
            f"{source.site} does not answer, so {machine.name} cannot be moved without loss: {source.reason}",
            hint="If that site is really down, take over with --unplanned: the epoch rises, and the old side may not "
            "start the machine when it comes back.",
        )
    return asked.is_planned is not False


def _preview(word: str, look: Outlook, request: FailoverRequest) -> list[str]:
    situation, points = look.sides()
    obstacles = [
        *_before_stop(look, request, situation.side(request.source)),
        *look.obstacles(situation.side(request.target)),
    ]
    return plan_failover(request, situation, points, look.now, obstacles, word=word)


def _before_stop(look: Outlook, request: FailoverRequest, source: Side) -> Sequence[str]:
    """What a planned failover would be refused for, before anything is stopped."""
    if not request.is_planned or source.status is None:
        return ()
    with look.sites() as door:
        return objections(asked_by_failover(request, source.status.spec, door(request.source), door(request.target)))


def _kind(of: Action[Any], make: Any) -> Kind[FailoverRequest]:  # noqa: ANN401 - one of the two above
    def want(desk: Desk, subject: Subject, words: Words) -> Want:
        made: Want = make(desk, Named.of(subject), options(FailoverOptions, words))
        return made

    return Kind(
        action=of,
        request=FailoverRequest,
        about=SubjectKind.MACHINE,
        want=want,
        preview=partial(_preview, of.kind),
        is_move=True,
        is_asked_about=True,
        sites=lambda request: (request.source, request.target),
        brings=lambda request: request.source if request.is_planned else None,
        is_without_repository=lambda request, found: request.is_without_repository or is_past_the_repository(found),
        told={
            **CAPTURED,
            **FREEZE,
            "rpo_seconds": "RPO reached",
            "lost_bytes": "lost",
            **RTO,
            **DIVERGENT,
        },
    )


FAILOVER = _kind(action.FAILOVER, want_failover)
FAILBACK = _kind(action.FAILBACK, want_failback)
