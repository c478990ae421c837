"""The private Xen host for the tests, its site, and tiny guests on it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lab.guests import TinyClient
from lab.images import TinyImage
from lab.xen_host import XenHost
from twinhull.model.machine import (
    BootMode,
    DiskKey,
    DiskSpec,
    MachineId,
    MachineSpec,
    NicSpec,
    Role,
    SiteName,
    Standing,
)
from twinhull.model.ports import system_ports
from twinhull.model.units import MIB
from twinhull.platforms.contract import CapturedDisk, CaptureRequest, ReplicaRequest, SiteSettings
from twinhull.platforms.xen.site import XenPlatform, XenSite

__all__ = ["XenGuest", "make_xen_guest", "read_whole", "xen_host", "xen_settings", "xen_site"]

XEN_BOOT_SECONDS = 300
"""How long a guest may take on the emulated Xen host; 10 to 25 when the machine is quiet."""

XEN_STOP_SECONDS = 300

KEY = DiskKey("vda")
NETWORKS = {"user": "bridge:xenbr0"}


@pytest.fixture(scope="module")
def xen_host(short_directory: Path) -> Iterator[XenHost]:
    """A private Xen host for a file's tests."""
    host = XenHost.start(short_directory / "x")
    yield host
    host.stop()


def xen_settings(host: XenHost, **options: str) -> SiteSettings:
    return SiteSettings(SiteName("x"), "xen", host.uri, options=options)


@pytest.fixture
def xen_site(xen_host: XenHost) -> Iterator[XenSite]:
    """The host as a site."""
    site = XenPlatform().open(xen_settings(xen_host), system_ports())
    assert isinstance(site, XenSite)
    yield site
    site.close()


@dataclass
class XenGuest:
    """A tiny guest on the private Xen host, made as a replica is made."""

    site: XenSite
    host: XenHost
    spec: MachineSpec
    captures: int = field(default=0)

    @property
    def machine_id(self) -> MachineId:
        return self.spec.machine_id

    def stand(self, role: Role, epoch: int = 1) -> None:
        self.site.standings.write(Standing(self.machine_id, role, epoch))

    def fill(self, image: Path) -> None:
        """Write an image to its disk, as a sync does."""
        content = image.read_bytes()
        with self.site.disks.writing(self.machine_id, KEY) as door:
            disk = door()
            for offset in range(0, len(content), MIB):
                piece = content[offset : offset + MIB]
                if any(piece):
                    disk.write(offset, piece)
            disk.flush()
            disk.close()

    def boot(self) -> TinyClient:
        """Start it as the primary, wait until its services run, and talk to it."""
        self.stand(Role.PRIMARY)
        self.site.power.start(self.machine_id, 1)
        deadline = time.monotonic() + XEN_BOOT_SECONDS
        client = TinyClient(self.host.forward(self.spec.nics[0].mac, 7000, seconds=XEN_BOOT_SECONDS))
        while True:
            try:
                client.heartbeat()
            except (OSError, RuntimeError, ValueError):
                assert time.monotonic() < deadline, "the guest's services never answered"
                time.sleep(0.5)
            else:
                return client

    def request(self, since: str | None = None, *, is_tracking: bool = True) -> CaptureRequest:
        self.captures += 1
        capture_id = f"test-{self.captures}"
        return CaptureRequest(self.machine_id, capture_id, {KEY: since} if since else {}, is_tracking=is_tracking)


MakeXenGuest = Callable[..., XenGuest]


@pytest.fixture
def make_xen_guest(xen_host: XenHost, xen_site: XenSite, tiny: TinyImage) -> Iterator[MakeXenGuest]:
    """Make tiny guests; they are gone with the test."""
    made: list[XenGuest] = []

    def make(name: str, boot_mode: BootMode = BootMode.PV) -> XenGuest:
        machine_id = MachineId(str(uuid.uuid4()))
        mac = f"52:54:00:7e:{machine_id[:2]}:{machine_id[2:4]}"
        disks = (DiskSpec(KEY, tiny.raw.stat().st_size),)
        spec = MachineSpec(machine_id, name, 1, 192 * MIB, disks=disks, nics=(NicSpec(mac, "user"),))
        guest = XenGuest(xen_site, xen_host, spec)
        made.append(guest)
        xen_site.replicas.prepare(ReplicaRequest(spec, NETWORKS, boot_mode))
        guest.fill(tiny.raw)
        return guest

    yield make
    for guest in made:
        xen_site.power.kill(guest.machine_id)
        xen_site.replicas.remove(guest.machine_id)


def read_whole(disk: CapturedDisk) -> bytearray:
    """The whole content of a captured disk."""
    content = bytearray(disk.size_bytes)
    handle = disk.open()
    for extent in handle.extents(0, disk.size_bytes):
        for offset in range(extent.offset_bytes, 0 if extent.is_zero else extent.end_bytes, MIB):
            length = min(MIB, extent.end_bytes - offset)
            content[offset : offset + length] = handle.read(offset, length)
    handle.close()
    return content
