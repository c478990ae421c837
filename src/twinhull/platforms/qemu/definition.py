"""A replica's libvirt definition: made anew, or an existing one that follows a machine's spec."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping

from twinhull.model.machine import BootMode, DiskKey, DiskSpec, Firmware, MachineSpec, NicSpec
from twinhull.platforms.libvirt.domains import AGENT_CHANNEL, NAMESPACE
from twinhull.platforms.libvirt.writing import (
    Written,
    add_behaviour,
    add_text,
    begin_domain,
    devices_of,
    follow_size,
    remove_disks,
)
from twinhull.platforms.libvirt.xml import parse_xml

_BUSES = {"virtio", "scsi", "sata", "ide"}
_NIC_MODELS = {"virtio", "e1000", "e1000e", "rtl8139"}
_NETWORKS = {"network": "network", "bridge": "bridge", "direct": "dev"}


def new_definition(
    spec: MachineSpec,
    paths: Mapping[DiskKey, str],
    networks: Mapping[str, str],
    *,
    domain_type: str,
    serial_path: str,
) -> Written:
    """The definition of a new replica; ``paths`` are its disks' qcow2 files."""
    reasons = _firmware_reasons(spec)
    ET.register_namespace("twinhull", NAMESPACE)
    root = begin_domain(domain_type, spec)
    metadata = ET.SubElement(root, "metadata")
    ET.SubElement(metadata, f"{{{NAMESPACE}}}machine", made="yes")
    _add_os(root, spec.firmware)
    features = ET.SubElement(root, "features")
    ET.SubElement(features, "acpi")
    ET.SubElement(features, "apic")
    if domain_type == "kvm":
        ET.SubElement(root, "cpu", mode="host-passthrough")
    add_behaviour(root)
    devices = ET.SubElement(root, "devices")
    for order, disk in enumerate(spec.disks, start=1):
        devices.append(disk_element(disk, paths[disk.key], order))
    if any(disk.bus == "scsi" for disk in spec.disks):
        ET.SubElement(devices, "controller", type="scsi", model="virtio-scsi")
    for nic in spec.nics:
        element, reason = nic_element(nic, networks)
        devices.append(element)
        reasons += [reason] if reason else []
    _add_consoles(devices, serial_path)
    return Written(ET.tostring(root, encoding="unicode"), reasons)


def _firmware_reasons(spec: MachineSpec) -> list[str]:
    reasons = []
    if spec.firmware is Firmware.UEFI:
        reasons.append(
            "UEFI variables do not carry over: the replica starts by the boot loader's removable path (EFI/BOOT)."
        )
    if spec.boot_mode is not BootMode.HVM:
        reasons.append(f"The machine boots as {spec.boot_mode.value} at home; here its image's boot loader starts it.")
    return reasons


def _add_os(root: ET.Element, firmware: Firmware) -> None:
    os = ET.SubElement(root, "os")
    if firmware is Firmware.UEFI:
        os.set("firmware", "efi")
        add_text(os, "type", "hvm", arch="x86_64", machine="q35")
        chosen = ET.SubElement(os, "firmware")
        ET.SubElement(chosen, "feature", enabled="no", name="secure-boot")
    else:
        add_text(os, "type", "hvm", arch="x86_64", machine="pc")


def _add_consoles(devices: ET.Element, serial_path: str) -> None:
    serial = ET.SubElement(devices, "serial", type="file")
    ET.SubElement(serial, "source", path=serial_path, append="on")
    channel = ET.SubElement(devices, "channel", type="unix")
    ET.SubElement(channel, "target", type="virtio", name=AGENT_CHANNEL)
    # Seen through screenshots only: the screen listens on a unix socket of libvirt's own.
    graphics = ET.SubElement(devices, "graphics", type="vnc")
    ET.SubElement(graphics, "listen", type="socket")
    video = ET.SubElement(devices, "video")
    ET.SubElement(video, "model", type="vga")


def disk_element(disk: DiskSpec, path: str, boot_order: int | None = None) -> ET.Element:
    """A qcow2 disk; its device name is the disk's key, whatever its bus."""
    element = ET.Element("disk", type="file", device="disk")
    ET.SubElement(element, "driver", name="qemu", type="qcow2", discard="unmap")
    ET.SubElement(element, "source", file=path)
    ET.SubElement(element, "target", dev=disk.key, bus=disk.bus if disk.bus in _BUSES else "virtio")
    if boot_order:
        ET.SubElement(element, "boot", order=str(boot_order))
    return element


def nic_element(nic: NicSpec, networks: Mapping[str, str]) -> tuple[ET.Element, str]:
    """A network card on the network that its own one is mapped to, and a reason where it is plugged into nothing."""
    where = networks.get(nic.network, "user" if nic.network == "user" else "")
    kind, _, name = where.partition(":")
    reason = ""
    element = ET.Element("interface", type=kind if kind in _NETWORKS else "user")
    ET.SubElement(element, "mac", address=nic.mac)
    if kind in _NETWORKS:
        ET.SubElement(element, "source", {_NETWORKS[kind]: name})
    elif kind != "user":
        ET.SubElement(element, "link", state="down")
        reason = f"The network card {nic.mac} is plugged into nothing: '{nic.network}' is mapped to no network here."
    ET.SubElement(element, "model", type=nic.model if nic.model in _NIC_MODELS else "virtio")
    return element, reason


def followed_definition(
    xml: str,
    spec: MachineSpec,
    networks: Mapping[str, str],
    *,
    new_disks: Mapping[DiskKey, str],
    removed_disks: set[DiskKey],
) -> Written:
    """An existing definition that follows the spec; what the spec does not speak of stays as it is."""
    ET.register_namespace("twinhull", NAMESPACE)
    root = parse_xml(xml)
    follow_size(root, spec)
    devices = devices_of(root)
    remove_disks(devices, removed_disks | new_disks.keys())
    for disk_spec in spec.disks:
        if disk_spec.key in new_disks:
            devices.append(disk_element(disk_spec, new_disks[disk_spec.key]))
    is_ours = root.find(f"./metadata/{{{NAMESPACE}}}machine") is not None
    reasons = _follow_nics(devices, spec, networks, is_ours=is_ours)
    return Written(ET.tostring(root, encoding="unicode"), reasons)


def _follow_nics(devices: ET.Element, spec: MachineSpec, networks: Mapping[str, str], *, is_ours: bool) -> list[str]:
    """Cards are known by their MAC: new ones are added, those that are gone are taken out.

    The others stay plugged where they are, but for those of a machine that we made: they follow the mapping.
    """
    here = {}
    for element in devices.findall("interface"):
        address = element.find("mac")
        here[address.get("address", "").lower() if address is not None else ""] = element
    wanted = {nic.mac.lower() for nic in spec.nics}
    for mac, element in here.items():
        if mac not in wanted:
            devices.remove(element)
    reasons = []
    for nic in spec.nics:
        element, reason = nic_element(nic, networks)
        old = here.get(nic.mac.lower())
        if old is None:
            devices.append(element)
            reasons += [reason] if reason else []
        elif is_ours and not reason:
            _plug(old, element)
    return reasons


def _plug(old: ET.Element, new: ET.Element) -> None:
    """Plug a card in where the new one is, if that is elsewhere; its slot and model stay."""
    if _plugged(old) == _plugged(new):
        return
    old.set("type", new.get("type", ""))
    for element in [*old.findall("source"), *old.findall("link")]:
        old.remove(element)
    old.extend(new.findall("source"))


def _plugged(nic: ET.Element) -> tuple[str, str]:
    """The kind and the name of what a card is plugged into."""
    kind, source = nic.get("type", ""), nic.find("source")
    return kind, source.get(_NETWORKS.get(kind, ""), "") if source is not None else ""
