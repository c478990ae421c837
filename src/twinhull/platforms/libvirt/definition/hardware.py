"""Reading what a definition says of the machine's hardware; raises ValueError where it makes no sense.

Source: libvirt's "Domain XML format" (formatdomain).
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable

from twinhull.model.checks import checked_text, number_in
from twinhull.model.hardware import TIMER_SETTINGS, Clock, ClockOffset, CpuTopology, DiskTraits, Hardware, Timer
from twinhull.model.hardware_codec import checked_block_bytes, checked_boot_order, checked_seconds
from twinhull.model.names import checked_cpu_count, checked_word
from twinhull.platforms.libvirt.definition.vocabulary import lacks_of
from twinhull.platforms.libvirt.definition.words import WORDS

_USUAL_ARCHITECTURE = "x86_64"
_USUAL_CONTROLLER = ("", "auto", "virtio-scsi")
_GIVEN = ("itco",)
"""The watchdogs that newer versions of libvirt give each q35 machine."""
_EPOCH_OFFSETS = {"utc": ClockOffset.UTC, "localtime": ClockOffset.LOCAL_TIME}


def read_hardware(stored: ET.Element, live: ET.Element) -> Hardware:
    """The hardware of a machine, from the definition that it starts from; of a running clock, what it shows now."""
    rng, watchdog = stored.find("./devices/rng"), stored.find("./devices/watchdog")
    architecture = _attribute(stored, "./os/type", "arch")
    return Hardware(
        architecture="" if architecture in ("", _USUAL_ARCHITECTURE) else checked_word(architecture),
        chipset=_chipset(stored),
        scsi_controller=_scsi_controller(stored),
        topology=_topology(stored),
        clock=_clock(live),
        has_rng=rng is not None,
        watchdog="" if watchdog is None or watchdog.get("model") in _GIVEN else _watchdog(watchdog),
        unspoken=lacks_of(WORDS, stored),
    )


def read_traits(disk: ET.Element, boot_order: int) -> DiskTraits:
    """What the guest sees of a disk; ``boot_order`` is what the whole definition says of it."""
    wwn = (disk.findtext("wwn") or "").strip()
    serial = (disk.findtext("serial") or "").strip()
    return DiskTraits(
        logical_block_bytes=checked_block_bytes(_number(disk, "blockio", "logical_block_size")),
        physical_block_bytes=checked_block_bytes(_number(disk, "blockio", "physical_block_size")),
        serial=checked_text(serial) if serial else "",
        wwn=checked_word(wwn) if wwn else "",
        boot_order=boot_order,
        is_read_only=disk.find("readonly") is not None,
    )


def boot_orders(root: ET.Element, disks: Iterable[ET.Element], nics: Iterable[ET.Element]) -> dict[ET.Element, int]:
    """The place of each disk and card that the firmware is told to boot from, counted from 1.

    Either the devices say it (``<boot order=…>``), or the machine does by kinds (``<boot dev=…>``), which means the
    first device of a kind. A machine that boots from its disks in their own order says nothing.
    """
    disks, nics = list(disks), list(nics)
    own = {device: _number(device, "boot", "order") for device in (*disks, *nics) if device.find("boot") is not None}
    firsts = {"hd": disks[:1], "network": nics[:1]}
    kinds = [boot.get("dev", "") for boot in root.findall("./os/boot")]
    by_kind = [device for kind in dict.fromkeys(kinds) for device in firsts.get(kind, [])]
    told = _needed(sorted(own, key=own.__getitem__) if own else by_kind, disks)
    return {device: checked_boot_order(order) for order, device in enumerate(told, start=1)}


def _needed(found: list[ET.Element], disks: list[ET.Element]) -> list[ET.Element]:
    """The shortest beginning that means the same: the disks that are not named follow in their own order."""

    def whole(told: list[ET.Element]) -> list[ET.Element]:
        return [*told, *(disk for disk in disks if disk not in told)]

    return next(found[:length] for length in range(len(found) + 1) if whole(found[:length]) == whole(found))


def _number(element: ET.Element, path: str, attribute: str) -> int:
    text = _attribute(element, path, attribute)
    return number_in(text) if text else 0


def _attribute(element: ET.Element, path: str, attribute: str) -> str:
    found = element.find(path)
    return found.get(attribute, "") if found is not None else ""


def _chipset(root: ET.Element) -> str:
    """A PC's chipset, where it is another one than its firmware usually has."""
    machine = _attribute(root, "./os/type", "machine")
    word = "q35" if "q35" in machine else "pc" if machine.startswith(("pc", "pc-")) else ""
    is_efi = root.find("./os[@firmware='efi']") is not None or root.find("./os/loader[@type='pflash']") is not None
    return "" if word == ("q35" if is_efi else "pc") else word


def _scsi_controller(root: ET.Element) -> str:
    models = [item.get("model", "") for item in root.findall("./devices/controller[@type='scsi']")]
    unusual = [model for model in models if model not in _USUAL_CONTROLLER and not model.startswith("xen")]
    return checked_word(unusual[0]) if unusual else ""


def _topology(root: ET.Element) -> CpuTopology | None:
    topology = root.find("./cpu/topology")
    if topology is None:
        return None
    return CpuTopology(*(checked_cpu_count(number_in(topology.get(word))) for word in ("sockets", "cores", "threads")))


def _watchdog(watchdog: ET.Element) -> str:
    return f"{checked_word(watchdog.get('model'))}:{checked_word(watchdog.get('action', 'reset'))}"


def _clock(root: ET.Element) -> Clock:
    clock = root.find("clock")
    if clock is None:
        return Clock()
    return Clock(
        offset=ClockOffset(clock.get("offset", "utc")),
        zone=checked_text(clock.get("timezone")) if clock.get("timezone") else "",
        basis=_EPOCH_OFFSETS.get(clock.get("basis", "utc"), ClockOffset.UTC),
        adjustment_seconds=_seconds(clock.get("adjustment")),
        start_seconds=_seconds(clock.get("start")),
        timers=tuple(_timer(timer) for timer in clock.findall("timer")),
    )


def _seconds(text: str | None) -> int:
    """A signed number of seconds; ``reset`` is the default that a definition without a number has."""
    if text in (None, "", "reset"):
        return 0
    sign = -1 if text.startswith("-") else 1
    return checked_seconds(sign * number_in(text.lstrip("-+")))


def _timer(timer: ET.Element) -> Timer:
    settings = {name: checked_word(value) for name, value in sorted(timer.attrib.items()) if name in TIMER_SETTINGS}
    return Timer(checked_word(timer.get("name")), settings)
