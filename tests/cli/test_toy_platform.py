"""Every command against a site that offers an inventory and a power switch only: each ends in a clear sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from tests.cli.conftest import WEB, Answer, Shell
from tests.cli.parsing import commands_of
from tests.platforms import toy
from twinhull.cli.main import app
from twinhull.manager.catalog.records import Plan
from twinhull.manager.manager import Manager
from twinhull.manager.sites.pool import PLATFORMS
from twinhull.model.machine import PlanName, PowerState, SiteName

NO_CAPTURES = "Site 'toy' cannot capture machines. Its platform offers no captures."
NO_REPLICAS = "Site 'toy' cannot hold replicas. Its platform offers no replicas."
NO_STANDINGS = "Site 'toy' cannot hold standings. Its platform offers no place for standings."

TRIED: list[tuple[str, str]] = [
    ("site list", "toy:1"),
    ("site show toy", "Its platform offers no place for standings."),
    ("site check toy", "Its platform offers no captures."),
    ("site check toy --look-only --json", "Its platform offers no guard."),
    ("site edit toy --uri toy:2", "toy:1 → toy:2"),
    ("site trust toy --yes", NO_STANDINGS),
    ("machine list", "vm-1"),
    ("machine show vm-1", "id on its site"),
    ("machine show vm-1 --look-inside", NO_CAPTURES),
    ("machine show web1", NO_REPLICAS),
    ("machine unprotect vm-2 --yes", "Twinhull left nothing on vm-2."),
    ("plan create new -m vm-2 --from toy --to there", NO_CAPTURES),
    ("plan create new -m db1 --from here --to toy", NO_REPLICAS),
    ("plan show away", "toy"),
    ("plan edit away --rpo 30m", "30 min"),
    ("status", "toy cannot hold standings, so vm-1 cannot be protected there."),
    ("status --json", "away"),
    ("sync vm-1", NO_STANDINGS),
    ("sync vm-1 --dry-run", "vm-1"),
    ("sync web1", NO_STANDINGS),
    ("failover vm-1 --planned --yes", NO_STANDINGS),
    ("failover vm-1 --unplanned --yes", "vm-1"),
    ("failover web1 --planned --yes", NO_REPLICAS),
    ("failover web1 --unplanned --yes", "web1"),
    ("failback vm-1 --planned --yes", "vm-1 is at home"),
    ("rollback vm-1 --to N --yes", "the machine has 0 points"),
    ("restore db1:N --to site:toy", NO_STANDINGS),
    ("points list vm-1", "There is no restore point yet"),
    ("points prune vm-1 --dry-run", "vm-1"),
    ("repository repair --site toy", "0 are damaged"),
    ("runs list", "sync"),
    ("catalog rebuild", "sites"),
    ("plan remove here --yes", "Removed the plan here."),
    ("plan remove away --yes", "Removed the plan away."),
    ("site remove toy --yes", "Forgot toy."),
]
ELSEWHERE = {
    *("repository create", "repository use", "repository show", "repository collect", "repository verify"),
    *("repository copy", "repository keys change-passphrase", "repository keys recovery", "repository keys rotate"),
    *("store check", "points show", "points diff", "points verify", "points hold", "points release", "points remove"),
    *("points take-back", "plan list", "plan network", "plan pause", "plan resume", "runs show", "runs resume"),
    *("runs abandon", "runs start", "serve", "site add"),
}
"""Commands that ask no site, or that a fixture or a test below calls."""


@pytest.fixture
def with_toy(two_sites: Shell, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """A toy site beside two others, and a plan in each direction, as an older Twinhull would have made them."""
    monkeypatch.setitem(PLATFORMS, "toy", "tests.platforms.toy")
    monkeypatch.setattr(toy, "POWER", {"vm-1": PowerState.RUNNING, "vm-2": PowerState.OFF})
    two_sites.ok("site", "add", "toy", "toy:1")
    with _manager(two_sites) as manager:
        machine = manager.names.machine("vm-1").machine_id
        manager.catalog.add_plan(Plan(PlanName("away"), (machine,), SiteName("toy"), SiteName("there"), 900))
        manager.catalog.add_plan(Plan(PlanName("here"), (WEB,), SiteName("here"), SiteName("toy"), 900))
    return two_sites


def _manager(shell: Shell) -> Manager:
    from twinhull.manager.catalog.state import StateDirectory  # noqa: PLC0415 - for this alone

    return Manager(StateDirectory(shell.state), shell.ports, {})


def _said(answer: Answer) -> str:
    return f"{answer.out}\n{answer.err}"


def test_every_command_that_meets_a_site_is_tried() -> None:
    root: Any = get_command(app)
    names = {name for name, command in commands_of(root) if not hasattr(command, "commands")}
    tried = {name for name in names for line, _ in TRIED if line.startswith(f"{name} ") or line == name}
    assert names - ELSEWHERE - tried == set()


def test_every_command_ends_in_a_clear_sentence(with_toy: Shell, tmp_path: Path) -> None:
    with_toy.ok("plan", "create", "both", "-m", "db1", "--from", "here", "--to", "there")
    with_toy.ok("sync", "db1")
    for line, wanted in TRIED:
        answer = with_toy(*line.split())
        assert wanted in _said(answer), (line, answer)
        assert "Traceback" not in _said(answer), (line, answer)
        assert answer.code == 0 or "Error: " in answer.err, (line, answer)
    assert toy.POWER == {"vm-1": PowerState.RUNNING, "vm-2": PowerState.OFF}
