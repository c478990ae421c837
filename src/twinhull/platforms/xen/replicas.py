"""The powered-off twin on a Xen host: making it, following its machine, removing it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import libvirt

from twinhull.model.errors import NotFound, SiteUnreachable, TwinhullError
from twinhull.model.lacks import Lack
from twinhull.model.machine import BootMode, MachineId, MachineSpec
from twinhull.platforms.contract import ReplicaChanges, ReplicaRequest
from twinhull.platforms.guard.standings import StandingFiles
from twinhull.platforms.libvirt.connection import told
from twinhull.platforms.libvirt.finding import find, forget_saved_memory, require_off, stored_xml
from twinhull.platforms.libvirt.place import Place
from twinhull.platforms.libvirt.replicas import create_disks, define, follow_name, following_disks, forget, making
from twinhull.platforms.xen.definition import check_can_boot, followed_definition, new_definition, target_of
from twinhull.platforms.xen.keeping import lacks
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
        said = [
            *forget_saved_memory(self._place, domain),
            *follow_name(self._place, domain, request.spec.name),
        ]
        machine = look(self._place, request.spec.machine_id)
        if machine.made:
            changes = self._follow(machine, machine.made, request)
        else:
            changes = self._follow_foreign(machine, request.spec)
        return replace(changes, reasons=(*said, *changes.reasons))

    def lacks(self, request: ReplicaRequest) -> Sequence[Lack]:
        """What the replica lacks of its machine; nothing where its owner's own definition is here."""
        try:
            machine = look(self._place, request.spec.machine_id)
        except NotFound:
            return self._lacks(self._new_spec(request), request)
        return self._lacks(_followed_spec(machine, request), request) if machine.made else ()

    def _lacks(self, spec: MachineSpec, request: ReplicaRequest) -> Sequence[Lack]:
        check_can_boot(spec, spec.boot_mode)
        return lacks(spec, request.networks)

    def _new_spec(self, request: ReplicaRequest) -> MachineSpec:
        return replace(request.spec, boot_mode=request.boot_mode or self._boot_mode)

    def _create(self, request: ReplicaRequest) -> ReplicaChanges:
        spec = self._new_spec(request)
        written = self._written(spec, request)  # what cannot boot here is refused before anything is made
        with making(self._place, spec.machine_id):
            paths = create_disks(self._place, spec.machine_id, spec.disks, _OURS)
            self._sidecars.write(spec)
            self._define_new(spec, written)
        return ReplicaChanges(is_new=True, new_disks=tuple(paths), lacks=tuple(self._lacks(spec, request)))

    def _define_new(self, spec: MachineSpec, xml: str) -> None:
        """Define it; what we keep of it goes again where it was refused."""
        try:
            define(self._place, xml, spec.name)
        except SiteUnreachable:
            raise
        except TwinhullError:
            self._sidecars.remove(spec.machine_id)
            raise

    def _written(self, spec: MachineSpec, request: ReplicaRequest) -> str:
        paths = {disk.key: self._place.image(spec.machine_id, disk.key) for disk in spec.disks}
        return new_definition(spec, paths, request.networks)

    def _follow(self, machine: XenMachine, made: MachineSpec, request: ReplicaRequest) -> ReplicaChanges:
        """A machine that we made: its definition is made anew from the spec."""
        spec = _followed_spec(machine, request)
        written = self._written(replace(spec, name=machine.definition.name), request)
        with following_disks(self._place, machine.definition, machine.infos, spec, _OURS, is_ours=True) as changes:
            if spec != made:
                self._sidecars.write(spec)
            define(self._place, written, spec.name)
        return replace(changes, lacks=tuple(self._lacks(spec, request)))

    def _follow_foreign(self, machine: XenMachine, spec: MachineSpec) -> ReplicaChanges:
        """A machine that was here before us: what the spec does not speak of stays as it is."""
        xml = stored_xml(self._place, find(self._place, spec.machine_id))
        targets = {image.key: image.target for image in machine.definition.disks}
        free = [target_of(index, machine.definition.boot_mode) for index in range(26)]
        free = [name for name in free if name not in targets.values()]
        with following_disks(self._place, machine.definition, machine.infos, spec, _OURS, is_ours=False) as changes:
            new_disks = {
                targets.get(key) or (key if key in free else free.pop(0)): self._place.image(spec.machine_id, key)
                for key in changes.new_disks
            }
            removed = {targets[key] for key in changes.removed_disks}
            written = followed_definition(xml, spec, new_disks=new_disks, removed_targets=removed)
            define(self._place, written, spec.name)
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


def _followed_spec(machine: XenMachine, request: ReplicaRequest) -> MachineSpec:
    """The spec of a machine that we made: it boots as it did, unless it is said otherwise."""
    return replace(request.spec, boot_mode=request.boot_mode or machine.definition.boot_mode)
