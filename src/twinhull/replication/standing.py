"""Looking at a machine on all of its sites, and putting right what must be before anything else is done."""

from __future__ import annotations

from collections.abc import Iterable

from twinhull.cluster.epochs import Deed, corrections
from twinhull.cluster.situation import Side, Situation
from twinhull.model.errors import HostKeyChanged, LoginRefused, SiteUnreachable
from twinhull.model.machine import MachineId, SiteName
from twinhull.replication.bases import highest_epoch
from twinhull.replication.context import Context
from twinhull.replication.patience import in_time
from twinhull.replication.replica import find_with_standing

SILENCE = (SiteUnreachable, HostKeyChanged, LoginRefused)
"""What a site that does not answer us looks like."""


def look(context: Context, machine_id: MachineId, sites: Iterable[str]) -> Situation:
    """The machine on each of the sites; one that does not answer, or not in time, is a side with the reason why."""
    sides = [_side(context, machine_id, SiteName(name)) for name in dict.fromkeys(sites)]
    points = context.points(machine_id)
    return Situation(machine_id, sides, highest_epoch(points))


def look_and_correct(context: Context, machine_id: MachineId, sites: Iterable[str]) -> tuple[Situation, list[str]]:
    """As ``look``, after what is due was put right; also the reasons."""
    names = list(sites)
    situation = look(context, machine_id, names)
    reasons = correct(context, situation)
    return (look(context, machine_id, names) if reasons else situation), reasons


def correct(context: Context, situation: Situation) -> list[str]:
    """Put right what is due (see :func:`twinhull.cluster.epochs.corrections`); returns the reasons."""
    reasons = []
    for correction in corrections(situation):
        site = context.site(correction.site)
        if correction.standing:
            site.write_standing(correction.standing)
        if correction.deed is Deed.STOP:
            site.kill(situation.machine_id)
        context.on_reason(correction.reason)
        reasons.append(correction.reason)
    return reasons


def _side(context: Context, machine_id: MachineId, name: SiteName) -> Side:
    try:
        status, standing = in_time(name, lambda: find_with_standing(context.site(name), machine_id))
        return Side(name, True, standing, status)  # noqa: FBT003 - it answers
    except SILENCE as error:
        return Side(name, False, reason=error.message)  # noqa: FBT003 - it does not
