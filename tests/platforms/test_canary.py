"""Two checks of one site at once: each tries the canary alone, and neither takes the other's away."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event, Lock
from typing import TYPE_CHECKING

from twinhull.hosts.host import LocalHost
from twinhull.model.machine import Role
from twinhull.model.ports import SystemClock, system_ports
from twinhull.platforms.guard.standings import StandingFiles
from twinhull.platforms.libvirt.connection import LibvirtConnection
from twinhull.platforms.libvirt.place import Place
from twinhull.platforms.qemu import canary

if TYPE_CHECKING:
    import pytest

PATIENCE_SECONDS = 60.0


class SleptClock(SystemClock):
    """Tells when a check waits for the other one."""

    def __init__(self) -> None:
        self.is_waited = Event()

    def sleep(self, seconds: float) -> None:
        self.is_waited.set()
        super().sleep(seconds)


def test_the_second_waits_until_the_first_has_taken_its_canary_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports, clock = system_ports(), SleptClock()
    host = LocalHost(ports)
    place = Place("x", LibvirtConnection("x", "test:///default", host, ports.clock), host, clock, str(tmp_path))
    standings = StandingFiles(host, str(tmp_path))
    trying, seen = Lock(), list[tuple[bool, object]]()

    def is_refused(_: Place, __: str) -> bool:
        is_alone = trying.acquire(blocking=False)
        assert clock.is_waited.wait(PATIENCE_SECONDS), "the other check neither waits nor runs"
        held = standings.read(canary.canary_id(place))
        seen.append((is_alone, held and held.role))
        if is_alone:
            trying.release()
        return True

    monkeypatch.setattr(canary, "_is_refused", is_refused)
    with ThreadPoolExecutor(2) as threads:
        checks = [threads.submit(canary.is_guarded, replace(place), standings) for _ in range(2)]
        assert [check.result() for check in checks] == [True, True]
    assert seen == [(True, Role.REPLICA)] * 2
    assert standings.read(canary.canary_id(place)) is None
