"""Whether a run may work on from a side: only from the one primary, and never while two sides run."""

from __future__ import annotations

from twinhull.cluster.epochs import corrections, current_epoch, is_past_without_standing, primary
from twinhull.cluster.situation import Side, Situation
from twinhull.model.errors import DataError, StaleEpoch, StillRunning
from twinhull.model.machine import Role, Standing


def require_primary(situation: Situation, site: str) -> None:
    """Refuse to work on from a side that is not the machine's primary.

    Raises StaleEpoch, StillRunning while two sides run, and DataError if the side's standing cannot be read, or if it
    has none and another side's cannot be read.
    """
    side, epoch = situation.side(site), current_epoch(situation)
    standing = side.standing
    holder = primary(situation)
    _require_one_running(situation)
    _require_readable(situation, side)
    if standing is None and holder is None and not is_past_without_standing(side, situation):
        return
    if standing and standing.role is Role.PRIMARY and standing.epoch == epoch:
        return
    held = f"it is {standing.role.value} there in epoch {standing.epoch}" if standing else "it holds no epoch there"
    where = _where(standing, holder)
    raise StaleEpoch(
        f"The machine {situation.machine_id} is not primary on {site}: {held}, and the current epoch is {epoch}.",
        hint=f"{where} See 'twinhull status'.",
    )


def _require_one_running(situation: Situation) -> None:
    undecided = [item for item in corrections(situation) if not item.is_automatic]
    if undecided:
        raise StillRunning(undecided[0].reason, hint="Switch one side off on its own host, then run this again.")


def _require_readable(situation: Situation, side: Side) -> None:
    """A side that holds nothing could be anything while another side's standing cannot be read."""
    concerned = situation.sides if side.standing is None else [side]
    for other in concerned:
        if other.standing and other.standing.role is Role.UNREADABLE:
            raise DataError(
                other.reason or f"What {other.site} holds about the machine {situation.machine_id} cannot be read.",
                hint="If the machine must run now, start its replica: 'twinhull failover MACHINE --unplanned'. "
                "If a manager of another repository sealed what the host holds, see what it says: 'twinhull site trust "
                f"{other.site} --dry-run'. Otherwise remove that file and run 'twinhull sync MACHINE': the standing is "
                "written again.",
            )


def _where(standing: Standing | None, holder: Side | None) -> str:
    if holder:
        return f"It is primary on {holder.site}."
    if standing and standing.role is Role.FENCED:
        return "If a failover was begun and not finished, repeat it: it goes on from here."
    return "No site that answers is its primary."
