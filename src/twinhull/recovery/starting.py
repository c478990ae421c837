"""Switching a machine on and waiting, with a bound, until the site says that it runs."""

from __future__ import annotations

from collections.abc import Sequence

from twinhull.actions.cleaning import clean_leftovers
from twinhull.actions.context import Context
from twinhull.model.errors import SiteError
from twinhull.model.machine import MachineId, PowerState
from twinhull.model.steps import Facts
from twinhull.platforms.contract import Site
from twinhull.replication.bases import choose_base

REMEDY = "Make it there, or name another network: 'twinhull plan network PLAN HERE=THERE'"
"""What to do about an obstacle (:meth:`twinhull.platforms.contract.Power.obstacles`)."""

_POLL_SECONDS = 0.2
_ATTEMPTS = 3
_PAUSE_SECONDS = 3.0
"""A hypervisor under load may fail to start a machine once, and start it a moment later."""


def start_and_wait(context: Context, site: Site, machine_id: MachineId, epoch: int, timeout_seconds: float) -> None:
    """Start the machine with its epoch; returns when it runs. Safe to repeat.

    Raises StaleEpoch and ReplicaDirty (the guard's refusals), and SiteError where it does not run in time.
    """
    clock = context.ports.clock
    deadline = clock.monotonic() + timeout_seconds
    _start(context, site, machine_id, epoch, deadline)
    while (power := site.power.state(machine_id)) is not PowerState.RUNNING:
        if clock.monotonic() > deadline:
            raise SiteError(
                f"The machine {machine_id} was started on {site.settings.name} and is {power.value} after "
                f"{timeout_seconds:.0f} s.",
                hint="Look at its console there; repeating the run starts it again.",
            )
        clock.sleep(_POLL_SECONDS)


def _start(context: Context, site: Site, machine_id: MachineId, epoch: int, deadline: float) -> None:
    """Start it, more than once if the hypervisor fails; what the site refuses on purpose is not asked again."""
    clock = context.ports.clock
    for attempt in range(1, _ATTEMPTS + 1):
        clean_before_start(context, site, machine_id)
        try:
            site.power.start(machine_id, epoch)
        except SiteError as error:
            is_passing = type(error) is SiteError
            if not is_passing or attempt == _ATTEMPTS or clock.monotonic() + _PAUSE_SECONDS > deadline:
                raise
            context.on_reason(
                f"{site.settings.name} could not start the machine at attempt {attempt} of {_ATTEMPTS}, and is asked "
                f"again: {error.message}"
            )
            clock.sleep(_PAUSE_SECONDS)
        else:
            return


def require_startable(name: str, site: str, obstacles: Sequence[str]) -> None:
    """Refuse, while there is a way back, to rely on a site that could not start the machine; raises SiteError."""
    if obstacles:
        raise SiteError(
            f"{name} could not be started on {site}: {' '.join(obstacles)} It stays where it was.",
            hint=f"{REMEDY}, and sync, if the machine runs.",
        )


def clean_before_start(context: Context, site: Site, machine_id: MachineId) -> None:
    """A disk that a killed process left open would keep the machine from starting.

    Trackers that its standing names stay, also where their point is not to be found: the repository may be away. Where
    it names none, and no point is known, all of them do.
    """
    held, points = site.standings.read(machine_id), context.points(machine_id)
    kept = {*choose_base(points, site.settings.name, held).trackers.values(), *(held.trackers.values() if held else ())}
    for reason in clean_leftovers(site, machine_id, kept if kept or points else None):
        context.on_reason(reason)


def seconds_since(context: Context, facts: Facts, key: str) -> float | None:
    """Seconds since the monotonic instant among the facts; None where the host was started anew in between."""
    then = facts.get(key)
    if not isinstance(then, int | float):
        return None
    passed = context.ports.clock.monotonic() - then
    return round(passed, 3) if passed >= 0 else None
