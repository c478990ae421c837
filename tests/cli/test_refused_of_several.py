"""Of several machines, one that is refused keeps none of the others back, and the exit code says that it was."""

from __future__ import annotations

import pytest

from tests.cli.conftest import DB, WEB, Shell
from twinhull.manager.runs.previews import Preview, Previewer
from twinhull.manager.runs.wants import Want
from twinhull.model.errors import (
    DataError,
    NotFound,
    NotSupportedHere,
    SafetyError,
    SiteError,
    StillRunning,
    TwinhullError,
)
from twinhull.model.machine import PowerState

REFUSALS = [SafetyError, DataError, StillRunning, NotSupportedHere, SiteError]


def is_on(shell: Shell, site: str, machine_id: str) -> bool:
    machine = shell.world.host(site).machines.get(machine_id)  # type: ignore[call-overload]
    return machine is not None and machine.power is PowerState.RUNNING


def refuse(patched: pytest.MonkeyPatch, kind: type[TwinhullError], *names: str) -> None:
    preview = Previewer.preview

    def refusing(self: Previewer, want: Want) -> Preview:
        if want.subject.name in names:
            raise kind(f"{want.subject.name} is not to be moved.", hint="Look at it.")
        return preview(self, want)

    patched.setattr(Previewer, "preview", refusing)


@pytest.mark.parametrize("kind", REFUSALS)
def test_the_others_fail_over(planned: Shell, monkeypatch: pytest.MonkeyPatch, kind: type[TwinhullError]) -> None:
    planned.ok("sync", "shop")
    refuse(monkeypatch, kind, "db1")
    moved = planned("failover", "shop", "--unplanned", "--yes")
    assert "db1 will be refused: db1 is not to be moved." in moved.out
    assert "web1: failover done" in moved.out
    assert "db1 is not to be moved." in moved.err
    assert moved.code == kind.exit_code
    assert is_on(planned, "there", WEB)
    assert not is_on(planned, "there", DB)


def test_a_dry_run_shows_the_refusal_and_what_the_others_would_do(
    planned: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned.ok("sync", "shop")
    refuse(monkeypatch, SafetyError, "db1")
    shown = planned("failover", "shop", "--unplanned", "--dry-run")
    assert "db1 will be refused: db1 is not to be moved." in shown.out
    assert "Start web1 on there" in shown.out
    assert shown.code == SafetyError.exit_code
    machines = planned("failover", "shop", "--unplanned", "--dry-run", "--json").json["machines"]
    refused = {machine["machine_name"]: machine["refused"] for machine in machines}
    assert refused["web1"] is None
    assert refused["db1"]["kind"] == "SafetyError"


@pytest.mark.parametrize(("word", "names"), [("shop", ("db1", "web1")), ("db1", ("db1",))])
def test_where_all_are_refused_it_is_raised_before_the_question(
    planned: Shell, monkeypatch: pytest.MonkeyPatch, word: str, names: tuple[str, ...]
) -> None:
    planned.ok("sync", "shop")
    refuse(monkeypatch, SafetyError, *names)
    refused = planned("failover", word, "--unplanned")
    assert (refused.code, refused.out) == (SafetyError.exit_code, "")
    assert "db1 is not to be moved." in refused.err


def test_a_machine_that_was_never_synced_keeps_none_back(planned: Shell) -> None:
    planned.ok("sync", "web1")
    planned.world.host("here").isolate()
    moved = planned("failover", "shop", "--unplanned", "--yes")
    assert "it was never synced" in moved.err
    assert moved.code == NotFound.exit_code
    assert is_on(planned, "there", WEB)


def test_a_machine_without_the_named_point_keeps_none_back(planned: Shell) -> None:
    planned.ok("sync", "shop")
    planned.ok("sync", "web1")
    moved = planned("failover", "shop", "--unplanned", "--point", "N-1", "--yes", "--json")
    assert [run["machine_name"] for run in moved.json["runs"]] == ["web1"]
    assert [failure["machine_name"] for failure in moved.json["failures"]] == ["db1"]
    assert moved.code == moved.json["failures"][0]["error"]["exit_code"]
    assert is_on(planned, "there", WEB)
