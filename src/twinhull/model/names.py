"""What foreign bytes may name: one checked constructor for each kind of name and number.

A name that comes from a site, a point or a standing becomes a path, a bitmap, a socket, an XML attribute or a word of a
command somewhere else, often as root. Every reader of foreign data (libvirt's XML, JSON, points, the files of a host)
makes its names here, so that whatever holds one may use it for all of these. Each constructor returns the value or
raises ValueError with one sentence.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from uuid import UUID

from twinhull.model.checks import bounded, checked_text, matching, shown
from twinhull.model.machine import MAX_EPOCH, DiskKey, MachineId, PlanName, PointId, SiteName

MAX_DISK_BYTES = 1 << 60
"""Larger than any disk, and small enough for every sum."""
MAX_MEMORY_BYTES = 1 << 50
MAX_CPU_COUNT = 65_536
MAX_SEQUENCE = 99_999_999
"""A point's number has eight digits."""

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII)
_DISK_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}", re.ASCII)
_PLAIN = re.compile(r"[a-z0-9][a-z0-9-]{0,39}", re.ASCII)
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", re.ASCII)
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)
_INTERFACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,14}", re.ASCII)
_TRACKER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}", re.ASCII)
_POINT_ID = re.compile(rf"({_UUID.pattern})/([0-9]{{8}})", re.ASCII)


def checked_machine_id(value: object) -> MachineId:
    """A machine's UUID in its one canonical form: lower case, with dashes."""
    return MachineId(matching(value, _UUID, "a machine id (a UUID in lower case with dashes)"))


def canonical_machine_id(value: object) -> MachineId:
    """A machine's UUID in whatever form a platform writes it, made canonical."""
    try:
        return MachineId(str(UUID(value))) if isinstance(value, str) else checked_machine_id(value)
    except ValueError:
        raise ValueError(f"{shown(value)} is not a UUID.") from None


def checked_disk_key(value: object) -> DiskKey:
    """A disk's key: a letter, then letters, digits, ``_`` and ``-``, at most 32 in all.

    It names image files, NBD exports and sockets (whose paths are short) on every site of the machine.
    """
    return DiskKey(matching(value, _DISK_KEY, "a disk's key (a letter, then letters, digits, '_' and '-')"))


def checked_disk_keys(values: Iterable[object]) -> list[DiskKey]:
    """The keys of one machine's disks, each of them once: two disks of one key would share an image."""
    keys = [checked_disk_key(value) for value in values]
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice:
        raise ValueError(f"Two disks have the same key, '{twice}'.")
    return keys


def checked_site_name(value: object) -> SiteName:
    """A site's name: a-z, 0-9 and ``-``."""
    return SiteName(matching(value, _PLAIN, "a site's name (a-z, 0-9 and '-', at most 40)"))


def checked_plan_name(value: object) -> PlanName:
    """A plan's name: a-z, 0-9 and ``-``."""
    return PlanName(matching(value, _PLAIN, "a plan's name (a-z, 0-9 and '-', at most 40)"))


def checked_point_id(value: object) -> PointId:
    """A restore point's id: ``<machine id>/<number, eight digits>``."""
    machine_id, sequence = point_parts(value)
    return PointId(f"{machine_id}/{sequence:08d}")


def point_parts(value: object) -> tuple[MachineId, int]:
    """The machine and the number in a restore point's id."""
    match = _POINT_ID.fullmatch(value) if isinstance(value, str) else None
    if not match or int(match[2]) == 0:
        raise ValueError(f"{shown(value)} is not a point id (MACHINE-UUID/00000012).")
    return MachineId(match[1]), int(match[2])


def checked_machine_name(value: object) -> str:
    """What a machine's owner calls it: free text in one line, without ``/``; libvirt makes files of that name."""
    text = checked_text(value)
    if "/" in text or text in (".", ".."):
        raise ValueError(f"{shown(value)} is not a machine's name: it must not contain '/'.")
    return text


def checked_tracker(value: object) -> str:
    """A tracker's name: it is looked for among the bitmaps of an image, and named to libvirt and QEMU."""
    return matching(value, _TRACKER, "a tracker's name")


def checked_mac(value: object) -> str:
    """A network card's address: six pairs of hexadecimal digits, in lower case when it is returned."""
    return matching(value.lower() if isinstance(value, str) else value, _MAC, "a network card's address")


def checked_network(value: object) -> str:
    """What a card is plugged into: free text in one line, such as ``bridge:br0``, ``user``."""
    return checked_text(value)


def checked_interface(value: object) -> str:
    """A network interface or bridge of a host: what Linux takes as one, and no path."""
    text = matching(value, _INTERFACE, "a network interface's name")
    if text in (".", ".."):
        raise ValueError(f"{shown(value)} is not a network interface's name.")
    return text


def checked_word(value: object) -> str:
    """A bus, a device's model or another word of a platform: letters, digits, ``_``, ``.`` and ``-``."""
    return matching(value, _WORD, "a plain word")


def checked_disk_bytes(value: object) -> int:
    """A disk's size."""
    return bounded(value, 0, MAX_DISK_BYTES, "a disk's size in bytes")


def checked_memory_bytes(value: object) -> int:
    """A machine's memory."""
    return bounded(value, 0, MAX_MEMORY_BYTES, "a machine's memory in bytes")


def checked_cpu_count(value: object) -> int:
    """A machine's processors."""
    return bounded(value, 1, MAX_CPU_COUNT, "a number of processors")


def checked_epoch(value: object) -> int:
    """An epoch that a standing or a point may hold."""
    return bounded(value, 1, MAX_EPOCH, "an epoch")
