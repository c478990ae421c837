"""What bad input and bad days get: a clear error with a hint, a stable exit code, and nothing done."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from tests.cli.conftest import DB, WEB, Answer, Shell, spec
from tests.record import claimed
from twinhull.manager.catalog.records import RunState
from twinhull.manager.catalog.state import StateDirectory
from twinhull.model.machine import MachineId


def refused(answer: Answer, code: int, message: str, hint: str = "") -> None:
    assert answer.code == code, answer
    assert answer.out == ""
    assert answer.err.startswith(("Error: ", "Created a new, empty state directory")), answer.err
    assert message in answer.err, answer.err
    assert hint in answer.err, answer.err


CASES: list[tuple[list[str], int, str, str]] = [
    (["sync", "nope"], 3, "There is no machine 'nope'", "machine list"),
    (["points", "list", "nope"], 3, "There is no machine 'nope'", ""),
    (["plan", "show", "nope"], 3, "There is no plan 'nope'", "plan list"),
    (["site", "check", "nope"], 3, "There is no site 'nope'", "Known sites: here, there"),
    (["runs", "show", "nope"], 3, "There is no run 'nope'", "runs list"),
    (["points", "show", "web1:N-99"], 3, "There is no point N-99", "points list"),
    (["points", "show", "web1:zebra"], 2, "'web1:zebra' is no point", ""),
    (["site", "add", "UPPER", "simulated:x"], 2, "cannot be the name of a site", "lower-case"),
    (["site", "add", "here", "simulated:x"], 4, "There is a site 'here' already", "site remove here"),
    (["site", "add", "x", "vsphere://x"], 2, "does not say of which platform", "--platform"),
    (["site", "add", "x", "y", "--platform", "vax"], 3, "There is no platform 'vax'", "qemu, xen, simulated"),
    (["site", "add", "x", "simulated:x", "-o", "word"], 2, "'word' does not have the form", "KEY=VALUE"),
    (["site", "remove", "here", "--yes"], 2, "used by the plan 'shop'", "plan remove shop"),
    (
        ["plan", "create", "p", "-m", "web1", "--from", "here", "--to", "here"],
        2,
        "Source and target of the plan are both",
        "two different sites",
    ),
    (["plan", "create", "p", "-m", "web1", "--from", "here", "--to", "x"], 3, "There is no site 'x'", ""),
    (["plan", "create", "p", "-m", "web1", "--from", "here", "--to", "there"], 4, "in the plan 'shop' already", ""),
    (["plan", "create", "p", "-m", "x", "--from", "here", "--to", "there", "--rpo", "soon"], 3, "machine 'x'", ""),
    (["plan", "remove", "shop"], 5, "There is no terminal to ask on", "--yes"),
    (["rollback", "web1", "--to", "N-1", "--yes"], 3, "There is no point N-1", ""),
    (["restore", "web1:N", "--to", "disk.txt"], 2, "has no file extension that names a format", ".qcow2"),
    (["repository", "create", "/tmp/x", "--generate"], 2, "already given or kept", "--generate"),
    (["failover", "web1", "--planned", "--point", "N-1"], 2, "loses nothing", "--unplanned"),
    (["sync"], 2, "Missing argument", "twinhull sync --help"),
    (["sync", "web1", "--frobnicate"], 2, "--frobnicate", "twinhull sync --help"),
    (["fail-over", "web1"], 2, "No such command", "--help"),
]


def test_what_makes_no_sense_is_refused(planned: Shell) -> None:
    for words, code, message, hint in CASES:
        refused(planned(*words), code, message, hint)
    assert planned.ok("runs", "list").out == "There is no run yet.\n"


def test_nothing_moves_where_nobody_can_be_asked(planned: Shell) -> None:
    answer = planned("failover", "web1")
    assert answer.code == 5
    assert "Sync web1 from here to there" in answer.out
    assert "Planned failover of web1? There is no terminal to ask on, so nothing was done." in answer.err
    assert "--yes" in answer.err
    assert not planned.world.host("there").machines


def test_watching_is_for_people(planned: Shell) -> None:
    answer = planned("status", "--watch", "--json")
    assert (answer.code, answer.json["error"]["message"]) == (
        2,
        "--watch is for terminals, and --json prints one document.",
    )


def test_errors_are_one_json_document_where_json_was_asked_for(planned: Shell) -> None:
    answer = planned("sync", "nope", "--json")
    assert answer.code == 3
    assert answer.err == ""
    assert answer.json["error"]["kind"] == "NotFound"
    assert set(answer.json["error"]) == {"kind", "message", "hint", "exit_code"}
    answer = planned("--json", "sync", "--wrong")
    assert answer.json["error"]["exit_code"] == 2


def test_one_failure_among_several_machines_is_told_beside_the_others(planned: Shell) -> None:
    planned.world.host("here").delete_machine(DB)
    answer = planned("sync", "shop", "--json")
    assert answer.code == 3
    assert [run["machine_name"] for run in answer.json["runs"]] == ["web1"]
    assert [failure["machine_name"] for failure in answer.json["failures"]] == ["db1"]
    assert "Error: There is no machine" in planned("sync", "shop").err


def test_two_machines_of_one_name_are_told_apart_by_uuid(two_sites: Shell) -> None:
    twin = MachineId("33333333-3333-4333-8333-333333333333")
    two_sites.world.host("there").add_machine(spec(twin, "web1"))
    two_sites.ok("machine", "list")
    refused(two_sites("machine", "show", "web1"), 2, "Several machines are called 'web1'", f"{WEB} on here")
    assert "web1 on there" in two_sites.ok("machine", "show", twin).out


def test_a_site_that_does_not_answer(planned: Shell) -> None:
    planned.ok("sync", "web1")
    planned.world.host("here").isolate()
    refused(planned("sync", "web1"), 11, "here, where web1 runs, does not answer", "twinhull failover web1 --unplanned")
    refused(planned("failover", "web1", "--yes"), 11, "cannot be moved without loss", "--unplanned")
    listed = planned.ok("site", "list", "--json").json["sites"]
    assert [site["is_reachable"] for site in listed] == [False, True]
    report = planned.ok("status", "--json").json["machines"][1]
    assert (report["name"], report["health"]) == ("web1", "unknown")
    assert "web1" in planned.ok("points", "list").out


def test_the_wrong_passphrase(planned: Shell, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("not it\n")
    refused(planned("--passphrase-file", str(wrong), "points", "list"), 33, "passphrase")
    refused(planned("points", "list", environment={"TWINHULL_PASSPHRASE": "nor this"}), 33, "passphrase")
    (tmp_path / "empty").touch()
    refused(planned("--passphrase-file", str(tmp_path / "empty"), "points", "list"), 2, "is empty")
    (planned.state / "passphrase").unlink()
    refused(planned("points", "list"), 53, "passphrase is not known here", "--passphrase-file")


def test_no_repository_yet(shell: Shell) -> None:
    refused(shell("points", "list"), 3, "No repository is known yet", "repository create")


def test_a_catalog_of_a_newer_twinhull_is_left_alone(planned: Shell) -> None:
    with closing(sqlite3.connect(planned.state / "catalog.db")) as connection, connection:
        connection.execute("PRAGMA user_version = 99")
    refused(planned("plan", "list"), 51, "written by a newer Twinhull (version 99", "--state")


def test_a_catalog_that_is_none(planned: Shell) -> None:
    for path in planned.state.glob("catalog.db*"):
        path.unlink()
    (planned.state / "catalog.db").write_bytes(b"this is no database at all, and long enough to be looked at" * 20)
    refused(planned("plan", "list"), 50, "cannot be read", "catalog rebuild")


def test_a_machine_that_another_process_works_on(planned: Shell) -> None:
    with claimed(StateDirectory(planned.state), WEB, "sync s1 by serve (process 1)"):
        answer = planned("sync", "web1", "--no-wait")
        refused(answer, 22, "web1 is being worked on: sync s1 by serve (process 1). Nothing was done.", "--no-wait")
        assert planned.ok("runs", "list").out == "There is no run yet.\n"
    planned.ok("sync", "web1", "--no-wait")


def test_no_room_on_the_target_leaves_the_point_and_says_so(planned: Shell) -> None:
    planned.world.host("there").room_bytes = 0
    refused(planned("sync", "web1"), 16, "no room left on there")
    run = planned.ok("runs", "list", "--json").json["runs"][0]
    assert (run["state"], run["error"]["kind"]) == (RunState.FAILED, "SiteFull")
    assert len(planned.ok("points", "list", "--json").json["points"]) == 1
    planned.world.host("there").room_bytes = None
    planned.ok("sync", "web1")


def test_nothing_secret_is_in_what_is_kept(planned: Shell) -> None:
    planned.ok("sync", "shop")
    passphrase = (planned.state / "passphrase").read_text().strip().encode()
    for path in planned.state.rglob("*"):
        if path.is_file() and path.name != "passphrase":
            assert passphrase not in path.read_bytes(), path
        assert path.stat().st_mode & 0o007 == 0 or path.parent != planned.state or path.name == "catalog.db", path
    assert planned.state.stat().st_mode & 0o777 == 0o700
    assert (planned.state / "passphrase").stat().st_mode & 0o777 == 0o600


def test_a_renamed_machine_is_found_by_its_new_name(planned: Shell) -> None:
    planned.ok("sync", "web1")
    planned.web.spec = spec(WEB, "web-one")
    assert planned.ok("sync", "web-one", "--json").json["runs"][0]["state"] == "done"


def test_failing_over_twice_is_refused_with_the_way_home(planned: Shell) -> None:
    planned.ok("sync", "web1")
    planned.ok("failover", "web1", "--yes")
    refused(planned("failover", "web1", "--yes"), 2, "web1 runs on there already", "twinhull failback web1")
    refused(planned("failback", "db1", "--yes"), 2, "db1 is at home, and was never synced", "twinhull sync db1")


def test_a_plan_takes_the_machine_of_that_name_on_its_source(planned: Shell) -> None:
    """Not one that is called so elsewhere, even where only that one has been seen yet."""
    abroad = MachineId("00000000-0000-4000-8000-0000000000a1")
    at_home = MachineId("00000000-0000-4000-8000-0000000000a2")
    planned.world.host("there").add_machine(spec(abroad, "twice"))
    planned.ok("machine", "list")
    words = ("plan", "create", "p", "-m", "twice", "--from", "here", "--to", "there")
    refused(planned(*words), 3, "There is no machine 'twice' on here", "machine list")
    planned.world.host("here").add_machine(spec(at_home, "twice"))
    planned.ok(*words)
    assert planned.ok("plan", "show", "p", "--json").json["machines"] == [at_home]
