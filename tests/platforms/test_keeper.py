"""The keeper of a freeze, with a virsh that thaws or does not."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from twinhull.blocks import heartbeat
from twinhull.hosts.host import LocalHost
from twinhull.model.machine import MachineId
from twinhull.model.ports import system_ports
from twinhull.platforms.libvirt.connection import LibvirtConnection
from twinhull.platforms.libvirt.place import Place
from twinhull.platforms.qemu import keeper

MACHINE = MachineId("11111111-2222-4333-8444-555555555555")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A host whose virsh does what the file ``virsh-can`` allows, and whose keepers try twice."""
    virsh = tmp_path / "bin" / "virsh"
    virsh.parent.mkdir()
    virsh.write_text(f"#!/bin/sh\n[ -e {tmp_path}/virsh-can ]\n")
    virsh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{virsh.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(keeper, "THAW_TRIES", 2)
    ports = system_ports()
    host = LocalHost(ports)
    return Place("x", LibvirtConnection("x", "test:///default", host, ports.clock), host, ports.clock, str(tmp_path))


def _leave_frozen(place: Place) -> Path:
    """Freeze and go; returns the note of the freeze once the keeper has ended, which holds the lock until then."""
    with keeper.keeping(place, MACHINE) as kept:
        kept.arm(7)
    deadline = time.monotonic() + 30
    while place.host.run(["flock", "-n", place.capture_lock(MACHINE), "true"]).exit_status:
        assert time.monotonic() < deadline
    return Path(f"{place.capture_lock(MACHINE)}.freeze")


def test_a_guest_that_could_not_be_thawed_stays_noted(place: Place, tmp_path: Path) -> None:
    assert _leave_frozen(place).exists()
    assert not keeper.has_started_since_freeze(place, MACHINE, 7)
    assert keeper.has_started_since_freeze(place, MACHINE, 8)
    (tmp_path / "virsh-can").touch()
    assert not _leave_frozen(place).exists()
    assert not keeper.has_started_since_freeze(place, MACHINE, 8)


def test_a_manager_that_falls_silent_loses_the_lock_and_one_that_beats_keeps_it(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "virsh-can").touch()
    monkeypatch.setattr(heartbeat, "SILENCE_SECONDS", 3)
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.1)

    def is_free() -> bool:
        return place.host.run(["flock", "-n", place.capture_lock(MACHINE), "true"]).is_ok

    with keeper.keeping(place, MACHINE) as kept:
        since = time.monotonic()
        while time.monotonic() - since < 6:
            kept.arm(7)
            kept.disarm()
        assert not is_free()
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 1000.0)
    with keeper.keeping(place, MACHINE) as kept:
        kept.arm(7)
        deadline = time.monotonic() + 30
        while not is_free():
            assert time.monotonic() < deadline
        assert not Path(f"{place.capture_lock(MACHINE)}.freeze").exists(), "the guest is thawed"
