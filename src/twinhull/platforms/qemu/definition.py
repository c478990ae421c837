"""A replica's libvirt definition: made anew, or an existing one that follows a machine's spec.

Source: libvirt's "Domain XML format" (formatdomain).
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Collection, Mapping

from twinhull.model.hardware import Hardware
from twinhull.model.machine import DiskKey, Firmware, MachineSpec
from twinhull.platforms.libvirt.definition.domains import AGENT_CHANNEL, NAMESPACE, Definition
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
from twinhull.platforms.qemu.devices import boot_places, disk_element, follow_disk, follow_nic, nic_element
from twinhull.platforms.qemu.keeping import SCSI_CONTROLLERS, timers_of, topology_of, watchdog_of


def new_definition(
    spec: MachineSpec,
    paths: Mapping[DiskKey, str],
    networks: Mapping[str, str],
    *,
    domain_type: str,
    serial_path: str,
    architectures: Collection[str] = (),
) -> str:
    """The definition of a new replica; ``paths`` are its disks' qcow2 files, ``architectures`` as in ``lacks``."""
    ET.register_namespace("twinhull", NAMESPACE)
    root = begin_domain(domain_type, spec)
    metadata = ET.SubElement(root, "metadata")
    ET.SubElement(metadata, f"{{{NAMESPACE}}}machine", made="yes")
    _add_os(root, spec, architectures)
    features = ET.SubElement(root, "features")
    ET.SubElement(features, "acpi")
    ET.SubElement(features, "apic")
    if domain_type == "kvm":
        ET.SubElement(root, "cpu", mode="host-passthrough")
    _follow_topology(root, spec)
    add_clock(root, spec.hardware.clock, timers_of(spec))
    add_behaviour(root)
    devices = ET.SubElement(root, "devices")
    places = boot_places(spec)
    devices.extend(disk_element(disk, paths[disk.key], places[disk.key]) for disk in spec.disks)
    if any(disk.bus == "scsi" for disk in spec.disks):
        ET.SubElement(devices, "controller", type="scsi", model=_scsi_controller(spec))
    devices.extend(nic_element(nic, networks, places.get(nic.mac)) for nic in spec.nics)
    _add_consoles(devices, serial_path)
    _follow_small_devices(devices, spec)
    return ET.tostring(root, encoding="unicode")


def has_board_of(here: Definition, spec: MachineSpec, architectures: Collection[str]) -> bool:
    """Whether a replica's definition has the spec's firmware, architecture, chipset and SCSI controller.

    They do not change in place: the devices' addresses belong to them.
    """

    def board(firmware: Firmware, hardware: Hardware, *, is_scsi: bool) -> tuple[object, ...]:
        is_i686 = hardware.architecture == "i686" and "i686" in architectures
        controller = hardware.scsi_controller if hardware.scsi_controller in SCSI_CONTROLLERS and is_scsi else ""
        return firmware, is_i686, hardware.chipset, controller

    is_scsi = any(disk.bus == "scsi" for disk in spec.disks)
    wanted = board(spec.firmware, spec.hardware, is_scsi=is_scsi)
    return board(here.firmware, here.hardware, is_scsi=is_scsi) == wanted


def _add_os(root: ET.Element, spec: MachineSpec, architectures: Collection[str]) -> None:
    os = ET.SubElement(root, "os")
    is_uefi = spec.firmware is Firmware.UEFI
    chipset = spec.hardware.chipset or ("q35" if is_uefi else "pc")
    is_i686 = spec.hardware.architecture == "i686" and "i686" in architectures
    architecture = "i686" if is_i686 else "x86_64"
    add_text(os, "type", "hvm", arch=architecture, machine=chipset if chipset in ("pc", "q35") else "q35")
    if is_uefi:
        os.set("firmware", "efi")
        chosen = ET.SubElement(os, "firmware")
        ET.SubElement(chosen, "feature", enabled="no", name="secure-boot")


def _scsi_controller(spec: MachineSpec) -> str:
    model = spec.hardware.scsi_controller
    return model if model in SCSI_CONTROLLERS else "virtio-scsi"


def _follow_topology(root: ET.Element, spec: MachineSpec) -> None:
    topology, cpu = topology_of(spec), root.find("cpu")
    if cpu is not None:
        for old in cpu.findall("topology"):
            cpu.remove(old)
    if topology:
        cpu = ET.SubElement(root, "cpu") if cpu is None else cpu
        counts = {"sockets": topology.sockets, "cores": topology.cores, "threads": topology.threads}
        ET.SubElement(cpu, "topology", {name: str(count) for name, count in counts.items()})


def _follow_small_devices(devices: ET.Element, spec: MachineSpec) -> None:
    """The source of random numbers, and the watchdog."""
    for old in [*devices.findall("rng"), *devices.findall("watchdog")]:
        devices.remove(old)
    if spec.hardware.has_rng:
        rng = ET.SubElement(devices, "rng", model="virtio")
        add_text(rng, "backend", "/dev/urandom", model="random")
    watchdog = watchdog_of(spec)
    if watchdog:
        ET.SubElement(devices, "watchdog", model=watchdog[0], action=watchdog[1])


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


def followed_definition(
    xml: str,
    spec: MachineSpec,
    networks: Mapping[str, str],
    *,
    new_disks: Mapping[DiskKey, str],
    removed_disks: set[DiskKey],
) -> str:
    """An existing definition that follows the spec; what the spec does not speak of stays as it is.

    Of a machine that we did not make, its hardware stays, too: it is the owner's, and has what a replica may lack.
    """
    ET.register_namespace("twinhull", NAMESPACE)
    root = parse_xml(xml)
    is_ours = root.find(f"./metadata/{{{NAMESPACE}}}machine") is not None
    follow_size(root, spec)
    devices = devices_of(root)
    remove_disks(devices, removed_disks | new_disks.keys())
    for disk in spec.disks:
        if disk.key in new_disks:
            devices.append(disk_element(disk, new_disks[disk.key]))
    _follow_nics(devices, spec, networks, is_ours=is_ours)
    if is_ours:
        _follow_hardware(root, spec)
    return ET.tostring(root, encoding="unicode")


def _follow_hardware(root: ET.Element, spec: MachineSpec) -> None:
    devices, places = devices_of(root), boot_places(spec)
    disks = {str(disk.key): disk for disk in spec.disks}
    for os in root.findall("os"):
        for boot in os.findall("boot"):
            os.remove(boot)
    for element in devices.findall("disk"):
        target = element.find("target")
        disk = disks.get(target.get("dev", "")) if target is not None else None
        if disk:
            follow_disk(element, disk, places[disk.key])
    for old in root.findall("clock"):
        root.remove(old)
    add_clock(root, spec.hardware.clock, timers_of(spec))
    _follow_topology(root, spec)
    _follow_small_devices(devices, spec)


def _follow_nics(devices: ET.Element, spec: MachineSpec, networks: Mapping[str, str], *, is_ours: bool) -> None:
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
    places = boot_places(spec) if is_ours else {}
    for nic in spec.nics:
        new, old = nic_element(nic, networks, places.get(nic.mac)), here.get(nic.mac.lower())
        if old is None:
            devices.append(new)
        elif is_ours:
            follow_nic(old, new, nic, networks)
