"""Trackers: libvirt checkpoints of a running machine, and the dirty bitmaps below them when it is off.

One tracker is one name, the same for the checkpoint and for the bitmap in the disk's qcow2 image: libvirt gives all
bitmaps of a checkpoint one name, so each disk has a checkpoint of its own. libvirt's checkpoint is only its memory of
the bitmap, and forgotten at the end of each capture: libvirt undefines no machine that has checkpoints. It is made anew
when it is needed, and whether the bitmap is whole is asked from QEMU each time.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Collection, Iterable, Iterator, Mapping

import libvirt

from twinhull.model.checks import number_in
from twinhull.model.machine import DiskKey, MachineId
from twinhull.platforms.libvirt.connection import as_site_error, told
from twinhull.platforms.libvirt.definition.domains import Definition
from twinhull.platforms.libvirt.definition.xml import parse_xml
from twinhull.platforms.libvirt.finding import find_again, power
from twinhull.platforms.libvirt.images import PREFIX, ImageInfo, look_into
from twinhull.platforms.libvirt.place import Place
from twinhull.platforms.libvirt.tracking import drop_trackers, name_of, not_left, tracker_id, tracker_name

_NOTE = "https://twinhull.org/xml/trackers/1"
"""Our element in a running machine's definition."""


class Trackers:
    """The trackers of one site's machines."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def checkpoints(self, domain: libvirt.virDomain) -> list[str]:
        """The names of our checkpoints of a machine."""
        with told(self._place.site, "listing checkpoints"):
            names = [checkpoint.getName() for checkpoint in domain.listAllCheckpoints()]
        return [name for name in names if name.startswith(PREFIX)]

    def leave(
        self, domain: libvirt.virDomain, definition: Definition, infos: Mapping[DiskKey, ImageInfo], capture_id: str
    ) -> tuple[dict[DiskKey, str], list[str]]:
        """Leave a tracker on each of these disks of a running machine.

        Returns the trackers' ids, and a reason for each that could not be left: that costs a comparison, no point.
        """
        left, reasons = {}, []
        for key, info in infos.items():
            name = tracker_name(capture_id, key)
            others = [disk.key for disk in definition.disks if disk.key != key]
            try:
                domain.checkpointCreateXML(checkpoint_xml(name, key, [*others, *definition.other_devices]))
            except libvirt.libvirtError as error:
                reasons.append(not_left(key, str(error)))
            else:
                left[key] = tracker_id(name, info.lineage)
        return left, reasons

    def changed_bytes(self, domain: libvirt.virDomain, name: str, key: DiskKey) -> int | None:
        """How much a tracker calls changed on a running machine's disk; None when its bitmap is missing or broken."""
        was_known = name in self.checkpoints(domain)
        if not was_known:
            self._redefine(domain, name, key)
        flags = libvirt.VIR_DOMAIN_CHECKPOINT_XML_SIZE | libvirt.VIR_DOMAIN_CHECKPOINT_XML_NO_DOMAIN
        with told(self._place.site, f"looking at checkpoint {name}"):
            checkpoint = domain.checkpointLookupByName(name)
            found = parse_xml(checkpoint.getXMLDesc(flags)).findall("./disks/disk")
            # libvirt gives a size exactly for the bitmaps that QEMU has loaded whole.
            size = next(_sizes_told(found, key), None)
            if size is None and not was_known:
                checkpoint.delete(libvirt.VIR_DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY)
        return size

    def _redefine(self, domain: libvirt.virDomain, name: str, key: DiskKey) -> None:
        with told(self._place.site, f"remembering checkpoint {name}"):
            domain.checkpointCreateXML(checkpoint_xml(name, key, ()), libvirt.VIR_DOMAIN_CHECKPOINT_CREATE_REDEFINE)

    def drop_running(self, domain: libvirt.virDomain, name: str, disks: Iterable[DiskKey]) -> None:
        """Drop a tracker of a running machine, on whichever of these disks it is by now; safe to repeat."""
        if name in self.checkpoints(domain) and self._is_deleted(domain, name):
            return
        for key in disks:
            self._redefine(domain, name, key)
            self._is_deleted(domain, name)

    def _is_deleted(self, domain: libvirt.virDomain, name: str) -> bool:
        """Delete a checkpoint; False when its bitmap is not where libvirt remembers it, and only that memory went."""
        with told(self._place.site, f"dropping checkpoint {name}"):
            checkpoint = domain.checkpointLookupByName(name)
            try:
                checkpoint.delete(0)
            except libvirt.libvirtError:
                checkpoint.delete(libvirt.VIR_DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY)
                return False
            return True

    def drop_stopped(self, domain: libvirt.virDomain, definition: Definition, names: Collection[str]) -> None:
        """Drop trackers of a stopped machine, bitmaps and libvirt's memory of them; safe to repeat."""
        drop_trackers(self._place.host, definition.disks, names)
        for name in set(names) & set(self.checkpoints(domain)):
            with told(self._place.site, f"dropping checkpoint {name}"):
                domain.checkpointLookupByName(name).delete(libvirt.VIR_DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY)

    def all_names(self, domain: libvirt.virDomain, definition: Definition) -> set[str]:
        """Every tracker of ours on a machine: known to libvirt, in an image, or in a running QEMU's memory only."""
        trackable = [image for image in definition.disks if image.can_track]
        return self.names(domain, look_into(self._place.host, trackable))

    def names(self, domain: libvirt.virDomain, infos: Iterable[ImageInfo]) -> set[str]:
        """The same, with what was seen in the images."""
        in_images = {name for info in infos for name in info.trackers}
        return in_images | set(self.checkpoints(domain)) | self._noted(domain)

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
        self._note(domain, self._noted(domain) - set(names))

    def settle(self, machine_id: MachineId, definition: Definition, new: Collection[str], *, is_kept: bool) -> None:
        """A capture has ended: of its trackers and the older ones, what shall stay stays. Waits for a libvirtd."""
        domain = find_again(self._place, machine_id)
        if domain is not None:
            known, names = self.all_names(domain, definition), {name_of(tracker) for tracker in new}
            dropped = known - names if is_kept else known & names
            self.drop(domain, definition, dropped)
            self._forget_checkpoints(domain, known - dropped)

    def _forget_checkpoints(self, domain: libvirt.virDomain, left: Collection[str]) -> None:
        """Leave nothing but the bitmaps on the machine: libvirt undefines no machine that has checkpoints.

        QEMU writes a bitmap into the image when it ends. Until then only the running definition tells its name.
        """
        if not power(self._place, domain).is_off:
            self._note(domain, left)
        for name in self.checkpoints(domain):
            with told(self._place.site, f"forgetting checkpoint {name}"):
                domain.checkpointLookupByName(name).delete(libvirt.VIR_DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY)

    def _noted(self, domain: libvirt.virDomain) -> set[str]:
        """The names that are noted in a running machine's definition."""
        try:
            told_xml = domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, _NOTE)
        except libvirt.libvirtError as error:
            if error.get_error_code() in (libvirt.VIR_ERR_NO_DOMAIN_METADATA, libvirt.VIR_ERR_NO_DOMAIN):
                return set()
            raise as_site_error(self._place.site, "looking for its trackers", error) from error
        return {name for name in parse_xml(told_xml).get("names", "").split() if name.startswith(PREFIX)}

    def _note(self, domain: libvirt.virDomain, names: Collection[str]) -> None:
        """Note the names in the running definition alone: it ends with the machine's QEMU."""
        if set(names) == self._noted(domain):
            return
        element = f"<trackers names='{' '.join(sorted(names))}'/>" if names else None
        with told(self._place.site, "noting its trackers"):
            live = libvirt.VIR_DOMAIN_AFFECT_LIVE
            domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, element, "twinhull-trackers", _NOTE, live)


def _sizes_told(disks: Iterable[ET.Element], key: DiskKey) -> Iterator[int]:
    for disk in disks:
        if disk.get("name") == key and disk.get("size"):
            try:
                yield number_in(disk.get("size"))
            except ValueError:
                continue  # a bitmap whose size is no number is not believed


def checkpoint_xml(name: str, key: DiskKey, others: Iterable[str]) -> str:
    """The XML of a checkpoint that counts changes of one disk and of nothing else."""
    disks = f"<disk name='{key}' checkpoint='bitmap' bitmap='{name}'/>"
    disks += "".join(f"<disk name='{other}' checkpoint='no'/>" for other in others)
    # A redefinition needs a creation time; the name is what orders ours.
    return (
        f"<domaincheckpoint><name>{name}</name><creationTime>1</creationTime><disks>{disks}</disks></domaincheckpoint>"
    )
