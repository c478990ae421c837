from __future__ import annotations

from tests.cli.conftest import Shell


def say(text: str) -> None:
    assert text


def test_the_main_story(planned: Shell) -> None:
    first = planned.ok("sync", "shop", "--json").json
    assert [run["machine_name"] for run in first["runs"]] == ["db1", "web1"]
    planned.web.write("vda", 1_000_000, b"an increment")
    second = planned.ok("sync", "web1", "--json").json["runs"][0]
    assert second["state"] == "done"
    assert second["result"]["source_read_bytes"] < first["runs"][1]["result"]["source_read_bytes"] + 1
    say(planned.ok("points", "list", "web1").out)
    say(planned.ok("status").out)
    say(planned.ok("runs", "list").out)
    say(planned.ok("machine", "list").out)
    say(planned.ok("machine", "show", "web1").out)
    moved = planned.ok("failover", "web1", "--planned", "--yes")
    say(moved.out)
    say(planned.ok("status").out)
    say(planned.ok("failback", "web1", "--yes").out)
    say(planned.ok("rollback", "web1", "--to", "N-2", "--yes").out)
    say(planned.ok("status").out)
    say(planned.ok("runs", "list").out)
    say(planned.ok("runs", "show", planned.ok("runs", "list", "--json").json["runs"][0]["id"]).out)
