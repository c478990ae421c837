"""The powered-off twin on a Xen host: making it, following its machine, removing it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import libvirt

from twinhull.model.errors import NotFound
from twinhull.model.machine import BootMode, DiskKey, MachineId, MachineSpec
from twinhull.platforms.contract import ReplicaChanges, ReplicaRequest
from twinhull.platforms.libvirt.connection import told
from twinhull.platforms.libvirt.finding import find, forget_saved_memory, require_off, stored_xml
from twinhull.platforms.libvirt.place import Place
from twinhull.platforms.libvirt.replicas import create_disks, define, follow_disks, forget
from twinhull.platforms.libvirt.writing import Written
from twinhull.platforms.standings import StandingFiles
from twinhull.platforms.xen.definition import followed_definition, new_definition, target_of
from twinhull.platforms.xen.machines import look
from twinhull.platforms.xen.sidecar import Sidecars
from twinhull.platforms.xen.survey import XenMachine

_OURS = ""
"""The owner of images: dom0's QEMU runs as root, as we do."""


class XenReplicas:
    """Replicas on one host. ``boot_mode`` is how a machine boots here when nobody says how."""

    def __init__(self, place: Place, standings: StandingFiles, sidecars: Sidecars, boot_mode: BootMode) -> None:
        self._place = place
        self._standings = standings
        self._sidecars = sidecars
        self._boot_mode = boot_mode

    def prepare(self, request: ReplicaRequest) -> ReplicaChanges:
        """Create the replica, or make it follow the spec; raises StillRunning, SiteFull, NotSupportedHere."""
        try:
            domain = find(self._place, request.spec.machine_id)
        except NotFound:
            return self._create(request)
        require_off(self._place, domain)
        machine = look(self._place, request.spec.machine_id)
        awoken = forget_saved_memory(self._place, domain)
        if machine.made:
            changes = self._follow(machine, machine.made, request)
        else:
            changes = self._follow_foreign(machine, request.spec)
        return replace(changes, reasons=(*awoken, *changes.reasons))

    def _create(self, request: ReplicaRequest) -> ReplicaChanges:
        spec = replace(request.spec, boot_mode=request.boot_mode or self._boot_mode)
        # What cannot boot here is refused before anything is made.
        self._written(spec, {disk.key: "" for disk in spec.disks}, request)
        paths = create_disks(self._place, spec.machine_id, spec.disks, _OURS)
        written = self._written(spec, paths, request)
        self._sidecars.write(spec)
        define(self._place, written.xml, spec.name)
        return ReplicaChanges(is_new=True, new_disks=tuple(paths), reasons=tuple(written.reasons))

    def _written(self, spec: MachineSpec, paths: Mapping[DiskKey, str], request: ReplicaRequest) -> Written:
        serial_path = f"{self._place.replica(spec.machine_id)}/serial.log"
        return new_definition(spec, paths, request.networks, serial_path=serial_path)

    def _follow(self, machine: XenMachine, made: MachineSpec, request: ReplicaRequest) -> ReplicaChanges:
        """A machine that we made: its definition is made anew from the spec."""
        spec = replace(request.spec, boot_mode=request.boot_mode or machine.definition.boot_mode)
        changes = follow_disks(self._place, machine.definition, machine.infos, spec, _OURS)
        paths = {disk.key: self._place.image(spec.machine_id, disk.key) for disk in spec.disks}
        written = self._written(spec, paths, request)
        if spec != made:
            self._sidecars.write(spec)
        define(self._place, written.xml, spec.name)
        return replace(changes, reasons=(*changes.reasons, *written.reasons))

    def _follow_foreign(self, machine: XenMachine, spec: MachineSpec) -> ReplicaChanges:
        """A machine that was here before us: what the spec does not speak of stays as it is."""
        xml = stored_xml(self._place, find(self._place, spec.machine_id))
        changes = follow_disks(self._place, machine.definition, machine.infos, spec, _OURS)
        targets = {image.key: image.target for image in machine.definition.disks}
        free = [target_of(index, machine.definition.boot_mode) for index in range(26)]
        free = [name for name in free if name not in targets.values()]
        new_disks = {
            targets.get(key) or (key if key in free else free.pop(0)): self._place.image(spec.machine_id, key)
            for key in changes.new_disks
        }
        removed = {targets[key] for key in changes.removed_disks}
        written = followed_definition(xml, spec, new_disks=new_disks, removed_targets=removed)
        define(self._place, written.xml, spec.name)
        return changes

    def remove(self, machine_id: MachineId) -> None:
        """Remove a replica that we made, its disks and its standing; safe to repeat. Raises StillRunning."""
        try:
            domain = find(self._place, machine_id)
        except NotFound:
            self._forget(machine_id)
            return
        if look(self._place, machine_id).made is None:
            return
        require_off(self._place, domain)
        with told(self._place.site, f"removing machine {machine_id}"):
            domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE)
        self._forget(machine_id)

    def _forget(self, machine_id: MachineId) -> None:
        forget(self._place, self._standings, machine_id)
        self._sidecars.remove(machine_id)
