"""``sync``: capture a machine where it runs, and bring its replica on the plan's other site to that point."""

from __future__ import annotations

from dataclasses import dataclass

from twinhull.actions.requests import SyncRequest
from twinhull.actions.telling import number_of
from twinhull.manager.catalog.records import RunRecord
from twinhull.manager.runs.desk import (
    Desk,
    boot_mode_from,
    networks_from,
    other_site,
    require_answer,
    running_side,
)
from twinhull.manager.runs.kinds.kind import Kind, Words
from twinhull.manager.runs.kinds.texts import CAPTURED, DIVERGENT, FREEZE, REMOVED
from twinhull.manager.runs.outlook import Outlook
from twinhull.manager.runs.wants import Want
from twinhull.manager.sites.names import Named
from twinhull.model.machine import RunId
from twinhull.model.units import format_bytes, format_duration
from twinhull.recovery.previews import plan_sync
from twinhull.replication.bases import comparison_due, uncompared_seconds
from twinhull.replication.sync import SYNC as ACTION
from twinhull.repository import latest_point
from twinhull.runs.codec import options
from twinhull.runs.subject import Subject, SubjectKind


@dataclass(frozen=True, slots=True)
class SyncOptions:
    """How a sync is wanted; None leaves it to the plan."""

    is_freezing: bool | None = None
    compare_reason: str = ""
    is_verifying: bool = False
    is_capture_only: bool = False
    is_dropping_divergent: bool = False


def want_sync(desk: Desk, machine: Named, asked: SyncOptions) -> Want:
    """A sync of a machine that is in a plan."""

    def make(run_id: RunId) -> SyncRequest:
        plan, situation, points = desk.look(machine)
        source = running_side(plan, situation)
        require_answer(situation.side(source), machine, "so it cannot be captured")
        uncompared = uncompared_seconds(latest_point(points))
        return SyncRequest(
            run_id=run_id,
            machine_id=machine.machine_id,
            source=source,
            target=None if asked.is_capture_only else other_site(plan, source),
            networks=networks_from(plan, source),
            boot_mode=boot_mode_from(plan, source),
            is_freezing=plan.is_freezing if asked.is_freezing is None else asked.is_freezing,
            compare_reason=asked.compare_reason or comparison_due(uncompared, plan.full_compare_seconds),
            is_verifying=asked.is_verifying,
            is_dropping_divergent=asked.is_dropping_divergent,
        )

    return Want(SYNC.word, machine.subject, make)


def _want(desk: Desk, subject: Subject, words: Words) -> Want:
    return want_sync(desk, Named.of(subject), options(SyncOptions, words))


def _preview(look: Outlook, request: SyncRequest) -> list[str]:
    return plan_sync(request, *look.sides())


def _headline(run: RunRecord, seconds: float) -> str:
    """What matters first, such as *synced to point 12 in 4.40 s (2.0 MiB)*."""
    verb = "synced to" if run.request.get("target") else "captured"
    changed = run.result.get("changed_bytes")
    size = f" ({format_bytes(changed)})" if isinstance(changed, int) else ""
    return f"{verb} point {number_of(str(run.result.get('point_id', '')))} in {format_duration(seconds)}{size}."


SYNC = Kind(
    action=ACTION,
    request=SyncRequest,
    about=SubjectKind.MACHINE,
    want=_want,
    preview=_preview,
    is_protecting=True,
    sites=lambda request: [request.source, *([request.target] if request.target else [])],
    stays_on=lambda request: request.source,
    brings=lambda request: request.target,
    headline=_headline,
    told={**CAPTURED, **REMOVED, **FREEZE, **DIVERGENT, "retention": "retention"},
)
