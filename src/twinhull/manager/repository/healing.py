"""Opening what may heal the repository: other repositories, image files and NBD exports, machines on sites.

Whatever is opened is closed with the ``Healing`` context, and machines are held by their claims until then.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from twinhull.blocks.disk import Disk
from twinhull.blocks.nbd import NbdAddress, NbdDisk
from twinhull.blocks.servers import Image, serving
from twinhull.hosts.private_directory import private_directory
from twinhull.manager.record.claims import Claims, machine_claim
from twinhull.model.errors import MachineBusy, NotFound
from twinhull.model.machine import DiskKey, MachineId
from twinhull.model.ports import Ports
from twinhull.platforms.contract import CaptureRequest, Site
from twinhull.recovery.restore.to_file import FORMATS
from twinhull.recovery.restore.to_nbd import nbd_address
from twinhull.repository import DiskHealer, Healer, Point, Repository, RepositoryHealer, open_store

HOLDER = "twinhull repository repair"


@dataclass(slots=True)
class Healing:
    """Healers, in the order in which they were asked for. Use it as a context manager."""

    ports: Ports
    claims: Claims
    healers: list[Healer] = field(default_factory=list)
    closing: ExitStack = field(default_factory=ExitStack)
    _held: set[MachineId] = field(default_factory=set)

    def __enter__(self) -> Self:
        """Nothing is opened yet."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close what was opened, the latest first."""
        self.closing.close()

    def ask_repository(self, url: str, passphrase: str) -> None:
        """Look in another repository; raises what opening it raises."""
        repository = Repository.open(open_store(url), passphrase)
        self.closing.callback(repository.close)
        self.healers.append(RepositoryHealer(repository))

    def ask_disk(self, machine_id: MachineId, key: DiskKey, address: str) -> None:
        """Look in an NBD export or image file that holds, or held, what that disk of the machine held.

        Raises UsageError, SiteError, DataError where it cannot be opened.
        """
        disk = NbdDisk(self._nbd_address(address))
        self.closing.callback(disk.close)
        self.healers.append(DiskHealer(f"the disk {address}", machine_id, key, disk))

    def ask_site(self, site: Site) -> None:
        """Look on the disks of the machines of a site, each opened when it is needed."""
        self.healers.append(_SiteHealer(site, self))

    def hold(self, machine_id: MachineId) -> None:
        """Keep runs away from a machine until all is closed; raises MachineBusy where one works on it."""
        if machine_id in self._held:
            return
        name = machine_claim(machine_id)
        claim = self.claims.try_take(name, HOLDER)
        if not claim:
            raise MachineBusy(
                f"{self.claims.holder(name)} works on machine {machine_id}, so its disks were not read; what was "
                "repaired before is repaired.",
                hint="Repair again when that run has ended.",
            )
        self.closing.callback(claim.release)
        self._held.add(machine_id)

    def _nbd_address(self, address: str) -> NbdAddress:
        if address.startswith("nbd"):
            return nbd_address(address)
        suffix = Path(address).suffix.removeprefix(".").lower()
        image = Image(str(Path(address).absolute()), suffix if suffix in FORMATS else "raw")
        directory = self.closing.enter_context(private_directory())
        start = lambda argv: self.ports.processes.start(argv, has_pipes=True)  # noqa: E731 - one argument more
        return NbdAddress(self.closing.enter_context(serving(start, image, f"{directory}/disk.sock")))


@dataclass(slots=True)
class _SiteHealer:
    """The replica of a machine, or the machine itself, as its site has it now: crash-consistent is good enough."""

    site: Site
    healing: Healing
    opened: dict[MachineId, dict[DiskKey, Disk]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """See ``Healer.name``."""
        return f"the site '{self.site.settings.name}'"

    def disk(self, point: Point, key: DiskKey) -> Disk | None:
        """See ``Healer.disk``; raises MachineBusy where a run works on the machine."""
        if point.machine_id not in self.opened:
            self.opened[point.machine_id] = self._open(point.machine_id)
        return self.opened[point.machine_id].get(key)

    def has(self, point: Point, key: DiskKey) -> bool:
        """See ``Healer.has``: the machine is not held, and its disks are not opened."""
        try:
            status = self.site.inventory.machine(point.machine_id)
        except NotFound:
            return False
        return any(disk.key == key for disk in status.spec.disks)

    def _open(self, machine_id: MachineId) -> dict[DiskKey, Disk]:
        try:
            self.site.inventory.machine(machine_id)
        except NotFound:
            return {}
        self.healing.hold(machine_id)
        label = f"heal-{self.healing.ports.randomness.token(4).hex()}"
        request = CaptureRequest(machine_id, label, is_freezing=False, is_tracking=False)
        capture = self.healing.closing.enter_context(self.site.captures.capture(request))
        disks = {disk.key: disk.open() for disk in capture.disks}
        for disk in disks.values():
            self.healing.closing.callback(disk.close)
        return disks
