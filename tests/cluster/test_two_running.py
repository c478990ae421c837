"""Promise 5 over all situations of two sides: standings that are there, lost or unreadable, epochs, claims, powers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import pytest

from tests.cluster.test_epochs import WEB, A, B, silent
from twinhull.cluster.epochs import FIRST_EPOCH, Correction, Deed, corrections, current_epoch, primary
from twinhull.cluster.permission import require_primary
from twinhull.cluster.situation import Side, Situation
from twinhull.model.errors import DataError, SafetyError
from twinhull.model.machine import MachineSpec, MachineStatus, PointId, PowerState, Role, SiteName, Standing

POINT = PointId(f"{WEB}/00000001")
STANDINGS: list[Standing | None] = [
    None,
    Standing(WEB, Role.UNREADABLE, 0),
    *(
        Standing(WEB, role, epoch, POINT, claim=claim)
        for role in (Role.PRIMARY, Role.REPLICA, Role.FENCED)
        for epoch in (1, 2, 3)
        for claim in ("", "run-1", "run-2")
    ),
]
KNOWN = [(0, None), *product((1, 2, 4), (None, A, B))]


def side(site: SiteName, standing: Standing | None, power: PowerState | None) -> Side:
    status = MachineStatus(MachineSpec(WEB, "web", 1, 1), power, standing=standing) if power else None
    return Side(site, is_reachable=True, standing=standing, status=status)


def situations(*powers: tuple[PowerState | None, PowerState | None]) -> Iterator[Situation]:
    for (left, right), here, there, (epoch, holder) in product(powers, STANDINGS, STANDINGS, KNOWN):
        yield Situation(WEB, (side(A, here, left), side(B, there, right)), epoch, holder)


def corrected(situation: Situation, due: list[Correction]) -> Situation:
    """The situation after the corrections were made, as far as they are automatic."""
    sides = {item.site: item for item in situation.sides}
    for item in due:
        at = sides[item.site]
        if item.standing:
            at = replace(at, standing=item.standing)
        if item.deed is Deed.STOP and at.status:
            at = replace(at, status=replace(at.status, power=PowerState.OFF))
        sides[item.site] = at
    return replace(situation, sides=tuple(sides.values()))


BOTH_ON = [
    (PowerState.RUNNING, PowerState.RUNNING),
    (PowerState.PAUSED, PowerState.RUNNING),
    (PowerState.PAUSED, PowerState.PAUSED),
]


def test_two_running_sides_are_never_accepted() -> None:
    """Corrections are due, and after them one side runs, or people are asked and nothing may work on from any side."""
    for situation in situations(*BOTH_ON):
        due = corrections(situation)
        assert due, situation
        after = corrected(situation, due)
        running = [item for item in after.sides if item.is_running]
        is_asked = any(item.deed is Deed.ASK for item in due)
        assert len(running) <= 1 or is_asked, situation
        if is_asked:
            for site in (A, B):
                with pytest.raises((SafetyError, DataError)):
                    require_primary(after, site)


def test_corrections_come_to_an_end() -> None:
    for situation in situations(*BOTH_ON, (PowerState.RUNNING, PowerState.OFF), (PowerState.OFF, None)):
        after = corrected(situation, corrections(situation))
        assert [item for item in corrections(after) if item.is_automatic] == [], situation


def test_the_primary_of_the_current_epoch_is_never_stopped_nor_fenced() -> None:
    for situation in situations(*BOTH_ON, (PowerState.RUNNING, PowerState.OFF), (PowerState.OFF, PowerState.RUNNING)):
        holder = primary(situation)
        hurt = {item.site for item in corrections(situation) if item.deed in (Deed.FENCE, Deed.STOP)}
        assert holder is None or holder.site not in hurt, situation


def test_a_machine_that_runs_alone_is_not_stopped_for_a_standing_that_is_lost_or_unreadable_alone() -> None:
    """Somebody else must hold it, or the points must say that another site had it last."""
    for situation in situations((PowerState.RUNNING, PowerState.OFF), (PowerState.RUNNING, None)):
        mine, other = situation.sides
        is_lost = mine.standing is None or mine.standing.role is Role.UNREADABLE
        is_safe = situation.known_primary == A or (
            other.standing and other.standing.role in (Role.REPLICA, Role.FENCED)
        )
        if is_lost and is_safe and primary(situation) is None:
            assert not [item for item in corrections(situation) if item.site == A and item.deed is Deed.STOP], situation


def test_no_standing_is_past_once_another_side_holds_an_epoch_above_the_first() -> None:
    for power in PowerState:
        lost = side(A, None, power)
        taken = side(B, Standing(WEB, Role.PRIMARY, 2, POINT, claim="run-2"), PowerState.RUNNING)
        deeds = [(item.site, item.deed) for item in corrections(Situation(WEB, (lost, taken)))]
        assert deeds == [(A, Deed.FENCE), *([] if power.is_off else [(A, Deed.STOP)])]


@pytest.mark.parametrize("other", [silent(B), side(B, None, None), side(B, Standing(WEB, Role.UNREADABLE, 0), None)])
def test_no_standing_is_past_once_the_points_hold_an_epoch_above_the_first(other: Side) -> None:
    lost = side(A, None, PowerState.RUNNING)
    for known_primary, is_past in ((B, True), (None, True), (A, False)):
        situation = Situation(WEB, (lost, other), 2, known_primary)
        assert [item.deed for item in corrections(situation)] == ([Deed.FENCE, Deed.STOP] if is_past else [])
        if is_past:
            with pytest.raises((SafetyError, DataError)):
                require_primary(situation, A)


def test_a_machine_that_never_had_a_second_epoch_is_left_alone() -> None:
    for epoch, power in product((0, FIRST_EPOCH), PowerState):
        situation = Situation(WEB, (side(A, None, power), side(B, None, None)), epoch)
        assert current_epoch(situation) == epoch
        assert corrections(situation) == []


@pytest.mark.parametrize("powers", [*BOTH_ON, (PowerState.RUNNING, PowerState.OFF), (PowerState.RUNNING, None)])
def test_a_standing_that_cannot_be_read_has_no_side_switched_off(
    powers: tuple[PowerState, PowerState | None],
) -> None:
    """Its epoch is unknown: just after a take-over, before the first point, the stale side reads as primary."""
    unreadable = Standing(WEB, Role.UNREADABLE, 0)
    for there, (epoch, holder) in product(STANDINGS, KNOWN):
        found = Situation(WEB, (side(A, unreadable, powers[0]), side(B, there, powers[1])), epoch, holder)
        assert all(item.site != A for item in corrections(found) if item.deed is Deed.STOP)
