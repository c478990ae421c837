"""One point whose document cannot be read, and everything else of its machine."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.manager.test_serve import serving
from tests.manager.world import Setup, machine_id, make_setup
from twinhull.manager.catalog.records import RunRecord, RunState
from twinhull.manager.manager import Manager
from twinhull.manager.runs.kinds.move import FailoverOptions, want_failover
from twinhull.manager.runs.kinds.rollback import want_rollback
from twinhull.manager.runs.kinds.sync import SyncOptions, want_sync
from twinhull.manager.runs.wants import Ears, Want
from twinhull.model.errors import SafetyError
from twinhull.repository import RepositoryDamaged, RetentionRules
from twinhull.repository.format.point_names import object_name

MACHINE = machine_id(0)
RPO_SECONDS = 1_000


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setup:
    """With three points of the first machine, and one of the second."""
    setup = make_setup(tmp_path, monkeypatch, machine_count=2, rpo_seconds=RPO_SECONDS)
    with setup.manager() as manager:
        for name in ("m0", "m0", "m0", "m1"):
            run(manager, want_sync(manager.desk, manager.names.machine(name), SyncOptions()))
    return setup


def run(manager: Manager, want: Want) -> RunRecord:
    return manager.dispatcher.carry_out(want, Ears())


def damage(setup: Setup, tmp_path: Path, number: int) -> str:
    with setup.manager() as manager:
        point = manager.repository.points(MACHINE)[number - 1]
    found = [path for path in (tmp_path / "points").rglob(object_name("point", point.id)) if path.is_file()]
    found[0].chmod(0o600)
    whole = found[0].read_bytes()
    found[0].write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    return f"The point {point.id} cannot be read, and is passed over: "


def failover(*, is_planned: bool) -> Callable[[Manager], Want]:
    options = FailoverOptions(is_planned=is_planned)
    return lambda manager: want_failover(manager.desk, manager.names.machine(MACHINE), options)


def sync(manager: Manager) -> Want:
    return want_sync(manager.desk, manager.names.machine(MACHINE), SyncOptions())


@pytest.mark.parametrize(
    ("number", "make"),
    [
        *((number, make) for number in (1, 2, 3) for make in (failover(is_planned=True), sync)),
        *((number, failover(is_planned=False)) for number in (1, 2)),
    ],
)
def test_what_is_wanted_of_the_machine_is_done_and_the_point_is_told(
    setup: Setup, tmp_path: Path, number: int, make: Callable[[Manager], Want]
) -> None:
    told = damage(setup, tmp_path, number)
    with setup.manager() as manager:
        assert told in " ".join(manager.previewer.preview(make(manager)).lines)
        done = run(manager, make(manager))
        assert done.state is RunState.DONE
        assert sum(told in reason for reason in done.reasons) == 1
        assert len(manager.status().damages.of(MACHINE)) == 1


def test_a_replica_at_a_later_point_is_not_given_up_for_an_older_one_without_being_asked(
    setup: Setup, tmp_path: Path
) -> None:
    """The latest point is damaged, and the replica is at it: both ways out are named, and work."""
    damage(setup, tmp_path, 3)
    setup.world.host("here").crash()
    with setup.manager() as manager:
        content = setup.world.host("there").machines[MACHINE].content("vda")
        for refused in (manager.previewer.preview, partial(run, manager)):
            with pytest.raises(SafetyError, match="00000002, which is older") as told:
                refused(failover(is_planned=False)(manager))
            assert "m0 --unplanned --without-repository'" in told.value.hint
            assert "m0 --unplanned --point 2'" in told.value.hint
        named = manager.names.machine(MACHINE)
        as_it_is = FailoverOptions(is_planned=False, is_without_repository=True)
        done = run(manager, want_failover(manager.desk, named, as_it_is))
        assert str(done.result["point_id"]).endswith("/00000003")
        assert setup.world.host("there").machines[MACHINE].content("vda") == content


def test_an_older_point_is_started_from_if_it_is_named(setup: Setup, tmp_path: Path) -> None:
    damage(setup, tmp_path, 3)
    setup.world.host("here").crash()
    with setup.manager() as manager:
        named = manager.names.machine(MACHINE)
        done = run(manager, want_failover(manager.desk, named, FailoverOptions(is_planned=False, point="2")))
        assert str(done.result["point_id"]).endswith("/00000002")


def test_a_failover_to_a_readable_point_needs_no_comparison(setup: Setup, tmp_path: Path) -> None:
    damage(setup, tmp_path, 2)
    setup.world.host("here").crash()
    with setup.manager() as manager:
        done = run(manager, failover(is_planned=False)(manager))
        assert str(done.result["point_id"]).endswith("/00000003")
        assert not done.result.get("replica_read_bytes")


def test_the_next_point_comes_after_the_damaged_one_and_none_is_removed(setup: Setup, tmp_path: Path) -> None:
    damage(setup, tmp_path, 3)
    with setup.manager() as manager:
        done = run(manager, sync(manager))
        assert str(done.result["point_id"]).endswith("/00000004")
        assert str(done.result["retention"]).startswith("No point was removed: ")
        assert done.result["removed_points"] == []


def test_points_are_neither_counted_nor_let_go_over_a_damaged_one(setup: Setup, tmp_path: Path) -> None:
    damage(setup, tmp_path, 2)
    with setup.manager() as manager:
        named = manager.names.machine(MACHINE)
        assert manager.point("m0:N").sequence == 3, "what is damaged is older"
        for word in ("N-1", "N-2"):
            with pytest.raises(RepositoryDamaged, match="cannot be counted"):
                manager.point(f"m0:{word}")
            with pytest.raises(RepositoryDamaged, match="cannot be counted"):
                run(manager, want_rollback(manager.desk, named, word, is_starting=None, is_keeping_present=True))
        assert manager.point("m0:1").sequence == 1
        with pytest.raises(RepositoryDamaged):
            manager.pruner.look("m0", RetentionRules(keep_last=1))
        with pytest.raises(RepositoryDamaged):
            manager.repository.retain(MACHINE, RetentionRules(keep_last=1))
        back = want_rollback(manager.desk, named, "1", is_starting=None, is_keeping_present=True)
        assert run(manager, back).state is RunState.DONE


def test_serve_starts_goes_on_and_tells_it_once(setup: Setup, tmp_path: Path) -> None:
    told = damage(setup, tmp_path, 3)
    with serving(setup) as (manager, heard):
        heard.wait_for(lambda: bool(heard.words("damaged")))
        setup.world.ports.clock.sleep(RPO_SECONDS)
        heard.wait_for(lambda: len(heard.words("done")) == 2)
        assert {facts["machine"] for facts in heard.words("done")} == {"m0", "m1"}
        assert [str(facts["reason"]).startswith(told) for facts in heard.words("damaged")] == [True]
        assert not heard.words("trouble")
        assert all(report.health.value == "protected" for report in manager.status().reports)
