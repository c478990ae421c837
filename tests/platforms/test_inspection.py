"""Looking into disks: real ext4 images made by mke2fs, partition tables made by sfdisk."""

from __future__ import annotations

import gzip
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import zstandard

from twinhull.blocks.memory import MemoryDisk
from twinhull.model.machine import BootMode
from twinhull.model.units import MIB
from twinhull.platforms.inspection import inspect_disk
from twinhull.platforms.inspection.findings import modules_in
from twinhull.platforms.inspection.partitions import Partition, partitions

SIZE_BYTES = 24 * MIB
MakeDisk = Callable[..., MemoryDisk]


@pytest.fixture
def make_disk(tmp_path: Path) -> MakeDisk:
    """A disk with one ext4 partition that holds the given files."""

    def make(files: Mapping[str, bytes], features: str = "^metadata_csum,^64bit") -> MemoryDisk:
        root, raw = tmp_path / "root", tmp_path / "disk.raw"
        for name, content in files.items():
            path = root / name.removeprefix("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        with raw.open("wb") as handle:
            handle.truncate(SIZE_BYTES)
        subprocess.run(["sfdisk", "-q", str(raw)], input=b"label: dos\nstart=2048, type=83\n", check=True)
        size = f"{SIZE_BYTES // 1024 - 1024}k"
        command = [
            "mke2fs",
            "-q",
            "-t",
            "ext4",
            "-O",
            features,
            "-E",
            "offset=1048576",
            "-d",
            str(root),
            str(raw),
            size,
        ]
        subprocess.run(command, check=True)
        return MemoryDisk(SIZE_BYTES, raw.read_bytes())

    return make


GOOD = {
    "/etc/fstab": b"# a comment with /dev/sda1\nUUID=1234 / ext4 defaults 0 1\n",
    "/etc/network/interfaces": b"auto eth0\niface eth0 inet dhcp\n",
    "/boot/grub/grub.cfg": b'menuentry "x" {\n linux /boot/vmlinuz root=UUID=1234 net.ifnames=0\n}\n',
    "/boot/initrd.img-6.1": zstandard.compress(b"070701 lib/modules/xen-blkfront.ko\0 drivers/virtio_blk.ko\0" * 40),
}


def findings(disk: MemoryDisk, platform: str = "xen", boot_mode: BootMode | None = None) -> str:
    return "\n".join(f"{found.finding} | {found.remedy}" for found in inspect_disk(disk, platform, boot_mode))


def test_a_machine_that_is_ready_has_no_findings(make_disk: MakeDisk) -> None:
    disk = make_disk(GOOD)
    assert findings(disk) == ""
    assert findings(disk, "qemu") == ""
    assert findings(disk, "xen", BootMode.PV) == ""


def test_device_names_in_fstab_and_on_the_command_line_are_found(make_disk: MakeDisk) -> None:
    disk = make_disk(
        {
            **GOOD,
            "/etc/fstab": b"/dev/vda1 / ext4 defaults 0 1\n/dev/vdb1 /data ext4 defaults 0 1\n",
            "/boot/grub/grub.cfg": b'menuentry "x" {\n linux /boot/vmlinuz root=/dev/vda1 net.ifnames=0\n}\n',
        }
    )
    found = findings(disk)
    assert "mounts / from /dev/vda1" in found
    assert "mounts /data from /dev/vdb1" in found
    assert "names its root by /dev/vda1" in found
    assert "blkid /dev/vdb1" in found


def test_a_missing_driver_is_found_unless_it_is_built_in(make_disk: MakeDisk) -> None:
    only_virtio = gzip.compress(b"lib/modules/virtio_blk.ko\0" * 40)
    disk = make_disk({**GOOD, "/boot/initrd.img-6.1": only_virtio})
    assert "/boot/initrd.img-6.1 has no driver xen_blkfront" in findings(disk)
    assert "MODULES=most" in findings(disk)
    assert findings(disk, "qemu") == ""
    built_in = make_disk({"/boot/config-6.1": b"CONFIG_XEN_BLKDEV_FRONTEND=y\n", "/boot/initrd.img-6.1": only_virtio})
    assert "xen_blkfront" not in findings(built_in)


def test_network_cards_named_by_slot_are_found(make_disk: MakeDisk) -> None:
    disk = make_disk(
        {
            **GOOD,
            "/etc/network/interfaces": b"# ens9 was here\niface ens3 inet dhcp\n",
            "/etc/systemd/network/10-lan.network": b"[Match]\nName=enp1s0\n",
            "/etc/systemd/network/20-mac.network": b"[Match]\nMACAddress=52:54:00:00:00:01\n",
            "/etc/netplan/50.yaml": b"ethernets:\n  ens3:\n    match: {macaddress: 52:54:00:00:00:01}\n",
        }
    )
    found = findings(disk)
    assert "/etc/network/interfaces names network cards by their slot (ens3)" in found
    assert "10-lan.network names network cards by their slot (enp1s0)" in found
    assert "20-mac.network" not in found
    assert "netplan" not in found
    assert "ens9" not in found


def test_what_pygrub_cannot_read_is_found_for_a_paravirtual_boot_only(make_disk: MakeDisk) -> None:
    disk = make_disk({**GOOD, "/boot/grub/grub.cfg": b"linux /boot/vmlinuz net.ifnames=0\n"}, "metadata_csum,64bit")
    found = findings(disk, "xen", BootMode.PV)
    assert "needs a GRUB menu with a menuentry" in found
    assert "pygrub" in found
    assert findings(disk, "xen", BootMode.HVM) == ""


@pytest.mark.parametrize("content", [b"", b"\x55\xaa" * 4096, bytes(range(256)) * 4096], ids=["zeros", "55aa", "noise"])
def test_a_disk_that_cannot_be_looked_into_is_said(content: bytes) -> None:
    assert "No Linux root file system" in findings(MemoryDisk(4 * MIB, content))


@pytest.mark.parametrize("label", ["dos", "gpt"])
def test_partitions_are_found_where_sfdisk_puts_them(tmp_path: Path, label: str) -> None:
    raw = tmp_path / "disk.raw"
    with raw.open("wb") as handle:
        handle.truncate(64 * MIB)
    extended = "start=40960, type=5\nstart=43008, size=4096, type=83\nstart=51200, size=8192, type=83\n"
    script = f"label: {label}\nstart=2048, size=8192\nstart=20480, size=4096\n" + (extended if label == "dos" else "")
    done = subprocess.run(["sfdisk", "-q", str(raw)], input=script.encode(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    found = partitions(MemoryDisk(64 * MIB, raw.read_bytes()))
    expected = [Partition(2048 * 512, 8192 * 512), Partition(20480 * 512, 4096 * 512)]
    if label == "dos":
        expected += [Partition(43008 * 512, 4096 * 512), Partition(51200 * 512, 8192 * 512)]
    assert found == expected


def test_an_early_archive_before_the_compressed_one_is_passed_over() -> None:
    image = b"070701kernel/x86/microcode/GenuineIntel.bin" + bytes(512) + gzip.compress(b"drivers/virtio-blk.ko\0" * 9)
    assert modules_in(image) == {"virtio_blk"}
    assert modules_in(b"nothing at all") == set()
