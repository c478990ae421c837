"""What is on a machine's disks: ext file systems that can be read, and what cannot be looked into."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from twinhull.inspection.guest.ext import ExtFiles, is_ext
from twinhull.inspection.guest.partitions import Partition, Readable, partitions
from twinhull.inspection.readiness import SeenDisk

LARGEST_COUNT = 64
"""File systems of one machine that are opened."""

_LVM = "LVM"
_SIGNATURES: Sequence[tuple[int, bytes, str]] = (
    (0, b"XFSB", "XFS"),
    (0x10040, b"_BHRfS_M", "Btrfs"),
    (0, b"LABELONE", _LVM),
    (512, b"LABELONE", _LVM),
    (1024, b"LABELONE", _LVM),
    (1536, b"LABELONE", _LVM),
    (0, b"LUKS\xba\xbe", "LUKS encryption"),
    (0, b"\xfc\x4e\x2b\xa9", "Linux RAID"),
    (4096, b"\xfc\x4e\x2b\xa9", "Linux RAID"),
    (3, b"NTFS    ", "NTFS"),
    (3, b"-FVE-FS-", "BitLocker encryption"),
    (1024, b"\x10\x20\xf5\xf2", "F2FS"),
)
"""Offset, magic and name of what is not looked into. Source: libblkid's superblock probers."""


@dataclass(frozen=True, slots=True)
class Volume:
    """An open file system, and the disk that it is on."""

    disk: SeenDisk
    files: ExtFiles

    @property
    def is_root(self) -> bool:
        """Whether it is a Linux system's root."""
        return bool(self.files.text("/etc/fstab") or self.files.names("/etc"))


@dataclass(slots=True)
class System:
    """All of a machine's volumes in boot order; ``unseen`` says for a disk's key what of it cannot be looked into."""

    volumes: list[Volume] = field(default_factory=list)
    unseen: dict[str, list[str]] = field(default_factory=dict)

    @property
    def roots(self) -> list[Volume]:
        """Those that are root file systems."""
        return [volume for volume in self.volumes if volume.is_root]


def open_system(disks: Iterable[tuple[SeenDisk, Readable]]) -> System:
    """Look at every partition of every disk; a disk that cannot be read has nothing to see."""
    system = System()
    for seen, disk in disks:
        try:
            for partition in partitions(disk):
                _open(system, seen, disk, partition)
        except OSError:
            _note(system, seen, "parts that cannot be read")
    return system


def _open(system: System, seen: SeenDisk, disk: Readable, partition: Partition) -> None:
    if not is_ext(disk, partition):
        for kind in _kinds(disk, partition):
            _note(system, seen, kind)
        return
    if len(system.volumes) >= LARGEST_COUNT:
        _note(system, seen, "too many file systems")
        return
    try:
        system.volumes.append(Volume(seen, ExtFiles(disk, partition)))
    except (OSError, ValueError, OverflowError):
        _note(system, seen, "a damaged ext file system")


def _note(system: System, seen: SeenDisk, what: str) -> None:
    noted = system.unseen.setdefault(seen.key, [])
    if what not in noted:
        noted.append(what)


def _kinds(disk: Readable, partition: Partition) -> list[str]:
    return [
        name
        for offset, magic, name in _SIGNATURES
        if offset + len(magic) <= partition.length_bytes
        and disk.read(partition.offset_bytes + offset, len(magic)) == magic
    ]
