"""Who plays in the story: Debian with PostgreSQL (the demo), or the tiny guest (the tests, the benchmarks)."""

from __future__ import annotations

from pathlib import Path

from lab.debian import DATABASE_PORT, debian_image, debian_plan
from lab.guests import GuestPlan, tiny_plan
from lab.images import tiny_image
from lab.services import Postgres, TinyFiles
from lab.stage import Cast

TINY_SERVICE_PORT = 7000


def tiny_cast() -> Cast:
    """The tiny guest: boots in seconds."""

    def plan(directory: Path) -> GuestPlan:
        return tiny_plan(tiny_image(), directory, "tiny")

    return Cast(plan, TinyFiles(), TINY_SERVICE_PORT, boot_seconds=180)


def debian_cast() -> Cast:
    """A Debian server with a PostgreSQL: boots in half a minute on QEMU, in about twice that on the nested Xen."""

    def plan(directory: Path) -> GuestPlan:
        return debian_plan(debian_image(), directory, "shop")

    return Cast(plan, Postgres(), DATABASE_PORT, boot_seconds=480)
