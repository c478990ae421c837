"""What is looked for on all machines of a host at once: one that hangs keeps no other from being cleaned."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from tests.platforms.libvirt_fixtures import CountedSite, xen
from twinhull.model.errors import SiteError
from twinhull.model.machine import DiskKey, DiskSpec, MachineId, MachineSpec
from twinhull.model.units import MIB
from twinhull.platforms.contract import Leftover, ReplicaRequest
from twinhull.platforms.qemu import leftovers as of_qemu
from twinhull.platforms.qemu.trackers import Trackers
from twinhull.platforms.xen import leftovers as of_xen

if TYPE_CHECKING:
    import libvirt

__all__ = ["xen"]

GOOD, HUNG, FOREIGN = (MachineId(str(uuid.UUID(int=number))) for number in (1, 2, 3))


@dataclass
class OneHangs:
    """The QEMUs of running machines: each has something of ours in it, and one does not answer."""

    opened: list[MachineId] = field(default_factory=list)

    def has_one(self, _: MachineId) -> bool:
        return True

    @contextmanager
    def talking(self, machine_id: MachineId) -> Iterator[Any]:
        self.opened.append(machine_id)
        if machine_id == HUNG:
            raise SiteError("its monitor does not answer")

        def qmp(command: str) -> list[dict[str, str]]:
            return [{"id": "twinhull-backup-0"}] if command == "query-jobs" else []

        qmp.nodes = list  # type: ignore[attr-defined]
        yield qmp


@pytest.fixture
def running(xen: CountedSite) -> CountedSite:
    """Three machines run; the guard has locked the disks of each, and two were captured once."""
    for number, machine_id in enumerate((GOOD, HUNG, FOREIGN)):
        disks = (DiskSpec(DiskKey("vda"), MIB),)
        xen.site.replicas.prepare(ReplicaRequest(MachineSpec(machine_id, f"m{number}", 1, 64 * MIB, disks=disks)))
        xen.site._connection.get().lookupByUUIDString(machine_id).create()
        (xen.directory / "run" / f"{machine_id}.disks").touch()
    for machine_id in (GOOD, HUNG):
        (xen.directory / "run" / f"{machine_id}.lock").touch()
    return xen


def found(finder: of_xen.Leftovers | of_qemu.Leftovers) -> tuple[Sequence[Leftover], list[tuple[MachineId, str]]]:
    troubles: list[tuple[MachineId, str]] = []
    left = finder.find(None, (), lambda machine, error: troubles.append((machine, error.message)))
    return left, troubles


def test_on_xen_one_that_hangs_is_reported_and_a_foreign_one_is_not_opened(running: CountedSite) -> None:
    monitors = OneHangs()
    finder = of_xen.Leftovers(running.site._place, monitors)  # type: ignore[arg-type]
    left, troubles = found(finder)
    assert left == [Leftover(of_xen.IN_QEMU, "twinhull-backup-0", GOOD)]
    assert troubles == [(HUNG, "its monitor does not answer")]
    assert monitors.opened == [GOOD, HUNG]
    with pytest.raises(SiteError, match="does not answer"):
        finder.find(None, ())


def test_on_qemu_one_that_hangs_is_reported_and_a_foreign_one_is_not_asked(
    running: CountedSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    socket = f"{running.site._place.scratch}/libvirt-x/nbd"

    def backup_socket(domain: libvirt.virDomain, _: str) -> str:
        asked.append(domain.UUIDString())
        if domain.UUIDString() == HUNG:
            raise SiteError("its monitor does not answer")
        return socket

    monkeypatch.setattr(of_qemu, "backup_socket", backup_socket)
    monkeypatch.setattr(of_qemu, "is_held_up", lambda *_: False)
    left, troubles = found(of_qemu.Leftovers(running.site._place, Trackers(running.site._place)))
    assert left == [Leftover(of_qemu.BACKUP_JOB, GOOD, GOOD)]
    assert troubles == [(HUNG, "its monitor does not answer")]
    assert asked == [GOOD, HUNG]


def test_a_machine_that_is_worked_on_is_left_alone_whichever_lock_is_held(running: CountedSite) -> None:
    monitors = OneHangs()
    finder = of_xen.Leftovers(running.site._place, monitors)  # type: ignore[arg-type]
    path = running.directory / "run" / f"{GOOD}.disks"
    with subprocess.Popen(["flock", path, "sh", "-c", "echo held; read x"], stdin=-1, stdout=-1) as holder:
        assert holder.stdout
        holder.stdout.readline()
        found(finder)
        holder.communicate(b"\n")
    assert monitors.opened == [HUNG]
