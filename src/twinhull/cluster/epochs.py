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
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from twinhull.cluster.situation import Side, Situation
from twinhull.model.errors import StaleEpoch
from twinhull.model.machine import Role, SiteName, Standing

FIRST_EPOCH = 1


def current_epoch(situation: Situation) -> int:
    """The highest epoch that any side that answers, or any point, knows of; 0 where nobody has ever given one out."""
    held = [side.standing.epoch for side in situation.sides if side.standing]
    return max([situation.known_epoch, *held])


def primary(situation: Situation) -> Side | None:
    """The side that may run the machine, or None where no side that answers holds the current epoch as primary."""
    epoch = current_epoch(situation)
    holders = (side for side in situation.sides if side.standing and side.standing.role is Role.PRIMARY)
    return next((side for side in holders if side.standing and side.standing.epoch == epoch), None)


class Deed(StrEnum):
    """What is put right."""

    FENCE = "fence"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Correction:
    """Something that must be put right on a site, and why. ``standing`` is what to write where it is to be fenced."""

    site: SiteName
    deed: Deed
    reason: str
    standing: Standing | None = None


def corrections(situation: Situation) -> list[Correction]:
    """What is due, in the order in which it must happen: a stale side is fenced, then stopped where it runs."""
    epoch = current_epoch(situation)
    due: list[Correction] = []
    for side in situation.sides:
        if side.is_reachable and side.standing:
            due += _side_corrections(side, side.standing, epoch)
    return due


def _side_corrections(side: Side, standing: Standing, epoch: int) -> Iterator[Correction]:
    is_stale = standing.role is Role.PRIMARY and standing.epoch < epoch
    if is_stale:
        yield Correction(
            side.site,
            Deed.FENCE,
            f"{side.site} holds epoch {standing.epoch} of the machine, and the current one is {epoch}: "
            "it may not start the machine there any more.",
            fenced(standing, epoch),
        )
    if side.is_running and (is_stale or standing.role is not Role.PRIMARY):
        role = "stale" if is_stale else standing.role.value
        yield Correction(
            side.site,
            Deed.STOP,
            f"The machine runs on {side.site}, where it is {role} (epoch {standing.epoch} of {epoch}): it is switched "
            "off there, so that at most one side runs.",
        )


def fenced(standing: Standing, epoch: int) -> Standing:
    """The standing of a side that lost the machine to another one; what its disks hold is not known to be any point."""
    return replace(
        standing, role=Role.FENCED, epoch=epoch, point_id=None, is_dirty=False, applying_point_id=None, trackers={}
    )


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
