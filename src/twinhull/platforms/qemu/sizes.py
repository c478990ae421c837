"""Asking machines for the sizes of their disks, so that one that hangs holds up nobody else.

The QEMU of a machine whose storage hangs answers nothing, and libvirt waits for it without an end, or for half a minute
where it waits already; it takes few such questions of one client at a time. So few are asked at once, and a machine
that has not answered is not waited for again.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from threading import Lock

import libvirt

from twinhull.model.machine import DiskKey, MachineId
from twinhull.platforms.libvirt.definition.domains import Definition

PATIENCE_SECONDS = 10.0
"""How long machines may take to tell the sizes of their disks."""
ASKED_AT_ONCE = 3
"""libvirt takes five calls of one client at a time (its ``max_client_requests``): some are left for everything else."""

SECTOR_BYTES = 512
"""A raw file may end within a sector. QEMU shows its guest whole ones, and tells us so, too."""

Sizes = tuple[dict[DiskKey, int], list[str]]
"""The sizes of a machine's disks, and a warning for each one that cannot be told."""
_HANGS = "Its disks have not told their sizes in time, and are left out: its QEMU, or its storage, hangs."


@dataclass
class SizeDesk:
    """One per site. Safe for threads."""

    _threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(ASKED_AT_ONCE, "twinhull-sizes"))
    _asked: dict[MachineId, Future[Sizes]] = field(default_factory=dict)
    _late: set[Future[Sizes]] = field(default_factory=set)
    _lock: Lock = field(default_factory=Lock)

    def ask(self, machines: Mapping[MachineId, tuple[libvirt.virDomain, Definition]]) -> dict[MachineId, Sizes]:
        """The sizes of all disks of these machines; those that do not answer in time have none, and a warning."""
        with self._lock:
            asked = {machine_id: self._begin(machine_id, *machine) for machine_id, machine in machines.items()}
            awaited = [future for future in asked.values() if future not in self._late]
        _, late = wait(awaited, PATIENCE_SECONDS)
        with self._lock:
            self._late |= late
        return {each: future.result() if future.done() else ({}, [_HANGS]) for each, future in asked.items()}

    def close(self) -> None:
        """Wait for nobody who still hangs."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _begin(self, machine_id: MachineId, domain: libvirt.virDomain, definition: Definition) -> Future[Sizes]:
        """The question that is under way, or a new one."""
        asked = self._asked.get(machine_id)
        if asked is None or asked.done():
            self._late -= {asked}
            asked = self._asked[machine_id] = self._threads.submit(_sizes, domain, definition)
        return asked


def _sizes(domain: libvirt.virDomain, definition: Definition) -> Sizes:
    sizes: dict[DiskKey, int] = {}
    warnings = []
    for disk in definition.disks:
        try:
            sizes[disk.key] = -(-int(domain.blockInfo(disk.key)[0]) // SECTOR_BYTES) * SECTOR_BYTES
        except libvirt.libvirtError as error:
            warnings.append(f"Disk {disk.key} cannot be looked at and is left out: {error}")
    return sizes, warnings
