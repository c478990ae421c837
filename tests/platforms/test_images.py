"""Disk images on a host: what is made late, what cannot be looked at."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

from twinhull.model.machine import DiskKey
from twinhull.model.ports import system_ports
from twinhull.model.units import MIB
from twinhull.platforms.hosts import LocalHost
from twinhull.platforms.libvirt.domains import ImageFile
from twinhull.platforms.libvirt.images import ImageInfo, look_into


def test_of_a_device_that_is_dead_nothing_is_known_and_of_the_others_all(tmp_path: Path) -> None:
    dead, alive = tmp_path / "dead", tmp_path / "alive.raw"
    os.mknod(dead, stat.S_IFBLK | 0o600, os.makedev(147, 77))  # DRBD's number, and no such device
    subprocess.run(["truncate", "--size=1M", str(alive)], check=True)
    images = [ImageFile(DiskKey(path.name), "vda", str(path), "raw", "virtio") for path in (dead, alive)]
    assert look_into(LocalHost(system_ports()), images) == [ImageInfo(None, {}), ImageInfo(MIB, {})]
