"""The demo's guest: Debian with a PostgreSQL, built once and kept in the lab's cache."""

from __future__ import annotations

import shutil
from pathlib import Path

from lab.cache import HERE, cached, key_of
from lab.guests import GuestDisk, GuestPlan
from lab.images import run_script

DEBIAN_READY = "TWINHULL-DEBIAN-READY"
"""What the guest writes to its consoles once its database answers."""

DATABASE_PORT = 5432


def debian_image() -> Path:
    """Return the guest's qcow2 image; whoever boots it takes a copy."""
    scripts = [HERE / name for name in ("build_debian.sh", "grub_disk.sh")]
    entry = cached("debian", key_of(scripts), lambda work: run_script("build_debian.sh", work))
    return entry / "debian.qcow2"


def debian_plan(image: Path, directory: Path, name: str) -> GuestPlan:
    """Return the plan of a Debian guest with a disk of its own (a whole copy of the image) in ``directory``."""
    disk = directory / f"{name}.qcow2"
    shutil.copyfile(image, disk)
    return GuestPlan(
        name=name,
        disks=(GuestDisk(disk),),
        log=directory / f"{name}.log",
        memory_mib=384,
        cpu_count=1,
        mac="52:54:00:7e:11:d1",
    )
