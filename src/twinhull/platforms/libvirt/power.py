"""The power switch of a site."""

from __future__ import annotations

import json
from collections.abc import Sequence
from threading import Thread

import libvirt
import libvirt_qemu

from twinhull.model.errors import StaleEpoch
from twinhull.model.machine import DiskSpec, MachineId, PowerState
from twinhull.platforms.guard.standings import StandingFiles, check_may_start
from twinhull.platforms.libvirt import finding
from twinhull.platforms.libvirt.connection import told
from twinhull.platforms.libvirt.finding import find
from twinhull.platforms.libvirt.obstacles import obstacles
from twinhull.platforms.libvirt.place import Place
from twinhull.platforms.libvirt.when_off import obstacles_when_off

POLL_SECONDS = 0.2

AGENT_PING_SECONDS = 2


class LibvirtPower:
    """Switches one site's machines.

    ``requests`` are the flags of libvirt's shutdown that a guest is asked by, in this order, until one is taken.
    """

    def __init__(self, place: Place, standings: StandingFiles, requests: Sequence[int]) -> None:
        self._place = place
        self._standings = standings
        self._requests = requests

    def state(self, machine_id: MachineId) -> PowerState:
        """Whether it runs; raises NotFound."""
        return finding.power(self._place, find(self._place, machine_id))

    def start(self, machine_id: MachineId, epoch: int) -> None:
        """Switch on, if this site's standing lets this epoch start; the hook at libvirt's switch checks once more.

        A machine that was put to sleep (managed save) resumes. Saved memory of other disks is removed when the machine
        gets those disks, or is taken over at a point (``finding.forget_saved_memory``); what is still saved at a start
        is of these very disks, as on a source that is given back, and to boot it would lose work for nothing.
        """
        domain = find(self._place, machine_id)
        standing = self._standings.read(machine_id)
        if standing:
            check_may_start(standing, epoch, self._place.site)
        if not finding.power(self._place, domain).is_off:
            return
        with told(self._place.site, f"starting machine {machine_id}"):
            try:
                domain.create()
            except libvirt.libvirtError as error:
                if error.get_error_code() != libvirt.VIR_ERR_HOOK_SCRIPT_FAILED:
                    raise
                raise StaleEpoch(
                    f"The guard on site '{self._place.site}' did not let machine {machine_id} start: {error}",
                    hint="'twinhull status' shows which side holds the machine's epoch.",
                ) from error

    def obstacles(self, machine_id: MachineId) -> Sequence[str]:
        """What would keep it from being switched on right now."""
        return obstacles(self._place, machine_id)

    def obstacles_when_off(
        self, machine_id: MachineId, disks: Sequence[DiskSpec] = (), *, is_capturing: bool = True
    ) -> Sequence[str]:
        """What would keep it from being worked on once it is off."""
        return obstacles_when_off(self._place, machine_id, disks, is_capturing=is_capturing)

    def stop(self, machine_id: MachineId, grace_seconds: float) -> bool:
        """Ask the guest to shut down, then switch off; True if the guest did it by itself, or was off.

        Without a grace nothing is asked.
        """
        domain = find(self._place, machine_id)
        if finding.power(self._place, domain).is_off:
            return True
        if grace_seconds > 0:
            # Beside us: to a QEMU that hangs, as one does whose storage is dead, libvirt's request waits without an
            # end, until the machine is switched off.
            Thread(target=_ask_to_shut_down, args=(domain, self._requests), daemon=True).start()
            if _wait_off(self._place, domain, grace_seconds):
                return True
        self.kill(machine_id)
        return False

    def kill(self, machine_id: MachineId) -> None:
        """Switch off at once; safe to repeat."""
        domain = find(self._place, machine_id)
        with told(self._place.site, f"switching off machine {machine_id}"):
            try:
                domain.destroy()
            except libvirt.libvirtError:
                if not finding.power(self._place, domain).is_off:
                    raise

    def set_autostart(self, machine_id: MachineId, *, is_on: bool) -> bool:
        """Whether the host starts the machine when it boots; returns how it was before."""
        domain = find(self._place, machine_id)
        with told(self._place.site, f"setting the autostart of machine {machine_id}"):
            before = bool(domain.autostart())
            if before != is_on:
                domain.setAutostart(int(is_on))
        return before


def _ask_to_shut_down(domain: libvirt.virDomain, requests: Sequence[int]) -> None:
    for flag in requests:
        try:
            if flag == libvirt.VIR_DOMAIN_SHUTDOWN_GUEST_AGENT:
                # To an agent that hangs, libvirt's own request waits for far longer than any grace.
                libvirt_qemu.qemuAgentCommand(domain, json.dumps({"execute": "guest-ping"}), AGENT_PING_SECONDS, 0)
            domain.shutdownFlags(flag)
        except libvirt.libvirtError:
            continue
        return


def _wait_off(place: Place, domain: libvirt.virDomain, seconds: float) -> bool:
    deadline = place.clock.monotonic() + seconds
    while not finding.power(place, domain).is_off:
        if place.clock.monotonic() >= deadline:
            return False
        place.clock.sleep(POLL_SECONDS)
    return True
