"""What killed processes left on a Xen host, and its removal; also the scratch directories while they are in use.

A scratch directory says in a file ``label`` which machine it belongs to. Whether its owner is alive is told by the
machine's locks (:mod:`twinhull.platforms.xen.place`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from twinhull.model.errors import NotFound
from twinhull.model.machine import MachineId
from twinhull.platforms.contract import Leftover
from twinhull.platforms.hosts import check
from twinhull.platforms.xen.machines import Machines
from twinhull.platforms.xen.monitor import Monitors, drop_bitmaps, end_all, our_things, tracker_names
from twinhull.platforms.xen.place import Place
from twinhull.platforms.xen.qmp import QemuGone

IN_QEMU = "open capture"
SCRATCH = "scratch directory"
TRACKER = "tracker"

_MAKE = """
set -e
mkdir -p -m 0711 -- "$(dirname -- "$1")"
rm -rf -- "$1"
mkdir -m 0700 -- "$1"
printf '%s\\n' "$2" > "$1/label"
"""
_LIST = 'cd "$1" 2>/dev/null || exit 0; for d in *; do [ -f "$d/label" ] && echo "$d $(cat "$d/label")"; done; exit 0'
_REMOVE = """
for pid_file in "$1"/*.pid; do
  [ -s "$pid_file" ] || continue
  pid=$(cat "$pid_file")
  # Only the server that this very file speaks of: its command line names it.
  if tr '\\0' '\\n' < "/proc/$pid/cmdline" 2>/dev/null | grep -qF -- "$pid_file"; then kill "$pid"; fi
done
rm -rf -- "$1"
"""


class Scratch:
    """The scratch directories of one host."""

    def __init__(self, place: Place) -> None:
        self.directory = f"{place.directory}/scratch"
        self._host = place.host

    @contextmanager
    def opened(self, machine_id: MachineId, label: str) -> Iterator[str]:
        """Make a directory and take it away at the end."""
        # Short, because a unix socket's path has 107 bytes at most.
        name = f"{machine_id[:8]}-{hashlib.sha256(label.encode()).hexdigest()[:8]}"
        path = f"{self.directory}/{name}"
        check(self._host, ["sh", "-c", _MAKE, "twinhull-make", path, machine_id])
        try:
            yield path
        finally:
            self.remove(name)

    def names(self) -> Sequence[tuple[str, MachineId]]:
        """The directories that are there, with their machines."""
        lines = check(self._host, ["sh", "-c", _LIST, "twinhull-list", self.directory]).decode().splitlines()
        return [(name, MachineId(machine)) for name, _, machine in (line.partition(" ") for line in lines)]

    def remove(self, name: str) -> None:
        """Remove one, and end the servers that were left in it; safe to repeat."""
        check(self._host, ["sh", "-c", _REMOVE, "twinhull-remove", f"{self.directory}/{name}"])


class Leftovers:
    """Finding and removing what belongs to nobody alive."""

    def __init__(self, place: Place, machines: Machines, monitors: Monitors) -> None:
        self._place = place
        self._machines = machines
        self._monitors = monitors
        self._scratch = Scratch(place)

    def find(self, machine_id: MachineId | None, kept_trackers: Sequence[str]) -> Sequence[Leftover]:
        """All that carries our label and belongs to nobody alive; of one machine, where one is named."""
        found = []
        asked = [machine_id] if machine_id else [status.spec.machine_id for status in self._machines.machines()]
        for machine in asked:
            if not self._is_busy(machine):
                found += self._of_machine(machine, kept_trackers if machine_id else None)
        for name, machine in self._scratch.names():
            if machine_id in (None, machine) and not self._is_busy(machine):
                found.append(Leftover(SCRATCH, name, machine))
        return found

    def clean(self, leftover: Leftover) -> None:
        """Remove one; safe to repeat."""
        if leftover.kind == SCRATCH:
            self._scratch.remove(leftover.name)
        elif leftover.machine_id is not None:
            try:
                self._clean_machine(leftover, leftover.machine_id)
            except NotFound:
                return  # it went with its machine

    def clean_qemu(self, machine_id: MachineId) -> None:
        """End what a killed capture left open in a running machine's QEMU; the caller holds the machine's lock."""
        if not self._machines.power(machine_id).is_off:
            with self._monitors.talking(machine_id) as qmp:
                end_all(qmp)

    def drop_trackers(self, machine_id: MachineId, names: set[str]) -> None:
        """Drop trackers, whatever the machine's state; safe to repeat."""
        if not names:
            return
        if not self._machines.power(machine_id).is_off:
            with self._monitors.talking(machine_id) as qmp:
                drop_bitmaps(qmp, names)
            return
        for image in self._machines.look(machine_id).definition.disks:
            for name in sorted(names):
                self._machines.images.drop_tracker(image, name)

    def settle_trackers(self, machine_id: MachineId, name: str, *, is_kept: bool) -> None:
        """A capture has ended: of its tracker and the older ones, what shall stay stays."""
        if self._machines.power(machine_id).is_off:
            known = self.trackers(machine_id)
            self.drop_trackers(machine_id, known - {name} if is_kept else known & {name})
            return
        with self._monitors.talking(machine_id) as qmp:
            known = tracker_names(qmp)
            drop_bitmaps(qmp, known - {name} if is_kept else known & {name})

    def trackers(self, machine_id: MachineId) -> set[str]:
        """Every tracker of ours on a machine."""
        if not self._machines.power(machine_id).is_off:
            with self._monitors.talking(machine_id) as qmp:
                return tracker_names(qmp)
        images = self._machines.look(machine_id).definition.disks
        return {name for image in images for name in self._machines.images.trackers(image)}

    def _clean_machine(self, leftover: Leftover, machine_id: MachineId) -> None:
        if leftover.kind == IN_QEMU:
            with self._place.holding(self._place.capture_lock(machine_id)):
                self.clean_qemu(machine_id)
        elif leftover.kind == TRACKER:
            self.drop_trackers(machine_id, {leftover.name})

    def _of_machine(self, machine_id: MachineId, kept: Sequence[str] | None) -> list[Leftover]:
        found = []
        try:
            if not self._machines.power(machine_id).is_off and self._monitors.has_one(machine_id):
                with self._monitors.talking(machine_id) as qmp:
                    found += [Leftover(IN_QEMU, name, machine_id) for name in our_things(qmp)]
            if kept is not None:
                names = self.trackers(machine_id) - set(kept)
                found += [Leftover(TRACKER, name, machine_id) for name in sorted(names)]
        except (NotFound, QemuGone):
            return found  # it went with its machine, or with its QEMU
        return found

    def _is_busy(self, machine_id: MachineId) -> bool:
        locks = (self._place.capture_lock(machine_id), self._place.disks_lock(machine_id))
        return any(self._place.is_held(lock) for lock in locks)
