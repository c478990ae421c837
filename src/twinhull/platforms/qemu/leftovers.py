"""What killed processes left on a site, and its removal; also the scratch directories while they are in use.

A scratch directory is named after its capture and says in a file ``label`` which machine it belongs to. Whether its
owner is alive is told by the lock of that machine (:mod:`twinhull.platforms.qemu.keeper`) and by the locks of the NBD
servers in it (:mod:`twinhull.blocks.servers`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from twinhull.model.errors import NotFound
from twinhull.model.machine import MachineId
from twinhull.platforms.contract import Leftover
from twinhull.platforms.hosts import Host, check
from twinhull.platforms.libvirt_connection import told
from twinhull.platforms.qemu.inventory import Machines
from twinhull.platforms.qemu.keeper import abandoned, forget_freeze, has_frozen, is_held
from twinhull.platforms.qemu.place import Place
from twinhull.platforms.qemu.running import backup_socket, end_backup
from twinhull.platforms.qemu.trackers import Trackers

BACKUP_JOB = "backup job"
SCRATCH = "scratch directory"
FROZEN = "frozen guest"
TRACKER = "tracker"

_MAKE = """
set -e
mkdir -p -m 0711 -- "$(dirname -- "$1")"
rm -rf -- "$1"
mkdir -m 0770 -- "$1"
chown "$2" "$1"
printf '%s\\n' "$3" > "$1/label"
"""
_LIST = """
cd "$1" 2>/dev/null || exit 0
for d in *; do
  [ -f "$d/label" ] || continue
  for l in "$d"/*.lock; do [ -e "$l" ] && ! flock -n "$l" true && continue 2; done
  echo "$d $(cat "$d/label")"
done
exit 0
"""
_REMOVE = """
for f in "$1"/*.pid; do
  [ -s "$f" ] && p=$(cat "$f") && grep -qF -- "$f" "/proc/$p/cmdline" 2>/dev/null && kill "$p"
done
rm -rf -- "$1"
"""


class Scratch:
    """The scratch directories of one site's host."""

    def __init__(self, host: Host, directory: str) -> None:
        self.directory = f"{directory}/scratch"
        self._host = host

    @contextmanager
    def opened(self, machine_id: MachineId, capture_id: str, identity: str) -> Iterator[str]:
        """Make a directory that QEMU (``identity``: UID:GID) can write to, and take it away at the end."""
        # Short, because a unix socket's path has 107 bytes at most.
        name = f"{machine_id[:8]}-{hashlib.sha256(capture_id.encode()).hexdigest()[:8]}"
        path = f"{self.directory}/{name}"
        check(self._host, ["sh", "-c", _MAKE, "make", path, identity, machine_id])
        try:
            yield path
        finally:
            self.remove(name)

    def names(self) -> Sequence[tuple[str, MachineId]]:
        """The directories in which no server of ours is alive, with their machines."""
        lines = check(self._host, ["sh", "-c", _LIST, "list", self.directory]).decode().splitlines()
        return [(name, MachineId(machine)) for name, _, machine in (line.partition(" ") for line in lines)]

    def remove(self, name: str) -> None:
        """Remove one, and a server in it that lost its owner; safe to repeat."""
        check(self._host, ["sh", "-c", _REMOVE, "remove", f"{self.directory}/{name}"])


class Leftovers:
    """Finding and removing what belongs to nobody alive."""

    def __init__(self, place: Place, machines: Machines, trackers: Trackers) -> None:
        self.scratch = Scratch(place.host, place.directory)
        self._machines = machines
        self._trackers = trackers
        self._host = place.host
        self._clock = place.clock
        self._directory = place.directory

    def find(self, machine_id: MachineId | None, kept_trackers: Sequence[str]) -> Sequence[Leftover]:
        """All that carries our label and belongs to nobody alive; of one machine, where one is named."""
        found = []
        for machine in self._unheld(machine_id):
            found += self.of_machine(machine)
            found += self._trackers_of(machine, kept_trackers) if machine_id else []
        for name, machine in self.scratch.names():
            is_asked = machine_id in (None, machine)
            if is_asked and not is_held(self._host, self._directory, machine):
                found.append(Leftover(SCRATCH, name, machine))
        return found

    def _unheld(self, machine_id: MachineId | None) -> Sequence[MachineId]:
        if machine_id is None:
            return abandoned(self._host, self._directory)
        return [] if is_held(self._host, self._directory, machine_id) else [machine_id]

    def of_machine(self, machine_id: MachineId) -> list[Leftover]:
        """A machine's stale backup job and forgotten freeze; asks nobody whether they are in use."""
        try:
            domain = self._machines.domain(machine_id)
        except NotFound:
            return []
        found = []
        if (backup_socket(domain, self._machines.site) or "").startswith(self.scratch.directory):
            found.append(Leftover(BACKUP_JOB, machine_id, machine_id))
        if has_frozen(self._host, self._directory, machine_id):
            found.append(Leftover(FROZEN, machine_id, machine_id))
        return found

    def clean(self, leftover: Leftover) -> None:
        """Remove one; safe to repeat."""
        if leftover.kind == SCRATCH:
            self.scratch.remove(leftover.name)
            return
        if leftover.machine_id is None:
            return
        try:
            domain = self._machines.domain(leftover.machine_id)
        except NotFound:
            return  # it went with its machine
        if leftover.kind == BACKUP_JOB:
            end_backup(domain, self._machines.site, self._clock)
        elif leftover.kind == FROZEN:
            if not self._machines.power_of(domain).is_off:
                with told(self._machines.site, f"thawing machine {leftover.machine_id}"):
                    domain.fsThaw()
            forget_freeze(self._host, self._directory, leftover.machine_id)
        elif leftover.kind == TRACKER:
            definition = self._machines.definition(domain)
            is_off = self._machines.power_of(domain).is_off
            names = {leftover.name} & self._trackers.all_names(domain, definition)
            self._trackers.drop(domain, definition, names, is_off=is_off)

    def _trackers_of(self, machine_id: MachineId, kept: Sequence[str]) -> list[Leftover]:
        try:
            domain = self._machines.domain(machine_id)
        except NotFound:
            return []
        names = self._trackers.all_names(domain, self._machines.definition(domain))
        return [Leftover(TRACKER, name, machine_id) for name in sorted(names - set(kept))]
