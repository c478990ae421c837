"""The inventory: finding a host's machines and describing them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from twinhull.model.errors import NotFound
from twinhull.model.machine import DiskKey, DiskSpec, MachineId, MachineSpec, MachineStatus, PowerState, Standing
from twinhull.platforms.libvirt_connection import told
from twinhull.platforms.standings import StandingFiles
from twinhull.platforms.xen.domains import Definition, XenImage, power_of, read_definition
from twinhull.platforms.xen.images import Images
from twinhull.platforms.xen.place import Place
from twinhull.platforms.xen.sidecar import Made, Sidecars

if TYPE_CHECKING:
    import libvirt

_DOMAIN_0 = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, slots=True)
class XenMachine:
    """A machine as it is known here: Xen's definition, and what we keep of it where we made it."""

    definition: Definition
    made: Made | None

    def key_of(self, image: XenImage) -> DiskKey:
        """The disk's key: the one it came with, or Xen's name where it was here before us."""
        return (self.made.key_of(image.path) if self.made else None) or DiskKey(image.target)

    def image(self, key: DiskKey) -> XenImage | None:
        """The image of a disk, if there is such a disk."""
        return next((image for image in self.definition.disks if self.key_of(image) == key), None)

    def spec(self, sizes: Mapping[str, int]) -> MachineSpec:
        """The neutral description. What Xen's definition leaves out (networks that are not here) is kept by ours."""
        disks = tuple(
            DiskSpec(self.key_of(image), sizes[image.path], self._bus(image))
            for image in self.definition.disks
            if image.path in sizes
        )
        here = {nic.mac: nic for nic in self.definition.nics}
        nics = tuple(
            replace(nic, network=here[nic.mac.lower()].network if nic.mac.lower() in here else nic.network)
            for nic in (self.made.spec.nics if self.made else self.definition.nics)
        )
        return MachineSpec(
            machine_id=self.definition.machine_id,
            name=self.definition.name,
            cpu_count=self.definition.cpu_count,
            memory_bytes=self.definition.memory_bytes,
            firmware=self.made.spec.firmware if self.made else self.definition.firmware,
            boot_mode=self.definition.boot_mode,
            disks=disks,
            nics=nics,
        )

    def _bus(self, image: XenImage) -> str:
        """The bus that the disk came with; Xen's own buses are no hint for another platform."""
        own = self.made.spec.disk(self.key_of(image)) if self.made else None
        return own.bus if own else "virtio"


class Machines:
    """A site's machines; the host's own domain 0 is none of them."""

    def __init__(self, place: Place, standings: StandingFiles, sidecars: Sidecars, images: Images) -> None:
        self.standings = standings
        self.sidecars = sidecars
        self.images = images
        self._place = place

    def domain(self, machine_id: MachineId) -> libvirt.virDomain:
        """The handle that libvirt has of a machine; raises NotFound."""
        with told(self._place.site, f"looking for machine {machine_id}"):
            return self._place.connection.get().lookupByUUIDString(machine_id)

    def look(self, machine_id: MachineId) -> XenMachine:
        """A machine's definition and what we keep of it; raises NotFound."""
        return XenMachine(self.definition(self.domain(machine_id)), self.sidecars.read(machine_id))

    def definition(self, domain: libvirt.virDomain) -> Definition:
        """The machine as it is now: the running definition of a running one."""
        with told(self._place.site, "reading a machine's definition"):
            return read_definition(domain.XMLDesc(0))

    def power(self, machine_id: MachineId) -> PowerState:
        """Whether it runs; raises NotFound."""
        return self.power_of(self.domain(machine_id))

    def power_of(self, domain: libvirt.virDomain) -> PowerState:
        """Whether it runs."""
        with told(self._place.site, "asking for a machine's state"):
            state, reason = domain.state()[:2]
            return power_of(state, reason, is_active=bool(domain.isActive()))

    def machines(self) -> Sequence[MachineStatus]:
        """All machines, by name."""
        with told(self._place.site, "listing machines"):
            domains = [d for d in self._place.connection.get().listAllDomains() if d.UUIDString() != _DOMAIN_0]
        standings = {standing.machine_id: standing for standing in self.standings.read_all()}
        made = self.sidecars.read_all()
        looked = []
        for domain in domains:
            try:
                looked.append((self._machine(domain, made), self.power_of(domain)))
            except NotFound:
                continue  # it was removed between the listing and this look
        sizes = self.images.sizes([image for machine, _ in looked for image in machine.definition.disks])
        found = [_status(machine, power, sizes, standings) for machine, power in looked]
        return sorted(found, key=lambda status: status.spec.name)

    def machine(self, machine_id: MachineId) -> MachineStatus:
        """One machine; raises NotFound."""
        domain = self.domain(machine_id)
        machine = self.look(machine_id)
        sizes = self.images.sizes(machine.definition.disks)
        standing = self.standings.read(machine_id)
        return _status(machine, self.power_of(domain), sizes, {machine_id: standing} if standing else {})

    def _machine(self, domain: libvirt.virDomain, made: Mapping[MachineId, Made]) -> XenMachine:
        definition = self.definition(domain)
        return XenMachine(definition, made.get(definition.machine_id))


def _status(
    machine: XenMachine, power: PowerState, sizes: Mapping[str, int], standings: Mapping[MachineId, Standing]
) -> MachineStatus:
    missing = [machine.key_of(image) for image in machine.definition.disks if image.path not in sizes]
    return MachineStatus(
        spec=machine.spec(sizes),
        power=power,
        standing=standings.get(machine.definition.machine_id),
        warnings=tuple(f"Disk {key} cannot be looked at and is left out." for key in missing),
    )
