"""Where a machine's cards and disks are plugged in: guests make names of it (``ens3``, ``pci-0000:04:00.0``)."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping

_DISK_CONTROLLERS = ("scsi", "sata", "ide")


def read_slots(root: ET.Element) -> Mapping[str, str]:
    """The place of each device that has one; words that are only ever compared, made of libvirt's addresses.

    A bridge between PCI buses has a place among the bridges of its bus: firmware counts buses in that order, and a
    guest's names hold the count and not the bridge's own address.
    """
    places = {name: _address(device) for name, device in _devices(root) if device.find("address") is not None}
    return {**places, **_bridges(root)}


def _devices(root: ET.Element) -> Iterator[tuple[str, ET.Element]]:
    for nic in root.findall("./devices/interface"):
        mac = nic.find("mac")
        yield f"card {mac.get('address', '').lower() if mac is not None else ''}", nic
    for disk in root.findall("./devices/disk"):
        target = disk.find("target")
        yield f"disk {target.get('dev', '') if target is not None else ''}", disk
    for controller in root.findall("./devices/controller"):
        if controller.get("type") in _DISK_CONTROLLERS:
            yield f"controller {controller.get('type')} {controller.get('index')}", controller


def _bridges(root: ET.Element) -> dict[str, str]:
    found = [
        bridge for bridge in root.findall("./devices/controller[@type='pci']") if bridge.find("address") is not None
    ]
    found.sort(key=lambda bridge: [_part(bridge, name) for name in ("bus", "slot", "function")])
    buses = [_part(bridge, "bus") for bridge in found]
    return {
        f"bridge {bridge.get('index')}": f"bus={buses[place]} place={buses[:place].count(buses[place])}"
        for place, bridge in enumerate(found)
    }


def _part(device: ET.Element, name: str) -> str:
    """A number of an address, which libvirt writes in hexadecimal digits of one length (``0x04``)."""
    address = device.find("address")
    return address.get(name, "") if address is not None else ""


def _address(device: ET.Element) -> str:
    address = device.find("address")
    return " ".join(f"{name}={value}" for name, value in sorted(address.items())) if address is not None else ""
