"""The action ``reconcile``: a side that came back is told what it missed.

Each site that answers is looked at; one that holds an epoch that is past is fenced there and switched off where it
runs. It is safe to do at any time and as often as one likes; whoever watches does it when a site answers again.
"""

from __future__ import annotations

from twinhull.actions.context import Context
from twinhull.actions.requests import ReconcileRequest
from twinhull.cluster.epochs import current_epoch
from twinhull.model.steps import Action, Facts, Step
from twinhull.replication.standing import correct, look
from twinhull.replication.sync import with_reasons


def _reconcile(context: Context, facts: Facts) -> Facts:
    request = ReconcileRequest.of(facts)
    situation = look(context, request.machine_id, request.sites)
    silent = [side.site for side in situation.sides if not side.is_reachable]
    corrections = correct(context, situation)
    said = [*corrections, *(f"{site} does not answer; it is put right when it does." for site in silent)]
    return {
        "epoch": current_epoch(situation),
        "corrections": [*corrections],
        "reasons": with_reasons(facts, *said),
    }


RECONCILE: Action[Context] = Action("reconcile", (Step("reconcile", _reconcile),))
