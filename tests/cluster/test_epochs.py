from __future__ import annotations

import pytest

from twinhull.cluster.epochs import Deed, corrections, current_claim, current_epoch, primary
from twinhull.cluster.permission import require_primary
from twinhull.cluster.situation import Side, Situation
from twinhull.model.errors import DataError, StaleEpoch
from twinhull.model.machine import MachineId, MachineSpec, MachineStatus, PointId, PowerState, Role, SiteName, Standing

WEB = MachineId("6f5a3f0e-0000-4000-8000-000000000001")
A, B = SiteName("a"), SiteName("b")


def side(
    site: SiteName, role: Role | None, epoch: int = 1, power: PowerState = PowerState.OFF, claim: str = ""
) -> Side:
    standing = Standing(WEB, role, epoch, PointId(f"{WEB}/00000001"), claim=claim) if role else None
    status = MachineStatus(MachineSpec(WEB, "web", 1, 1), power, standing=standing)
    return Side(site, is_reachable=True, standing=standing, status=status)


def silent(site: SiteName) -> Side:
    return Side(site, is_reachable=False, reason="no route")


def situation(*sides: Side, known_epoch: int = 0) -> Situation:
    return Situation(WEB, sides, known_epoch)


def test_the_current_epoch_is_the_highest_that_anybody_knows_of() -> None:
    assert current_epoch(situation(side(A, None), silent(B))) == 0
    assert current_epoch(situation(side(A, Role.PRIMARY, 2), side(B, Role.REPLICA, 3))) == 3
    assert current_epoch(situation(side(A, Role.PRIMARY, 2), silent(B), known_epoch=4)) == 4


def test_the_primary_is_who_holds_the_current_epoch_as_primary() -> None:
    holder = primary(situation(side(A, Role.PRIMARY, 2), side(B, Role.REPLICA, 2)))
    assert holder
    assert holder.site == A
    assert primary(situation(side(A, Role.PRIMARY, 1), side(B, Role.REPLICA, 2))) is None
    assert primary(situation(side(A, Role.PRIMARY, 1), silent(B), known_epoch=2)) is None


def test_all_is_well_where_the_primary_runs_and_the_replica_is_off() -> None:
    well = situation(side(A, Role.PRIMARY, 1, PowerState.RUNNING), side(B, Role.REPLICA, 1))
    assert corrections(well) == []


def test_a_stale_primary_is_fenced_and_then_stopped_where_it_runs() -> None:
    both = situation(side(A, Role.PRIMARY, 1, PowerState.RUNNING), side(B, Role.PRIMARY, 2, PowerState.RUNNING))
    due = corrections(both)
    assert [(item.site, item.deed) for item in due] == [(A, Deed.FENCE), (A, Deed.STOP)]
    fenced = due[0].standing
    assert fenced
    assert (fenced.role, fenced.epoch, fenced.point_id) == (Role.FENCED, 2, None)
    assert "epoch 1" in due[0].reason
    assert "current one is 2" in due[0].reason


def test_a_stale_primary_is_known_by_the_points_even_where_the_other_side_is_silent() -> None:
    due = corrections(situation(side(A, Role.PRIMARY, 1), silent(B), known_epoch=2))
    assert [item.deed for item in due] == [Deed.FENCE]


@pytest.mark.parametrize("role", [Role.REPLICA, Role.FENCED])
def test_what_may_not_run_is_stopped_and_nothing_else_is_done_to_it(role: Role) -> None:
    due = corrections(situation(side(A, Role.PRIMARY, 2), side(B, role, 2, PowerState.RUNNING)))
    assert [(item.site, item.deed) for item in due] == [(B, Deed.STOP)]


def test_what_cannot_be_understood_makes_nobody_primary_and_stops_nothing() -> None:
    damaged = situation(side(A, Role.UNREADABLE, 0, PowerState.RUNNING), side(B, Role.REPLICA, 2))
    assert corrections(damaged) == []
    assert primary(damaged) is None
    with pytest.raises(DataError, match="cannot be read"):
        require_primary(damaged, A)


def test_a_machine_without_a_standing_is_nobodys_business() -> None:
    assert corrections(situation(side(A, None, power=PowerState.RUNNING), silent(B))) == []


def test_only_a_primary_of_the_current_epoch_may_be_worked_from() -> None:
    require_primary(situation(side(A, None), silent(B)), A)
    require_primary(situation(side(A, Role.PRIMARY, 2), side(B, Role.REPLICA, 1)), A)
    for refused in (side(A, Role.PRIMARY, 1), side(A, Role.REPLICA, 2), side(A, Role.FENCED, 2)):
        with pytest.raises(StaleEpoch, match="not primary on a"):
            require_primary(situation(refused, side(B, Role.PRIMARY, 2)), A)
    with pytest.raises(StaleEpoch, match="holds no epoch"):
        require_primary(situation(side(A, None), side(B, Role.PRIMARY, 2)), A)
    with pytest.raises(StaleEpoch, match="repeat it"):
        require_primary(situation(side(A, Role.FENCED, 2), side(B, Role.REPLICA, 1)), A)


def test_the_claim_of_the_current_epoch_is_its_primary_s() -> None:
    assert current_claim(situation(side(A, None), silent(B))) == ""
    assert current_claim(situation(side(A, Role.FENCED, 2, claim="run-1"), side(B, Role.REPLICA, 1, claim="old"))) == (
        "run-1"
    )
    assert current_claim(
        situation(side(A, Role.FENCED, 2, claim="run-1"), side(B, Role.PRIMARY, 2, claim="run-2"))
    ) == ("run-2")


def test_of_two_primaries_of_one_epoch_the_one_that_runs_goes_on_in_the_next_and_the_other_is_fenced() -> None:
    both = situation(
        side(A, Role.PRIMARY, 8, claim="run-2"), side(B, Role.PRIMARY, 8, PowerState.RUNNING, claim="run-1")
    )
    due = corrections(both)
    assert [(item.site, item.deed) for item in due] == [(B, Deed.RAISE), (A, Deed.FENCE)]
    assert "hold epoch 8 of the machine from two runs" in due[0].reason
    raised, fenced = due[0].standing, due[1].standing
    assert raised
    assert (raised.role, raised.epoch, raised.claim) == (Role.PRIMARY, 9, "run-1")
    assert fenced == Standing(WEB, Role.FENCED, 9, claim="run-1")


def test_of_two_primaries_that_both_run_one_is_switched_off_whoever_looks() -> None:
    sides = [side(site, Role.PRIMARY, 8, PowerState.RUNNING, claim) for site, claim in ((A, "run-1"), (B, "run-2"))]
    for order in (sides, sides[::-1]):
        due = corrections(situation(*order))
        assert [(item.site, item.deed) for item in due] == [(B, Deed.RAISE), (A, Deed.FENCE), (A, Deed.STOP)]


def test_two_primaries_of_standings_without_claims_are_told_apart_too() -> None:
    due = corrections(situation(side(A, Role.PRIMARY, 3), side(B, Role.PRIMARY, 3)))
    assert [(item.site, item.deed) for item in due] == [(B, Deed.RAISE), (A, Deed.FENCE)]


def test_a_fence_of_another_run_in_the_primary_s_epoch_is_left_behind() -> None:
    """It could not be made a replica otherwise: its epoch belongs to the run that has lost."""
    due = corrections(situation(side(A, Role.FENCED, 8, claim="run-2"), side(B, Role.PRIMARY, 8, claim="run-1")))
    assert [(item.site, item.deed) for item in due] == [(B, Deed.RAISE)]
    well = situation(side(A, Role.FENCED, 8, claim="run-1"), side(B, Role.PRIMARY, 8, claim="run-1"))
    assert corrections(well) == []
    assert corrections(situation(side(A, Role.FENCED, 8), side(B, Role.PRIMARY, 8, claim="run-1"))) == []
