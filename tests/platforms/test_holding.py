"""Holding a machine on a host whose storage hangs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from twinhull.model.errors import SiteUnreachable
from twinhull.model.machine import MachineId
from twinhull.model.ports import system_ports
from twinhull.platforms.hosts import LocalHost
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
