"""A machine's libvirt definition on Xen: made anew for what we made, or an existing one that follows a spec.

Source: libvirt's "Domain XML format" (formatdomain), as far as libvirt's libxl driver takes it.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence

from twinhull.model.errors import NotSupportedHere
from twinhull.model.machine import BootMode, DiskKey, Firmware, MachineSpec, NicSpec
from twinhull.platforms.libvirt.definition.writing import (
    add_behaviour,
    add_clock,
    add_text,
    begin_domain,
    devices_of,
    follow_size,
    remove_disks,
)
from twinhull.platforms.libvirt.definition.xml import parse_xml
from twinhull.platforms.xen.keeping import boots_from_network_first, bridge_of, clock_of

LARGEST_HVM_DISKS = 7
"""The emulated SCSI controller takes seven disks beside itself."""

_LARGEST_PV_DISKS = 26


def check_can_boot(spec: MachineSpec, boot_mode: BootMode) -> None:
    """Raise NotSupportedHere where a machine cannot boot on Xen that way."""
    if spec.firmware is Firmware.UEFI and boot_mode is BootMode.HVM:
        raise NotSupportedHere(
            f"Machine '{spec.name}' starts by UEFI; Debian's Xen has no UEFI firmware for its machines.",
            hint="If you trust the guest, give its plan or restore --boot-mode pv: the host then reads the guest's boot"
            " loader files, as root.",
        )
    if boot_mode is BootMode.PVH:
        raise NotSupportedHere(
            "A machine whose kernel lies in its own image cannot boot as pvh here.", hint="Choose hvm or pv."
        )
    limit = LARGEST_HVM_DISKS if boot_mode is BootMode.HVM else _LARGEST_PV_DISKS
    if len(spec.disks) > limit:
        raise NotSupportedHere(
            f"Machine '{spec.name}' has {len(spec.disks)} disks; booted as {boot_mode.value} it can have {limit} here."
        )


def target_of(index: int, boot_mode: BootMode) -> str:
    """Xen's name of a machine's disk at a place in its order."""
    return ("sd" if boot_mode is BootMode.HVM else "xvd") + chr(ord("a") + index)


def new_definition(spec: MachineSpec, paths: Mapping[DiskKey, str], networks: Mapping[str, str]) -> str:
    """The definition of a machine that we made; ``spec.boot_mode`` says how it boots, ``paths`` are its qcow2 files.

    Xen boots from a machine's first disk: what is booted from comes first.
    """
    check_can_boot(spec, spec.boot_mode)
    is_hvm = spec.boot_mode is BootMode.HVM
    root = begin_domain("xen", spec)
    _add_boot(root, spec)
    add_clock(root, clock_of(spec), ())
    add_behaviour(root)
    devices = ET.SubElement(root, "devices")
    for index, disk in enumerate(spec.boot_disks()):
        target = target_of(index, spec.boot_mode)
        devices.append(disk_element(paths[disk.key], target))
    _add_nics(devices, spec.nics, networks)
    # Not into a file: nothing on a Xen host keeps a guest from filling dom0's disk with it.
    ET.SubElement(devices, "serial" if is_hvm else "console", type="pty")
    return ET.tostring(root, encoding="unicode")


def _add_boot(root: ET.Element, spec: MachineSpec) -> None:
    is_hvm = spec.boot_mode is BootMode.HVM
    if not is_hvm:
        add_text(root, "bootloader", "pygrub")
    os = ET.SubElement(root, "os")
    if is_hvm:
        add_text(os, "type", "hvm", arch="x86_64", machine="xenfv")
        for device in ("network", "hd") if boots_from_network_first(spec) else ("hd",):
            ET.SubElement(os, "boot", dev=device)
        features = ET.SubElement(root, "features")
        for name in ("acpi", "apic", "pae"):
            ET.SubElement(features, name)
    else:
        add_text(os, "type", "linux", arch="x86_64", machine="xenpv")


def disk_element(path: str, target: str) -> ET.Element:
    """A qcow2 disk that a QEMU in dom0 serves, so that it can be captured while the machine runs."""
    element = ET.Element("disk", type="file", device="disk")
    ET.SubElement(element, "driver", name="qemu", type="qcow2")
    ET.SubElement(element, "source", file=path)
    ET.SubElement(element, "target", dev=target, bus="scsi" if target.startswith("sd") else "xen")
    return element


def _add_nics(devices: ET.Element, nics: Sequence[NicSpec], networks: Mapping[str, str]) -> None:
    """Plug the cards in; a card whose network is mapped to nothing is left out and comes back on the way home."""
    for nic in nics:
        bridge = bridge_of(nic, networks)
        if bridge:
            element = ET.SubElement(devices, "interface", type="bridge")
            ET.SubElement(element, "mac", address=nic.mac)
            ET.SubElement(element, "source", bridge=bridge)


def followed_definition(xml: str, spec: MachineSpec, *, new_disks: Mapping[str, str], removed_targets: set[str]) -> str:
    """The definition of a machine that was here before us, following the spec; its other parts stay as they are."""
    root = parse_xml(xml)
    follow_size(root, spec)
    devices = devices_of(root)
    remove_disks(devices, removed_targets | new_disks.keys())
    for target_name, path in new_disks.items():
        devices.append(disk_element(path, target_name))
    return ET.tostring(root, encoding="unicode")
