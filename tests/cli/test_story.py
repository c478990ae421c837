"""The main story as a user types it, on simulated sites."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.cli.conftest import DB, WEB, Shell
from tests.inspection.test_hostile_child import OtherProgram
from twinhull.model.units import MIB
from twinhull.repository.format.envelope import ObjectKind

if TYPE_CHECKING:
    import pytest


def test_the_main_story(planned: Shell) -> None:
    first = planned.ok("sync", "shop", "--json").json["runs"]
    assert [run["machine_name"] for run in first] == ["db1", "web1"]
    assert first[1]["result"]["source_read_bytes"] <= 8 * MIB

    planned.web.write("vda", 1_000_000, b"an increment")
    second = planned.ok("sync", "web1", "--json").json["runs"][0]
    assert 0 < second["result"]["source_read_bytes"] < 4 * MIB
    assert 0 < second["result"]["replica_written_bytes"] < 4 * MIB
    idle = planned.ok("sync", "web1", "--json").json["runs"][0]["result"]
    assert (idle["source_read_bytes"], idle["replica_written_bytes"]) == (0, 0)

    preview = planned.ok("failover", "web1", "--dry-run").out
    assert "Make there the primary in epoch 2" in preview
    moved = planned.ok("failover", "web1", "--planned", "--yes").out
    assert "RPO reached             0.00 s" in moved
    assert "RTO reached" in moved
    assert _report(planned)["runs_on"] == "there"
    assert _report(planned)["epoch"] == 2

    planned.world.host("there").machines[WEB].write("vda", 2_000_000, b"written away from home")
    home = planned.ok("failback", "web1", "--yes", "--json").json["runs"][0]
    assert home["result"]["replica_written_bytes"] < 4 * MIB
    assert _report(planned)["runs_on"] == "here"
    assert planned.web.disks["vda"].read(2_000_000, 22) == b"written away from home"  # type: ignore[index]

    planned.ok("rollback", "web1", "--to", "N-2", "--yes")
    assert planned.web.disks["vda"].read(2_000_000, 22) == bytes(22)  # type: ignore[index]

    planned.world.host("here").crash()
    lost = planned.ok("failover", "web1", "--unplanned", "--yes", "--json").json["runs"][0]
    assert lost["result"]["epoch"] == 4
    assert lost["result"]["rpo_seconds"] >= 0
    planned.world.host("here").return_()
    report = _report(planned)
    assert (report["runs_on"], report["health"]) == ("there", "no replica")
    assert any("may not start the machine there any more" in finding["sentence"] for finding in report["findings"])


def test_the_way_home_from_a_site_that_was_lost_and_came_back(planned: Shell) -> None:
    planned.ok("sync", "web1")
    planned.world.host("here").isolate()
    planned.ok("failover", "web1", "--unplanned", "--yes")
    planned.world.host("here").return_()
    assert "web1 RUNS TWICE, on here (stale, epoch 1) and on there (current, epoch 2)." in planned.ok("status").out
    preview = planned.ok("failback", "web1", "--dry-run").out
    assert "First put right: here holds epoch 1 of the machine, and the current one is 2" in preview
    assert "Make here the primary in epoch 3" in preview
    planned.ok("failback", "web1", "--yes")
    report = _report(planned)
    assert (report["runs_on"], report["epoch"], report["health"]) == ("here", 3, "protected")


def test_a_failover_that_cannot_start_can_be_given_up_and_brought_home(
    planned: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned.ok("sync", "web1")
    with monkeypatch.context() as broken:
        broken.setattr("twinhull.platforms.simulated.machines.SimulatedMachine.switch_on", lambda _: None)
        stopped = planned("failover", "web1", "--yes")
        assert stopped.code == 42
        run_id = planned.ok("runs", "list", "--unfinished", "--json").json["runs"][0]["id"]
        assert f"twinhull runs resume {run_id}" in stopped.err
        assert f"twinhull runs abandon {run_id}" in stopped.err
        assert planned("failback", "web1", "--yes").code == 42
    planned.ok("runs", "abandon", run_id, "--yes")
    planned.ok("failback", "web1", "--yes")
    report = _report(planned)
    assert (report["runs_on"], report["is_running"], report["epoch"]) == ("here", True, 3)


def test_a_network_that_is_not_there_is_said_before_and_another_can_be_named(two_sites: Shell) -> None:
    two_sites.ok("plan", "create", "p", "-m", "web1", "--from", "here", "--to", "there", "--network", "lan=nowhere")
    missing = "There is no network 'nowhere' on there."
    assert f"web1 would not start on there: {missing}" in two_sites.ok("sync", "web1").out
    assert f"It would not start there: {missing}" in _readiness(two_sites)
    report = _report(two_sites)
    assert (report["health"], report["reason"]) == (
        "cannot take over",
        f"The replica of web1 on there would not start: {missing}",
    )
    assert f"this will be refused: {missing}" in two_sites.ok("failover", "web1", "--dry-run").out
    refused = two_sites("failover", "web1", "--yes")
    assert refused.code == 10
    assert missing in refused.err
    assert (_report(two_sites)["runs_on"], two_sites.web.starts) == ("here", 1)
    two_sites.world.host("there").networks.add("br0")
    two_sites.ok("plan", "network", "p", "lan=br0")
    two_sites.ok("failover", "web1", "--yes")
    assert _report(two_sites)["runs_on"] == "there"
    assert two_sites("plan", "network", "p", "lan").code == 2
    assert two_sites("plan", "network", "no-such-plan", "lan=br0").code == 3


def _readiness(shell: Shell) -> list[str]:
    return [found["finding"] for found in shell.ok("machine", "show", "web1", "--json").json["readiness"]]


def test_what_was_done_can_be_read_step_by_step(planned: Shell) -> None:
    planned.ok("sync", "web1")
    run = planned.ok("runs", "list", "--json").json["runs"][0]
    assert (run["state"], run["origin"], run["is_at_work"]) == ("done", "command line", False)
    shown = planned.ok("runs", "show", run["id"], "--json").json
    assert [step["name"] for step in shown["steps"]] == ["look", "capture", "replica", "retain"]
    assert all(step["seconds"] >= 0 and step["state"] == "done" for step in shown["steps"])
    text = planned.ok("runs", "show", run["id"][:-2]).out
    assert "capture  done" in text
    assert "read from the source" in text


def test_points_are_listed_compared_verified_and_taken_back(planned: Shell) -> None:
    planned.ok("sync", "web1")
    planned.web.write("vda", 3_000_000, b"more")
    planned.ok("sync", "web1")
    points = planned.ok("points", "list", "web1", "--json").json["points"]
    assert [point["sequence"] for point in points] == [1, 2]
    assert [line.split()[1] for line in planned.ok("points", "list").out.splitlines()[1:]] == ["N-1", "N"]
    diff = planned.ok("points", "diff", "web1:N-1", "web1:N", "--json").json
    assert 0 < diff["disks"][0]["changed_bytes"] <= MIB
    assert "filesystem" in planned.ok("points", "show", "web1:1").out
    assert planned.ok("points", "verify", "web1:N", "--json").json["is_good"]
    assert planned.ok("repository", "verify", "--json").json["point_count"] == 2
    planned.ok("points", "remove", "web1:1", "--yes")
    assert len(planned.ok("points", "list", "--json").json["points"]) == 1
    removed = planned.ok("points", "list", "--removed", "--json").json["removed"]
    assert [point["id"] for point in removed] == [points[0]["id"]]
    would = planned.ok("repository", "collect", "--dry-run").out
    assert "1 removed points can still be taken back; the first can be freed in 7 d 0 h." in would
    collected = planned.ok("repository", "collect", "--json").json["runs"][0]["result"]
    assert (collected["freed_bytes"], collected["points_gone"]) == (0, [])
    assert planned.ok("repository", "verify", "--json").json["is_good"]
    kinds = [run["kind"] for run in planned.ok("runs", "list", "repository", "--json").json["runs"]]
    assert kinds == ["verify", "collect", "verify"]
    planned.ok("points", "take-back", points[0]["id"])
    assert len(planned.ok("points", "list", "--json").json["points"]) == 2


def test_a_damaged_repository_is_told_by_the_exit_code(planned: Shell, tmp_path: Path) -> None:
    planned.ok("sync", "web1")
    pack = next(path for path in (tmp_path / "points").rglob("pack-*") if path.read_bytes()[10] == ObjectKind.DATA_PACK)
    content = bytearray(pack.read_bytes())
    content[60] ^= 1
    pack.chmod(0o600)
    pack.write_bytes(content)
    assert planned.ok("repository", "verify", "--json").json["read_bytes"] == 0
    assert "never verified" in planned.ok("status").out
    answer = planned("repository", "verify", "--read-data", "--json")
    assert answer.code == 34
    assert not answer.json["is_good"]
    (lost,) = answer.json["lost_points"]
    assert planned("repository", "verify", "--sample", "1").code == 34
    status = planned.ok("status")
    assert "repository: DAMAGED" in status.out
    assert f"cannot be restored completely: {lost}" in status.out
    told = planned.ok("status", "--json").json["verification"]
    assert (told["is_good"], told["lost_points"], told["problem_count"]) == (False, [lost], len(told["problems"]))
    assert pack.name in planned.ok("runs", "show", told["run_id"]).out
    planned("repository", "repair", "--site", "here")
    planned.ok("repository", "verify", "--read-data")
    assert "nothing damaged" in planned.ok("status").out
    assert planned("repository", "verify", "--read-data", "--sample", "3").code == 2


def test_a_point_is_restored_to_a_file_and_to_a_site(planned: Shell, tmp_path: Path) -> None:
    planned.ok("sync", "web1")
    target = tmp_path / "web1.raw"
    run = planned.ok("restore", "web1:N", "--to", str(target), "--json").json["runs"][0]
    assert run["kind"] == "restore"
    assert target.read_bytes()[:15] == b"hello from web1"
    assert target.stat().st_size == 8 * MIB
    answer = planned("restore", "web1:N", "--to", str(target))
    assert answer.code != 0
    assert "--overwrite" in answer.err
    planned.ok("restore", "web1:N", "--to", str(target), "--overwrite")
    assert (
        "Make a new machine copy on there"
        in planned.ok("restore", "web1:N", "--to", "site:there", "--name", "copy", "--dry-run").out
    )
    made = planned.ok("restore", "web1:N", "--to", "site:there", "--name", "copy", "--json").json["runs"][0]
    machines = planned.ok("machine", "list", "--json").json["machines"]
    assert made["result"]["new_machine_id"] in [machine["machine_id"] for machine in machines]


def test_a_lost_catalog_is_read_back_from_sites_and_points(planned: Shell, tmp_path: Path) -> None:
    planned.ok("sync", "web1")
    for path in planned.state.glob("catalog.db*"):
        path.unlink()
    planned.ok("repository", "use", str(tmp_path / "points"))
    planned.ok("site", "add", "here", "simulated:here")
    planned.ok("site", "add", "there", "simulated:there")
    rebuilt = planned.ok("catalog", "rebuild", "--json").json
    assert (rebuilt["machine_count"], rebuilt["point_count"]) == (2, 1)
    words = rebuilt["proposed_plans"][0].split()
    assert words[:3] == ["twinhull", "plan", "create"]
    planned.ok(*words[1:])
    assert _report(planned)["health"] == "protected"


def test_points_can_be_read_and_restored_with_the_repository_alone(planned: Shell, tmp_path: Path) -> None:
    planned.ok("sync", "web1")
    elsewhere = Shell(tmp_path / "elsewhere", planned.world, planned.ports, planned.capture)
    phrase, points = str(tmp_path / "phrase"), str(tmp_path / "points")
    only = ("--repository", points, "--passphrase-file", phrase)
    assert "web1" in elsewhere.ok(*only, "points", "list").out
    elsewhere.ok(*only, "restore", "web1:N", "--to", str(tmp_path / "alone.raw"))
    assert (tmp_path / "alone.raw").read_bytes()[:15] == b"hello from web1"


def test_plans_are_shown_paused_and_removed(planned: Shell) -> None:
    shown = planned.ok("plan", "show", "shop", "--json").json
    assert (shown["machines"], shown["rpo_seconds"], shown["is_paused"]) == ([DB, WEB], 900, False)
    assert "shop (paused)" in planned.ok("plan", "pause", "shop").out + planned.ok("plan", "show", "shop").out
    planned.ok("plan", "resume", "shop")
    assert planned.ok("plan", "list", "--json").json["plans"][0]["is_paused"] is False
    planned.ok("plan", "remove", "shop", "--yes")
    assert "There is no plan yet" in planned.ok("plan", "list").out
    planned.ok("site", "remove", "there", "--yes")


def test_a_site_that_is_removed_says_what_is_left_on_its_host(planned: Shell) -> None:
    planned.ok("sync", "web1")
    planned.ok("plan", "remove", "shop", "--yes")
    said = planned.ok("site", "remove", "there", "--yes").out
    assert said.splitlines() == ["Forgot there.", "Standings are left on there (machines: 1)."]
    planned.world.host("here").isolate()
    left = planned.ok("site", "remove", "here", "--yes", "--json").json["left"]
    assert "The host of 'here' was left as it is" in left[0]
    assert planned.ok("site", "list", "--json").json["sites"] == []


def test_a_site_can_be_removed_without_a_touch_of_its_host(planned: Shell) -> None:
    planned.ok("plan", "remove", "shop", "--yes")
    planned.world.forget_ticks()
    assert planned.ok("site", "remove", "there", "--yes", "--leave-guard").out == "Forgot there.\n"
    assert planned.world.ticks == []


def test_retention_of_the_plan_is_applied_by_each_sync(two_sites: Shell) -> None:
    two_sites.ok("plan", "create", "few", "-m", "web1", "--from", "here", "--to", "there", "--keep-last", "3")
    for _ in range(5):
        two_sites.ok("sync", "web1")
        two_sites.world.ports.clock.sleep(60)
    points = two_sites.ok("points", "list", "--json").json["points"]
    assert [point["sequence"] for point in points] == [3, 4, 5]
    run = two_sites.ok("runs", "list", "--json").json["runs"][0]
    assert run["result"]["retention"] == "1 of 4 points removed"


def test_a_site_is_checked_by_the_conformance_kit(planned: Shell) -> None:
    host = planned.world.host("here")
    host.is_prepared = False
    looked = planned.ok("site", "check", "here", "--look-only", "--json").json
    assert [check["name"] for check in looked["checks"]] == ["a host of its own"]
    for words in (["machine", "list"], ["status"], ["site", "list"], ["sync", "web1", "--dry-run"]):
        planned.ok(*words)
    assert not host.is_prepared, "what only looks changes nothing on the host"
    checked = planned.ok("site", "check", "here", "--json").json
    assert checked["checks"]
    assert {check["verdict"] for check in checked["checks"]} <= {"passed", "unsupported"}
    assert "screenshot" in planned.ok("site", "check", "here").out
    assert host.is_prepared


def test_a_repository_is_made_with_a_passphrase_that_is_shown_once(shell: Shell, tmp_path: Path) -> None:
    made = shell.ok("repository", "create", str(tmp_path / "fresh"), "--generate", "--json").json
    kept = (shell.state / "passphrase").read_text().strip()
    assert made["generated_passphrase"] == kept
    assert len(kept) == 32
    assert shell.ok("repository", "show", "--json").json["id"] == made["id"]
    answer = shell("repository", "create", str(tmp_path / "fresh"))
    assert answer.code == 4


def _report(shell: Shell) -> dict[str, Any]:
    reports: list[dict[str, Any]] = shell.ok("status", "--json").json["machines"]
    return next(report for report in reports if report["machine_id"] == WEB)


def test_a_machine_shows_what_may_keep_it_from_booting_on_the_other_site(planned: Shell) -> None:
    def findings(*more: str) -> list[str]:
        shown = planned.ok("machine", "show", "web1", "--json", *more).json
        return [found["finding"] for found in shown["readiness"]]

    assert any("no restore point yet" in finding for finding in findings())
    assert any("No Linux root file system" in finding for finding in findings("--look-inside"))
    planned.ok("sync", "web1")
    assert any("No Linux root file system" in finding for finding in findings())
    assert any("network 'lan'" in finding for finding in findings())
    planned.world.host("there").isolate()
    assert findings() == ["there cannot be asked: The site there does not answer (machines)."]


def test_a_look_that_fails_is_a_line_of_the_answer(planned: Shell) -> None:
    planned.ok("sync", "web1")
    planned.ports = replace(planned.ports, processes=OtherProgram("import os; os.kill(os.getpid(), 9)"))
    for words in (("machine", "show", "web1"), ("machine", "show", "web1", "--look-inside")):
        assert "could not be inspected to the end: it ended before it was done" in planned.ok(*words, "--json").out
    assert planned.world.host("here").held == []
