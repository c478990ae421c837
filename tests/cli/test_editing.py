"""Plans and sites are changed in place: what is not named stays, and a new address must be the same host."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cli.conftest import DB, WEB, Shell, spec
from twinhull.manager.manager import Manager
from twinhull.model.machine import MachineId
from twinhull.platforms.contract import SiteIdentity
from twinhull.platforms.simulated import SimulatedSite

THIRD = MachineId("33333333-3333-4333-8333-333333333333")


def plan(shell: Shell) -> dict[str, Any]:
    found: dict[str, Any] = shell.ok("plan", "show", "shop", "--json").json
    return found


@pytest.mark.parametrize(
    ("options", "field", "value"),
    [
        (["--rpo", "5m"], "rpo_seconds", 300.0),
        (["--full-compare-every", "1d"], "full_compare_seconds", 86_400.0),
        (["--no-freeze"], "is_freezing", False),
        (["--boot-mode", "pv"], "boot_mode", "pv"),
        (["--network", "lan=br0"], "networks", {"lan": "br0"}),
        (["--remove", "web1"], "machines", [DB]),
    ],
)
def test_what_is_named_changes_and_the_rest_stays(
    planned: Shell, options: list[str], field: str, value: object
) -> None:
    before = plan(planned)
    dry = planned.ok("plan", "edit", "shop", *options, "--dry-run", "--json").json
    assert (list(dry["changes"]), dry["is_dry_run"]) == ([field], True)
    assert plan(planned) == before
    assert "→" in planned.ok("plan", "edit", "shop", *options).out
    assert plan(planned)[field] == value
    assert {key: kept for key, kept in plan(planned).items() if key != field and "machine" not in key} == {
        key: kept for key, kept in before.items() if key != field and "machine" not in key
    }


def test_retention_is_changed_rule_by_rule(planned: Shell) -> None:
    planned.ok("plan", "edit", "shop", "--keep-hourly", "24", "--keep-daily", "14")
    planned.ok("plan", "edit", "shop", "--keep-last", "0", "--keep-for", "2d")
    kept = plan(planned)["retention"]
    assert (kept["keep_last"], kept["keep_hourly"], kept["keep_daily"]) == (0, 24, 14)
    assert kept["keep_within_seconds"] == 172_800


def test_a_machine_is_added_and_protected_and_one_has_one_plan(planned: Shell) -> None:
    planned.world.host("here").add_machine(spec(THIRD, "cache1"))
    planned.ok("plan", "edit", "shop", "--add", "cache1", "--remove", "db1")
    assert plan(planned)["machines"] == [WEB, THIRD]
    planned.ok("sync", "cache1")
    planned.ok("plan", "create", "other", "-m", "db1", "--from", "here", "--to", "there")
    twice = planned("plan", "edit", "other", "--add", "web1")
    assert (twice.code, "web1 is in the plan 'shop' already" in twice.err) == (4, True)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], "Nothing of 'shop' would change."),
        (["--rpo", "15m"], "Nothing of 'shop' would change."),
        (["--remove", "web1", "--remove", "db1"], "at least one machine"),
        (["--add", "wbe1"], "Did you mean web1?"),
        (["--rpo", "soon"], "not a duration"),
    ],
)
def test_what_makes_no_sense_changes_nothing(planned: Shell, options: list[str], told: str) -> None:
    before = plan(planned)
    refused = planned("plan", "edit", "shop", *options)
    assert refused.code in (2, 3)
    assert told in refused.err
    assert plan(planned) == before


def test_a_plan_is_made_of_what_its_site_says_now(two_sites: Shell) -> None:
    """A machine that was made anew under its old name has another UUID than the one that was last seen."""
    host = two_sites.world.host("here")
    two_sites.ok("machine", "list")
    host.delete_machine(WEB)
    host.add_machine(spec(THIRD, "web1"))
    made = two_sites.ok("plan", "create", "shop", "-m", "web1", "--from", "here", "--to", "there", "--json").json
    assert made["machines"] == [THIRD]
    host.isolate()
    silent = two_sites("plan", "create", "more", "-m", "db1", "--from", "here", "--to", "there")
    assert (silent.code, "cannot be looked for there" in silent.err) == (11, True)


@pytest.fixture
def addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host of 'there' answers at two addresses, and another host at all others."""

    def of(site: SimulatedSite) -> SiteIdentity:
        hosts = {"simulated:here": "A", "simulated:there": "B", "simulated:there-too": "B"}
        return SiteIdentity(hosts.get(site.settings.uri, "C"), "")

    monkeypatch.setattr(SimulatedSite, "identity", of)


@pytest.fixture
def gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing answers at the address that is known."""
    monkeypatch.setattr(Manager, "_identity_there", lambda *_: None)


@pytest.mark.usefixtures("addresses", "gone")
def test_an_address_changes_only_to_the_host_that_was_noted(two_sites: Shell) -> None:
    other = two_sites("site", "edit", "there", "--uri", "simulated:elsewhere")
    assert (other.code, "is another host than 'there'" in other.err) == (20, True)
    dry = two_sites.ok("site", "edit", "there", "--uri", "simulated:there-too", "--dry-run").out
    assert "simulated:there → simulated:there-too" in dry
    assert site_uri(two_sites) == "simulated:there"
    assert "would" not in two_sites.ok("site", "edit", "there", "--uri", "simulated:there-too").out
    assert site_uri(two_sites) == "simulated:there-too"
    lie = two_sites("site", "edit", "there", "--uri", "simulated:here", "--same-host")
    assert lie.code == 20, "what is known is not overruled"


@pytest.mark.usefixtures("addresses")
def test_what_an_older_version_did_not_note_is_asked_at_the_old_address(
    two_sites: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twinhull.manager.manager.remembered_identity", lambda *_: None)
    assert two_sites("site", "edit", "there", "--uri", "simulated:elsewhere").code == 20
    two_sites.ok("site", "edit", "there", "--uri", "simulated:there-too")


@pytest.mark.usefixtures("addresses", "gone")
def test_a_host_of_which_nothing_is_known_is_believed_only_if_a_person_says_so(
    two_sites: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twinhull.manager.manager.remembered_identity", lambda *_: None)
    refused = two_sites("site", "edit", "there", "--uri", "simulated:there-too")
    assert (refused.code, "--same-host" in refused.err) == (20, True)
    two_sites.ok("site", "edit", "there", "--uri", "simulated:there-too", "--same-host")
    assert site_uri(two_sites) == "simulated:there-too"


def site_uri(shell: Shell) -> str:
    found = {site["name"]: site["uri"] for site in shell.ok("site", "list", "--json").json["sites"]}
    return str(found["there"])
