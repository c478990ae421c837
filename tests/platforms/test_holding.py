"""Holding a machine on a host whose storage hangs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from twinhull.hosts.host import LocalHost
from twinhull.model.errors import SiteUnreachable
from twinhull.model.machine import MachineId
from twinhull.model.ports import system_ports
from twinhull.platforms.libvirt import holding
from twinhull.platforms.libvirt.connection import LibvirtConnection
from twinhull.platforms.libvirt.place import Place

MACHINE = MachineId("11111111-2222-4333-8444-555555555555")


def test_a_host_that_hangs_holds_nobody_up_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its storage is a pipe that nobody writes to: whoever opens it waits."""
    monkeypatch.setattr(holding, "ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(holding, "END_SECONDS", 0.5)
    ports = system_ports()
    host = LocalHost(ports)
    connection = LibvirtConnection("x", "test:///default", host, ports.clock)
    place = Place("x", connection, host, ports.clock, str(tmp_path))
    lock = Path(place.disks_lock(MACHINE))
    lock.parent.mkdir()
    os.mkfifo(lock)
    with (
        pytest.raises(SiteUnreachable, match="has not cleaned up") as told,
        holding.holding(place, MACHINE, "label", [("-s", str(lock))]),
    ):
        pass
    assert any("did not say within" in said for said in _chain(told.value))


def _chain(error: BaseException | None) -> Iterator[str]:
    """What was said, and what had been said before that."""
    while error:
        yield str(error)
        error = error.__context__


def test_what_is_not_called_as_we_call_things_is_left_alone(tmp_path: Path) -> None:
    """A host's answer becomes paths that root removes: no name in it leads anywhere else."""
    ports = system_ports()
    host = LocalHost(ports)
    connection = LibvirtConnection("x", "test:///default", host, ports.clock)
    place = Place("x", connection, host, ports.clock, str(tmp_path))
    for folder in ("run", "scratch"):
        (tmp_path / folder).mkdir()
    (tmp_path / "run" / f"{MACHINE}.lock").touch()
    for name in ("notes.lock", "a b.disks", f"{MACHINE}\nscratch {MACHINE} ..lock"):
        (tmp_path / "run" / name).touch()
    for name, owner in (
        ("ours-1", MACHINE),
        ("..", "x"),
        ("theirs", "../../etc"),
        ("a b", MACHINE),
        (".hidden", MACHINE),
    ):
        (tmp_path / "scratch" / f"{name}.label").write_text(f"{owner}\n")
    found = holding.traces(place, None)
    assert (found.idle, found.busy, found.frozen) == ({MACHINE}, set(), set())
    assert [leftover.name for leftover in found.scratch] == ["ours-1"]
