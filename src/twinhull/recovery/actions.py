"""Every kind of run, by its word."""

from __future__ import annotations

from collections.abc import Mapping

from twinhull.actions.context import Context
from twinhull.model.steps import Action
from twinhull.recovery.failover.action import FAILBACK, FAILOVER
from twinhull.recovery.reconcile import RECONCILE
from twinhull.recovery.restore.action import RESTORE
from twinhull.recovery.rollback import ROLLBACK
from twinhull.replication.sync import SYNC

ACTIONS: Mapping[str, Action[Context]] = {
    action.kind: action for action in (SYNC, FAILOVER, FAILBACK, ROLLBACK, RESTORE, RECONCILE)
}
