"""Disk images on a host: what is made late, what cannot be looked at."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from twinhull.hosts.host import LocalHost
from twinhull.model.errors import MachineBusy, SiteUnreachable
from twinhull.model.machine import DiskKey
from twinhull.model.ports import Completed, system_ports
from twinhull.model.units import MIB
from twinhull.platforms.libvirt.definition.domains import ImageFile
from twinhull.platforms.libvirt.images import create, look_into


class Hung(LocalHost):
    """This machine while it hangs: its caller gives up at the making of images, which is done later."""

    def __init__(self) -> None:
        super().__init__(system_ports())
        self.late: Sequence[str] = ()

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_seconds: float = 60.0) -> Completed:
        if "twinhull-create" not in argv:
            return super().run(argv, stdin=stdin, timeout_seconds=timeout_seconds)
        self.late = argv
        raise SiteUnreachable("it did not answer in time")

    def wake(self) -> Completed:
        return super().run(self.late)


@pytest.mark.parametrize("there", [b"", b"of a definition that got lost"])
def test_an_image_that_is_in_use_by_now_is_not_replaced_by_one_that_is_made_late(tmp_path: Path, there: bytes) -> None:
    image, hung, host = tmp_path / "replica" / "vda.qcow2", Hung(), LocalHost(system_ports())
    if there:
        image.parent.mkdir()
        image.write_bytes(there)
    with pytest.raises(SiteUnreachable):
        create(hung, {str(image): 2 * MIB}, "")
    create(host, {str(image): 4 * MIB}, "")
    made = image.stat()
    assert hung.wake().exit_status != 0
    assert (image.stat().st_ino, image.stat().st_mtime_ns) == (made.st_ino, made.st_mtime_ns)
    assert [path.name for path in image.parent.iterdir()] == ["vda.qcow2"]
    create(host, {str(image): 8 * MIB}, "")
    [seen] = look_into(host, [ImageFile(DiskKey("vda"), "vda", str(image), "qcow2", "virtio")])
    assert (seen.size_bytes, seen.trackers, seen.flaw) == (8 * MIB, {}, "")


def test_who_comes_second_is_told_and_leaves_what_the_first_one_made(tmp_path: Path) -> None:
    class Overtaken(LocalHost):
        def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_seconds: float = 60.0) -> Completed:
            if "twinhull-create" in argv:
                (tmp_path / "vda.qcow2").write_bytes(b"the first one's")
            return super().run(argv, stdin=stdin, timeout_seconds=timeout_seconds)

    with pytest.raises(MachineBusy, match=r"made the image .*/vda\.qcow2 on this machine meanwhile"):
        create(Overtaken(system_ports()), {f"{tmp_path}/vda.qcow2": MIB}, "")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"vda.qcow2": b"the first one's"}


def test_what_somebody_who_was_killed_left_of_an_image_goes_with_the_next_one(tmp_path: Path) -> None:
    for name in ("vda.qcow2.new", "vda.qcow2.new.aB12cD"):
        (tmp_path / name).touch()
    create(LocalHost(system_ports()), {f"{tmp_path}/vda.qcow2": MIB, f"{tmp_path}/vdb.qcow2": MIB}, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["vda.qcow2", "vdb.qcow2"]


def test_of_a_device_that_is_dead_nothing_is_known_and_of_the_others_all(tmp_path: Path) -> None:
    dead, alive = tmp_path / "dead", tmp_path / "alive.raw"
    os.mknod(dead, stat.S_IFBLK | 0o600, os.makedev(147, 77))  # DRBD's number, and no such device
    subprocess.run(["truncate", "--size=1M", str(alive)], check=True)
    images = [ImageFile(DiskKey(path.name), "vda", str(path), "raw", "virtio") for path in (dead, alive)]
    assert [info.size_bytes for info in look_into(LocalHost(system_ports()), images)] == [None, MIB]
