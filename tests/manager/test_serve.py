from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from tests.manager.world import HERE, PASSPHRASE, THERE, Setup, machine_id, make_setup, spec
from tests.record import claimed, remember, rewrite_result
from twinhull.manager.catalog.catalog import Catalog
from twinhull.manager.catalog.records import Plan, RunRecord, RunState
from twinhull.manager.catalog.state import write_private
from twinhull.manager.health.health import Health
from twinhull.manager.manager import Manager
from twinhull.manager.runs.kinds.collect import want_collect
from twinhull.manager.runs.kinds.move import FailoverOptions, want_failover
from twinhull.manager.runs.kinds.sync import SyncOptions, want_sync
from twinhull.manager.runs.kinds.verify import want_verify
from twinhull.manager.runs.wants import Ears, Want
from twinhull.manager.serve import serve as serve_module
from twinhull.manager.serve.facts import Limits, Snapshot
from twinhull.manager.serve.planner import Decision, decide
from twinhull.manager.serve.serve import Server
from twinhull.model.errors import AlreadyServing, MachineBusy, RunUnfinished, SiteError, StateError
from twinhull.model.machine import PlanName, PowerState, RunId, SiteName
from twinhull.platforms.contract import Leftover, SiteSettings
from twinhull.platforms.simulated import (
    Killed,
    SimulatedInventory,
    SimulatedLeftovers,
    SimulatedPart,
    SimulatedPower,
    SimulatedStandings,
)
from twinhull.platforms.simulated.world import Held
from twinhull.repository import KdfCost, Point, Repository
from twinhull.runs.subject import REPOSITORY


class Heard:
    """What a server told, to wait for."""

    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, object]]] = []
        self._more = Event()

    def __call__(self, word: str, facts: dict[str, object]) -> None:
        self.told.append((word, facts))
        self._more.set()

    def words(self, word: str) -> list[dict[str, object]]:
        return [facts for told, facts in list(self.told) if told == word]

    def wait_for(self, is_there: Callable[[], bool], seconds: float = 20.0) -> None:
        for _ in range(int(seconds * 20)):
            if is_there():
                return
            self._more.wait(0.05)
            self._more.clear()
        raise AssertionError(f"not in {seconds} s; told: {self.told}")


@contextmanager
def serving(setup: Setup, limits: Limits | None = None) -> Iterator[tuple[Manager, Heard]]:
    heard = Heard()
    with setup.manager("serve") as manager:
        server = Server(manager, limits or Limits(), heard, cycle_seconds=0.02)
        thread = Thread(target=server.serve)
        thread.start()
        try:
            yield manager, heard
        finally:
            server.stop.set()
            thread.join(30)
            assert not thread.is_alive()


def test_every_machine_gets_its_first_point_and_the_next_one_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = make_setup(tmp_path, monkeypatch, machine_count=3, rpo_seconds=100)
    with serving(setup) as (manager, heard):
        heard.wait_for(lambda: len(heard.words("done")) == 3)
        assert len(manager.repository.points()) == 3
        assert {facts["reason"] for facts in heard.words("sync")} == {"There is no point yet."}
        setup.world.ports.clock.sleep(85)
        heard.wait_for(lambda: len(heard.words("done")) == 6)
        assert all(report.health.value == "protected" for report in manager.status().reports)


def test_a_silent_source_is_told_and_its_return_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setup = make_setup(tmp_path, monkeypatch)
    setup.world.host("here").is_reachable = False
    with serving(setup) as (manager, heard):
        heard.wait_for(lambda: any("here does not answer" in str(facts["reason"]) for facts in heard.words("wait")))
        assert not heard.words("sync")
        setup.world.host("here").return_()
        setup.world.ports.clock.sleep(16)
        heard.wait_for(lambda: len(heard.words("done")) == 1)
        assert len(manager.repository.points()) == 1


@pytest.mark.parametrize("is_new", [True, False], ids=["from the beginning", "after a sync"])
def test_points_are_made_while_the_target_is_silent_and_the_replica_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_new: bool
) -> None:
    setup = make_setup(tmp_path, monkeypatch, rpo_seconds=100)
    there, clock = setup.world.host("there"), setup.world.ports.clock
    if not is_new:
        with setup.manager() as manager:
            manager.dispatcher.carry_out(want_sync(manager.desk, manager.names.machine("m0"), SyncOptions()), Ears())
        clock.sleep(101)
    there.isolate()
    with serving(setup) as (manager, heard):
        for count in (1, 2):
            heard.wait_for(lambda count=count: len(heard.words("done")) == count)  # type: ignore[misc]
            clock.sleep(101)
        heard.wait_for(lambda: len(heard.words("done")) == 3)
        assert all("there does not answer" in str(facts["reason"]) for facts in heard.words("sync"))
        report = manager.status().reports[0]
        assert report.health is (Health.CANNOT_TAKE_OVER if is_new else Health.RPO_MISSED)
        assert any("there has not answered" in finding.sentence for finding in report.verdict.findings)
        there.return_()
        report = manager.status().reports[0]
        assert report.health is (Health.NO_REPLICA if is_new else Health.RPO_MISSED)
        clock.sleep(16)
        heard.wait_for(lambda: len(heard.words("done")) == 4)
        assert ("no replica on there" if is_new else "replica on there is not") in str(
            heard.words("sync")[-1]["reason"]
        )
        assert there.standings[machine_id(0)].point_id == manager.repository.points()[-1].id
        assert manager.status().reports[0].health is Health.PROTECTED


def test_nothing_is_captured_of_a_side_that_may_have_lost_its_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = make_setup(tmp_path, monkeypatch, rpo_seconds=100)
    with setup.manager() as manager:
        named = manager.names.machine("m0")
        manager.dispatcher.carry_out(want_sync(manager.desk, named, SyncOptions()), Ears())
        manager.dispatcher.carry_out(want_failover(manager.desk, named, FailoverOptions()), Ears())
    setup.world.host("there").isolate()
    setup.world.ports.clock.sleep(101)
    with serving(setup) as (_, heard):
        heard.wait_for(lambda: any("there does not answer" in str(facts["reason"]) for facts in heard.words("wait")))
        assert not heard.words("sync")


def test_a_machine_that_fails_is_tried_again_later_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = make_setup(tmp_path, monkeypatch)
    setup.world.host("there").room_bytes = 0
    with serving(setup) as (_, heard):
        heard.wait_for(lambda: len(heard.words("failed")) == 1)
        assert heard.words("failed")[0]["reason"] == "There is no room left on there; the replica stays dirty."
        heard.wait_for(lambda: any("1 in a row" in str(facts["reason"]) for facts in heard.words("wait")))
        setup.world.host("there").room_bytes = None
        setup.world.ports.clock.sleep(16)
        heard.wait_for(lambda: len(heard.words("done")) == 1)


def test_an_old_side_that_comes_back_running_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setup = make_setup(tmp_path, monkeypatch)
    with serving(setup) as (_, heard):
        heard.wait_for(lambda: len(heard.words("done")) == 1)
    setup.world.host("here").isolate()
    with setup.manager() as manager:
        named = manager.names.machine("m0")
        manager.dispatcher.carry_out(want_failover(manager.desk, named, FailoverOptions(is_planned=False)), Ears())
    setup.world.host("here").return_()
    assert not setup.world.host("here").machines[machine_id(0)].power.is_off
    with serving(setup) as (manager, heard):
        heard.wait_for(lambda: bool(heard.words("reconcile")))
        heard.wait_for(lambda: any("reconcile" in str(facts["run"]) for facts in heard.words("done")))
        assert setup.world.host("here").machines[machine_id(0)].power.is_off
        assert manager.status().reports[0].runs_on != HERE


def test_an_old_side_that_comes_back_running_is_stopped_while_the_repository_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = make_setup(tmp_path, monkeypatch)
    with serving(setup) as (manager, heard):
        heard.wait_for(lambda: len(heard.words("done")) == 1)
        setup.world.host("here").isolate()
        (tmp_path / "points").rename(tmp_path / "away")
        options = FailoverOptions(is_planned=False, is_without_repository=True)
        carry_out(manager, want_failover(manager.desk, manager.names.machine("m0"), options))
        old, new = (setup.world.host(name).machines[machine_id(0)] for name in (HERE, THERE))
        setup.world.host("here").return_()
        assert not old.power.is_off
        setup.world.ports.clock.sleep(16)
        heard.wait_for(lambda: old.power.is_off)
        assert not new.power.is_off


def test_a_serve_that_is_started_while_the_repository_is_away_stops_an_old_side_and_goes_on_when_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = make_setup(tmp_path, monkeypatch)
    with setup.manager() as manager:
        carry_out(manager, want_sync(manager.desk, manager.names.machine("m0"), SyncOptions()))
        setup.world.host("here").isolate()
        (tmp_path / "points").rename(tmp_path / "away")
        options = FailoverOptions(is_planned=False, is_without_repository=True)
        carry_out(manager, want_failover(manager.desk, manager.names.machine("m0"), options))
        left = replace(manager.history.runs()[-1], run_id=RunId("sync-left"), state=RunState.RUNNING, ended_at=None)
        remember(manager.runs_database, left)
    old, new = (setup.world.host(name).machines[machine_id(0)] for name in (HERE, THERE))
    setup.world.host("here").return_()
    assert not old.power.is_off
    with serving(setup) as (manager, heard):
        heard.wait_for(lambda: old.power.is_off)
        assert not new.power.is_off
        (trouble,) = heard.words("trouble")
        assert "Only what the sites' standings say is put right" in str(trouble["reason"])
        assert {word for word, _ in heard.told} <= {
            "trouble",
            "serving",
            "site",
            "health",
            "reconcile",
            "done",
            "clean",
        }
        (tmp_path / "away").rename(tmp_path / "points")
        setup.world.ports.clock.sleep(61)
        heard.wait_for(lambda: bool(heard.words("resume")))


def test_a_second_serve_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setup = make_setup(tmp_path, monkeypatch)
    with serving(setup) as (manager, heard):
        heard.wait_for(lambda: bool(heard.words("serving")))
        with pytest.raises(AlreadyServing, match="Another serve"):
            Server(manager, Limits(), Heard()).serve()


def test_a_jump_of_the_clock_is_told_and_nothing_is_due_by_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setup = make_setup(tmp_path, monkeypatch, rpo_seconds=1000)
    with serving(setup) as (manager, heard):
        heard.wait_for(lambda: len(heard.words("done")) == 1)
        setup.world.ports.clock.jump(10_000_000)  # type: ignore[attr-defined]
        heard.wait_for(lambda: bool(heard.words("clock")))
        assert "jumped forward by 115 d" in str(heard.words("clock")[0]["reason"])
        assert "jumped" in manager.dispatcher.caution.text
        setup.world.ports.clock.sleep(30)
        heard.wait_for(lambda: bool(heard.words("wait")))
        assert len(heard.words("sync")) == 1


def test_removed_points_are_collected_once_a_day_as_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setup = make_setup(tmp_path, monkeypatch, rpo_seconds=1_000_000)
    clock = setup.world.ports.clock
    with setup.manager() as manager:
        for _ in range(2):
            manager.dispatcher.carry_out(want_sync(manager.desk, manager.names.machine("m0"), SyncOptions()), Ears())
        removed = manager.repository.points()[0]
        manager.repository.remove_point(removed.id)
    with serving(setup) as (manager, heard):
        heard.wait_for(lambda: any("1 removed points" in str(facts["reason"]) for facts in heard.words("wait")))
        assert not heard.words("collect")
        for day in range(1, 9):
            clock.sleep(86_401)
            heard.wait_for(lambda day=day: _collected(manager, day))  # type: ignore[misc]
        assert "removed points and" in str(heard.words("collect")[0]["reason"])
        runs = manager.history.done(REPOSITORY.key, "collect", last=100)
        assert {run.origin for run in runs} == {"serve"}
        assert [point for run in runs for point in run.result["points_gone"]] == [removed.id]  # type: ignore[union-attr]
        assert not manager.repository.removed_points()


def _collected(manager: Manager, count: int) -> bool:
    return len(manager.history.done(REPOSITORY.key, "collect", last=100)) == count


def test_a_share_of_what_is_stored_is_verified_each_day_and_damage_is_told_until_it_is_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = make_setup(tmp_path, monkeypatch, rpo_seconds=1_000_000)
    clock = setup.world.ports.clock
    with serving(setup) as (manager, heard):
        heard.wait_for(lambda: bool(heard.words("done")))
        clock.sleep(86_401)
        heard.wait_for(lambda: _verified(manager, 1))
        assert "was verified for" in str(heard.words("verify")[0]["reason"])
        assert not heard.words("damaged")
        largest = max((tmp_path / "points").rglob("pack-*"), key=lambda path: path.stat().st_size)
        good = largest.read_bytes()
        rewrite(largest, good[:60] + bytes([good[60] ^ 1]) + good[61:])
        carry_out(manager, want_verify(manager.desk, is_reading=True))
        for day in (1, 2):
            clock.sleep(86_401)
            heard.wait_for(lambda day=day: _verified(manager, 2 + day))  # type: ignore[misc]
            heard.wait_for(lambda day=day: len(heard.words("damaged")) >= 2 * day)  # type: ignore[misc]
        assert {largest.name in str(facts["reason"]) or "point" in facts for facts in heard.words("damaged")} == {True}
        assert manager.status().soundness.verified.verdict.lost_points  # type: ignore[union-attr]
        rewrite(largest, good)
        clock.sleep(86_401)
        heard.wait_for(lambda: _verified(manager, 5))
        assert manager.status().soundness.verified.verdict.is_good  # type: ignore[union-attr]


def test_a_verification_that_another_version_wrote_down_keeps_neither_the_status_nor_serve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = make_setup(tmp_path, monkeypatch)
    with setup.manager() as manager:
        run = manager.dispatcher.carry_out(want_verify(manager.desk, is_reading=True), Ears())
        told = {name: fact for name, fact in run.result.items() if name != "lost_points"}
        rewrite_result(manager.runs_database, run, told)
        assert manager.status().soundness.verified.verdict.is_good  # type: ignore[union-attr]
    with serving(setup) as (_, heard):
        heard.wait_for(lambda: bool(heard.words("done")))


def _verified(manager: Manager, count: int) -> bool:
    return len(manager.history.done(REPOSITORY.key, "verify", last=100)) == count


def rewrite(path: Path, content: bytes) -> None:
    path.chmod(0o600)
    path.write_bytes(content)


def carry_out(manager: Manager, want: Want) -> None:
    manager.dispatcher.carry_out(want, Ears())


def test_nothing_is_collected_while_the_clock_is_not_to_be_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = make_setup(tmp_path, monkeypatch, rpo_seconds=1_000_000)
    with setup.manager() as manager:
        for _ in range(2):
            manager.dispatcher.carry_out(want_sync(manager.desk, manager.names.machine("m0"), SyncOptions()), Ears())
        manager.repository.remove_point(manager.repository.points()[0].id)
    with serving(setup) as (manager, heard):
        heard.wait_for(lambda: bool(heard.words("wait")))
        setup.world.ports.clock.jump(10_000_000)  # type: ignore[attr-defined]
        heard.wait_for(lambda: bool(heard.words("clock")))
        heard.wait_for(
            lambda: any("Nothing is collected for now" in str(facts["reason"]) for facts in heard.words("wait"))
        )
        assert not heard.words("collect")
        setup.world.ports.clock.sleep(86_401)
        heard.wait_for(lambda: _collected(manager, 1))


def test_a_week_of_trackers_ends_with_a_full_comparison_that_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = make_setup(tmp_path, monkeypatch, rpo_seconds=86_000)
    with serving(setup) as (manager, heard):
        for day in range(1, 11):
            heard.wait_for(lambda day=day: len([run for run in _syncs(manager) if run.result]) == day)  # type: ignore[misc]
            setup.world.ports.clock.sleep(86_400)
        compared = [run for run in reversed(_syncs(manager)) if run.result.get("was_full_compare")]
    assert [run.request["compare_reason"] for run in compared] == ["", "trackers alone were trusted for 7 d 0 h"]
    assert any("its tracker not trusted: trackers alone were trusted" in reason for reason in compared[1].reasons)


def _syncs(manager: Manager) -> list[RunRecord]:
    return [run for run in manager.history.runs(machine_id=machine_id(0)) if run.kind == "sync"]


@pytest.mark.parametrize("is_empty", [True, False], ids=["an empty mount point", "no directory"])
def test_a_repository_that_is_gone_for_a_while_is_told_and_written_to_when_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_empty: bool
) -> None:
    setup = make_setup(tmp_path, monkeypatch, rpo_seconds=100)
    points, away = tmp_path / "points", tmp_path / "away"
    with serving(setup) as (manager, heard):
        heard.wait_for(lambda: len(heard.words("done")) == 1)
        points.rename(away)
        if is_empty:
            points.mkdir()
        else:
            points.touch()
        setup.world.ports.clock.sleep(85)
        heard.wait_for(lambda: bool(heard.words("failed")) or bool(heard.words("trouble")))
        if is_empty:
            assert "is no longer in" in str(heard.words("failed")[0]["reason"])
            assert list(points.iterdir()) == []
            points.rmdir()
        else:
            points.unlink()
        away.rename(points)
        setup.world.ports.clock.sleep(16)
        heard.wait_for(lambda: len(manager.repository.points()) == 2)


@pytest.mark.parametrize("new_passphrase", [PASSPHRASE, "battery staple"])
def test_serve_goes_on_after_another_process_has_rotated_the_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new_passphrase: str
) -> None:
    setup = make_setup(tmp_path, monkeypatch, rpo_seconds=100)
    write_private(setup.state.passphrase, PASSPHRASE.encode())
    setup.environment = {}
    with serving(setup) as (manager, heard):
        heard.wait_for(lambda: len(heard.words("done")) == 1)
        with setup.manager("command line") as other:
            other.repository.rotate_keys(PASSPHRASE, new_passphrase, KdfCost(1, 1, 1024))
            write_private(setup.state.passphrase, new_passphrase.encode())
        setup.world.ports.clock.sleep(101)
        heard.wait_for(lambda: len(heard.words("done")) == 2)
        assert not heard.words("failed")
        assert manager.repository.keys.number == 2
        assert len(manager.repository.points()) == 2


def test_one_site_down_holds_up_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setup = make_setup(tmp_path, monkeypatch)
    lost = setup.world.host("lost")
    lost.add_machine(spec(7))
    with setup.manager() as manager:
        manager.connect(SiteSettings(SiteName("lost"), "simulated", "simulated:lost"))
        manager.catalog.add_plan(Plan(PlanName("other"), (machine_id(7),), SiteName("lost"), THERE, 900))
    lost.isolate()
    with serving(setup) as (_, heard):
        heard.wait_for(lambda: [facts["machine"] for facts in heard.words("done")] == ["m0"])
        heard.wait_for(lambda: any("lost does not answer" in str(facts["reason"]) for facts in heard.words("wait")))


@pytest.mark.parametrize(
    ("part", "question"),
    [(SimulatedInventory, "machines"), (SimulatedStandings, "read_all"), (SimulatedLeftovers, "find")],
)
def test_one_odd_answer_of_one_site_holds_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: type[SimulatedPart], question: str
) -> None:
    setup = make_setup(tmp_path, monkeypatch)
    setup.world.host("odd").add_machine(spec(7))
    with setup.manager() as manager:
        manager.connect(SiteSettings(SiteName("odd"), "simulated", "simulated:odd"))
        manager.catalog.add_plan(Plan(PlanName("other"), (machine_id(7),), SiteName("odd"), THERE, 900))
    answer, oddness = getattr(part, question), [True]

    def odd(site: SimulatedPart, *arguments: object) -> object:
        if oddness and site.host.name == "odd":
            raise ValueError("no number: '12 GiB?'")
        return answer(site, *arguments)

    monkeypatch.setattr(part, question, odd)
    with serving(setup) as (manager, heard):
        heard.wait_for(lambda: "m0" in [facts["machine"] for facts in heard.words("done")])
        heard.wait_for(lambda: any("ValueError" in str(facts["reason"]) for facts in heard.words("site")))
        views = manager.status().overview.sites
        assert views[SiteName("odd")].is_reachable is (question == "find")
        assert question == "find" or "no number: '12 GiB?'" in views[SiteName("odd")].reason
        oddness.clear()
        setup.world.ports.clock.sleep(16)
        heard.wait_for(lambda: "m7" in [facts["machine"] for facts in heard.words("done")])


def test_a_look_that_fails_for_our_own_reasons_is_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setup = make_setup(tmp_path, monkeypatch)
    see_site = Catalog.see_site
    failed: list[object] = []

    def full_once(*arguments: object) -> None:
        if not failed:
            failed.append(arguments)
            raise StateError("There is no room left for the catalog.")
        see_site(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Catalog, "see_site", full_once)
    with serving(setup) as (_, heard):
        heard.wait_for(lambda: len(heard.words("done")) == 1)


def test_a_correction_that_fails_is_tried_again_later_and_takes_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = make_setup(tmp_path, monkeypatch, machine_count=2, rpo_seconds=100)
    with serving(setup) as (_, heard):
        heard.wait_for(lambda: len(heard.words("done")) == 2)
    kill = SimulatedPower.kill
    monkeypatch.setattr(SimulatedPower, "kill", _refuse)
    setup.world.host("there").machines[machine_id(0)].power = PowerState.RUNNING
    setup.world.ports.clock.sleep(101)
    with serving(setup, Limits(run_count=1)) as (manager, heard):
        heard.wait_for(lambda: len(heard.words("failed")) == 1)
        heard.wait_for(lambda: "m1" in [facts["machine"] for facts in heard.words("done")])
        heard.wait_for(lambda: any("it does not obey" in str(facts["reason"]) for facts in heard.words("wait")))
        Event().wait(0.5)  # some twenty cycles
        assert [run.kind for run in manager.history.runs(machine_id=machine_id(0))].count("reconcile") == 1
        monkeypatch.setattr(SimulatedPower, "kill", kill)
        setup.world.ports.clock.sleep(16)
        heard.wait_for(lambda: setup.world.host("there").machines[machine_id(0)].power is PowerState.OFF)


def _refuse(*_: object) -> None:
    raise SiteError("The machine was not switched off: it does not obey.")


def test_a_host_that_another_manager_holds_is_asked_again_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = make_setup(tmp_path, monkeypatch)

    def held(*_: object) -> None:
        raise MachineBusy("Another manager holds the machine's standing on here.")

    monkeypatch.setattr(SimulatedStandings, "write", held)
    with serving(setup) as (manager, heard):
        heard.wait_for(lambda: any("1 in a row" in str(facts["reason"]) for facts in heard.words("wait")))
        assert "Another manager holds" in str(heard.words("failed")[0]["reason"])
        assert len(manager.history.runs()) == 1
        setup.world.ports.clock.sleep(16)
        heard.wait_for(lambda: len(heard.words("failed")) == 2)
        assert len(manager.history.runs()) == 2


def test_a_paused_plan_is_left_alone_until_it_is_kept_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setup = make_setup(tmp_path, monkeypatch, rpo_seconds=100)
    with serving(setup) as (manager, heard):
        heard.wait_for(lambda: len(heard.words("done")) == 1)
        manager.catalog.pause_plan("all", is_paused=True)
        heard.wait_for(lambda: any("is paused" in str(facts["reason"]) for facts in heard.words("wait")))
        setup.world.ports.clock.sleep(1000)
        looks = len(setup.world.ticks)
        heard.wait_for(lambda: len(setup.world.ticks) > looks)
        assert len(heard.words("sync")) == 1
        manager.catalog.pause_plan("all", is_paused=False)
        heard.wait_for(lambda: len(heard.words("done")) == 2)


def test_a_machine_that_is_gone_is_told_and_holds_up_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setup = make_setup(tmp_path, monkeypatch, machine_count=2, rpo_seconds=100)
    with serving(setup) as (_, heard):
        heard.wait_for(lambda: len(heard.words("done")) == 2)
        setup.world.host("here").delete_machine(machine_id(0))
        setup.world.ports.clock.sleep(85)
        heard.wait_for(lambda: len(heard.words("failed")) == 1)
        assert f"There is no machine {machine_id(0)} on here." in str(heard.words("failed")[0]["reason"])
        heard.wait_for(lambda: [facts["machine"] for facts in heard.words("done")[2:]] == ["m1"])


def test_the_status_can_be_watched_beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setup = make_setup(tmp_path, monkeypatch, machine_count=4, rpo_seconds=100)
    with serving(setup) as (_, heard), setup.manager() as beside:
        healths = set()
        while len(heard.words("done")) < 8:
            healths |= {report.health.value for report in beside.status().reports}
            setup.world.ports.clock.sleep(5)
        assert not heard.words("failed")
        assert {report.health.value for report in beside.status().reports} <= {"protected", "syncing", "RPO missed"}
        assert "protected" in healths


def kill_a_sync(setup: Setup) -> str:
    """A sync whose process dies while the machine's disk is open; returns its run's id."""

    def on_step(name: str) -> None:
        if name == "capture":
            setup.world.kill_at = len(setup.world.ticks) + 17

    with setup.manager() as manager:
        want = want_sync(manager.desk, manager.names.machine("m0"), SyncOptions())
        with pytest.raises(RunUnfinished):
            manager.dispatcher.carry_out(want, Ears(on_step=on_step))
        run = manager.history.runs()[0]
    setup.world.restart()
    return run.run_id


def test_what_was_left_unfinished_is_gone_on_with_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setup = make_setup(tmp_path, monkeypatch)
    left = kill_a_sync(setup)
    with serving(setup) as (manager, heard):
        heard.wait_for(lambda: bool(heard.words("done")))
        assert [facts["reason"] for facts in heard.words("resume")] == [f"{left} was left unfinished."]
        assert heard.words("done")[0]["run"] == left
        assert manager.history.run(left).state is RunState.DONE
        assert not heard.words("sync")
    assert not [held for held in setup.world.host("here").held if held.kind != "tracker"]


def test_a_collection_that_was_killed_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setup = make_setup(tmp_path, monkeypatch)
    collect = Repository.collect

    def killed(*_: object, **__: object) -> None:
        raise Killed("here")

    monkeypatch.setattr(Repository, "collect", killed)
    with setup.manager() as manager:
        with pytest.raises(RunUnfinished):
            manager.dispatcher.carry_out(want_collect(), Ears())
        left = manager.history.runs()[0].run_id
    monkeypatch.setattr(Repository, "collect", collect)
    with serving(setup) as (manager, heard):
        heard.wait_for(lambda: manager.history.run(left).state is RunState.DONE)
        assert heard.words("resume")[0]["machine"] == "repository"


def test_what_a_killed_process_left_is_cleaned_unless_somebody_is_at_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = make_setup(tmp_path, monkeypatch, rpo_seconds=1_000_000)
    here = setup.world.host("here")

    left = kill_a_sync(setup)
    with setup.manager() as manager:
        manager.abandon(manager.history.run(left))
    assert here.held
    with claimed(setup.state, machine_id(0), "sync s1 by somebody else"), serving(setup) as (_, heard):
        heard.wait_for(lambda: any("somebody else" in str(facts["reason"]) for facts in heard.words("wait")))
        assert not heard.words("clean")
        assert here.held
    with serving(setup) as (_, heard):
        heard.wait_for(lambda: bool(heard.words("clean")))
        assert "was left behind" in str(heard.words("clean")[0]["reason"])


def test_one_leftover_that_cannot_be_removed_keeps_no_other_on_the_site(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = make_setup(tmp_path, monkeypatch, rpo_seconds=1_000_000)
    here = setup.world.host("here")
    here.held += [Held("export", name, machine_id(0), -1) for name in ("stuck", "other")]
    clean = SimulatedLeftovers.clean

    def stuck(site: SimulatedLeftovers, leftover: Leftover) -> None:
        if leftover.name == "stuck":
            raise SiteError("the host has no time for that")
        clean(site, leftover)

    monkeypatch.setattr(SimulatedLeftovers, "clean", stuck)
    with serving(setup) as (_, heard):
        heard.wait_for(lambda: [each["reason"] for each in heard.words("clean")] == ["export other was left behind"])
        told = "export stuck could not be removed: the host has no time for that"
        assert told in [facts["reason"] for facts in heard.words("site")]


def test_an_error_of_our_own_is_told_and_not_tried_again_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = make_setup(tmp_path, monkeypatch)

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a mistake")

    monkeypatch.setattr("twinhull.manager.serve.serve.want_sync", broken)
    with serving(setup) as (_, heard):
        heard.wait_for(lambda: len(heard.words("failed")) == 1)
        assert "ZeroDivisionError" in str(heard.words("failed")[0]["reason"])
        heard.wait_for(lambda: any("1 in a row" in str(facts["reason"]) for facts in heard.words("wait")))
        assert len(heard.words("sync")) == 1


@pytest.mark.parametrize(
    "error", [MemoryError("no room"), RecursionError("deep"), ZeroDivisionError("odd"), OSError("io")]
)
def test_the_loop_survives_what_nobody_foresaw_and_reports_it_once(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = make_setup(tmp_path, monkeypatch, rpo_seconds=100)
    is_over, met = Event(), Event()

    def failing(snapshot: Snapshot, limits: Limits) -> list[Decision]:
        if is_over.is_set():
            return list(decide(snapshot, limits))
        met.set()
        raise error

    monkeypatch.setattr(serve_module, "decide", failing)
    with serving(setup) as (_, heard):
        assert met.wait(20)
        heard.wait_for(lambda: bool(heard.words("trouble")))
        is_over.set()
        heard.wait_for(lambda: bool(heard.words("done")))
        (trouble,) = heard.words("trouble")
        assert type(error).__name__ in str(trouble["reason"])


def test_serving_begins_although_listing_the_points_runs_out_of_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = make_setup(tmp_path, monkeypatch, rpo_seconds=100)
    listed = Repository.points
    failures = [MemoryError(), MemoryError()]

    def points(repository: Repository, *given: Any, **named: Any) -> list[Point]:  # noqa: ANN401 - passed on
        if failures:
            raise failures.pop()
        return listed(repository, *given, **named)

    monkeypatch.setattr(Repository, "points", points)
    with serving(setup) as (_, heard):
        heard.wait_for(lambda: bool(heard.words("done")))
        assert "MemoryError" in str(heard.words("trouble")[0]["reason"])


def test_what_fails_around_a_run_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setup = make_setup(tmp_path, monkeypatch, rpo_seconds=100)
    monkeypatch.setattr(Server, "_tell_verdict", lambda _server, _run: 1 // 0)
    with serving(setup) as (_, heard):
        heard.wait_for(lambda: bool(heard.words("failed")))
        assert "ZeroDivisionError" in str(heard.words("failed")[0]["reason"])
