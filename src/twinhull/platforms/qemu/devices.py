"""A replica's disks and cards in libvirt's XML: made anew, or an element that follows the description."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping

from twinhull.model.hardware import DiskTraits
from twinhull.model.machine import DiskSpec, MachineSpec, NicSpec
from twinhull.platforms.qemu.keeping import BUSES, NETWORKS, NIC_MODELS, network_of

_HAVE_WWN = {"scsi", "sata", "ide"}


def boot_places(spec: MachineSpec) -> dict[str, int]:
    """The place in the boot order of each disk, by its key, and of the cards that have one, by their MAC."""
    told = [(disk.traits.boot_order, str(disk.key)) for disk in spec.disks if disk.traits.boot_order]
    told += [(nic.boot_order, nic.mac) for nic in spec.nics if nic.boot_order]
    names = [name for _, name in sorted(told)]
    names += [disk.key for disk in spec.disks if not disk.traits.boot_order]
    return {name: place for place, name in enumerate(names, start=1)}


def disk_element(disk: DiskSpec, path: str, boot_order: int | None = None) -> ET.Element:
    """A qcow2 disk; its device name is the disk's key, whatever its bus."""
    element = ET.Element("disk", type="file", device="disk")
    ET.SubElement(element, "driver", name="qemu", type="qcow2", discard="unmap")
    ET.SubElement(element, "source", file=path)
    ET.SubElement(element, "target", dev=disk.key, bus=disk.bus if disk.bus in BUSES else "virtio")
    follow_disk(element, disk, boot_order)
    return element


def follow_disk(element: ET.Element, disk: DiskSpec, boot_order: int | None) -> None:
    """Give a disk's element what the guest sees of the disk, and its place in the boot order."""
    traits = disk.traits
    for name in ("blockio", "readonly", "serial", "wwn", "boot"):
        for old in element.findall(name):
            element.remove(old)
    if traits.logical_block_bytes or traits.physical_block_bytes:
        ET.SubElement(element, "blockio", _block_sizes(traits))
    if traits.is_read_only:
        ET.SubElement(element, "readonly")
    if traits.serial:
        ET.SubElement(element, "serial").text = traits.serial
    target = element.find("target")
    if traits.wwn and target is not None and target.get("bus") in _HAVE_WWN:
        ET.SubElement(element, "wwn").text = traits.wwn
    if boot_order:
        ET.SubElement(element, "boot", order=str(boot_order))


def _block_sizes(traits: DiskTraits) -> dict[str, str]:
    sizes = {
        "logical_block_size": traits.logical_block_bytes,
        "physical_block_size": traits.physical_block_bytes,
    }
    return {name: str(size) for name, size in sizes.items() if size}


def nic_element(nic: NicSpec, networks: Mapping[str, str], boot_order: int | None = None) -> ET.Element:
    """A network card on the network that its own one is mapped to; with its link down where there is none."""
    kind, name = network_of(nic, networks)
    element = ET.Element("interface", type=kind or "user")
    ET.SubElement(element, "mac", address=nic.mac)
    if kind in NETWORKS:
        ET.SubElement(element, "source", {NETWORKS[kind]: name})
    ET.SubElement(element, "model", type=nic.model if nic.model in NIC_MODELS else "virtio")
    if not kind or nic.is_unplugged:
        ET.SubElement(element, "link", state="down")
    if boot_order:
        ET.SubElement(element, "boot", order=str(boot_order))
    return element


def follow_nic(old: ET.Element, new: ET.Element, nic: NicSpec, networks: Mapping[str, str]) -> None:
    """Make a card's element follow: its boot order, its link, and what it is plugged into where that is elsewhere.

    Its slot and model stay. A card that is mapped to nothing any more stays where it is. So does one that we left on
    no network: it reads as ``user`` here, and is not plugged in because its description says so.
    """
    _replace(old, new, "boot")
    kind, _ = network_of(nic, networks)
    if not kind or (nic.network == kind == "user" and _is_on_no_network(old)):
        return
    _replace(old, new, "link")
    if plugged(old) != plugged(new):
        old.set("type", new.get("type", ""))
        _replace(old, new, "source")


def _is_on_no_network(nic: ET.Element) -> bool:
    link = nic.find("link")
    return nic.get("type") == "user" and link is not None and link.get("state") == "down"


def _replace(old: ET.Element, new: ET.Element, name: str) -> None:
    for element in old.findall(name):
        old.remove(element)
    old.extend(new.findall(name))


def plugged(nic: ET.Element) -> tuple[str, str]:
    """The kind and the name of what a card is plugged into."""
    kind, source = nic.get("type", ""), nic.find("source")
    return kind, source.get(NETWORKS.get(kind, ""), "") if source is not None else ""
