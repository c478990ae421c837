"""Real hypervisors for the tests: a private QEMU/libvirt host, its sites, tiny guests; Xen's are in their own file."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import libvirt
import pytest

from lab.guests import GuestPlan, TinyClient, define, forward, tiny_plan, wait_serial
from lab.images import TinyImage, tiny_image
from lab.qemu_host import QemuHost
from tests.real.xen_fixtures import *  # noqa: F403 - pytest finds fixtures by their names here
from twinhull.model.machine import MachineId, SiteName
from twinhull.model.ports import system_ports
from twinhull.platforms.contract import SiteSettings
from twinhull.platforms.qemu.site import QemuPlatform, QemuSite

SSH_ADDRESS = "127.0.0.21"


@pytest.fixture(scope="session")
def tiny() -> TinyImage:
    """The tiny guest's image."""
    return tiny_image()


@pytest.fixture(scope="session")
def short_directory() -> Iterator[Path]:
    """A directory whose path leaves room for unix sockets below it."""
    path = Path(tempfile.mkdtemp(prefix="twh-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def qemu_host(short_directory: Path) -> Iterator[QemuHost]:
    """A private QEMU/libvirt host with an SSH server, for the whole session."""
    host = QemuHost.start(short_directory / "a", ssh_address=SSH_ADDRESS)
    yield host
    host.stop()


def settings_of(host: QemuHost, uri: str, name: str = "a") -> SiteSettings:
    return SiteSettings(
        SiteName(name),
        "qemu",
        uri,
        {
            "directory": str(host.directory / "th"),
            # The host's own view of its hooks differs from ours: over ssh it is libvirt's usual place.
            "hooks_directory": "/etc/libvirt/hooks" if "+ssh" in uri else str(host.hooks),
            "accelerator": "tcg",
        },
    )


@pytest.fixture
def local_site(qemu_host: QemuHost) -> Iterator[QemuSite]:
    """The host as a site reached over its unix socket."""
    site = QemuPlatform().open(settings_of(qemu_host, qemu_host.uri), system_ports())
    yield site
    site.close()


@pytest.fixture
def ssh_site(qemu_host: QemuHost) -> Iterator[QemuSite]:
    """The same host as a site reached over ssh."""
    site = QemuPlatform().open(settings_of(qemu_host, qemu_host.ssh_uri), system_ports())
    yield site
    site.close()


@pytest.fixture(params=["local", "ssh"])
def qemu_site(request: pytest.FixtureRequest) -> QemuSite:
    """The host as a site, once over its socket and once over ssh."""
    site: QemuSite = request.getfixturevalue(f"{request.param}_site")
    return site


@dataclass
class Guest:
    """A tiny guest on the private host."""

    domain: libvirt.virDomain
    plan: GuestPlan
    boots: int = 0

    @property
    def machine_id(self) -> MachineId:
        return MachineId(self.plan.machine_uuid)

    @property
    def image(self) -> Path:
        return self.plan.disks[0].path

    def boot(self) -> TinyClient:
        """Start it, wait until its services run, and talk to it."""
        self.boots = self.plan.log.read_text(errors="replace").count("TWINHULL-TINY-READY") if self.boots else 0
        self.domain.create()
        return self.wait_up()

    def wait_up(self) -> TinyClient:
        self.boots += 1
        wait_serial(self.plan.log, count=self.boots)
        return TinyClient(forward(self.domain))

    def wait_agent(self, site: QemuSite) -> None:
        deadline = time.monotonic() + 30
        while not site.inventory.machine(self.machine_id).agent_answers:
            assert time.monotonic() < deadline, "the guest agent never answered"
            time.sleep(0.1)


MakeGuest = Callable[..., Guest]


@pytest.fixture
def make_guest(qemu_host: QemuHost, tiny: TinyImage) -> Iterator[MakeGuest]:
    """Define tiny guests; they are gone with the test."""
    connection = qemu_host.connect()
    made: list[Guest] = []

    def make(name: str, *, is_uefi: bool = False, **changes: object) -> Guest:
        plan = replace(tiny_plan(tiny, qemu_host.images, name, is_uefi=is_uefi), **changes)  # type: ignore[arg-type]
        plan.log.unlink(missing_ok=True)
        guest = Guest(define(connection, plan), plan)
        made.append(guest)
        return guest

    yield make
    connection = qemu_host.connect()
    for guest in made:
        domain = connection.lookupByUUIDString(guest.machine_id)
        with suppress(libvirt.libvirtError):
            domain.destroy()
        domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM)
        guest.image.unlink()
    connection.close()
