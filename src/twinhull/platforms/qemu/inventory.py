"""Looking at machines."""

from __future__ import annotations

import json
from collections.abc import Sequence

import libvirt
import libvirt_qemu

from twinhull.model.errors import NotFound, SiteError
from twinhull.model.machine import DiskKey, MachineId, MachineStatus, Standing
from twinhull.platforms.libvirt.connection import told
from twinhull.platforms.libvirt.domains import Definition
from twinhull.platforms.libvirt.finding import definition_of, find, power
from twinhull.platforms.libvirt.place import Place
from twinhull.platforms.standings import StandingFiles

AGENT_PING_SECONDS = 2


class Machines:
    """A site's machines: finding them and describing them."""

    def __init__(self, place: Place, standings: StandingFiles) -> None:
        self._place = place
        self._standings = standings

    def sizes(self, domain: libvirt.virDomain, definition: Definition) -> tuple[dict[DiskKey, int], list[str]]:
        """The sizes of a machine's disks, and a warning for each one that cannot be asked."""
        sizes: dict[DiskKey, int] = {}
        warnings = []
        for disk in definition.disks:
            try:
                sizes[disk.key] = int(domain.blockInfo(disk.key)[0])
            except libvirt.libvirtError as error:
                warnings.append(f"Disk {disk.key} cannot be looked at and is left out: {error}")
        return sizes, warnings

    def exact_sizes(self, domain: libvirt.virDomain, definition: Definition) -> dict[DiskKey, int]:
        """The sizes of all of a machine's disks.

        Raises:
            SiteError: one cannot be asked: going on would look as if the machine had lost that disk.
        """
        sizes, warnings = self.sizes(domain, definition)
        if warnings:
            raise SiteError(
                f"Machine '{definition.name}' on site '{self._place.site}' cannot be worked on as a whole:"
                f" {warnings[0]}",
                hint="Make that disk readable there, or take it out of the machine.",
            )
        return sizes

    def machines(self) -> Sequence[MachineStatus]:
        """All machines, by name; agents are not asked."""
        with told(self._place.site, "listing machines"):
            domains = self._place.connection.get().listAllDomains()
        standings = {standing.machine_id: standing for standing in self._standings.read_all()}
        found = [self._status(domain, standings) for domain in domains]
        return sorted((status for status in found if status), key=lambda status: status.spec.name)

    def machine(self, machine_id: MachineId) -> MachineStatus:
        """One machine, its agent asked; raises NotFound."""
        domain = find(self._place, machine_id)
        standing = self._standings.read(machine_id)
        status = self._status(domain, {machine_id: standing} if standing else {}, is_asking=True)
        if status is None:
            raise NotFound(f"Machine {machine_id} disappeared from site '{self._place.site}' while it was looked at.")
        return status

    def _status(
        self, domain: libvirt.virDomain, standings: dict[MachineId, Standing], *, is_asking: bool = False
    ) -> MachineStatus | None:
        try:
            definition = definition_of(self._place, domain)
            running = power(self._place, domain)
            with told(self._place.site, f"looking at machine {definition.machine_id}"):
                persistent = bool(domain.isPersistent())
        except NotFound:
            return None  # it was removed between the listing and this look
        sizes, warnings = self.sizes(domain, definition)
        if not persistent:
            warnings.append("The machine is transient: it disappears from the site when it is switched off.")
        answers = self.agent_answers(domain) if is_asking and definition.has_agent else None
        return MachineStatus(
            spec=definition.spec(sizes),
            power=running,
            has_agent=definition.has_agent,
            agent_answers=answers,
            standing=standings.get(definition.machine_id),
            warnings=tuple(warnings),
        )

    def agent_answers(self, domain: libvirt.virDomain) -> bool:
        """Whether the guest agent answers a ping."""
        command = json.dumps({"execute": "guest-ping"})
        try:
            libvirt_qemu.qemuAgentCommand(domain, command, AGENT_PING_SECONDS, 0)
        except libvirt.libvirtError:
            return False
        return True
