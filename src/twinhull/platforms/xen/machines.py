"""The inventory: finding a host's machines and describing them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from twinhull.model.errors import DataError, NotFound
from twinhull.model.machine import MachineId, MachineStatus, PowerState
from twinhull.platforms.libvirt.connection import told
from twinhull.platforms.libvirt.definition.xml import BadDefinition
from twinhull.platforms.libvirt.finding import definition_of, find, power, unreadable
from twinhull.platforms.libvirt.place import Place
from twinhull.platforms.xen.survey import XenMachine, survey

if TYPE_CHECKING:
    import libvirt

_DOMAIN_0 = "00000000-0000-0000-0000-000000000000"


def look(place: Place, machine_id: MachineId) -> XenMachine:
    """A machine to work on, and all that the host's files say of it; raises NotFound, DataError."""
    machine = _look(place, find(place, machine_id))
    if machine.complaint:
        raise DataError(
            f"Machine {machine_id} on {place.site}: {machine.complaint} Nothing was done to it.",
            hint=f"Put {place.directory}/machines/{machine_id}.json back, or remove the machine there and sync anew.",
        )
    return machine


def _look(place: Place, domain: libvirt.virDomain) -> XenMachine:
    definition = definition_of(place, domain)
    return survey(place, [definition], definition.machine_id)[0]


class XenMachines:
    """One host's machines."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def machine(self, machine_id: MachineId) -> MachineStatus:
        """How one machine is; raises NotFound."""
        domain = find(self._place, machine_id)
        return _status(_look(self._place, domain), power(self._place, domain))

    def machines(self) -> Sequence[MachineStatus]:
        """How all machines are, by name; the host's own domain 0 is none of them."""
        with told(self._place.site, "listing machines"):
            domains = [
                domain for domain in self._place.connection.get().listAllDomains() if domain.UUIDString() != _DOMAIN_0
            ]
        definitions, powers, unread = [], [], []
        for domain in domains:
            try:
                seen = definition_of(self._place, domain), power(self._place, domain)
            except NotFound:
                continue  # it was removed between the listing and this look
            except BadDefinition as error:
                unread.append(unreadable(self._place, domain, error))
                continue
            definitions.append(seen[0])
            powers.append(seen[1])
        found = [
            _status(machine, state) for machine, state in zip(survey(self._place, definitions), powers, strict=True)
        ]
        return sorted([*found, *unread], key=lambda status: status.spec.name)


def _status(machine: XenMachine, state: PowerState) -> MachineStatus:
    sizes = machine.sizes()
    missing = [image.key for image in machine.definition.disks if image.key not in sizes]
    return MachineStatus(
        spec=machine.describe(sizes),
        power=state,
        standing=machine.standing,
        warnings=(
            *(f"Disk {key} cannot be looked at and is left out." for key in missing),
            *([machine.complaint] if machine.complaint else []),
        ),
    )
