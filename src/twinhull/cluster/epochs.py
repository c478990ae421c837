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

A host can lose what it held (a directory that is gone, a new installation), or hold what cannot be read. Without a
standing a machine starts freely, so *no standing* is a fact only while nothing knows of an epoch above the first. Once
another side may have taken over, a side without a standing is past. Two sides that run are never accepted: if the
standings do not say which of them has to stop, people have to decide.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from twinhull.cluster.situation import Side, Situation
from twinhull.model.machine import MachineId, Role, SiteName, Standing

FIRST_EPOCH = 1
_PASSIVE = (Role.REPLICA, Role.FENCED)


def current_epoch(situation: Situation) -> int:
    """The highest epoch that any side that answers, or any point, knows of; 0 if none was ever given out."""
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
    """What a correction does. ``ASK`` does nothing: only people can decide."""

    RAISE = "raise"
    FENCE = "fence"
    STOP = "stop"
    ASK = "ask"


@dataclass(frozen=True, slots=True)
class Correction:
    """Something that must be corrected on a site, and why. ``standing`` is what to write first, if anything."""

    site: SiteName
    deed: Deed
    reason: str
    standing: Standing | None = None

    @property
    def is_automatic(self) -> bool:
        """Whether Twinhull can make it without asking."""
        return self.deed is not Deed.ASK


def corrections(situation: Situation) -> list[Correction]:
    """What is due, in the order in which it must happen: a stale side is fenced, then stopped if it runs.

    While two sides run, this is never empty.
    """
    contended = _contended(situation)
    if contended and contended.standing:
        raised = contended.standing
        sides = [replace(side, standing=raised) if side.site == contended.site else side for side in situation.sides]
        return [contended, *corrections(replace(situation, sides=sides))]
    due = [correction for side in situation.sides if side.is_reachable for correction in _due(side, situation)]
    return [*due, *_undecided(situation, due)]


def _due(side: Side, situation: Situation) -> Iterator[Correction]:
    """What is due on a side that answers."""
    if side.standing is None:
        return _without_standing(side, situation)
    if side.standing.role is Role.UNREADABLE:
        # Its epoch is unknown, not low: the machine may have been taken over to it. The guard lets nothing start by it.
        return iter(())
    return _side_corrections(side, side.standing, current_epoch(situation), current_claim(situation))


def _undecided(situation: Situation, due: Sequence[Correction]) -> Iterator[Correction]:
    """What people must decide: two sides would still run after all that is due, and no standing says which is past."""
    stopped = {item.site for item in due if item.deed is Deed.STOP}
    running = [side.site for side in running_sides(situation) if side.site not in stopped]
    if len(running) > 1:
        yield Correction(
            running[-1],
            Deed.ASK,
            f"The machine runs on {' and on '.join(running)}, and the standings there do not say which one is current: "
            "keep the one whose data you need, and switch the other one off.",
        )


def running_sides(situation: Situation) -> list[Side]:
    """The sides that answer and on which the machine executes; paused counts."""
    return [side for side in situation.sides if side.is_running]


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
            None if is_stale else _unknown(standing),
        )


def is_past_without_standing(side: Side, situation: Situation) -> bool:
    """Whether a side that answers and holds no standing has lost the machine to another one, as far as is known.

    Not if all others say that they are not the primary, or if the points of the current epoch were captured here: then
    it is the primary that lost its standing, and the next sync writes it again.
    """
    epoch, others = current_epoch(situation), [other for other in situation.sides if other is not side]
    if not side.is_reachable or side.standing or epoch <= FIRST_EPOCH:
        return False
    if primary(situation):
        return True
    passive = [other for other in others if other.standing and other.standing.role in _PASSIVE]
    is_nobody_else = bool(others) and len(passive) == len(others)
    return not is_nobody_else and situation.known_primary != side.site


def _without_standing(side: Side, situation: Situation) -> Iterator[Correction]:
    if side.status is None or not is_past_without_standing(side, situation):
        return
    epoch = current_epoch(situation)
    why = f"{side.site} holds no standing of the machine any more, and the current epoch is {epoch}"
    lost = fenced(situation.machine_id, epoch, current_claim(situation))
    yield Correction(side.site, Deed.FENCE, f"{why}: it may not start the machine there.", lost)
    if side.is_running:
        yield Correction(side.site, Deed.STOP, f"{why}: the machine runs there and is switched off.")


def spoiled(standing: Standing) -> Standing:
    """What is written of a side whose guest ran where nothing counted its changes: its disks are at no known point."""
    return replace(standing, point_id=None, is_dirty=True, applying_point_id=None, trackers={}, capture="")


def _unknown(standing: Standing) -> Standing | None:
    """What is written of a passive side that ran: what its disks hold is at no point any more, kept or not."""
    if standing.role is Role.REPLICA:
        return spoiled(standing)
    return fenced(standing.machine_id, standing.epoch, standing.claim) if standing.point_id else None


def fenced(machine_id: MachineId, epoch: int, claim: str, elsewhere: str = "") -> Standing:
    """The standing of a side that lost the machine to another one; what its disks hold is not known to be any point."""
    return Standing(machine_id, Role.FENCED, epoch, claim=claim, elsewhere=elsewhere)
