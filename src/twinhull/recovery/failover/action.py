"""The actions ``failover`` and ``failback``: starting the machine on the target in place of the source.

====  ==================  =============================================================  ============================
step  name                do                                                             undo
====  ==================  =============================================================  ============================
1     look                put right a stale side; who is primary, which epoch comes      nothing was changed
2     sync while running  planned: capture and apply while the guest works, so that it   nothing: it is a sync
                          is down for the last changes only; refuse what the target
                          could not start
3     stop the source     fence it at the new epoch, then stop it. Unplanned: if it      primary again (in the new
                          answers; else it is fenced when it comes back                  epoch), started if it ran
4     capture the last    planned: capture the stopped machine. Unplanned: tell the      nothing: a point is whole
                          loss
5     bring the replica   apply the last point, or the wanted one; refuse what the       nothing: a dirty replica is
                          target could not start                                         driven forward later
6     arm trackers        so that the way home sends only what differs                   cleaned by the next sync
7     take over           **no return**: the target is primary in the new epoch          none
8     start               start it there, wait until it runs                             none
9     settle the source   planned: it is a replica at the last point                     none
====  ==================  =============================================================  ============================

The source is fenced before it is stopped, so that nothing can start it again between its stop and the last capture.
"""

from __future__ import annotations

from twinhull.actions.context import Context
from twinhull.model.steps import Action, Facts, Step
from twinhull.recovery.failover.last_capture import capture_the_last, sync_while_running
from twinhull.recovery.failover.looking import look_at_both
from twinhull.recovery.failover.source import settle_source, start_source_again, stop_source
from twinhull.recovery.failover.target import arm_target, bring_target, start_target, take_over

_STEPS: tuple[Step[Context], ...] = (
    Step("look", look_at_both),
    Step("sync while running", sync_while_running),
    Step("stop the source", stop_source, start_source_again),
    Step("capture the last", capture_the_last),
    Step("bring the replica", bring_target),
    Step("arm trackers", arm_target),
    Step("take over", take_over, is_point_of_no_return=True),
    Step("start", start_target),
    Step("settle the source", settle_source),
)

FAILOVER: Action[Context] = Action("failover", _STEPS)
FAILBACK: Action[Context] = Action("failback", _STEPS)


def is_past_the_repository(found: Facts) -> bool:
    """Whether the steps that are left, and all undos, can do without it: the replica is at its point, and armed."""
    return "armed_trackers" in found
