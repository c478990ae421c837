"""Finding a machine on its site: libvirt's handle of it, its definition, whether it runs."""

from __future__ import annotations

from dataclasses import replace

import libvirt

from twinhull.model.errors import NotFound, SiteError, SiteUnreachable, StillRunning
from twinhull.model.machine import MachineId, MachineSpec, MachineStatus, PowerState
from twinhull.model.names import checked_machine_id, checked_machine_name
from twinhull.platforms.libvirt.connection import told
from twinhull.platforms.libvirt.definition.domains import Definition, power_of, read_definition
from twinhull.platforms.libvirt.definition.xml import BadDefinition
from twinhull.platforms.libvirt.place import Place

RETURN_SECONDS = 15.0
"""How long the end of a capture waits for a libvirtd that went away; what it cannot end then is a leftover."""
HANGS_AFTER_SECONDS = 2.0
"""How long a QEMU may take for one answer before libvirt's questions that wait for it are not asked."""
FIRST_LIBVIRT_THAT_WAITS = 11_000_000
"""Since libvirt 11.0 even a machine's definition waits, for half a minute, until its QEMU has answered others."""


class MachineHangs(SiteError):
    """A machine's QEMU answers nothing, and this site's libvirt would wait for it before it described the machine."""


def find(place: Place, machine_id: MachineId) -> libvirt.virDomain:
    """Give libvirt's handle of a machine; raises NotFound."""
    with told(place.site, f"looking for machine {machine_id}"):
        return place.connection.get().lookupByUUIDString(machine_id)


def find_again(place: Place, machine_id: MachineId) -> libvirt.virDomain | None:
    """The machine by a connection that works, or None where it was removed; waits for a libvirtd that restarts.

    Raises:
        SiteUnreachable: libvirtd did not come back.
    """
    deadline = place.clock.monotonic() + RETURN_SECONDS
    while True:
        try:
            return find(place, machine_id)
        except NotFound:
            return None
        except SiteUnreachable:
            if place.clock.monotonic() > deadline:
                raise
            place.clock.sleep(0.2)


def definition_of(place: Place, domain: libvirt.virDomain) -> Definition:
    """The machine as it is now: the running definition of a running one; raises BadDefinition, MachineHangs."""
    require_answering(place, domain)
    with told(place.site, "reading a machine's definition"):
        xml, machine_id = domain.XMLDesc(0), domain.UUIDString()
        stored = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    definition = read_definition(xml, stored)
    if definition.machine_id != machine_id:
        raise BadDefinition(f"Site '{place.site}' describes machine {machine_id} as {definition.machine_id}.")
    return with_volumes(place, definition)


def require_answering(place: Place, domain: libvirt.virDomain) -> None:
    """Refuse, before libvirt waits for it, a machine whose QEMU hangs; raises MachineHangs."""
    if would_wait(place, domain):
        raise MachineHangs(
            f"Machine '{domain.name()}' on site '{place.site}' cannot be looked at: its QEMU, or its storage, hangs.",
            hint=f"See there for how long, and what it waits for: virsh domcontrol {domain.name()}",
        )


def would_wait(place: Place, domain: libvirt.virDomain) -> bool:
    """Whether libvirt would wait for a machine's QEMU before it described the machine.

    A question to that QEMU, anybody's, has been without an answer for too long: libvirt says so at once.
    """
    try:
        state, _, milliseconds = domain.controlInfo()
    except libvirt.libvirtError:
        return False  # it is off, or no QEMU
    if state != libvirt.VIR_DOMAIN_CONTROL_OCCUPIED or milliseconds < HANGS_AFTER_SECONDS * 1000:
        return False
    with told(place.site, "asking for libvirt's version"):
        return bool(place.connection.get().getLibVersion() >= FIRST_LIBVIRT_THAT_WAITS)


def with_volumes(place: Place, definition: Definition) -> Definition:
    """The definition with the paths of those disks that are volumes of a storage pool."""
    disks = [
        replace(disk, path=_volume_path(place, *disk.volume)) if disk.volume else disk for disk in definition.disks
    ]
    return replace(definition, disks=tuple(disks))


def _volume_path(place: Place, pool: str, volume: str) -> str:
    """Where a volume lies on its host; empty where its pool does not tell now, or it is no file or device there."""
    try:
        path = place.connection.get().storagePoolLookupByName(pool).storageVolLookupByName(volume).path()
    except libvirt.libvirtError:
        return ""  # an inactive pool, or one that is gone: what needs the disk says so
    return str(path) if path.startswith("/") else ""


def unreadable(place: Place, domain: libvirt.virDomain, error: BadDefinition | MachineHangs) -> MachineStatus:
    """A machine whose definition cannot be had, as a listing shows it: it must not hide the others."""
    machine_id = checked_machine_id(domain.UUIDString())
    try:
        name = checked_machine_name(domain.name())
    except ValueError:
        name = machine_id
    return MachineStatus(MachineSpec(machine_id, name, 1, 0), power(place, domain), warnings=(error.message,))


def stored_xml(place: Place, domain: libvirt.virDomain) -> str:
    """The XML that the machine will be started from, with its secrets; raises MachineHangs."""
    require_answering(place, domain)
    with told(place.site, "reading a machine's definition"):
        return str(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE))


def power(place: Place, domain: libvirt.virDomain) -> PowerState:
    """Whether a machine runs."""
    with told(place.site, "asking for a machine's state"):
        state, reason = domain.state()[:2]
        return power_of(state, reason, is_active=bool(domain.isActive()))


def has_saved_memory(place: Place, domain: libvirt.virDomain) -> bool:
    """Whether a machine that is off was put to sleep (a managed save): its next start resumes the memory it had."""
    with told(place.site, "asking for a machine's saved memory"):
        return bool(domain.hasManagedSaveImage())


def forget_saved_memory(place: Place, domain: libvirt.virDomain) -> list[str]:
    """Make a machine that was put to sleep boot at its next start; says so where there was anything to forget.

    For whoever gives a stopped machine other disks: memory that is resumed on disks which it has not seen writes what
    it remembers over them.
    """
    if not has_saved_memory(place, domain):
        return []
    with told(place.site, "removing a machine's saved memory"):
        domain.managedSaveRemove()
    reason = (
        f"Machine '{domain.name()}' on site '{place.site}' was asleep (managed save): its memory does not fit the disks"
        " that it gets and was removed, so that it boots at its next start."
    )
    return [reason]


def require_off(place: Place, domain: libvirt.virDomain) -> None:
    """Refuse to work on the disks of a machine that runs; raises StillRunning."""
    if not power(place, domain).is_off:
        raise StillRunning(
            f"Machine '{domain.name()}' runs on site '{place.site}'; it and its disks were left as they are.",
            hint="Switch it off first, if it is not needed there.",
        )
