"""The power switch of a site."""

from __future__ import annotations

import json
from collections.abc import Sequence
from threading import Thread

import libvirt
import libvirt_qemu

from twinhull.model.errors import StaleEpoch
from twinhull.model.machine import MachineId
from twinhull.platforms.guard.standings import StandingFiles, check_may_start
from twinhull.platforms.libvirt.connection import told
from twinhull.platforms.libvirt.finding import find, power
from twinhull.platforms.libvirt.place import Place

POLL_SECONDS = 0.2

AGENT_PING_SECONDS = 2


def start(place: Place, standings: StandingFiles, machine_id: MachineId, epoch: int) -> None:
    """Switch on, if this site's standing lets this epoch start; the hook at libvirt's switch checks once more.

    A machine that was put to sleep (managed save) resumes. Whoever gives it other disks, or takes it over at a point,
    removes its saved memory then and there (:func:`~twinhull.platforms.libvirt.finding.forget_saved_memory`); whatever
    is still saved at a start is of these very disks, as on a source that is given back, and to boot it would lose work
    for nothing.
    """
    domain = find(place, machine_id)
    standing = standings.read(machine_id)
    if standing:
        check_may_start(standing, epoch, place.site)
    if not power(place, domain).is_off:
        return
    with told(place.site, f"starting machine {machine_id}"):
        try:
            domain.create()
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_HOOK_SCRIPT_FAILED:
                raise
            raise StaleEpoch(
                f"The guard on site '{place.site}' did not let machine {machine_id} start: {error}",
                hint="'twinhull status' shows which side holds the machine's epoch.",
            ) from error


def stop(place: Place, machine_id: MachineId, grace_seconds: float, requests: Sequence[int]) -> bool:
    """Ask the guest to shut down, then switch off; True if the guest did it by itself, or was off.

    ``requests`` are the flags of libvirt's shutdown that are tried, in this order, until one is taken. Without a grace
    nothing is asked.
    """
    domain = find(place, machine_id)
    if power(place, domain).is_off:
        return True
    if grace_seconds > 0:
        # Beside us: to a QEMU that hangs, as one does whose storage is dead, libvirt's request waits without an end,
        # until the machine is switched off.
        Thread(target=_ask_to_shut_down, args=(domain, requests), daemon=True).start()
        if _wait_off(place, domain, grace_seconds):
            return True
    kill(place, machine_id)
    return False


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
    while not power(place, domain).is_off:
        if place.clock.monotonic() >= deadline:
            return False
        place.clock.sleep(POLL_SECONDS)
    return True


def kill(place: Place, machine_id: MachineId) -> None:
    """Switch off at once; safe to repeat."""
    domain = find(place, machine_id)
    with told(place.site, f"switching off machine {machine_id}"):
        try:
            domain.destroy()
        except libvirt.libvirtError:
            if not power(place, domain).is_off:
                raise


def set_autostart(place: Place, machine_id: MachineId, *, is_on: bool) -> bool:
    """Whether the host starts the machine when it boots; returns how it was before."""
    domain = find(place, machine_id)
    with told(place.site, f"setting the autostart of machine {machine_id}"):
        before = bool(domain.autostart())
        if before != is_on:
            domain.setAutostart(int(is_on))
    return before
