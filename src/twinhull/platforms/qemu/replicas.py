"""The powered-off twin: making it, following its machine, removing it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import libvirt

from twinhull.model.errors import MachineBusy, NotFound, NotSupportedHere, SiteUnreachable, TwinhullError
from twinhull.model.machine import BootMode, MachineId
from twinhull.platforms.contract import ReplicaChanges, ReplicaRequest
from twinhull.platforms.libvirt.connection import qemu_identity, told
from twinhull.platforms.libvirt.domains import read_definition
from twinhull.platforms.libvirt.finding import (
    definition_of,
    find,
    forget_saved_memory,
    require_off,
    stored_xml,
)
from twinhull.platforms.libvirt.images import look_into
from twinhull.platforms.libvirt.place import Place
from twinhull.platforms.libvirt.replicas import create_disks, define, follow_disks, forget, remove_files
from twinhull.platforms.qemu.definition import followed_definition, new_definition
from twinhull.platforms.standings import StandingFiles

_UNDEFINE = (
    libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
    | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
)


class QemuReplicas:
    """Replicas on one site. ``domain_type`` tells what a new machine runs on: ``kvm`` or ``qemu`` (emulated)."""

    def __init__(self, place: Place, standings: StandingFiles, domain_type: Callable[[], tuple[str, str]]) -> None:
        self._place = place
        self._standings = standings
        self._domain_type = domain_type

    def prepare(self, request: ReplicaRequest) -> ReplicaChanges:
        """Create the replica, or make it follow the spec; raises StillRunning, SiteFull, NotSupportedHere."""
        if request.boot_mode not in (None, BootMode.HVM):
            raise NotSupportedHere(f"A QEMU site boots machines as hvm only, not as {request.boot_mode}.")
        try:
            domain = find(self._place, request.spec.machine_id)
        except NotFound:
            return self._create(request)
        return self._follow(domain, request)

    def _create(self, request: ReplicaRequest) -> ReplicaChanges:
        """Make the images, then the machine; what cannot be defined leaves no image behind.

        Where it is not known who made what lies there, it is left: the next try makes it anew.
        """
        spec = request.spec
        domain_type, reason = self._domain_type()
        serial_path = f"{self._place.replica(spec.machine_id)}/serial.log"
        try:
            paths = create_disks(self._place, spec.machine_id, spec.disks, self._owner())
            written = new_definition(spec, paths, request.networks, domain_type=domain_type, serial_path=serial_path)
            define(self._place, written.xml, spec.name)
        except (MachineBusy, SiteUnreachable):
            raise
        except TwinhullError:
            remove_files(self._place, spec.machine_id)
            raise
        reasons = (*written.reasons, *([reason] if reason else []))
        return ReplicaChanges(is_new=True, new_disks=tuple(paths), reasons=reasons)

    def _owner(self) -> str:
        return qemu_identity(self._place.connection.get())

    def _follow(self, domain: libvirt.virDomain, request: ReplicaRequest) -> ReplicaChanges:
        spec = request.spec
        require_off(self._place, domain)
        awoken = forget_saved_memory(self._place, domain)
        xml = stored_xml(self._place, domain)
        definition = read_definition(xml)
        infos = look_into(self._place.host, definition.disks)
        changes = follow_disks(self._place, definition, infos, spec, self._owner())
        paths = {key: self._place.image(spec.machine_id, key) for key in changes.new_disks}
        removed = set(changes.removed_disks)
        written = followed_definition(xml, spec, request.networks, new_disks=paths, removed_disks=removed)
        define(self._place, written.xml, spec.name)
        return replace(changes, reasons=(*awoken, *changes.reasons, *written.reasons))

    def remove(self, machine_id: MachineId) -> None:
        """Remove a replica that we made, its disks and its standing; safe to repeat. Raises StillRunning."""
        try:
            domain = find(self._place, machine_id)
        except NotFound:
            forget(self._place, self._standings, machine_id)
            return
        if not definition_of(self._place, domain).is_ours:
            return
        require_off(self._place, domain)
        with told(self._place.site, f"removing machine {machine_id}"):
            domain.undefineFlags(_UNDEFINE)
        forget(self._place, self._standings, machine_id)
