"""Writing a libvirt definition: what is the same whatever the hypervisor."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Collection, Iterable

from twinhull.model.hardware import Clock, ClockOffset, Timer
from twinhull.model.machine import MachineSpec


def add_text(parent: ET.Element, name: str, text: str, **attributes: str) -> None:
    """Add an element with a text."""
    ET.SubElement(parent, name, attributes).text = text


def begin_domain(domain_type: str, spec: MachineSpec) -> ET.Element:
    """The machine's identity and size."""
    root = ET.Element("domain", type=domain_type)
    add_text(root, "name", spec.name)
    add_text(root, "uuid", spec.machine_id)
    add_text(root, "memory", str(spec.memory_bytes // 1024), unit="KiB")
    add_text(root, "vcpu", str(spec.cpu_count))
    return root


def add_clock(root: ET.Element, clock: Clock, timers: Iterable[Timer]) -> None:
    """The guest's clock: what it shows at the start, and its timers."""
    settings = {"offset": clock.offset.value}
    if clock.offset is ClockOffset.TIME_ZONE and clock.zone:
        settings["timezone"] = clock.zone
    if clock.offset is ClockOffset.VARIABLE:
        settings |= {"basis": clock.basis.value, "adjustment": str(clock.adjustment_seconds)}
    if clock.offset is ClockOffset.ABSOLUTE:
        settings["start"] = str(clock.start_seconds)
    element = ET.SubElement(root, "clock", settings)
    for timer in timers:
        ET.SubElement(element, "timer", {"name": timer.name, **timer.settings})


def add_behaviour(root: ET.Element) -> None:
    """What becomes of a machine that goes down by itself."""
    for name, what in (("on_poweroff", "destroy"), ("on_reboot", "restart"), ("on_crash", "destroy")):
        add_text(root, name, what)


def follow_size(root: ET.Element, spec: MachineSpec) -> None:
    """Give an existing definition the spec's processors and memory."""
    for name, text in (("vcpu", str(spec.cpu_count)), ("memory", str(spec.memory_bytes // 1024))):
        for element in root.findall(name):
            element.text = text
            element.attrib.pop("current", None)
            if name == "memory":
                element.set("unit", "KiB")
    for element in root.findall("currentMemory"):
        root.remove(element)


def devices_of(root: ET.Element) -> ET.Element:
    """The definition's devices."""
    devices = root.find("devices")
    return ET.SubElement(root, "devices") if devices is None else devices


def remove_disks(devices: ET.Element, targets: Collection[str]) -> None:
    """Take out the disks of these device names."""
    for disk in devices.findall("disk"):
        target = disk.find("target")
        if target is not None and target.get("dev") in targets:
            devices.remove(disk)
