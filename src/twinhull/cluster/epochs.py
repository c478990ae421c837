"""Epochs: at most one side of a machine may run, and the highest epoch says which.

What a site holds about a machine moves so::

                     first sync                  fence, epoch e+1                 apply
      (nothing) ─────────────────▶ PRIMARY e ─────────────────────▶ FENCED e+1 ─────────▶ REPLICA dirty
          │                            ▲                                                     │      ▲
          │ first apply                │ take over at point P, epoch e+1           point P   │      │ apply
          └──────▶ REPLICA dirty ──▶ REPLICA e, at point P ◀─────────────────────────────────┘──────┘

Only PRIMARY that is not dirty may start, and only with its own epoch; the site checks it at the power switch. The
target's epoch rises before it starts, and a source that answers is fenced before that. A source that does not answer
keeps an epoch that is past: when it comes back, it is fenced before anything else happens.

An epoch belongs to the run that chose it, which each standing names as its claim. Two managers may choose the same
number at the same time. Where both write to one host, the second is refused there. Where each reaches another host,
the number is *contended*: one primary's epoch is raised by one, which makes the others past, like any other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from twinhull.cluster.situation import Side, Situation
from twinhull.model.errors import StaleEpoch
from twinhull.model.machine import MachineId, Role, SiteName, Standing

FIRST_EPOCH = 1


def current_epoch(situation: Situation) -> int:
    """The highest epoch that any side that answers, or any point, knows of; 0 where nobody has ever given one out."""
    held = [side.standing.epoch for side in situation.sides if side.standing]
    return max([situation.known_epoch, *held])


def current_claim(situation: Situation) -> str:
    """The run to which the current epoch belongs; empty where no side that answers names one."""
    epoch, holder = current_epoch(situation), primary(situation)
    held = [side.standing for side in (holder, *situation.sides) if side and side.standing]
    return next((standing.claim for standing in held if standing.epoch == epoch), "")


def primary(situation: Situation) -> Side | None:
    """The side that may run the machine, or None where no side that answers holds the current epoch as primary.

    Where two do, because two runs chose one number, it is the one that runs, or else the one of the later claim.
    """
    epoch = current_epoch(situation)
    holders = [(side, side.standing) for side in situation.sides if side.standing and side.standing.epoch == epoch]
    ranks = {(side.is_running, held.claim, side.site): side for side, held in holders if held.role is Role.PRIMARY}
    return ranks[max(ranks)] if ranks else None


class Deed(StrEnum):
    """What is put right."""

    RAISE = "raise"
    FENCE = "fence"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Correction:
    """Something that must be put right on a site, and why. ``standing`` is what to write first, if anything."""

    site: SiteName
    deed: Deed
    reason: str
    standing: Standing | None = None


def corrections(situation: Situation) -> list[Correction]:
    """What is due, in the order in which it must happen: a stale side is fenced, then stopped where it runs."""
    contended = _contended(situation)
    if contended and contended.standing:
        raised = contended.standing
        sides = [replace(side, standing=raised) if side.site == contended.site else side for side in situation.sides]
        return [contended, *corrections(replace(situation, sides=sides))]
    epoch, claim = current_epoch(situation), current_claim(situation)
    due: list[Correction] = []
    for side in situation.sides:
        if side.is_reachable and side.standing:
            due += _side_corrections(side, side.standing, epoch, claim)
    return due


def _contended(situation: Situation) -> Correction | None:
    """How the primary is told from another side that holds the same epoch from another run, if there is one."""
    holder = primary(situation)
    if holder is None or holder.standing is None:
        return None
    held = holder.standing
    others = [side for side in situation.sides if side.standing and side.standing.epoch == held.epoch]
    rivals = [side for side in others if side is not holder and side.standing and _are_rivals(held, side.standing)]
    if not rivals:
        return None
    return Correction(
        holder.site,
        Deed.RAISE,
        f"{holder.site} and {rivals[0].site} hold epoch {held.epoch} of the machine from two runs: {holder.site} goes "
        f"on, in epoch {held.epoch + 1}.",
        replace(held, epoch=held.epoch + 1),
    )


def _are_rivals(primary: Standing, other: Standing) -> bool:
    """Whether the other one holds the primary's epoch from another run; no run makes two primaries of one epoch."""
    is_claimed_twice = bool(primary.claim and other.claim) and primary.claim != other.claim
    return is_claimed_twice or other.role is Role.PRIMARY


def _side_corrections(side: Side, standing: Standing, epoch: int, claim: str) -> Iterator[Correction]:
    is_stale = standing.role is Role.PRIMARY and standing.epoch < epoch
    if is_stale:
        yield Correction(
            side.site,
            Deed.FENCE,
            f"{side.site} holds epoch {standing.epoch} of the machine, and the current one is {epoch}: "
            "it may not start the machine there any more.",
            fenced(standing.machine_id, epoch, claim),
        )
    if side.is_running and (is_stale or standing.role in (Role.REPLICA, Role.FENCED)):
        role = "stale" if is_stale else standing.role.value
        yield Correction(
            side.site,
            Deed.STOP,
            f"The machine runs on {side.site}, where it is {role} (epoch {standing.epoch} of {epoch}): it is switched "
            "off there, so that at most one side runs.",
            spoiled(standing) if standing.role is Role.REPLICA else None,
        )


def spoiled(standing: Standing) -> Standing:
    """What is written of a side whose guest ran where nothing counted its changes: its disks are at no known point."""
    return replace(standing, point_id=None, is_dirty=True, applying_point_id=None, trackers={}, capture="")


def fenced(machine_id: MachineId, epoch: int, claim: str) -> Standing:
    """The standing of a side that lost the machine to another one; what its disks hold is not known to be any point."""
    return Standing(machine_id, Role.FENCED, epoch, claim=claim)


def require_primary(situation: Situation, site: str) -> None:
    """Refuse to work on from a side that is not the machine's primary; raises StaleEpoch."""
    side, epoch = situation.side(site), current_epoch(situation)
    standing = side.standing
    holder = primary(situation)
    if standing is None and holder is None:
        return
    if standing and standing.role is Role.PRIMARY and standing.epoch == epoch:
        return
    held = f"it is {standing.role.value} there in epoch {standing.epoch}" if standing else "it holds no epoch there"
    where = _where(standing, holder)
    raise StaleEpoch(
        f"The machine {situation.machine_id} is not primary on {site}: {held}, and the current epoch is {epoch}.",
        hint=f"{where} See 'twinhull status'.",
    )


def _where(standing: Standing | None, holder: Side | None) -> str:
    if holder:
        return f"It is primary on {holder.site}."
    if standing and standing.role is Role.FENCED:
        return "If a failover was begun and not finished, repeat it: it goes on from here."
    return "No site that answers is its primary."
