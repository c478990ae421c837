"""The power switch, and what can be seen of a running machine."""

from __future__ import annotations

from collections.abc import Iterator

import libvirt

from twinhull.model.errors import NotSupportedHere, SiteError, StaleEpoch
from twinhull.model.machine import MachineId
from twinhull.platforms.hosts import check
from twinhull.platforms.libvirt_connection import told
from twinhull.platforms.qemu.inventory import Machines
from twinhull.platforms.qemu.place import Place
from twinhull.platforms.standings import check_may_start

POLL_SECONDS = 0.1
LARGEST_SCREENSHOT_BYTES = 64 * 2**20


class Switch:
    """Switching a site's machines on and off."""

    def __init__(self, place: Place, machines: Machines) -> None:
        self._place = place
        self._machines = machines

    def start(self, machine_id: MachineId, epoch: int) -> None:
        """Switch on, if this site's standing lets this epoch start; the hook at libvirt's switch checks once more."""
        domain = self._machines.domain(machine_id)
        standing = self._machines.standings.read(machine_id)
        if standing:
            check_may_start(standing, epoch, self._place.site)
        if not self._machines.power_of(domain).is_off:
            return
        try:
            domain.create()
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_HOOK_SCRIPT_FAILED:
                raise StaleEpoch(
                    f"The guard on site '{self._place.site}' did not let machine {machine_id} start: {error}",
                    hint="twinhull status tells which side holds the machine's epoch.",
                ) from error
            with told(self._place.site, f"starting machine {machine_id}"):
                raise

    def stop(self, machine_id: MachineId, grace_seconds: float) -> bool:
        """Ask the guest to shut down, then switch off; True if the guest did it by itself."""
        domain = self._machines.domain(machine_id)
        self._ask_to_shut_down(domain)
        if self.wait_off(domain, grace_seconds):
            return True
        self.kill(machine_id)
        return False

    def _ask_to_shut_down(self, domain: libvirt.virDomain) -> None:
        """By the agent and by the power button: either may be missing or deaf."""
        flags = [libvirt.VIR_DOMAIN_SHUTDOWN_GUEST_AGENT, libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN]
        for flag in flags:
            try:
                domain.shutdownFlags(flag)
            except libvirt.libvirtError:
                continue
            return

    def wait_off(self, domain: libvirt.virDomain, seconds: float) -> bool:
        """Wait until the machine is off; False where the time was not enough."""
        deadline = self._place.clock.monotonic() + seconds
        while not self._machines.power_of(domain).is_off:
            if self._place.clock.monotonic() >= deadline:
                return False
            self._place.clock.sleep(POLL_SECONDS)
        return True

    def kill(self, machine_id: MachineId) -> None:
        """Switch off at once; safe to repeat."""
        domain = self._machines.domain(machine_id)
        try:
            domain.destroy()
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_OPERATION_INVALID and self._machines.power_of(domain).is_off:
                return
            with told(self._place.site, f"switching off machine {machine_id}"):
                raise

    def set_autostart(self, machine_id: MachineId, *, is_on: bool) -> bool:
        """Whether the host starts the machine when it boots; returns how it was before."""
        domain = self._machines.domain(machine_id)
        with told(self._place.site, f"setting the autostart of machine {machine_id}"):
            before = bool(domain.autostart())
            if before != is_on:
                domain.setAutostart(int(is_on))
        return before

    def serial_log(self, machine_id: MachineId, last_bytes: int) -> str:
        """The end of what the guest wrote to its serial console; raises NotSupportedHere."""
        path = self._machines.definition(self._machines.domain(machine_id)).serial_path
        if not path:
            raise NotSupportedHere(
                f"Machine {machine_id} writes no serial log on site '{self._place.site}'.",
                hint="Give it <serial type='file'> or a <log file='…'/> in its serial device.",
            )
        return check(self._place.host, ["tail", "-c", str(last_bytes), "--", path]).decode(errors="replace")

    def screenshot(self, machine_id: MachineId) -> bytes:
        """The console as PNG; raises NotSupportedHere."""
        domain = self._machines.domain(machine_id)
        if not self._machines.definition(domain).has_screen:
            raise NotSupportedHere(f"Machine {machine_id} has no screen on site '{self._place.site}'.")
        connection = self._place.connection.get()
        with told(self._place.site, f"taking a screenshot of machine {machine_id}"):
            stream = connection.newStream(0)
            kind = domain.screenshot(stream, 0, 0)
            picture = b"".join(_received(stream))
            stream.finish()
        if kind != "image/png":
            raise NotSupportedHere(
                f"Site '{self._place.site}' gives screenshots as {kind} only: its QEMU is older than 7.1."
            )
        return picture


def _received(stream: libvirt.virStream) -> Iterator[bytes]:
    total = 0
    while piece := stream.recv(256 * 1024):
        total += len(piece)
        if total > LARGEST_SCREENSHOT_BYTES:
            raise SiteError("A screenshot was larger than any screen; it was given up.")
        yield piece
