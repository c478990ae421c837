"""The source's part of a failover: fenced and stopped, taken back, settled."""

from __future__ import annotations

from dataclasses import replace

from twinhull.cluster.epochs import fenced
from twinhull.model.errors import NotFound, SiteError
from twinhull.model.machine import PointId, Role, Standing
from twinhull.model.steps import Facts
from twinhull.platforms.contract import Site
from twinhull.recovery.starting import start_and_wait
from twinhull.replication.context import Context
from twinhull.replication.requests import FailoverRequest
from twinhull.replication.standing import SILENCE
from twinhull.replication.sync import number, with_reasons


def stop_source(context: Context, facts: Facts) -> Facts:
    """Fence the source at the new epoch, then stop its machine; an unplanned failover goes on without an answer."""
    request = FailoverRequest.of(facts)
    down_since = context.ports.clock.monotonic()
    try:
        reasons = _fence_and_stop(context, request, number(facts, "epoch"))
        is_fenced = True
    except SILENCE as error:
        if request.is_planned:
            raise
        reasons = [_silence(request, error)]
        is_fenced = False
    for reason in reasons:
        context.on_reason(reason)
    return {
        "is_source_fenced": is_fenced,
        "down_since_seconds": down_since,
        "reasons": with_reasons(facts, *reasons),
    }


def _silence(request: FailoverRequest, error: SiteError) -> str:
    return (
        f"{request.source} does not answer ({error.message}), so it could not be fenced; when it comes back its epoch "
        "is past, and the machine is not started there."
    )


def _fence_and_stop(context: Context, request: FailoverRequest, epoch: int) -> list[str]:
    site = context.site(request.source)
    held = site.standing(request.machine_id) or Standing(request.machine_id, Role.PRIMARY, epoch)
    site.write_standing(replace(held, role=Role.FENCED, epoch=epoch))
    try:
        has_obeyed = site.stop(request.machine_id, request.grace_seconds if request.is_planned else 0.0)
    except NotFound:
        return [f"The machine is not on {request.source} any more."]
    if has_obeyed:
        return []
    return [f"The guest on {request.source} did not shut down by itself; it was switched off."]


def start_source_again(context: Context, facts: Facts) -> None:
    """Take the fence back: the source is primary in the new epoch, and runs if it ran before.

    Raises SiteUnreachable where the source is silent by now; it stays fenced then, and the failover can be repeated.
    """
    request = FailoverRequest.of(facts)
    if not request.is_planned and facts.get("was_silent"):
        return  # it was never reached, so nothing was done to it
    site = context.site(request.source)
    held = site.standing(request.machine_id)
    if held is None or held.epoch != facts["epoch"]:
        return  # it was not fenced yet
    # A killed undo may have written the standing and not started the machine: both are done again.
    site.write_standing(replace(held, role=Role.PRIMARY))
    if facts.get("was_running"):
        _start_again(context, site, request, held.epoch)


def _start_again(context: Context, site: Site, request: FailoverRequest, epoch: int) -> None:
    start_and_wait(context, site, request.machine_id, epoch, request.start_timeout_seconds)
    context.on_reason(f"The machine was started again on {request.source}.")


def settle_source(context: Context, facts: Facts) -> Facts:
    """What the source holds now: planned, it is a replica at the last point; else it is fenced, at no known point."""
    request = FailoverRequest.of(facts)
    epoch, reasons = number(facts, "epoch"), []
    if facts.get("is_source_fenced"):
        try:
            site = context.site(request.source)
            site.write_standing(_settled(request, facts, epoch))
            _hand_on_autostart(context, site, request)
        except SiteError as error:
            # The target runs and the source is fenced: nothing is at risk, only the way home will be longer.
            reasons.append(f"{request.source} could not be settled ({error.message}); the way home compares in full.")
    for reason in reasons:
        context.on_reason(reason)
    return {"reasons": with_reasons(facts, *reasons)}


def _settled(request: FailoverRequest, facts: Facts, epoch: int) -> Standing:
    if request.is_planned:
        return Standing(request.machine_id, Role.REPLICA, epoch, PointId(str(facts["point_id"])))
    return fenced(Standing(request.machine_id, Role.FENCED, epoch), epoch)


def _hand_on_autostart(context: Context, site: Site, request: FailoverRequest) -> None:
    """Whichever side is primary is started with its host, if the machine was so before."""
    try:
        was_on = site.set_autostart(request.machine_id, is_on=False)
    except NotFound:
        return
    if was_on:
        context.site(request.target).set_autostart(request.machine_id, is_on=True)
