"""Looking into disks that mkfs.ext4 and sfdisk have made."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from twinhull.manager.inside.boot import inspect_disk
from twinhull.manager.inside.ext4 import Ext4
from twinhull.manager.inside.partitions import starts
from twinhull.model.units import MIB

GOOD = {
    "etc/fstab": "UUID=1234 / ext4 defaults 0 1\n# /dev/vda1 was here\n",
    "boot/grub/grub.cfg": "linux /vmlinuz root=UUID=1234 ro\n",
    "etc/initramfs-tools/initramfs.conf": "MODULES=most\n",
    "etc/network/interfaces": "auto lo\niface lo inet loopback\n",
    "boot/config-6.1.0-13-amd64": "CONFIG_XEN_BLKDEV_FRONTEND=m\nCONFIG_XEN_NETDEV_FRONTEND=m\n"
    "CONFIG_VIRTIO_BLK=m\nCONFIG_VIRTIO_NET=m\n",
}


def image_of(tmp_path: Path, files: dict[str, str], *options: str, label: str | None = None) -> Path:
    tree = tmp_path / "tree"
    for name, content in files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(content)
    tree.mkdir(exist_ok=True)
    system = tmp_path / "system.img"
    with system.open("wb") as file:
        file.truncate(24 * MIB)
    subprocess.run(["mkfs.ext4", "-q", *options, "-d", str(tree), str(system)], check=True)
    if not label:
        return system
    disk = tmp_path / "disk.img"
    with disk.open("wb") as file:
        file.truncate(32 * MIB)
    table = f"label: {label}\nstart=2048, size=2048\nstart=6144, size={24 * MIB // 512}\n"
    subprocess.run(["sfdisk", "-q", str(disk)], input=table.encode(), check=True, capture_output=True)
    with disk.open("r+b") as file:
        file.seek(6144 * 512)
        file.write(system.read_bytes())
    return disk


def of_bytes(content: bytes) -> Callable[[int, int], bytes]:
    return lambda offset, length: content[offset : offset + length].ljust(length, b"\0")


def reader(path: Path) -> Callable[[int, int], bytes]:
    return of_bytes(path.read_bytes())


def test_partitions_are_found(tmp_path: Path) -> None:
    for label in ("dos", "gpt"):
        (tmp_path / label).mkdir()
        assert starts(reader(image_of(tmp_path / label, GOOD, label=label))) == [2048 * 512, 6144 * 512]
    assert starts(lambda _, length: bytes(length)) == [0]


@pytest.mark.parametrize("options", [(), ("-b", "1024"), ("-b", "4096"), ("-O", "^64bit"), ("-I", "128")])
def test_files_are_read_as_they_are(tmp_path: Path, options: tuple[str, ...]) -> None:
    large = "".join(f"line {number}\n" for number in range(50_000))
    many = {f"etc/many/file-with-a-long-name-{number:04d}": str(number) for number in range(400)}
    system = Ext4(reader(image_of(tmp_path, {**GOOD, **many, "etc/large": large}, *options)), 0)
    assert system.text("/etc/fstab") == GOOD["etc/fstab"]
    assert system.text("/etc/large") == large
    assert system.text("/etc/many/file-with-a-long-name-0399") == "399"
    assert len(system.names("/etc/many")) == 400
    assert system.text("/etc/nothing") is None
    assert system.text("/etc") is None
    assert system.names("/etc/fstab") == []


def test_links_are_followed_and_circles_are_left(tmp_path: Path) -> None:
    tree = tmp_path / "tree" / "etc"
    tree.mkdir(parents=True)
    (tree / "real").write_text("here")
    (tree / "relative").symlink_to("real")
    (tree / "absolute").symlink_to("/etc/real")
    (tree / "long").symlink_to("/etc/../etc/" + "./" * 40 + "real")
    (tree / "circle").symlink_to("circle")
    system = Ext4(reader(image_of(tmp_path, {})), 0)
    assert [system.text(f"/etc/{name}") for name in ("relative", "absolute", "circle")] == ["here", "here", None]
    assert system.text("/etc/long") == "here"


def test_a_guest_that_is_ready_has_no_finding(tmp_path: Path) -> None:
    assert inspect_disk(reader(image_of(tmp_path, GOOD, label="gpt"))) == []


@pytest.mark.parametrize(
    ("name", "content", "finding", "remedy"),
    [
        ("etc/fstab", "/dev/vda1 / ext4 defaults 0 1\n", "names the disk /dev/vda1", "UUID="),
        ("boot/grub/grub.cfg", "linux /vmlinuz root=/dev/sda2 ro\n", "root disk /dev/sda2", "update-grub"),
        ("etc/initramfs-tools/initramfs.conf", "MODULES=dep\n", "present hardware only", "MODULES=most"),
        ("etc/network/interfaces", "auto enp1s0\niface enp1s0 inet dhcp\n", "network card enp1s0", "MAC address"),
        (
            "boot/config-6.1.0-13-amd64",
            "CONFIG_VIRTIO_BLK=y\n",
            "6.1.0-13-amd64 has no driver for Xen's disks",
            "kernel",
        ),
    ],
)
def test_what_stands_in_the_way_is_found(tmp_path: Path, name: str, content: str, finding: str, remedy: str) -> None:
    found = inspect_disk(reader(image_of(tmp_path, {**GOOD, name: content}, label="dos")))
    assert found
    assert finding in found[0].finding
    assert remedy in found[0].remedy


def test_cards_that_are_named_by_their_mac_are_no_finding(tmp_path: Path) -> None:
    files = {
        **GOOD,
        "etc/network/interfaces": "iface eth0 inet dhcp\n",
        "etc/systemd/network/10-lan.link": "[Match]\nMACAddress=52:54:00:00:00:01\n[Link]\nName=eth0\n",
    }
    assert inspect_disk(reader(image_of(tmp_path, files))) == []


def test_a_disk_without_a_root_is_said(tmp_path: Path) -> None:
    assert "No ext4 root" in inspect_disk(lambda _, length: bytes(length))[0].finding
    assert "No ext4 root" in inspect_disk(reader(image_of(tmp_path, {"other/file": "x"})))[0].finding


def test_damage_is_a_finding_and_nothing_else(tmp_path: Path) -> None:
    content = image_of(tmp_path, GOOD).read_bytes()
    chance = random.Random(7)
    told = set()
    view = memoryview(content)
    for _ in range(200):
        head = bytearray(view[:MIB])
        for _ in range(chance.choice((1, 5, 200))):
            head[chance.randrange(1024, MIB)] ^= chance.randrange(1, 256)

        def read(offset: int, length: int, head: bytearray = head) -> bytes:
            found = bytes(head[offset : offset + length])
            rest = length - len(found)
            return found + bytes(view[max(offset, MIB) : max(offset, MIB) + rest]).ljust(rest, b"\0")

        told.add(len(inspect_disk(read)))
    # Some damage hides the root, some hurts nothing that is read.
    assert {0, 1} <= told
