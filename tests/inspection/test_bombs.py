"""Disks that are made to hang, exhaust or crash whoever looks into them: bounded time, bounded memory, no exception."""

from __future__ import annotations

import gzip
import lzma
import os
import random
import re
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.inspection.images import SIZE_BYTES, around, cpio, ext4, ext4_of, look
from tests.inspection.test_readiness import GOOD, KEPT
from twinhull.blocks.memory import MemoryDisk
from twinhull.inspection import READINESS, Bounds, inspect
from twinhull.inspection.guest.initramfs import NotUnderstood, modules_in
from twinhull.inspection.guest.partitions import LARGEST_TABLE, partitions
from twinhull.model.ports import system_ports
from twinhull.model.units import GIB, KIB, MIB

CPU_SECONDS = 5.0
"""Of this process, for what takes milliseconds if it is linear and hours if it is not."""


@contextmanager
def quickly(seconds: float = CPU_SECONDS) -> Iterator[None]:
    """Processor time, so that a busy machine makes no difference."""
    began = time.process_time()
    yield
    assert time.process_time() - began < seconds


def zstd_bomb(unpacked_bytes: int) -> bytes:
    """A frame of RLE blocks: four bytes for each 128 KiB (RFC 8878, 3.1.1.2)."""
    last, block = (struct.pack("<I", (131072 << 3) | (1 << 1) | is_last)[:3] + b"\0" for is_last in (1, 0))
    return b"\x28\xb5\x2f\xfd\x00\x58" + block * (unpacked_bytes // 131072 - 1) + last


def header(name_size: bytes = b"00000002", size: bytes = b"00000000") -> bytes:
    return b"070701" + b"0" * 48 + size + b"0" * 32 + name_size + b"0" * 8 + b"a\0"


HOSTILE_IMAGES = {
    "gzip headers without an end": b"\x1f\x8b\x08\x08" * MIB,
    "gzip magic everywhere": b"\x1f\x8b\x08\x00" * MIB,
    "zstd magic everywhere": b"\x28\xb5\x2f\xfd" * MIB,
    "xz magic everywhere": b"\xfd7zXZ\x00" * MIB,
    "xz that wants gibibytes": lzma.compress(b"x", filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 30}]),
    "cut gzip": gzip.compress(os.urandom(MIB))[:-9],
    "an endless name": header(name_size=b"7FFFFFFF"),
    "a huge file": header(size=b"FFFFFFFF"),
    "a number that is none": header(size=b"+0x_ 1\n "),
    "files without end": header() * 250_000,
    "archives without end": cpio({}) * 250_000,
    "compressed archives without end": gzip.compress(cpio({})) * 250_000,
}


@pytest.mark.parametrize("name", HOSTILE_IMAGES)
def test_a_hostile_initramfs_is_read_once(name: str) -> None:
    image = HOSTILE_IMAGES[name]
    with quickly(20.0), pytest.raises(NotUnderstood):
        modules_in(image[place : place + MIB] for place in range(0, len(image), MIB))


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress, zstandard.compress])
def test_what_unpacks_without_end_is_given_up(compress: Callable[[bytes], bytes]) -> None:
    bomb = compress(cpio({"a": bytes(64 * MIB)}))
    with quickly(), pytest.raises(NotUnderstood, match="too much"):
        modules_in([bomb], unpacked_bytes=4 * MIB)


def test_time_is_linear_in_the_image() -> None:
    """Sixteen times the size takes at most sixty times as long; what is searched for from each byte takes 256 times."""
    took = []
    for size in (256 * KIB, 4 * MIB):
        began = time.process_time()
        with pytest.raises(NotUnderstood):
            modules_in([b"\x1f\x8b\x08\x08" * (size // 4)])
        took.append(time.process_time() - began)
    assert took[1] < 60 * took[0] + 1


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from([b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\0", b"\0" * 5, header(), b"x"])))
def test_no_initramfs_raises_anything_else(parts: list[bytes]) -> None:
    for image in (b"".join(parts), gzip.compress(b"".join(parts))):
        with suppress(NotUnderstood):
            assert isinstance(modules_in([image]), set)


def table(*entries: tuple[int, int, int]) -> bytes:
    packed = b"".join(struct.pack("<B3xB3xII", 0, *entry) for entry in entries)
    return bytes(446) + packed.ljust(64, b"\0") + b"\x55\xaa"


def gpt(first: int, count: int, size: int, entries: bytes = b"") -> bytes:
    head = b"EFI PART".ljust(72, b"\0") + struct.pack("<QII", first, count, size)
    return table((0xEE, 1, 0xFFFFFFFF)) + head.ljust(512, b"\0") + entries


TABLES = {
    "a logical partition that names itself": table((5, 0, 1)),
    "two extended ones that name one another": table((5, 1, 1), (15, 1, 1)) + table((0x83, 0, 1), (5, 0, 1)),
    "an extended one at the end": table((5, 0xFFFFFFFF, 1)),
    "partitions beyond the disk": table((0x83, 0xFFFFFFFF, 0xFFFFFFFF), (0x83, 1, 0xFFFFFFFF)),
    "all entries the same": gpt(2, 128, 128, struct.pack("<16s16xQQ72x", b"x" * 16, 1, 9) * 128),
    "a huge table": gpt(2, 0xFFFFFFFF, 0xFFFFFFFF),
    "a table far away": gpt(2**64 - 1, 128, 128),
    "entries of no size": gpt(2, 128, 0),
    "a partition that ends before it begins": gpt(2, 1, 128, struct.pack("<16s16xQQ72x", b"x" * 16, 9, 1)),
    "half a header": table((0xEE, 1, 1)) + b"EFI PART",
}


@pytest.mark.parametrize("name", TABLES)
def test_a_hostile_partition_table_gives_few_partitions_inside_of_the_disk(name: str) -> None:
    disk = MemoryDisk(MIB, TABLES[name])
    with quickly():
        found = partitions(disk)
    assert 0 < len(found) <= LARGEST_TABLE
    assert len(set(found)) == len(found)
    assert all(0 <= one.offset_bytes < one.offset_bytes + one.length_bytes <= MIB for one in found)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=64), st.sampled_from(sorted(TABLES)), st.integers(430, 1100))
def test_a_mutated_partition_table_gives_partitions_inside_of_the_disk(noise: bytes, name: str, at: int) -> None:
    content = TABLES[name].ljust(2048, b"\0")
    disk = MemoryDisk(MIB, content[:at] + noise + content[at + len(noise) :])
    found = partitions(disk)
    assert 0 < len(found) <= LARGEST_TABLE
    assert all(0 <= one.offset_bytes < one.offset_bytes + one.length_bytes <= MIB for one in found)


def test_bombs_in_files_end_in_few_findings(tmp_path: Path) -> None:
    """Sparse files, long lines, many lines, many files, loops of links, a zstd bomb: all on one disk."""
    root = tmp_path / "root"
    for folder in ("etc/netplan", "etc/systemd/network", "etc/systemd/system", "boot/grub"):
        (root / folder).mkdir(parents=True)
    for number in range(40):
        with (root / f"etc/netplan/{number:02}.yaml").open("wb") as sparse:
            sparse.truncate(250 * MIB)
    for number in range(300):
        (root / f"etc/systemd/system/{number}.mount").write_text("What=/dev/vda1\n")
    (root / "etc/fstab").write_text("".join(f"/dev/vda1 /{number} ext4\n" for number in range(30_000)))
    (root / "etc/systemd/network/1").write_text("enp1s1" * 100_000 + " " + "enp1" * 50_000)
    (root / "boot/grub/grub.cfg").write_text("root=" * 150_000 + " root=/dev/vda1")
    (root / "etc/initramfs-tools/conf.d").mkdir(parents=True)
    (root / "etc/initramfs-tools/conf.d/\x1b[2J\u202e").write_text("RESUME=/dev/vda1")
    (root / "etc/crypttab").symlink_to("crypttab")
    (root / "etc/systemd/network/2").symlink_to("../../../etc/systemd/network/3")
    (root / "etc/systemd/network/3").symlink_to("2")
    (root / "boot/initrd.img-1").write_bytes(zstd_bomb(4 * GIB))
    with (root / "boot/initrd.img-2").open("wb") as sparse:
        sparse.truncate(1 << 40)
    outcome = look(ext4_of(root, tmp_path / "disk.raw"))
    assert outcome.failure == ""
    found = [one.finding for one in outcome.records]
    assert len(found) < 50
    assert "/etc/initramfs-tools/conf.d/\\x1b[2J\\u202e names the swap space" in "".join(found)
    assert sum("/etc/fstab" in one for one in found) <= 20
    assert "/boot/initrd.img-1 could not be inspected: it unpacks to too much" in "".join(found)
    assert "/boot/initrd.img-2 could not be inspected: it is larger than 256 MiB" in "".join(found)


def mutated(image: bytes, meaning: list[int], seed: int) -> bytes:
    """The image with some of the bytes at ``meaning`` changed; it still says that it is ext."""
    chance = random.Random(seed)
    content = bytearray(image)
    for place in chance.choices(meaning, k=chance.choice((2, 20, 200))):
        content[place] = chance.choice((0, 255, content[place] ^ 1 << chance.randrange(8)))
    content[MIB + 1080 : MIB + 1082] = b"\x53\xef"
    return bytes(content)


@pytest.mark.parametrize("features", ["^metadata_csum,^64bit", "metadata_csum,64bit", "^extents,^metadata_csum,^64bit"])
def test_a_mutated_file_system_never_raises_and_never_hangs(tmp_path: Path, features: str) -> None:
    image = ext4(tmp_path, {**GOOD, **KEPT}, features)
    meaning = [found.start() for found in re.finditer(rb"[^\0]", image) if found.start() >= MIB + 1024]
    bounds = Bounds(wall_seconds=30.0, cpu_seconds=10)
    reasons = []
    for seed in range(0, 24, 6):
        disks = [MemoryDisk(SIZE_BYTES, mutated(image, meaning, seed + place)) for place in range(6)]
        outcome = inspect(READINESS, around(buses=("virtio",) * 6), disks, system_ports(), bounds)
        assert outcome.failure == "", seed
        reasons.append(str(outcome.records))
    assert len(set(reasons)) > 1, "the mutations hardly reach the parser"
