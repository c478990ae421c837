"""The stage of the story: a QEMU host, a Xen host, a live machine on the first, and Twinhull between them."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import libvirt

from lab.command_line import Twinhull
from lab.guests import GuestPlan, define, forward
from lab.ledger import Address, Ledger, Service, Writer, wait_for
from lab.qemu_host import QemuHost
from lab.xen_host import ADDRESS, XenHost

HOME = "qemu-1"
AWAY = "xen-1"
PLAN = "story"


@dataclass(frozen=True)
class Cast:
    """Who plays: the guest's plan below a directory, the service in it, its port, and how long it may boot."""

    plan: Callable[[Path], GuestPlan]
    service: Service
    port: int
    boot_seconds: float


@dataclass
class Stage:
    """All that the story plays with."""

    qemu: QemuHost
    xen: XenHost
    twinhull: Twinhull
    plan: GuestPlan
    cast: Cast
    ledger: Ledger = field(default_factory=Ledger)

    @property
    def machine(self) -> str:
        """The machine's name."""
        return self.plan.name

    def at_home(self) -> Address:
        """Wait for the guest's service on the QEMU host."""
        connection = self.qemu.connect()
        try:
            port = forward(connection.lookupByName(self.machine), self.cast.port)
        finally:
            connection.close()
        return wait_for(self.cast.service, Address(ADDRESS, port), self.cast.boot_seconds)

    def away(self) -> Address:
        """Wait for the guest's service on the Xen host."""
        port = self.xen.forward(self.plan.mac, self.cast.port, seconds=self.cast.boot_seconds)
        return wait_for(self.cast.service, Address(ADDRESS, port), self.cast.boot_seconds)

    def writer(self, address: Address) -> Writer:
        """A load on the guest's service; use it as a context."""
        return Writer(self.cast.service, address, self.ledger)

    def power_on_at_home(self) -> None:
        """Switch the machine on as its owner would, by the hypervisor's own means; raises libvirtError."""
        connection = self.qemu.connect()
        try:
            connection.lookupByName(self.machine).create()
        finally:
            connection.close()

    def stop_home(self) -> None:
        """End the QEMU host that runs now."""
        self.qemu.stop()

    def restart_home(self) -> None:
        """Boot the QEMU host again after it was killed."""
        self.qemu = QemuHost.start(self.qemu.directory)

    def refusal_at_home(self) -> str:
        """Try to switch the machine on behind Twinhull's back; the refusal, or nothing where it started."""
        try:
            self.power_on_at_home()
        except libvirt.libvirtError as error:
            return str(error)
        return ""

    def disk_sum_at_home(self) -> str:
        """The SHA-256 of the stopped machine's whole disk on the QEMU host."""
        raw = self.twinhull.state / "home.raw"
        _convert(self.plan.disks[0].path, raw)
        return _sum_and_remove(raw)

    def disk_sum_away(self) -> str:
        """The SHA-256 of the stopped machine's whole disk on the Xen host, taken there."""
        image = f"/var/lib/twinhull/replicas/{self.plan.machine_uuid}/vda.qcow2"
        raw = "/var/lib/twinhull/compared.raw"
        convert = f"qemu-img convert -U -f qcow2 -O raw {image} {raw}"
        return self.xen.run(f"{convert} && sha256sum {raw} && rm {raw}", timeout_seconds=600).split()[0]

    def point_sum(self) -> str:
        """The SHA-256 of the whole disk in the machine's latest point."""
        raw = self.twinhull.state / "point.raw"
        self.twinhull.text("restore", f"{self.machine}:N", "--to", str(raw))
        return _sum_and_remove(raw)

    def connect_sites(self) -> None:
        """Make the repository, add both sites, and protect the machine: what a user types first."""
        repository = self.twinhull.state / "points"
        self.twinhull.text("repository", "create", str(repository), "--generate")
        home = ["--directory", f"{self.qemu.directory}/twinhull", "--hooks-directory", str(self.qemu.hooks)]
        self.twinhull.text("site", "add", HOME, self.qemu.uri, *home)
        self.twinhull.text("site", "add", AWAY, self.xen.uri)
        # Paravirtual, because a fully virtualized Xen machine loses its change trackers while it boots.
        networks = ["--network", "user=bridge:xenbr0", "--boot-mode", "pv"]
        route = ["--machine", self.machine, "--from", HOME, "--to", AWAY]
        self.twinhull.text("plan", "create", PLAN, *route, "--rpo", "1m", *networks)


def _convert(image: Path, raw: Path) -> None:
    subprocess.run(["qemu-img", "convert", "-U", "-f", "qcow2", "-O", "raw", str(image), str(raw)], check=True)


def _sum_and_remove(raw: Path) -> str:
    with raw.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    raw.unlink()
    return digest


@contextmanager
def stage(directory: Path, cast: Cast) -> Iterator[Stage]:
    """Start both hosts in ``directory``, define the machine on the first; everything is ended with the context."""
    with ExitStack() as stack:
        xen = XenHost.start(directory / "xen")
        stack.callback(xen.stop)
        qemu = QemuHost.start(directory / "qemu")
        stack.callback(qemu.stop)
        state = directory / "state"
        state.mkdir(mode=0o700)
        plan = cast.plan(qemu.images)
        connection = qemu.connect()
        define(connection, plan)
        connection.close()
        played = Stage(qemu, xen, Twinhull(state), plan, cast)
        stack.callback(played.stop_home)
        yield played
