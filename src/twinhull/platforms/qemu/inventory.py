"""Looking at machines."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import libvirt
import libvirt_qemu

from twinhull.model.errors import NotFound, SiteError
from twinhull.model.machine import DiskKey, MachineId, MachineStatus, PowerState, Standing
from twinhull.model.names import checked_machine_id
from twinhull.platforms.guard.standings import StandingFiles
from twinhull.platforms.libvirt.connection import told
from twinhull.platforms.libvirt.definition.domains import Definition
from twinhull.platforms.libvirt.definition.xml import BadDefinition
from twinhull.platforms.libvirt.finding import MachineHangs, definition_of, find, power, unreadable
from twinhull.platforms.libvirt.place import Place
from twinhull.platforms.qemu.sizes import SizeDesk, Sizes

AGENT_PING_SECONDS = 2


@dataclass(frozen=True, slots=True)
class _Look:
    """What a machine is, as far as libvirt knows it without asking its QEMU."""

    domain: libvirt.virDomain
    definition: Definition
    power: PowerState
    is_persistent: bool

    def status(
        self, sizes: Sizes, standings: Mapping[MachineId, Standing], *, agent_answers: bool | None = None
    ) -> MachineStatus:
        """With what was asked besides."""
        known, warnings = sizes
        if not self.is_persistent:
            warnings = [*warnings, "The machine is transient: it disappears from the site when it is switched off."]
        return MachineStatus(
            spec=self.definition.spec(known),
            power=self.power,
            has_agent=self.definition.has_agent,
            agent_answers=agent_answers,
            standing=standings.get(self.definition.machine_id),
            warnings=tuple(warnings),
            slots=self.definition.slots,
        )


class Machines:
    """A site's machines: finding them and describing them."""

    def __init__(self, place: Place, standings: StandingFiles) -> None:
        self._place = place
        self._standings = standings
        self._sizes = SizeDesk()
        self._seen: dict[MachineId, Definition] = {}

    def close(self) -> None:
        """Let go of what asks; safe to repeat."""
        self._sizes.close()

    def exact_sizes(self, domain: libvirt.virDomain, definition: Definition) -> dict[DiskKey, int]:
        """The sizes of all of a machine's disks.

        Raises:
            SiteError: one cannot be asked: going on would look as if the machine had lost that disk.
        """
        sizes, warnings = self._sizes.ask({definition.machine_id: (domain, definition)})[definition.machine_id]
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
        looks = [look for domain in domains if (look := self._look_or_unreadable(domain))]
        found = [look for look in looks if isinstance(look, _Look)]
        sizes = self._sizes.ask({look.definition.machine_id: (look.domain, look.definition) for look in found})
        statuses = [look.status(sizes[look.definition.machine_id], standings) for look in found]
        unread = [
            replace(look, standing=standings.get(look.spec.machine_id))
            for look in looks
            if isinstance(look, MachineStatus)
        ]
        return sorted([*statuses, *unread], key=lambda status: status.spec.name)

    def _look_or_unreadable(self, domain: libvirt.virDomain) -> _Look | MachineStatus | None:
        try:
            return self._look(domain)
        except (BadDefinition, MachineHangs) as error:
            return unreadable(self._place, domain, error)

    def machine(self, machine_id: MachineId) -> MachineStatus:
        """One machine, its agent asked; raises NotFound."""
        domain = find(self._place, machine_id)
        standing = self._standings.read(machine_id)
        look = self._look(domain)
        if look is None:
            raise NotFound(f"Machine {machine_id} disappeared from site '{self._place.site}' while it was looked at.")
        sizes = self._sizes.ask({machine_id: (domain, look.definition)})[machine_id]
        answers = self.agent_answers(domain) if look.definition.has_agent else None
        return look.status(sizes, {machine_id: standing} if standing else {}, agent_answers=answers)

    def _look(self, domain: libvirt.virDomain) -> _Look | None:
        try:
            definition = self._definition(domain)
            running = power(self._place, domain)
            with told(self._place.site, f"looking at machine {definition.machine_id}"):
                is_persistent = bool(domain.isPersistent())
        except NotFound:
            return None  # it was removed between the listing and this look
        return _Look(domain, definition, running, is_persistent=is_persistent)

    def _definition(self, domain: libvirt.virDomain) -> Definition:
        """The machine as it is now, or, while its QEMU hangs and libvirt does not describe it, as it was last seen."""
        machine_id = checked_machine_id(domain.UUIDString())
        try:
            definition = definition_of(self._place, domain)
        except MachineHangs:
            if machine_id not in self._seen:
                raise
            return self._seen[machine_id]
        self._seen[machine_id] = definition
        return definition

    def agent_answers(self, domain: libvirt.virDomain) -> bool:
        """Whether the guest agent answers a ping."""
        command = json.dumps({"execute": "guest-ping"})
        try:
            libvirt_qemu.qemuAgentCommand(domain, command, AGENT_PING_SECONDS, 0)
        except libvirt.libvirtError:
            return False
        return True
