"""``twinhull site trust``: what it shows, what it asks, and what it does; the sealing is tested with real files."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.cli.conftest import WEB, Shell
from twinhull.model.machine import Role, Standing
from twinhull.platforms.simulated import SimulatedStandings


@pytest.fixture
def sealed(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """The site has a standing that another manager sealed; collects whether each call was a dry run."""
    calls: list[bool] = []

    def trust(_: SimulatedStandings, *, is_dry_run: bool) -> Sequence[Standing]:
        calls.append(is_dry_run)
        return [Standing(WEB, Role.PRIMARY, 7)]

    monkeypatch.setattr(SimulatedStandings, "trust", trust)
    return calls


def test_a_dry_run_lists_what_would_be_taken_over(two_sites: Shell, sealed: list[bool]) -> None:
    shown = two_sites.ok("site", "trust", "here", "--dry-run")
    assert "would be taken over on here: 1" in shown.out
    assert f"{WEB}: primary, epoch 7" in shown.out
    assert sealed == [True]


def test_nothing_is_believed_before_a_person_says_so(two_sites: Shell, sealed: list[bool]) -> None:
    refused = two_sites("site", "trust", "here")
    assert refused.code
    assert "Trust what the host of 'here' says now about its machines, as at the first contact" in refused.err
    assert sealed == [True]


def test_it_is_done_with_yes(two_sites: Shell, sealed: list[bool]) -> None:
    done = two_sites.ok("site", "trust", "here", "--yes", "--json").json
    assert done["standings"] == [{"machine_id": WEB, "role": "primary", "epoch": 7}]
    assert (done["site"], done["is_dry_run"]) == ("here", False)
    assert sealed == [True, False]
