"""``twinhull status --check``: one line and an exit code, as monitoring systems expect."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.conftest import WEB, Shell
from twinhull.manager.health.health import Level
from twinhull.repository import Repository
from twinhull.repository.errors import StoreError

FIGURE = re.compile(r"(?:[a-z]+|'(?:[^'=|]|'')+')=\d+s?;;\d*;0")
"""A label, a value with its unit, no warning, perhaps a critical value, and the minimum."""


def check(shell: Shell) -> tuple[int, str]:
    """The exit code and the text before the figures."""
    code, text, _ = check_with_figures(shell)
    return code, text + "\n"


def check_with_figures(shell: Shell) -> tuple[int, str, list[str]]:
    done = shell("status", "--check")
    assert done.err == ""
    assert done.out.count("\n") == 1, "one line"
    assert done.out.count("|") == 1, "text, then figures"
    text, figures = done.out.removesuffix("\n").split(" | ")
    found = FIGURE.findall(figures)
    assert " ".join(found) == figures
    return done.code, text, found


def only_web1(shell: Shell) -> None:
    shell.ok("plan", "create", "p", "-m", "web1", "--from", "here", "--to", "there", "--network", "lan=br0")
    shell.world.host("there").networks.add("br0")


def test_no_plan_is_unknown(two_sites: Shell) -> None:
    assert check(two_sites) == (3, "UNKNOWN - no machine is in a plan\n")


def test_the_exit_code_follows_the_verdict(two_sites: Shell) -> None:
    only_web1(two_sites)
    code, line = check(two_sites)
    assert (code, "CRITICAL - web1: no replica:" in line, "[twinhull sync web1]" in line) == (2, True, True)
    two_sites.ok("sync", "web1")
    assert check(two_sites) == (0, "OK - 1 of 1 machines are protected\n")
    two_sites.ok("plan", "pause", "p")
    assert check(two_sites)[0] == 1
    two_sites.ok("plan", "resume", "p")
    two_sites.world.host("here").isolate()
    code, line = check(two_sites)
    assert (code, "UNKNOWN - web1: unknown: here has not answered since" in line) == (3, True)
    assert "[twinhull failover web1 --unplanned]" in line
    two_sites.ok("failover", "web1", "--unplanned", "--yes")
    code, line = check(two_sites)
    assert (code, "cannot take over: here has not answered" in line) == (2, True)
    two_sites.world.host("here").return_()
    two_sites.ok("status")
    code, line = check(two_sites)
    assert (code, "web1 RUNS TWICE" in line) == (2, True)
    two_sites.ok("sync", "web1")
    assert check(two_sites)[0] == 0


def test_a_machine_that_was_killed_is_critical_and_one_that_was_switched_off_is_a_warning(two_sites: Shell) -> None:
    only_web1(two_sites)
    two_sites.ok("sync", "web1")
    two_sites.web.switch_off()
    code, line = check(two_sites)
    assert (code, "web1: off: web1 is switched off on here" in line) == (1, True)
    two_sites.web.crash()
    code, line = check(two_sites)
    assert (code, "web1: down: web1 is DOWN: it crashed on here" in line) == (2, True)
    two_sites.world.host("here").delete_machine(two_sites.web.spec.machine_id)
    code, line = check(two_sites)
    assert (code, "here does not have the machine any more" in line) == (2, True)


def test_the_figures_are_counts_and_ages_against_the_rpo(two_sites: Shell) -> None:
    assert check_with_figures(two_sites)[2] == ["machines=0;;;0", "protected=0;;;0"]
    two_sites.web.rename("web|1's=x")
    two_sites.ok(
        "plan", "create", "p", "-m", WEB, "--from", "here", "--to", "there", "--rpo", "5m", "--network", "lan=a"
    )
    two_sites.world.host("there").networks.add("a")
    assert check_with_figures(two_sites)[2] == ["machines=1;;;0", "protected=0;;;0"]
    two_sites.ok("sync", WEB)
    two_sites.ports.clock.sleep(61)
    code, _, figures = check_with_figures(two_sites)
    assert (code, figures[:2]) == (0, ["machines=1;;;0", "protected=1;;;0"])
    assert re.fullmatch(r"'web/1''s_x lag'=6[1-5]s;;300;0", figures[2])
    two_sites.ports.clock.sleep(300)
    code, text, figures = check_with_figures(two_sites)
    assert (code, "web/1's=x: RPO missed" in text, figures[1]) == (2, True, "protected=0;;;0")


def test_the_document_says_the_same(two_sites: Shell) -> None:
    only_web1(two_sites)
    done = two_sites("status", "--check", "--json")
    machine = done.json["machines"][0]
    assert done.code == done.json["exit_code"] == machine["exit_code"] == Level.CRITICAL
    assert machine["health"] == "no replica"
    assert machine["command"] == "twinhull sync web1"
    assert machine["findings"][0] == {
        "health": "no replica",
        "sentence": machine["reason"],
        "command": "twinhull sync web1",
    }


@pytest.mark.parametrize("is_json", [False, True])
def test_what_cannot_be_asked_is_unknown(two_sites: Shell, *, is_json: bool) -> None:
    with closing(sqlite3.connect(two_sites.state / "catalog.db")) as newer:
        newer.execute("PRAGMA user_version = 999")
    done = two_sites("status", "--check", *(["--json"] if is_json else []))
    assert done.code == 3
    assert done.out.startswith("{" if is_json else "UNKNOWN - The catalog")


def test_a_repository_that_is_away_is_a_warning_and_changes_no_verdict(two_sites: Shell, tmp_path: Path) -> None:
    only_web1(two_sites)
    two_sites.ok("sync", "web1")
    (tmp_path / "points").rename(tmp_path / "elsewhere")
    code, line = check(two_sites)
    assert (code, line.startswith("WARNING - 1 of 1 machines are protected; repository:")) == (1, True)


NOT_VERIFIED = "; repository: not verified for 8 d 0 h [twinhull repository verify --read-data]"
WEEK = 7 * 86400


def test_a_repository_that_nothing_has_read_for_a_week_is_a_warning(two_sites: Shell) -> None:
    only_web1(two_sites)
    two_sites.ok("sync", "web1")
    two_sites.ports.clock.sleep(WEEK - 60)
    two_sites.ok("sync", "web1")
    assert check(two_sites)[0] == 0
    two_sites.ports.clock.sleep(86400 + 60)
    two_sites.ok("sync", "web1")
    assert check(two_sites) == (1, f"WARNING - 1 of 1 machines are protected{NOT_VERIFIED}\n")
    two_sites.ok("repository", "verify")
    assert check(two_sites)[0] == 1
    two_sites.ok("repository", "verify", "--read-data")
    assert check(two_sites)[0] == 0
    two_sites.ports.clock.sleep(WEEK + 86400)
    two_sites.ok("sync", "web1")
    assert check(two_sites) == (1, f"WARNING - 1 of 1 machines are protected{NOT_VERIFIED}\n")


def test_a_verification_that_failed_is_a_warning_until_one_ends_well(
    two_sites: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_web1(two_sites)
    two_sites.ok("sync", "web1")
    two_sites.ok("repository", "verify", "--read-data")

    def fail(*_: object, **__: object) -> None:
        raise StoreError("The disk | is slow.")

    with monkeypatch.context() as patched:
        patched.setattr(Repository, "verify", fail)
        assert two_sites("repository", "verify", "--read-data").code != 0
    code, line = check(two_sites)
    failed = "; repository: the latest verification failed: The disk / is slow."
    assert (code, failed in line, "[twinhull repository verify --read-data]" in line) == (1, True, True)
    assert "the latest verification failed" in two_sites.ok("status").out
    assert two_sites.ok("status", "--json").json["repository_alarms"] != []
    two_sites.ok("repository", "verify", "--read-data")
    assert check(two_sites)[0] == 0


def test_machine_list_and_machine_show_say_the_same(two_sites: Shell) -> None:
    only_web1(two_sites)
    two_sites.ok("sync", "web1")
    two_sites.world.host("here").isolate()
    two_sites.ok("failover", "web1", "--unplanned", "--yes")
    two_sites.world.host("here").return_()
    verdict = two_sites.ok("status", "--json").json["machines"][0]
    assert verdict["health"] == "runs twice"
    shown = two_sites.ok("machine", "show", "web1", "--json").json
    listed = [each for each in two_sites.ok("machine", "list", "--json").json["machines"] if each["plan"]]
    for said in (shown, *listed):
        assert {key: said[key] for key in ("health", "reason", "command", "findings", "plan")} == {
            key: verdict[key] for key in ("health", "reason", "command", "findings", "plan")
        }
    text = two_sites.ok("machine", "show", "web1").out
    assert text.startswith(
        "web1: runs twice\nweb1 RUNS TWICE, on here (stale, epoch 1) and on there (current, epoch 2)."
    )
    rows = [line for line in two_sites.ok("machine", "list").out.splitlines() if line.startswith("web1")]
    assert [line.endswith("runs twice") for line in rows] == [True, True]
    (other,) = [each for each in two_sites.ok("machine", "list", "--json").json["machines"] if not each["plan"]]
    assert (other["name"], other["health"]) == ("db1", None)
