"""Where all of this happens: one Xen host, its libvirt, and our directory there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from twinhull.model.errors import MachineBusy, SiteError
from twinhull.model.machine import MachineId
from twinhull.model.ports import Clock
from twinhull.platforms.hosts import Host
from twinhull.platforms.libvirt_connection import LibvirtConnection

_HOLD = """
mkdir -p -- "$(dirname -- "$2")"
exec 9>>"$2"
flock -n "$1" 9 || { echo busy; exit 1; }
echo held
cat >/dev/null
"""
_ASK = '[ -e "$1" ] || exit 0; flock -n "$1" true'


@dataclass(frozen=True, slots=True)
class Place:
    """One site. ``directory`` is ours on its host; ``run``, ``scratch``, ``replicas``, ``standings`` lie below it."""

    site: str
    connection: LibvirtConnection
    host: Host
    clock: Clock
    directory: str

    def capture_lock(self, machine_id: MachineId) -> str:
        """Held by whoever captures the machine."""
        return f"{self.directory}/run/{machine_id}.lock"

    def disks_lock(self, machine_id: MachineId) -> str:
        """Held, shared, by whoever has a stopped machine's disks open; the guard starts nothing meanwhile.

        Xen's disks are opened without QEMU's image locks, so that nothing else would keep the machine from starting.
        """
        return f"{self.directory}/run/{machine_id}.disks"

    @contextmanager
    def holding(self, lock: str, *, is_shared: bool = False) -> Iterator[None]:
        """Hold a lock file of the host for the length of the context; it is let go of when we die, too.

        Raises:
            MachineBusy: somebody else holds it.
        """
        process = self.host.start(["sh", "-c", _HOLD, "twinhull-lock", "-s" if is_shared else "-x", lock])
        try:
            heard = process.stdout.readline().decode(errors="replace").strip() if process.stdout else ""
            if heard == "busy":
                raise MachineBusy(
                    f"Somebody else works on this machine on site '{self.site}' ({lock} is held); nothing was begun.",
                    hint="Wait until it has ended: twinhull runs list.",
                )
            if heard != "held":
                raise SiteError(f"The lock {lock} on {self.host.name} could not be taken.")
            yield
        finally:
            if process.stdin:
                process.stdin.close()
            process.end()

    def is_held(self, lock: str) -> bool:
        """Whether somebody alive holds a lock."""
        return not self.host.run(["sh", "-c", _ASK, "twinhull-ask", lock]).is_ok
