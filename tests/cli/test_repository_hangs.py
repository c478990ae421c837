"""The repository's disk hangs: every command ends soon, says so, and names the way out."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Shell
from twinhull.repository import DirectoryStore
from twinhull.repository.store import patient

DOORS = (
    ("sync", "web1"),
    ("failover", "web1", "--planned", "--yes"),
    ("failover", "web1", "--unplanned", "--yes"),
    ("failback", "web1", "--yes"),
    ("rollback", "web1", "--to", "N", "--yes"),
    ("restore", "web1:N", "--to", "/nowhere/web1.raw"),
    ("points", "list", "web1"),
    ("points", "remove", "web1:1", "--yes"),
    ("points", "prune", "web1", "--keep-last", "1", "--yes"),
    ("repository", "show"),
    ("repository", "verify", "--read-data"),
    ("repository", "collect", "--now", "--yes"),
    ("repository", "repair"),
)
_CALLS = ("create", "read", "read_range", "size", "list", "delete")


@pytest.fixture
def hanging(planned: Shell, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    """Synced twice; from then on no call to the disk returns."""
    planned.ok("sync", "web1")
    planned.ok("sync", "web1")
    mended = threading.Event()
    for limit in ("READ_SECONDS", "WRITE_SECONDS", "HANGING_SECONDS"):
        monkeypatch.setattr(patient, limit, 0.1)
    for name in _CALLS:
        monkeypatch.setattr(DirectoryStore, name, lambda *_: mended.wait())
    yield planned
    mended.set()


def test_every_command_ends_and_says_that_the_repository_hangs(hanging: Shell) -> None:
    for words in DOORS:
        answer = hanging(*words)
        assert answer.code == 36, (words, answer)
        assert "has not answered for 0.1 s" in answer.err, (words, answer)
        assert "hangs." in answer.err, (words, answer)
        if words[0].startswith("fail"):
            assert f"twinhull {words[0]} web1 --unplanned --without-repository" in answer.err
    status = hanging.ok("status")
    assert "has not answered" in status.out + status.err
    assert hanging.world.host("here").held == []


def test_the_way_out_needs_no_repository(hanging: Shell) -> None:
    hanging.world.host("here").crash()
    hanging.ok("failover", "web1", "--unplanned", "--without-repository", "--yes")


def test_a_capture_whose_repository_begins_to_hang_fails_and_leaves_the_source_as_it_was(
    planned: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned.ok("sync", "web1")
    planned.web.write("vda", 0, b"changed")
    mended = threading.Event()
    monkeypatch.setattr(patient, "WRITE_SECONDS", 0.2)
    with monkeypatch.context() as patched:
        patched.setattr(DirectoryStore, "create", lambda *_: mended.wait())
        answer = planned("sync", "web1")
        mended.set()
    assert answer.code == 36, answer
    assert planned.world.host("here").held == []
    assert not planned.web.is_frozen
    planned.ok("sync", "web1")
    planned.ok("points", "verify", "web1:N")
