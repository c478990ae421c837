"""What killed processes left on a site, and its removal: backup jobs, frozen guests, trackers, scratch directories."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from twinhull.model.errors import MachineBusy, NotFound, SiteError
from twinhull.model.machine import MachineId
from twinhull.platforms.contract import TRACKER, Leftover, OnTrouble, raising
from twinhull.platforms.libvirt.connection import told
from twinhull.platforms.libvirt.finding import definition_of, find, power
from twinhull.platforms.libvirt.holding import SCRATCH, Traces, remove_scratch, traces
from twinhull.platforms.libvirt.place import Place
from twinhull.platforms.libvirt.tracking import name_of
from twinhull.platforms.qemu.freeze import thaw
from twinhull.platforms.qemu.keeper import forget_freeze, has_started_since_freeze, keeping
from twinhull.platforms.qemu.room import is_held_up, let_go_on
from twinhull.platforms.qemu.running import backup_socket, end_backup
from twinhull.platforms.qemu.trackers import Trackers

if TYPE_CHECKING:
    import libvirt

BACKUP_JOB = "backup job"
HOLDING_UP = "backup job for which its machine stood still"
FROZEN = "frozen guest"
ONCE_FROZEN = "note of a freeze before the machine's last start"


class Leftovers:
    """Finding and removing what belongs to nobody alive."""

    def __init__(self, place: Place, trackers: Trackers) -> None:
        self._place = place
        self._trackers = trackers

    def find(
        self, machine_id: MachineId | None, kept_trackers: Sequence[str], on_trouble: OnTrouble = raising
    ) -> Sequence[Leftover]:
        """All that carries our label and belongs to nobody alive; of one machine, where one is named."""
        seen = traces(self._place, machine_id)
        asked = sorted(seen.idle) if machine_id is None else [machine_id]
        found = []
        for machine in asked:
            if machine not in seen.busy:
                try:
                    found += self._of_machine(machine, seen, kept_trackers if machine_id else None)
                except SiteError as error:
                    on_trouble(machine, error)
        return [*found, *seen.scratch]

    def _of_machine(self, machine_id: MachineId, seen: Traces, kept: Sequence[str] | None) -> list[Leftover]:
        jobs = self._jobs(machine_id, seen)
        return jobs if kept is None else [*jobs, *self._trackers_of(machine_id, kept)]

    def jobs(self, machine_id: MachineId) -> list[Leftover]:
        """A machine's stale backup job and forgotten freeze; for whoever holds its lock."""
        return self._jobs(machine_id, traces(self._place, machine_id))

    def _jobs(self, machine_id: MachineId, seen: Traces) -> list[Leftover]:
        try:
            domain = find(self._place, machine_id)
        except NotFound:
            return []
        found = []
        if (backup_socket(domain, self._place.site) or "").startswith(self._place.scratch):
            kind = HOLDING_UP if is_held_up(self._place, domain) else BACKUP_JOB
            found.append(Leftover(kind, machine_id, machine_id))
        if machine_id in seen.frozen:
            kind = FROZEN if self._may_be_frozen(domain, machine_id) else ONCE_FROZEN
            found.append(Leftover(kind, machine_id, machine_id))
        return found

    def _may_be_frozen(self, domain: libvirt.virDomain, machine_id: MachineId) -> bool:
        """Whether it is the guest that a noted freeze froze: one that was started since cannot be asked to thaw."""
        if power(self._place, domain).is_off:
            return False
        return not has_started_since_freeze(self._place, machine_id, domain.ID())

    def _trackers_of(self, machine_id: MachineId, kept: Sequence[str]) -> list[Leftover]:
        try:
            domain = find(self._place, machine_id)
        except NotFound:
            return []
        names = self._trackers.all_names(domain, definition_of(self._place, domain))
        return [Leftover(TRACKER, name, machine_id) for name in sorted(names - {name_of(each) for each in kept})]

    def clean(self, leftover: Leftover) -> None:
        """Remove one; safe to repeat. What a living capture has by now is none, and is left."""
        if leftover.kind == SCRATCH:
            remove_scratch(self._place, leftover.name)
        elif leftover.machine_id is not None:
            with suppress(NotFound, MachineBusy), keeping(self._place, leftover.machine_id):
                self.clean_held(leftover)

    def clean_held(self, leftover: Leftover) -> None:
        """Remove one of a machine whose lock the caller holds; raises NotFound when it went with its machine."""
        machine_id = leftover.machine_id
        if machine_id is not None and (leftover.kind == TRACKER or leftover in self.jobs(machine_id)):
            self._clean_machine(leftover, find(self._place, machine_id), machine_id)

    def _clean_machine(self, leftover: Leftover, domain: libvirt.virDomain, machine_id: MachineId) -> None:
        if leftover.kind in (BACKUP_JOB, HOLDING_UP):
            end_backup(domain, self._place.site, self._place.clock)
            let_go_on(self._place, domain)
        elif leftover.kind in (FROZEN, ONCE_FROZEN):
            if self._may_be_frozen(domain, machine_id):
                with told(self._place.site, f"thawing machine {machine_id}"):
                    thaw(domain)
            forget_freeze(self._place, machine_id)
        elif leftover.kind == TRACKER:
            definition = definition_of(self._place, domain)
            names = {leftover.name} & self._trackers.all_names(domain, definition)
            self._trackers.drop(domain, definition, names)
