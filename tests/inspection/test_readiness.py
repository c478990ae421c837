"""What is found on real ext4 images, by a real confined child."""

from __future__ import annotations

import gzip
import lzma
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from tests.inspection.images import around, cpio, ext4, look
from twinhull.blocks.memory import MemoryDisk
from twinhull.inspection import Finding, Surroundings
from twinhull.inspection.guest.partitions import Partition, partitions
from twinhull.model.lacks import Consequence
from twinhull.model.machine import BootMode
from twinhull.model.units import MIB

WILL_NOT, WITHOUT = Consequence.WILL_NOT_BOOT, Consequence.BOOTS_WITHOUT
BOTH = cpio({"lib/modules/xen-blkfront.ko": b"x" * 999, "kernel/01-virtio_blk.ko.xz": b"y"})
GOOD = {
    "/etc/fstab": b"# a comment with /dev/sda1\nUUID=1234 / ext4 defaults 0 1\n/dev/mapper/vg-data /data ext4 x 0 1\n",
    "/etc/network/interfaces": b"auto eth0\niface eth0 inet dhcp\n",
    "/boot/grub/grub.cfg": b"menuentry \"x\" {\n set root='hd0,1'\n linux /vmlinuz root=UUID=1234 net.ifnames=0\n}\n",
    "/boot/initrd.img-6.1": zstandard.compress(BOTH),
}


def found(disk: bytes, at: Surroundings | None = None) -> list[Finding]:
    outcome = look(disk, at=at)
    assert (outcome.failure, outcome.unreadable) == ("", {})
    return outcome.records


def test_a_machine_that_is_ready_has_no_findings(tmp_path: Path) -> None:
    disk = ext4(tmp_path, GOOD)
    for there in ("xen", "qemu"):
        assert found(disk, around(there)) == []
        assert found(disk, around(there, here="xen")) == []
    assert found(disk, around("xen", boot_mode=BootMode.PV)) == []


@pytest.mark.parametrize(
    ("path", "content", "expected", "consequence"),
    [
        ("/etc/fstab", "/dev/vda1 / ext4 defaults 0 1", "mounts / from /dev/vda1, which is /dev/xvda1 there", WILL_NOT),
        ("/etc/fstab", "/dev/vda2 none swap sw 0 0", "uses swap from /dev/vda2", WITHOUT),
        ("/etc/fstab", "/dev/vda3 /data ext4 defaults,nofail 0 2", "mounts /data from /dev/vda3", WITHOUT),
        ("/etc/fstab", "/dev/disk/by-path/pci-0000:04:00.0-part1 /srv xfs", "by its slot", WILL_NOT),
        ("/etc/fstab", "/dev/disk/by-id/virtio-4711-part1 /srv xfs noauto", "by its hardware", WITHOUT),
        ("/etc/fstab", "/dev/sdb1 /old ext4", "/dev/sdb1, a name that may differ there", WILL_NOT),
        ("/etc/fstab", "/dev/nvme0n1p2 /fast ext4", "there are no NVMe disks there", WILL_NOT),
        ("/etc/crypttab", "home /dev/vda5 none luks", "opens home from /dev/vda5", WILL_NOT),
        ("/etc/crypttab", "tmp /dev/disk/by-path/x /dev/urandom swap,plain", "opens tmp", WITHOUT),
        ("/etc/kernel/cmdline", "root=/dev/vda1 quiet", "names its root by /dev/vda1", WILL_NOT),
        ("/etc/kernel/cmdline", "root=UUID=1 resume=/dev/vda5", "resumes from by /dev/vda5", WITHOUT),
        ("/boot/loader/entries/a.conf", "options root=/dev/vda1 ro", "names its root by /dev/vda1", WILL_NOT),
        ("/boot/grub2/grub.cfg", "linux /vmlinuz root=/dev/vda1", "/boot/grub2/grub.cfg names its root", WILL_NOT),
        ("/etc/initramfs-tools/conf.d/resume", "RESUME=/dev/vda5", "resumes from by /dev/vda5", WITHOUT),
        ("/etc/systemd/system/srv.mount", "[Mount]\nWhat=/dev/vda3\nWhere=/srv", "srv.mount mounts /dev/vda3", WITHOUT),
        (
            "/etc/systemd/system/srv.mount",
            "[Mount]\nWhat=/dev/disk/by-path/x\n[Install]\nRequiredBy=local-fs.target",
            "srv.mount mounts /dev/disk/by-path/x",
            WILL_NOT,
        ),
        ("/etc/network/interfaces", "iface ens3 inet dhcp", "by their slot (ens3)", WITHOUT),
        ("/etc/systemd/network/10.network", "[Match]\nName=enp1s0", "by their slot (enp1s0)", WITHOUT),
        ("/etc/netplan/50.yaml", "ethernets:\n  ens3:\n    dhcp4: true", "by their slot (ens3)", WITHOUT),
        ("/etc/NetworkManager/system-connections/a.nmconnection", "interface-name=ens3", "slot (ens3)", WITHOUT),
        ("/etc/sysconfig/network-scripts/ifcfg-ens3", "BOOTPROTO=dhcp", "by their slot (ens3)", WITHOUT),
        ("/etc/sysconfig/network/ifcfg-a", "DEVICE=ens3", "by their slot (ens3)", WITHOUT),
    ],
)
def test_a_name_that_changes_is_found_with_its_consequence(
    tmp_path: Path, path: str, content: str, expected: str, consequence: Consequence
) -> None:
    findings = found(ext4(tmp_path, {**GOOD, path: content.encode()}))
    assert [(expected in finding.finding, finding.consequence) for finding in findings] == [(True, consequence)], (
        findings
    )


KEPT = {
    "/etc/fstab": b"/dev/vda1 / ext4 x 0 1\n/dev/disk/by-id/virtio-4711-part1 /srv xfs\n",
    "/etc/crypttab": b"home /dev/vda5 none luks\n",
    "/etc/kernel/cmdline": b"root=/dev/vda1 resume=/dev/vda5\n",
    "/etc/systemd/network/10.network": b"[Match]\nName=eth0\n",
}


def test_names_that_stay_raise_no_alarm(tmp_path: Path) -> None:
    disk = ext4(tmp_path, {**KEPT, "/boot/initrd.img-6.1": gzip.compress(BOTH)})
    assert found(disk, around("qemu")) == []
    own = {
        **GOOD,
        "/etc/fstab": b"/dev/disk/by-id/dm-uuid-LVM-x / ext4\n/dev/disk/by-uuid/1 /a ext4\nLABEL=x /b ext4\n",
    }
    assert found(ext4(tmp_path, own)) == []


def test_slots_count_by_what_is_known_of_them(tmp_path: Path) -> None:
    disk = ext4(tmp_path, {**GOOD, "/etc/network/interfaces": b"iface ens3 inet dhcp\n"})
    for keeps, words in ((True, []), (None, ["may have"]), (False, ["has"])):
        at = Surroundings(around("qemu").disks, is_same_platform=True, keeps_card_slots=keeps)
        assert [one.finding for one in found(disk, at)] == [
            f"/etc/network/interfaces names network cards by their slot (ens3); the other site {word} other slots."
            for word in words
        ]


def test_a_card_that_is_matched_by_its_mac_raises_no_alarm(tmp_path: Path) -> None:
    files = {
        "/etc/systemd/network/20-mac.network": b"[Match]\nMACAddress=52:54:00:00:00:01\n[Network]\n# ens9\n",
        "/etc/netplan/50.yaml": b"ethernets:\n  ens3:\n    match: {macaddress: 52:54:00:00:00:01}\n",
        "/etc/sysconfig/network-scripts/ifcfg-ens3": b"DEVICE=ens3\nHWADDR=52:54:00:00:00:01\n",
        "/etc/NetworkManager/system-connections/a.nmconnection": b"interface-name=ens3\nmac-address=1\n",
    }
    assert found(ext4(tmp_path, {**GOOD, **files})) == []


@pytest.mark.parametrize("compress", [bytes, gzip.compress, lzma.compress, zstandard.compress])
def test_a_missing_driver_is_found_unless_it_is_built_in(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    early = cpio({"kernel/x86/microcode/GenuineIntel.bin": b"m" * 700}) + bytes(512)
    only = early + compress(cpio({"lib/virtio_blk.ko": b"", "lib/modules.order": b"kernel/drivers/xen-blkfront.ko\n"}))
    disk = ext4(tmp_path, {**GOOD, "/boot/initrd.img-6.1": only})
    (finding,) = found(disk)
    assert "/boot/initrd.img-6.1 has no driver xen_blkfront" in finding.finding
    assert ("MODULES=most" in finding.remedy, finding.consequence) == (True, WILL_NOT)
    assert found(disk, around("qemu")) == []
    listed = only + compress(cpio({"lib/modules.builtin": b"kernel/drivers/block/xen-blkfront.ko\n"}))
    assert found(ext4(tmp_path, {**GOOD, "/boot/initrd.img-6.1": listed})) == []
    config = {"/boot/config-6.1": b"CONFIG_XEN_BLKDEV_FRONTEND=y\n", "/boot/initrd.img-6.1": only}
    assert found(ext4(tmp_path, {**GOOD, **config})) == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\x02\x21\x4c\x18" + bytes(range(1, 200)), "compressed by lz4"),
        (b"BZh9" + bytes(range(1, 200)), "compressed by bzip2"),
        (b"no archive at all" * 9, "not a known archive"),
        (zstandard.compress(BOTH)[:-40], "damaged"),
        (gzip.compress(BOTH)[:90], "damaged"),
    ],
    ids=["lz4", "bzip2", "none", "cut zstd", "cut gzip"],
)
def test_an_initramfs_that_cannot_be_looked_into_is_named(tmp_path: Path, content: bytes, reason: str) -> None:
    (finding,) = found(ext4(tmp_path, {**GOOD, "/boot/initrd.img-6.1": content}))
    assert finding.finding.startswith("/boot/initrd.img-6.1 could not be inspected: it is")
    assert (reason in finding.finding, finding.consequence) == (True, None)


def test_what_pygrub_cannot_read_is_found_for_a_paravirtual_boot_only(tmp_path: Path) -> None:
    files = {**GOOD, "/boot/grub/grub.cfg": b"linux /boot/vmlinuz net.ifnames=0\n"}
    disk = ext4(tmp_path, files, "metadata_csum,64bit")
    menu, features = found(disk, around("xen", boot_mode=BootMode.PV))
    assert "needs a GRUB menu with a menuentry" in menu.finding
    assert "pygrub" in features.finding
    assert found(disk) == []


def test_the_root_is_found_on_the_second_disk_and_its_bus_counts(tmp_path: Path) -> None:
    root = ext4(tmp_path, {**GOOD, "/etc/fstab": b"/dev/sda1 / ext4\n/dev/vda1 /data ext4\n"})
    at = around(buses=("virtio", "scsi"))
    mounts = [finding.finding for finding in look(bytes(4 * MIB), root, at=at).records]
    assert mounts == [
        "/etc/fstab mounts / from /dev/sda1, which is /dev/xvdb1 there.",
        "/etc/fstab mounts /data from /dev/vda1, which is /dev/xvda1 there.",
    ]
    (driver,) = look(bytes(4 * MIB), root, at=around("qemu", buses=("virtio", "scsi"))).records
    assert "has no driver virtio_scsi" in driver.finding


@pytest.mark.parametrize(
    ("offset", "magic", "name"),
    [(0, b"XFSB", "XFS"), (0x10040, b"_BHRfS_M", "Btrfs"), (512, b"LABELONE", "LVM"), (0, b"LUKS\xba\xbe", "LUKS")],
)
def test_a_disk_that_cannot_be_looked_into_is_named_with_what_it_holds(
    tmp_path: Path, offset: int, magic: bytes, name: str
) -> None:
    blind = bytearray(4 * MIB)
    blind[offset : offset + len(magic)] = magic
    (only,) = look(ext4(tmp_path, GOOD), bytes(blind)).records
    assert only.finding.startswith("vdb was not inspected completely: it holds ")
    assert (name in only.finding, only.consequence) == (True, None)
    none, _ = look(bytes(blind)).records
    assert "No Linux root file system" in none.finding


@pytest.mark.parametrize("label", ["dos", "gpt"])
def test_partitions_are_found_where_sfdisk_puts_them(tmp_path: Path, label: str) -> None:
    raw = tmp_path / "disk.raw"
    with raw.open("wb") as handle:
        handle.truncate(64 * MIB)
    extended = "start=40960, type=5\nstart=43008, size=4096, type=83\nstart=51200, size=8192, type=83\n"
    script = f"label: {label}\nstart=2048, size=8192\nstart=20480, size=4096\n" + (extended if label == "dos" else "")
    done = subprocess.run(["sfdisk", "-q", str(raw)], input=script.encode(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    expected = [Partition(2048 * 512, 8192 * 512), Partition(20480 * 512, 4096 * 512)]
    if label == "dos":
        expected += [Partition(43008 * 512, 4096 * 512), Partition(51200 * 512, 8192 * 512)]
    assert partitions(MemoryDisk(64 * MIB, raw.read_bytes())) == expected
