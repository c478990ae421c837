"""Which devices share bytes, and a device's reads and writes; real devices are in tests/real."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from twinhull.blocks import device
from twinhull.blocks.device import BlockDevice
from twinhull.model.errors import DataError, SiteError
from twinhull.model.extents import Extent

SIZE_BYTES = 3 * 1024 * 1024 + 512


@pytest.fixture
def sysfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A disk with two partitions, as Linux shows it (sysfs-block)."""
    disk = tmp_path / "devices" / "sda"
    for name, number in (("", "8:0"), ("sda1", "8:1"), ("sda2", "8:2")):
        (disk / name).mkdir(parents=True, exist_ok=True)
        (disk / name / "dev").write_text(f"{number}\n")
        if name:
            (disk / name / "partition").write_text("1\n")
    (disk / "holders").mkdir()
    links = tmp_path / "block"
    links.mkdir()
    for name, number in (("", "8:0"), ("sda1", "8:1"), ("sda2", "8:2")):
        (links / number).symlink_to(disk / name)
    monkeypatch.setattr(device, "_DEVICES", links)
    return links


@pytest.mark.usefixtures("sysfs")
def test_a_disk_is_used_by_who_uses_its_partitions_and_a_partition_by_who_uses_its_disk() -> None:
    disk, first, second = (os.makedev(8, number) for number in range(3))
    assert device._family(disk) == {disk, first, second}
    assert device._family(first) == {disk, first}


@pytest.mark.usefixtures("sysfs")
@pytest.mark.parametrize("error", [FileNotFoundError, ProcessLookupError, PermissionError])
def test_a_process_that_ends_while_the_users_of_a_device_are_looked_for_is_none_of_them(
    monkeypatch: pytest.MonkeyPatch, error: type[OSError]
) -> None:
    looked: list[str] = []

    def vanishing(list_: Callable[..., object]) -> Callable[..., object]:
        def look(path: object) -> object:
            if str(path).endswith("/fd"):
                looked.append(str(path))
                raise error(str(path))
            return list_(path)

        return look

    monkeypatch.setattr(os, "listdir", vanishing(os.listdir))
    monkeypatch.setattr(os, "scandir", vanishing(os.scandir))
    assert device._users(os.makedev(8, 0)) == []
    assert looked


@pytest.fixture
def written(tmp_path: Path) -> Iterator[BlockDevice]:
    """A file reads and writes as a device does."""
    path = tmp_path / "device"
    path.write_bytes(b"\xff" * SIZE_BYTES)
    descriptor = os.open(path, os.O_RDWR)
    yield BlockDevice(path, descriptor)
    os.close(descriptor)


def test_what_is_written_is_read(written: BlockDevice) -> None:
    written.write(100, b"hello")
    written.zero(1000, SIZE_BYTES - 2000)
    written.flush()
    assert written.read(100, 5) == b"hello"
    assert written.read(999, 2) == b"\xff\x00"
    assert written.read(SIZE_BYTES - 1001, 2) == b"\x00\xff"
    assert not any(written.read(1000, SIZE_BYTES - 2000))
    assert list(written.extents(0, SIZE_BYTES)) == [Extent(0, SIZE_BYTES)]


def test_a_read_behind_the_end_is_an_error_and_no_short_answer(written: BlockDevice) -> None:
    with pytest.raises(DataError, match="ends at byte"):
        written.read(SIZE_BYTES - 1, 2)


def test_an_error_of_the_device_names_it(tmp_path: Path) -> None:
    path = tmp_path / "device"
    path.write_bytes(bytes(512))
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with pytest.raises(DataError, match="device could not be written"):
            BlockDevice(path, descriptor).write(0, b"x")
    finally:
        os.close(descriptor)


def test_a_file_is_no_device(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(SiteError, match="is no longer a block device"), device.exclusively(tmp_path / "file"):
        pytest.fail("it was opened")
