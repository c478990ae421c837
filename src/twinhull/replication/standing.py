"""Looking at a machine on all of its sites, and correcting what must be corrected before anything else is done."""

from __future__ import annotations

from collections.abc import Iterable

from twinhull.actions.context import Context
from twinhull.actions.patience import in_time
from twinhull.cluster.epochs import Deed, corrections
from twinhull.cluster.situation import Side, Situation
from twinhull.model.errors import DataError, HostKeyChanged, LoginRefused, SiteUnreachable
from twinhull.model.machine import MachineId, MachineStatus, Role, SiteName, Standing
from twinhull.platforms.contract import Site
from twinhull.replication.bases import latest_epoch
from twinhull.replication.replica import find

SILENCE = (SiteUnreachable, HostKeyChanged, LoginRefused)
"""What a site that does not answer us looks like."""


def look(context: Context, machine_id: MachineId, sites: Iterable[str]) -> Situation:
    """The machine on each of the sites; one that does not answer, or not in time, is a side with the reason why."""
    sides = [_side(context, machine_id, SiteName(name)) for name in dict.fromkeys(sites)]
    return Situation(machine_id, sides, *latest_epoch(context.points(machine_id)))


def look_and_correct(context: Context, machine_id: MachineId, sites: Iterable[str]) -> tuple[Situation, list[str]]:
    """As ``look``, after what is due was corrected; also the reasons."""
    names = list(sites)
    situation = look(context, machine_id, names)
    reasons = correct(context, situation)
    return (look(context, machine_id, names) if reasons else situation), reasons


def correct(context: Context, situation: Situation) -> list[str]:
    """Correct what is due (see :func:`twinhull.cluster.epochs.corrections`); returns the reasons.

    What only people can decide is a reason, too, and changes nothing.
    """
    reasons = []
    for correction in corrections(situation):
        site = context.site(correction.site)
        if correction.standing:
            site.standings.write(correction.standing)
        if correction.deed is Deed.STOP:
            site.power.kill(situation.machine_id)
        context.on_reason(correction.reason)
        reasons.append(correction.reason)
    return reasons


def read_standing(site: Site, machine_id: MachineId) -> tuple[Standing | None, str]:
    """The machine's standing there, and why it cannot be read if it is ``Role.UNREADABLE``."""
    try:
        return site.standings.read(machine_id), ""
    except DataError as error:
        return Standing(machine_id, Role.UNREADABLE, epoch=0), error.message


def _side(context: Context, machine_id: MachineId, name: SiteName) -> Side:
    try:
        status, standing, reason = in_time(name, lambda: _ask(context.site(name), machine_id))
        return Side(name, True, standing, status, reason)  # noqa: FBT003 - it answers
    except (*SILENCE, DataError) as error:
        # What a site says of its machines and cannot be understood is no answer either.
        return Side(name, False, reason=error.message)  # noqa: FBT003 - it does not


def _ask(site: Site, machine_id: MachineId) -> tuple[MachineStatus | None, Standing | None, str]:
    """In one look if the machine is there and its standing can be read."""
    status = find(site, machine_id)
    if status and (status.standing is None or status.standing.role is not Role.UNREADABLE):
        return status, status.standing, ""
    return status, *read_standing(site, machine_id)
