"""What killed processes left on a Xen host, and its removal: what is open in a QEMU, trackers, scratch directories."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress

from twinhull.model.errors import MachineBusy, NotFound, SiteError
from twinhull.model.machine import MachineId
from twinhull.platforms.contract import TRACKER, Leftover, OnTrouble, raising
from twinhull.platforms.libvirt.definition.domains import ImageFile
from twinhull.platforms.libvirt.finding import definition_of, find, power
from twinhull.platforms.libvirt.holding import SCRATCH, holding, remove_scratch, traces
from twinhull.platforms.libvirt.place import Place
from twinhull.platforms.libvirt.tracking import drop_other_trackers, drop_trackers, name_of, trackers_in
from twinhull.platforms.xen.monitor import Monitors, drop_bitmaps, end_all, our_things, tracker_names
from twinhull.platforms.xen.qmp import QemuGone

IN_QEMU = "open capture"


class Leftovers:
    """Finding and removing what belongs to nobody alive."""

    def __init__(self, place: Place, monitors: Monitors) -> None:
        self._place = place
        self._monitors = monitors

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
                    found += self._of_machine(machine, kept_trackers if machine_id else None)
                except SiteError as error:
                    on_trouble(machine, error)
        return [*found, *seen.scratch]

    def _of_machine(self, machine_id: MachineId, kept: Sequence[str] | None) -> list[Leftover]:
        names: set[str] = set()
        found = []
        try:
            if self._is_off(machine_id):
                names = set() if kept is None else trackers_in(self._place.host, self._images(machine_id))
            elif self._monitors.has_one(machine_id):
                with self._monitors.talking(machine_id) as qmp:
                    found = [Leftover(IN_QEMU, name, machine_id) for name in our_things(qmp)]
                    names = tracker_names(qmp)
        except (NotFound, QemuGone):
            return found  # it went with its machine, or with its QEMU
        stale = [] if kept is None else sorted(names - {name_of(each) for each in kept})
        return [*found, *(Leftover(TRACKER, name, machine_id) for name in stale)]

    def clean(self, leftover: Leftover) -> None:
        """Remove one; safe to repeat."""
        if leftover.kind == SCRATCH:
            remove_scratch(self._place, leftover.name)
        elif leftover.machine_id is not None:
            locks = [("-x", self._place.capture_lock(leftover.machine_id))]
            # Gone with its machine, or a living capture's by now: nothing is left over then.
            with suppress(NotFound, MachineBusy), holding(self._place, leftover.machine_id, leftover.kind, locks):
                self._clean_machine(leftover, leftover.machine_id)

    def _clean_machine(self, leftover: Leftover, machine_id: MachineId) -> None:
        if leftover.kind == TRACKER:
            self._drop_tracker(machine_id, leftover.name)
        elif leftover.kind == IN_QEMU and not self._is_off(machine_id):
            with self._monitors.talking(machine_id) as qmp:
                end_all(qmp)

    def settle_trackers(self, machine_id: MachineId, new: Collection[str], *, is_kept: bool) -> None:
        """A capture has ended: of its trackers and the older ones, what shall stay stays."""
        if not self._is_off(machine_id):
            with self._monitors.talking(machine_id) as qmp:
                known = tracker_names(qmp)
                drop_bitmaps(qmp, known - set(new) if is_kept else known & set(new))
        elif is_kept:
            drop_other_trackers(self._place.host, self._images(machine_id), new)
        else:
            drop_trackers(self._place.host, self._images(machine_id), new)

    def _drop_tracker(self, machine_id: MachineId, name: str) -> None:
        if not self._is_off(machine_id):
            with self._monitors.talking(machine_id) as qmp:
                drop_bitmaps(qmp, {name})
            return
        drop_trackers(self._place.host, self._images(machine_id), {name})

    def _images(self, machine_id: MachineId) -> Sequence[ImageFile]:
        return definition_of(self._place, find(self._place, machine_id)).disks

    def _is_off(self, machine_id: MachineId) -> bool:
        return power(self._place, find(self._place, machine_id)).is_off
