"""Trackers: libvirt checkpoints of a running machine, and the dirty bitmaps below them when it is off.

One tracker is one name (``twinhull-CAPTURE``), the same for the checkpoint and for the bitmap in each qcow2 image.
libvirt's checkpoint is only its memory of the bitmaps: it is made anew where it is missing (bitmaps made while the
machine was off, definitions that were restored), and whether the bitmaps are whole is asked from QEMU each time.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Collection, Iterable, Iterator

import libvirt

from twinhull.model.checks import number_in
from twinhull.model.machine import DiskKey, MachineId
from twinhull.platforms.libvirt.connection import told
from twinhull.platforms.libvirt.domains import Definition
from twinhull.platforms.libvirt.finding import find_again, power
from twinhull.platforms.libvirt.images import PREFIX, drop_trackers, trackers_in
from twinhull.platforms.libvirt.place import Place
from twinhull.platforms.libvirt.xml import parse_xml


class Trackers:
    """The trackers of one site's machines."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def checkpoints(self, domain: libvirt.virDomain) -> list[str]:
        """The names of our checkpoints of a machine."""
        with told(self._place.site, "listing checkpoints"):
            names = [checkpoint.getName() for checkpoint in domain.listAllCheckpoints()]
        return [name for name in names if name.startswith(PREFIX)]

    def changed_bytes(self, domain: libvirt.virDomain, name: str, disks: Collection[DiskKey]) -> dict[DiskKey, int]:
        """How much a tracker calls changed, for those of a running machine's disks whose bitmap is there and whole."""
        if not name.startswith(PREFIX):
            return {}
        was_known = name in self.checkpoints(domain)
        if not was_known:
            self._redefine(domain, name, disks)
        flags = libvirt.VIR_DOMAIN_CHECKPOINT_XML_SIZE | libvirt.VIR_DOMAIN_CHECKPOINT_XML_NO_DOMAIN
        with told(self._place.site, f"looking at checkpoint {name}"):
            checkpoint = domain.checkpointLookupByName(name)
            found = parse_xml(checkpoint.getXMLDesc(flags)).findall("./disks/disk")
            # libvirt gives a size exactly for the bitmaps that QEMU has loaded whole.
            sizes = {key: size for key in disks for size in _sizes_told(found, key)}
            if not sizes and not was_known:
                checkpoint.delete(libvirt.VIR_DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY)
        return sizes

    def _redefine(self, domain: libvirt.virDomain, name: str, disks: Iterable[DiskKey]) -> None:
        xml = checkpoint_xml(name, set(disks), ())
        with told(self._place.site, f"remembering checkpoint {name}"):
            domain.checkpointCreateXML(xml, libvirt.VIR_DOMAIN_CHECKPOINT_CREATE_REDEFINE)

    def drop_running(self, domain: libvirt.virDomain, name: str, disks: Iterable[DiskKey]) -> None:
        """Drop a tracker of a running machine; safe to repeat."""
        if name not in self.checkpoints(domain):
            self._redefine(domain, name, disks)
        with told(self._place.site, f"dropping checkpoint {name}"):
            checkpoint = domain.checkpointLookupByName(name)
            try:
                checkpoint.delete(0)
            except libvirt.libvirtError:
                # Its bitmap is gone from some disk (QEMU was killed): what is left is libvirt's memory of it.
                checkpoint.delete(libvirt.VIR_DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY)

    def drop_stopped(self, domain: libvirt.virDomain, definition: Definition, names: Collection[str]) -> None:
        """Drop trackers of a stopped machine, bitmaps and libvirt's memory of them; safe to repeat."""
        drop_trackers(self._place.host, definition.disks, names)
        for name in set(names) & set(self.checkpoints(domain)):
            with told(self._place.site, f"dropping checkpoint {name}"):
                domain.checkpointLookupByName(name).delete(libvirt.VIR_DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY)

    def all_names(self, domain: libvirt.virDomain, definition: Definition) -> set[str]:
        """Every tracker of ours on a machine, known to libvirt or only in an image."""
        return trackers_in(self._place.host, definition.disks) | set(self.checkpoints(domain))

    def drop(self, domain: libvirt.virDomain, definition: Definition, names: Collection[str]) -> None:
        """Drop trackers, whatever the machine's state; safe to repeat."""
        if not names:
            return
        if power(self._place, domain).is_off:
            self.drop_stopped(domain, definition, names)
            return
        trackable = [disk.key for disk in definition.disks if disk.can_track]
        for name in names:
            self.drop_running(domain, name, trackable)

    def settle(self, machine_id: MachineId, definition: Definition, name: str, *, is_kept: bool) -> None:
        """A capture has ended: of its tracker and the older ones, what shall stay stays. Waits for a libvirtd."""
        domain = find_again(self._place, machine_id)
        if domain is not None:
            known = self.all_names(domain, definition)
            self.drop(domain, definition, known - {name} if is_kept else known & {name})


def _sizes_told(disks: Iterable[ET.Element], key: DiskKey) -> Iterator[int]:
    for disk in disks:
        if disk.get("name") == key and disk.get("size"):
            try:
                yield number_in(disk.get("size"))
            except ValueError:
                continue  # a bitmap whose size is no number is not believed


def checkpoint_xml(name: str, tracked: set[DiskKey], others: Iterable[str]) -> str:
    """The XML of a checkpoint that counts changes of ``tracked`` and of nothing else."""
    disks = "".join(f"<disk name='{key}' checkpoint='bitmap' bitmap='{name}'/>" for key in sorted(tracked))
    disks += "".join(f"<disk name='{key}' checkpoint='no'/>" for key in others)
    # A redefinition needs a creation time; the name is what orders ours.
    return (
        f"<domaincheckpoint><name>{name}</name><creationTime>1</creationTime><disks>{disks}</disks></domaincheckpoint>"
    )
