"""The inventory: finding a host's machines and describing them."""

from __future__ import annotations

from collections.abc import Sequence

from twinhull.model.errors import NotFound
from twinhull.model.machine import MachineId, MachineStatus, PowerState
from twinhull.platforms.libvirt.connection import told
from twinhull.platforms.libvirt.finding import definition_of, find, power
from twinhull.platforms.libvirt.place import Place
from twinhull.platforms.xen.survey import XenMachine, survey

_DOMAIN_0 = "00000000-0000-0000-0000-000000000000"


def look(place: Place, machine_id: MachineId) -> XenMachine:
    """A machine, and all that the host's files say of it; raises NotFound."""
    definition = definition_of(place, find(place, machine_id))
    return survey(place, [definition], machine_id)[0]


def status(place: Place, machine_id: MachineId) -> MachineStatus:
    """How one machine is; raises NotFound."""
    domain = find(place, machine_id)
    return _status(look(place, machine_id), power(place, domain))


def statuses(place: Place) -> Sequence[MachineStatus]:
    """How all machines are, by name; the host's own domain 0 is none of them."""
    with told(place.site, "listing machines"):
        domains = [domain for domain in place.connection.get().listAllDomains() if domain.UUIDString() != _DOMAIN_0]
    definitions, powers = [], []
    for domain in domains:
        try:
            seen = definition_of(place, domain), power(place, domain)
        except NotFound:
            continue  # it was removed between the listing and this look
        definitions.append(seen[0])
        powers.append(seen[1])
    found = [_status(machine, state) for machine, state in zip(survey(place, definitions), powers, strict=True)]
    return sorted(found, key=lambda status: status.spec.name)


def _status(machine: XenMachine, state: PowerState) -> MachineStatus:
    sizes = machine.sizes()
    missing = [image.key for image in machine.definition.disks if image.key not in sizes]
    return MachineStatus(
        spec=machine.describe(sizes),
        power=state,
        standing=machine.standing,
        warnings=tuple(f"Disk {key} cannot be looked at and is left out." for key in missing),
    )
