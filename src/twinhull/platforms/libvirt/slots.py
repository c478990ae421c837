"""Where a machine's cards, disks and buses are plugged in: guests make names of it (``ens3``, ``pci-0000:04:00.0``)."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping

_BUSES = ("pci", "scsi", "virtio-serial")
"""Controllers whose own places decide about the places of others."""


def read_slots(root: ET.Element) -> Mapping[str, str]:
    """The address of each device that has one; words that are only ever compared, as libvirt writes them."""
    return {name: _address(device) for name, device in _devices(root) if device.find("address") is not None}


def _devices(root: ET.Element) -> Iterator[tuple[str, ET.Element]]:
    for nic in root.findall("./devices/interface"):
        mac = nic.find("mac")
        yield f"card {mac.get('address', '').lower() if mac is not None else ''}", nic
    for disk in root.findall("./devices/disk"):
        target = disk.find("target")
        yield f"disk {target.get('dev', '') if target is not None else ''}", disk
    for controller in root.findall("./devices/controller"):
        if controller.get("type") in _BUSES:
            yield f"bus {controller.get('type')} {controller.get('index')}", controller


def _address(device: ET.Element) -> str:
    address = device.find("address")
    return " ".join(f"{name}={value}" for name, value in sorted(address.items())) if address is not None else ""
