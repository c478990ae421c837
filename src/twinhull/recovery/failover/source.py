"""The source's part of a failover: fenced and stopped, taken back, settled."""

from __future__ import annotations

from dataclasses import replace

from twinhull.actions.context import Context
from twinhull.actions.patience import in_time
from twinhull.actions.requests import FailoverRequest
from twinhull.cluster.epochs import fenced
from twinhull.model.errors import DataError, NotFound, SiteError, StaleEpoch, StillRunning
from twinhull.model.machine import PointId, PowerState, Role, Standing
from twinhull.model.steps import Facts
from twinhull.platforms.contract import Site
from twinhull.recovery.starting import start_and_wait
from twinhull.recovery.unfenced import until_it_is_fenced
from twinhull.replication.standing import SILENCE, read_standing
from twinhull.replication.sync import number, with_reasons


def stop_source(context: Context, facts: Facts) -> Facts:
    """Fence the source at the new epoch, then stop its machine; an unplanned failover goes on without an answer."""
    request = FailoverRequest.of(facts)
    down_since = context.ports.clock.monotonic()
    was_running = bool(facts.get("was_running"))
    try:
        if request.is_planned:
            reasons = _fence_and_stop(context, request, number(facts, "epoch"))
            is_fenced = True
        else:
            ran, is_fenced, reasons = in_time(request.source, lambda: _take_down(context, request, facts))
            was_running = was_running or ran
    except SILENCE as error:
        if request.is_planned:
            raise
        reasons = [_silence(request, str(facts.get("machine_name", request.machine_id)), error)]
        is_fenced = False
    for reason in reasons:
        context.on_reason(reason)
    return {
        "is_source_fenced": is_fenced,
        "was_running": was_running,
        "down_since_seconds": down_since,
        "reasons": with_reasons(facts, *reasons),
    }


def _silence(request: FailoverRequest, machine: str, error: SiteError) -> str:
    told = f"{request.source} does not answer ({error.message}), so it could not be fenced."
    return f"{told} {until_it_is_fenced(machine, request.source)}"


def _take_down(context: Context, request: FailoverRequest, facts: Facts) -> tuple[bool, bool, list[str]]:
    """Fence and stop a source that may be half dead.

    Also whether it ran (it may have been silent at the first look), and whether it was fenced: a standing that cannot
    be read stays, and keeps the guard from starting the machine.
    """
    try:
        site = context.site(request.source)
        was_running = _is_running(site, request)
        standing, why = read_standing(site, request.machine_id)
        if standing and standing.role is Role.UNREADABLE:
            reason = f"{why} It counts as past: the machine is switched off on {request.source}."
            return was_running, False, [reason, *_stop(site, request)]
        return was_running, True, _fence_and_stop(context, request, number(facts, "epoch"))
    except SILENCE:
        raise
    except (SiteError, DataError) as error:
        raise SiteError(
            f"The machine may still run on {request.source}, so it was not taken over: {error.message}",
            hint=_switch_off(request),
        ) from error


def _is_running(site: Site, request: FailoverRequest) -> bool:
    try:
        return not site.power.state(request.machine_id).is_off
    except NotFound:
        return False


def _switch_off(request: FailoverRequest) -> str:
    return f"Switch the host of {request.source} off, and repeat the failover: a silent host is passed over."


def _fence_and_stop(context: Context, request: FailoverRequest, epoch: int) -> list[str]:
    site = context.site(request.source)
    held = site.standings.read(request.machine_id) or Standing(request.machine_id, Role.PRIMARY, epoch)
    fence = replace(held, role=Role.FENCED, epoch=epoch, claim=request.run_id, elsewhere=request.target)
    site.standings.write(fence)
    return _stop(site, request)


def _stop(site: Site, request: FailoverRequest) -> list[str]:
    try:
        has_obeyed = site.power.stop(request.machine_id, request.grace_seconds if request.is_planned else 0.0)
    except NotFound:
        return [f"The machine is not on {request.source} any more."]
    if has_obeyed:
        return []
    return [f"The guest on {request.source} did not shut down by itself; it was switched off."]


def start_source_again(context: Context, facts: Facts) -> None:
    """Take the fence back: the source is primary in the new epoch, and runs if it ran before.

    A fence of another run stays. So does ours where another run has made the target primary meanwhile: that side gets
    an epoch beyond ours.

    Raises SiteUnreachable where the source answered and is silent by now; it stays fenced then, and the failover can
    be repeated.
    """
    request = FailoverRequest.of(facts)
    try:
        site = context.site(request.source)
        held = site.standings.read(request.machine_id)
    except (*SILENCE, DataError):
        if not request.is_planned and facts.get("was_silent"):
            return  # it was never reached, as far as we know
        raise
    if held is None or not belongs(held, request, facts):
        return  # it was not fenced yet, or not by us
    taken = _taken_by_another(context, request)
    if taken:
        give_way(context.site(request.target), taken, held.epoch)
        context.on_reason(f"{request.target} was made primary by another run: {request.source} stays fenced.")
        return
    # A killed undo may have written the standing and not started the machine: both are done again.
    site.standings.write(replace(held, role=Role.PRIMARY, elsewhere=""))
    if facts.get("was_running"):
        _start_again(context, site, request, held.epoch)


def belongs(held: Standing, request: FailoverRequest, facts: Facts) -> bool:
    """Whether a standing is of this run's epoch; what an older version wrote is known by its number."""
    return held.claim == request.run_id or (not held.claim and held.epoch == facts["epoch"])


def give_way(site: Site, taken: Standing, epoch: int) -> None:
    """Give up our epoch to the run that has made the site primary: that side's rises beyond it, and is not stale."""
    site.standings.write(replace(taken, epoch=max(taken.epoch, epoch + 1)))


def _taken_by_another(context: Context, request: FailoverRequest) -> Standing | None:
    """The target's standing where another run took over there; a target that does not answer is not waited for."""
    try:
        held = context.site(request.target).standings.read(request.machine_id)
    except SILENCE:
        return None
    return held if held and held.role is Role.PRIMARY else None


def _start_again(context: Context, site: Site, request: FailoverRequest, epoch: int) -> None:
    start_and_wait(context, site, request.machine_id, epoch, request.start_timeout_seconds)
    context.on_reason(f"The machine was started again on {request.source}.")


def require_source_held(context: Context, request: FailoverRequest, facts: Facts) -> None:
    """The last look at the source before there is no way back; one that is silent was fenced, or will be.

    Raises StillRunning where it runs, StaleEpoch where another run holds its fence by now.
    """
    try:
        power, held = in_time(request.source, lambda: _power_and_standing(context, request))
    except (NotFound, *SILENCE):
        return
    if not power.is_off:
        is_back = facts.get("is_source_fenced")
        when = "again" if is_back else "still"
        raise StillRunning(
            f"The machine is {power.value} on {request.source} {when}; nothing was taken over.",
            hint="Find out what starts it there." if is_back else _switch_off(request),
        )
    if facts.get("is_source_fenced") and held and not belongs(held, request, facts):
        raise StaleEpoch(
            f"Another run fenced the machine on {request.source} (epoch {held.epoch}); nothing was taken over.",
            hint="Another manager works on this machine: look with twinhull status before you ask again.",
        )


def _power_and_standing(context: Context, request: FailoverRequest) -> tuple[PowerState, Standing | None]:
    site = context.site(request.source)
    return site.power.state(request.machine_id), read_standing(site, request.machine_id)[0]


def settle_source(context: Context, facts: Facts) -> Facts:
    """What the source holds now: planned, it is a replica at the last point; else it is fenced, at no known point."""
    request = FailoverRequest.of(facts)
    epoch, reasons = number(facts, "epoch"), []
    if facts.get("is_source_fenced"):
        try:
            site = context.site(request.source)
            held = site.standings.read(request.machine_id)
            # Where this run was killed and goes on late, another one may have synced home, or taken the machine there.
            is_ours = held is not None and held.role is not Role.PRIMARY and belongs(held, request, facts)
            if held and is_ours and held.role is Role.FENCED:
                site.standings.write(_settled(request, facts, epoch))
            if is_ours:
                _hand_on_autostart(context, site, request)
        except (SiteError, StaleEpoch) as error:
            # The target runs and the source is fenced: nothing is at risk, only the way home will be longer.
            reasons.append(f"{request.source} could not be settled ({error.message}); the way home compares in full.")
    for reason in reasons:
        context.on_reason(reason)
    return {"reasons": with_reasons(facts, *reasons)}


def _settled(request: FailoverRequest, facts: Facts, epoch: int) -> Standing:
    if request.is_planned:
        point_id, capture = PointId(str(facts["point_id"])), str(facts.get("capture", ""))
        return Standing(
            request.machine_id,
            Role.REPLICA,
            epoch,
            point_id,
            claim=request.run_id,
            capture=capture,
            elsewhere=request.target,
        )
    return fenced(request.machine_id, epoch, request.run_id, request.target)


def _hand_on_autostart(context: Context, site: Site, request: FailoverRequest) -> None:
    """Whichever side is primary is started with its host, if the machine was so before."""
    try:
        was_on = site.power.set_autostart(request.machine_id, is_on=False)
    except NotFound:
        return
    if was_on:
        context.site(request.target).power.set_autostart(request.machine_id, is_on=True)
