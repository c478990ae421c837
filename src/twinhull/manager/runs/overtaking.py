"""A run that was left unfinished, while another manager has moved its machine on.

A run looks at both sites in its first step only. When it goes on, that may be long ago: a site that was cut off then
may answer now, and hold what is past. So the sites are looked at, and a stale side is fenced, before it goes on.

A run whose epoch is past by then cannot come to a good end, nor be undone: the machine is another run's, and what an
undo starts or writes would be in that one's way. It is ended as it stands.
"""

from __future__ import annotations

from twinhull.actions.context import Context
from twinhull.cluster.epochs import current_claim, current_epoch, primary
from twinhull.cluster.situation import Situation
from twinhull.manager.catalog.records import RunRecord
from twinhull.manager.runs.kinds.registry import KINDS
from twinhull.model.errors import StaleEpoch, TwinhullError
from twinhull.model.machine import SiteName
from twinhull.model.steps import Facts
from twinhull.replication.standing import correct, look
from twinhull.replication.sync import claimed, number


def is_concerned(run: RunRecord, found: Facts) -> bool:
    """Whether the run works on a machine's sides, and has made its own first look at them."""
    return bool(_sites(run)) and "epoch" in found


def look_before_going_on(context: Context, run: RunRecord, found: Facts) -> StaleEpoch | None:
    """Put right what is due on the run's sites; returns why the run must not go on, if another one has its machine.

    ``found`` are the facts of the run's finished steps. A site that does not answer is passed over.
    """
    sites = _sites(run)
    situation = look(context, run.machine_id, sites)
    overtaken = _overtaken(run, found, situation)
    try:
        is_changed = bool(correct(context, situation))
    except TwinhullError as error:
        if not overtaken:
            raise
        context.on_reason(f"What is stale could not be put right: {error.message}")
        return overtaken
    return _overtaken(run, found, look(context, run.machine_id, sites)) if is_changed else overtaken


def _sites(run: RunRecord) -> list[SiteName]:
    kind = KINDS.of(run)
    return list(kind.sites(kind.request_of(run)))


def _overtaken(run: RunRecord, found: Facts, situation: Situation) -> StaleEpoch | None:
    epoch, claim, holder = current_epoch(situation), current_claim(situation), primary(situation)
    ours = claimed(found)
    is_past = epoch > number(found, "epoch") and not (ours and claim == ours)
    kind = KINDS.of(run)
    if not is_past or (holder and holder.site == kind.stays_on(kind.request_of(run))):
        return None
    where = f"on {holder.site}" if holder else "elsewhere"
    return StaleEpoch(
        f"Another run{f' ({claim})' if claim else ''} has taken {run.machine_name}, which is in epoch {epoch} {where}: "
        f"{run.run_id}, of epoch {found['epoch']}, was ended, and what it had done was left as it is.",
        hint="See 'twinhull status' for where the machine runs, then ask again for what is still wanted.",
    )
