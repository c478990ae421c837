"""The power switch of a Xen host, and what can be seen of a running machine."""

from __future__ import annotations

import libvirt

from twinhull.model.errors import NotSupportedHere, StaleEpoch
from twinhull.model.machine import BootMode, MachineId
from twinhull.platforms.libvirt_connection import told
from twinhull.platforms.standings import check_may_start
from twinhull.platforms.xen.machines import Machines
from twinhull.platforms.xen.place import Place

POLL_SECONDS = 0.2

_TAIL = '[ -r "$2" ] || exit 44; tail -c "$1" -- "$2"'
_NO_LOG = 44


class Switch:
    """Switching a host's machines on and off."""

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
        if self._machines.power_of(domain).is_off:
            return True
        self._ask_to_shut_down(domain)
        if self._wait_off(domain, grace_seconds):
            return True
        self.kill(machine_id)
        return False

    def _ask_to_shut_down(self, domain: libvirt.virDomain) -> None:
        """By Xen's own request, then by the power button: a guest without Xen's drivers hears the second only."""
        for flag in (libvirt.VIR_DOMAIN_SHUTDOWN_PARAVIRT, libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN):
            try:
                domain.shutdownFlags(flag)
            except libvirt.libvirtError:
                continue
            return

    def _wait_off(self, domain: libvirt.virDomain, seconds: float) -> bool:
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
        except libvirt.libvirtError:
            if self._machines.power_of(domain).is_off:
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
        """The end of what the guest wrote to its console; raises NotSupportedHere."""
        definition = self._machines.look(machine_id).definition
        is_hvm = definition.boot_mode is BootMode.HVM
        path = definition.serial_path if is_hvm else f"/var/log/xen/console/guest-{definition.name}.log"
        if not path:
            raise NotSupportedHere(
                f"Machine '{definition.name}' writes no serial log on site '{self._place.site}'.",
                hint="Give it <serial type='file'>.",
            )
        done = self._place.host.run(["sh", "-c", _TAIL, "twinhull-tail", str(last_bytes), path])
        if done.exit_status == _NO_LOG:
            raise NotSupportedHere(
                f"There is no console log {path} on site '{self._place.site}'.",
                hint="Has the machine run? For pv machines start xenconsoled there with --log=guest.",
            )
        return done.stdout.decode(errors="replace")

    def screenshot(self, machine_id: MachineId) -> bytes:
        """Raises NotSupportedHere always: libvirt's Xen driver takes none."""
        name = self._machines.look(machine_id).definition.name
        raise NotSupportedHere(f"Machine '{name}' cannot be pictured: libvirt's Xen driver takes no screenshots.")
