"""What can be seen of a running machine on Xen: the end of its console's log."""

from __future__ import annotations

from twinhull.model.errors import NotSupportedHere
from twinhull.model.machine import BootMode, MachineId
from twinhull.platforms.libvirt.finding import definition_of, find
from twinhull.platforms.libvirt.place import Place

_TAIL = '[ -r "$2" ] || exit 44; tail -c "$1" -- "$2"'
_NO_LOG = 44


class XenSerialLog:
    """The console logs of a Xen host."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def read(self, machine_id: MachineId, last_bytes: int) -> str:
        """The end of what the guest wrote to its console; raises NotSupportedHere."""
        place, definition = self._place, definition_of(self._place, find(self._place, machine_id))
        is_hvm = definition.boot_mode is BootMode.HVM
        path = definition.serial_path if is_hvm else f"/var/log/xen/console/guest-{definition.name}.log"
        if not path:
            raise NotSupportedHere(
                f"Machine '{definition.name}' writes no serial log on site '{place.site}'.",
                hint=f"Look at it there: virsh console {definition.name}",
            )
        done = place.host.run(["sh", "-c", _TAIL, "twinhull-tail", str(last_bytes), path])
        if done.exit_status == _NO_LOG:
            raise NotSupportedHere(
                f"There is no console log {path} on site '{place.site}'.",
                hint="Has the machine run? For pv machines start xenconsoled there with --log=guest.",
            )
        return done.stdout.decode(errors="replace")
