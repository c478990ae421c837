"""The action ``sync``: capture, then replica.

====  ==========  ==========================================================  ======================================
step  name        do                                                          undo
====  ==========  ==========================================================  ======================================
1     look        put right a stale side; is the source the primary?          forget the source's new standing, if
                  give it its first epoch                                     there is no replica yet
2     capture     clean leftovers, capture, publish                           nothing: a published point is whole
3     replica     bring the replica to the point                              nothing: a dirty replica is driven
                                                                              forward by the next sync
4     retain      retention by the plan                                       nothing
====  ==========  ==========================================================  ======================================

Repeating *capture* captures again: the point that a killed process published stays, and the new one is cheap.
"""

from __future__ import annotations

from twinhull.actions.context import Context
from twinhull.actions.requests import SyncRequest
from twinhull.cluster.epochs import FIRST_EPOCH, current_claim, current_epoch
from twinhull.cluster.permission import require_primary
from twinhull.cluster.situation import Situation
from twinhull.model.errors import NotFound, SiteUnreachable, UsageError
from twinhull.model.machine import BootMode, PointId, Role, SiteName, Standing
from twinhull.model.steps import Action, Facts, JsonValue, Step
from twinhull.replication.capture import CaptureOrder, capture_machine
from twinhull.replication.replica import ReplicaOrder, bring_replica
from twinhull.replication.standing import SILENCE, look_and_correct


def with_reasons(facts: Facts, *reasons: str) -> list[JsonValue]:
    """The run's reasons so far, and these."""
    so_far = facts.get("reasons")
    return [*(so_far if isinstance(so_far, list) else []), *reasons]


def number(facts: Facts, key: str) -> int:
    """A whole number among the facts."""
    value = facts[key]
    if not isinstance(value, int):
        raise TypeError(f"the fact {key} is {value!r}, not a number")
    return value


def claimed(facts: Facts) -> str:
    """The run to which the epoch among the facts belongs; empty in runs that an older version began."""
    return str(facts.get("claim", ""))


_MOVED = ("source_read_bytes", "changed_bytes", "stored_bytes", "replica_written_bytes", "replica_read_bytes")


def moved_bytes(facts: Facts, found: Facts) -> dict[str, JsonValue]:
    """What a run has moved so far, and what one more capture or apply has: their sum."""
    return {key: (number(facts, key) if key in facts else 0) + number(found, key) for key in _MOVED if key in found}


def boot_mode_of(text: str | None) -> BootMode | None:
    """The boot mode of that word; raises UsageError."""
    try:
        return BootMode(text) if text else None
    except ValueError:
        raise UsageError(f"'{text}' is no boot mode.", hint="Use hvm, pv or pvh.") from None


def require_answer(situation: Situation, site: str) -> None:
    """Refuse to go on with a site that does not answer; raises SiteUnreachable."""
    side = situation.side(site)
    if not side.is_reachable:
        raise SiteUnreachable(
            f"The site {site} does not answer: {side.reason}", hint="Check the network and the host; nothing was done."
        )


def require_two_sites(source: str, target: str | None) -> None:
    """Refuse one site in both places; raises UsageError."""
    if source == target:
        raise UsageError(f"{source} cannot be both source and target.", hint="Name two different sites.")


def _look(context: Context, facts: Facts) -> Facts:
    request = SyncRequest.of(facts)
    require_two_sites(request.source, request.target)
    names = [request.source, *([request.target] if request.target else [])]
    situation, reasons = look_and_correct(context, request.machine_id, names)
    for name in names:
        require_answer(situation, name)
    source = situation.side(request.source)
    if source.status is None:
        raise NotFound(
            f"There is no machine {request.machine_id} on {request.source}.", hint="See 'twinhull machine list'."
        )
    require_primary(situation, request.source)
    epoch = max(current_epoch(situation), FIRST_EPOCH)
    is_new = source.standing is None and request.target is not None
    claim = current_claim(situation) or (request.run_id if is_new else "")
    if is_new:
        first = Standing(request.machine_id, Role.PRIMARY, epoch, claim=claim)
        context.site(request.source).standings.write(first)
    return {
        "epoch": epoch,
        "claim": claim,
        "machine_name": source.status.spec.name,
        "is_new_standing": is_new,
        "reasons": with_reasons(facts, *reasons),
    }


def _forget_standing(context: Context, facts: Facts) -> None:
    """A machine that has no replica starts as freely as before.

    A target that is silent is not waited for: the standing is true, and the next sync goes on from it.
    """
    request = SyncRequest.of(facts)
    if not facts.get("is_new_standing") or request.target is None:
        return
    try:
        held = context.site(request.target).standings.read(request.machine_id)
    except SILENCE:
        return
    if held is None:
        context.site(request.source).standings.remove(request.machine_id)


def _capture(context: Context, facts: Facts) -> Facts:
    request = SyncRequest.of(facts)
    order = CaptureOrder(
        request.run_id,
        request.machine_id,
        request.source,
        is_freezing=request.is_freezing,
        compare_reason=request.compare_reason,
    )
    captured = capture_machine(context, order)
    return {**captured.facts(), "reasons": with_reasons(facts, *captured.reasons)}


def _replica(context: Context, facts: Facts) -> Facts:
    request = SyncRequest.of(facts)
    if request.target is None:
        return {}
    order = ReplicaOrder(
        SiteName(request.target),
        context.repository.point(PointId(str(facts["point_id"]))),
        number(facts, "epoch"),
        claimed(facts),
        request.networks,
        boot_mode_of(request.boot_mode),
        is_verifying=request.is_verifying,
        is_dropping_divergent=request.is_dropping_divergent,
        primary=request.source,
    )
    brought = bring_replica(context, order)
    return {**brought.facts(), "reasons": with_reasons(facts, *brought.reasons)}


def _retain(context: Context, facts: Facts) -> Facts:
    return context.retain(SyncRequest.of(facts).machine_id, facts) if context.retain else {}


SYNC: Action[Context] = Action(
    "sync",
    (
        Step("look", _look, _forget_standing),
        Step("capture", _capture),
        Step("replica", _replica),
        Step("retain", _retain),
    ),
)
