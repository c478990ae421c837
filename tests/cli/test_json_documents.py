"""What --json prints: one version, one name for each id, names beside ids; and the same in words for people."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cli.conftest import DB, WEB, Shell

DOORS = [
    ["site", "list"],
    ["machine", "list"],
    ["machine", "show", "web1"],
    ["plan", "list"],
    ["plan", "show", "shop"],
    ["points", "list"],
    ["points", "show", "web1:N"],
    ["status"],
    ["runs", "list"],
    ["repository", "show"],
    ["failover", "shop", "--dry-run"],
    ["rollback", "web1", "--to", "N", "--dry-run"],
    ["plan", "edit", "shop", "--rpo", "1m", "--dry-run"],
    ["plan", "show", "nothing"],
]


@pytest.fixture
def synced(planned: Shell) -> Shell:
    planned.ok("sync", "shop")
    return planned


def objects(found: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - whatever is printed
    if isinstance(found, list):
        return [each for item in found for each in objects(item)]
    if not isinstance(found, dict):
        return []
    return [found, *(each for key, item in found.items() if key != "request" for each in objects(item))]


def test_every_document_has_a_version_and_names_beside_ids(synced: Shell) -> None:
    for words in DOORS:
        document = synced(*words, "--json").json
        assert document["schema_version"] == 1, words
        for found in objects(document):
            is_standing = "is_dirty" in found and "role" in found
            if "machine_id" in found and not is_standing and "kind" not in found:
                assert {"machine_name", "name"} & found.keys(), (words, found)
    plan = synced.ok("plan", "show", "shop", "--json").json
    assert dict(zip(plan["machines"], plan["machine_names"], strict=True)) == {DB: "db1", WEB: "web1"}
    point = synced.ok("points", "show", "web1:N", "--json").json
    assert (point["point_id"], point["name"]) == (point["id"], "web1:1")
    run = synced.ok("runs", "list", "--json").json["runs"][0]
    assert run["run_id"] == run["id"]


def test_a_dry_run_is_a_document(synced: Shell) -> None:
    found = synced.ok("failover", "shop", "--dry-run", "--json").json["machines"]
    assert [(each["machine_name"], each["kind"]) for each in found] == [("db1", "failover"), ("web1", "failover")]
    assert found[0]["request"]["target"] == "there"
    assert found[0]["request"]["is_planned"] is True
    assert len(found[0]["would"]) > 4


def test_a_run_is_shown_in_words(synced: Shell) -> None:
    run = synced.ok("runs", "list", "web1", "--json").json["runs"][0]["run_id"]
    shown = synced.ok("runs", "show", run).out
    assert "is_freezing" not in shown
    assert "since_seconds" not in shown
    assert "written to the replica" in shown
    assert "web1:1 (" in shown
    assert WEB in shown, "the machine's id is there once"


def test_a_state_directory_that_is_new_is_said(shell: Shell) -> None:
    assert "Created a new, empty state directory" in shell.ok("plan", "list").err
    assert "new, empty state directory" not in shell.ok("plan", "list").err


def test_a_plan_says_how_far_its_points_reach_back(two_sites: Shell) -> None:
    made = two_sites.ok("plan", "create", "shop", "-m", "web1", "--from", "here", "--to", "there", "--rpo", "5m").out
    assert "Created the plan shop: 1 machine from here to there" in made
    assert "The latest 14 reach back about 70 min 0 s at this RPO; consider --keep-hourly 24 --keep-daily 14." in made


def test_a_copy_with_nothing_to_do_is_one_line(synced: Shell, tmp_path: Any) -> None:  # noqa: ANN401 - pytest's path
    copy = ["repository", "copy", "--to", str(tmp_path / "copy")]
    synced.ok(*copy, "--create")
    again = synced.ok(*copy).out
    assert again.strip() == "2 points are there already; nothing to copy."
