"""Disks and archives for the tests: real ext4 images made by mke2fs, cpio archives as the kernel reads them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from twinhull.blocks.memory import MemoryDisk
from twinhull.inspection import READINESS, Finding, Outcome, Surroundings, inspect
from twinhull.inspection.naming import surroundings
from twinhull.model.machine import BootMode, DiskKey, DiskSpec, MachineId, MachineSpec
from twinhull.model.ports import system_ports
from twinhull.model.units import MIB

SIZE_BYTES = 24 * MIB
PLAIN = "^metadata_csum,^64bit"


def ext4(folder: Path, files: Mapping[str, bytes], features: str = PLAIN, size_bytes: int = SIZE_BYTES) -> bytes:
    """A disk with one ext4 partition that holds the given files."""
    root, raw = folder / "root", folder / "disk.raw"
    shutil.rmtree(root, ignore_errors=True)
    for name, content in files.items():
        path = root / name.removeprefix("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return ext4_of(root, raw, features, size_bytes)


def ext4_of(root: Path, raw: Path, features: str = PLAIN, size_bytes: int = SIZE_BYTES) -> bytes:
    """The same of a folder that is there."""
    raw.unlink(missing_ok=True)
    with raw.open("wb") as handle:
        handle.truncate(size_bytes)
    subprocess.run(["sfdisk", "-q", str(raw)], input=b"label: dos\nstart=2048, type=83\n", check=True)
    command = ["mke2fs", "-q", "-t", "ext4", "-O", features, "-E", "offset=1048576", "-d", str(root), str(raw)]
    subprocess.run([*command, f"{size_bytes // 1024 - 1024}k"], check=True)
    return raw.read_bytes()


def cpio(files: Mapping[str, bytes]) -> bytes:
    """A cpio archive (newc)."""
    return b"".join(_member(name, content) for name, content in (*files.items(), ("TRAILER!!!", b"")))


def _member(name: str, content: bytes) -> bytes:
    fields = [0, 0o100644, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0]
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
    return head + bytes(-len(head) % 4) + content + bytes(-len(content) % 4)


def machine(*buses: str) -> MachineSpec:
    """A machine with a disk on each of these buses: ``vda``, ``vdb`` …"""
    disks = tuple(DiskSpec(DiskKey(f"vd{chr(97 + place)}"), SIZE_BYTES, bus) for place, bus in enumerate(buses))
    return MachineSpec(MachineId("11111111-1111-4111-8111-111111111111"), "web", 1, MIB, disks=disks)


def around(
    there: str = "xen", here: str = "qemu", buses: tuple[str, ...] = ("virtio",), boot_mode: BootMode | None = None
) -> Surroundings:
    """The surroundings of such a machine."""
    return surroundings(machine(*buses), here=here, there=there, boot_mode=boot_mode)


def look(*contents: bytes, at: Surroundings | None = None) -> Outcome[Finding]:
    """What a real child finds on disks of this content."""
    disks = [MemoryDisk(max(len(content), 4 * MIB), content) for content in contents]
    return inspect(READINESS, at or around(buses=("virtio",) * len(disks)), disks, system_ports())
