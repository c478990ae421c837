"""One QEMU site, all of it in one hand; and the platform that opens it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from urllib.parse import urlsplit

from twinhull.model.errors import UsageError
from twinhull.model.machine import DiskKey, MachineId, MachineStatus, PowerState, Standing
from twinhull.model.ports import Ports
from twinhull.platforms import guard
from twinhull.platforms.contract import (
    Capability,
    Capture,
    CaptureRequest,
    DiskDoor,
    Leftover,
    ReplicaChanges,
    ReplicaRequest,
    SiteSettings,
    Support,
)
from twinhull.platforms.hosts import open_host
from twinhull.platforms.libvirt_connection import LibvirtConnection, told
from twinhull.platforms.qemu.canary import is_guarded
from twinhull.platforms.qemu.captures import QemuCaptures
from twinhull.platforms.qemu.domains import read_definition
from twinhull.platforms.qemu.inventory import Machines
from twinhull.platforms.qemu.leftovers import Leftovers
from twinhull.platforms.qemu.place import Place
from twinhull.platforms.qemu.power import Switch
from twinhull.platforms.qemu.replicas import QemuReplicas
from twinhull.platforms.qemu.trackers import Trackers
from twinhull.platforms.standings import StandingFiles

DRIVER = "qemu"
"""libvirt's name of its QEMU driver, in URIs and hook directories."""

_NO_HOOKS = "an embedded libvirt asks no hooks: only Twinhull itself keeps a machine with a past epoch from starting"
_RESTART = "its libvirtd asks no hooks, because it found none when it started: restart it once (machines go on)"
_NEEDED_PROGRAMS = ("qemu-img", "qemu-nbd", "flock", "virsh")


class QemuSite:
    """A libvirt host that runs QEMU."""

    def __init__(self, settings: SiteSettings, ports: Ports) -> None:
        self.settings = settings
        self._host = open_host(settings.uri, ports)
        self._connection = LibvirtConnection(settings.name, settings.uri, self._host, ports.clock)
        self._place = Place(settings.name, self._connection, self._host, ports.clock, settings.directory)
        self._standings = StandingFiles(self._host, settings.directory)
        self._machines = Machines(self._place, self._standings)
        self._switch = Switch(self._place, self._machines)
        self._trackers = Trackers(settings.name, self._host)
        self._leftovers = Leftovers(self._place, self._machines, self._trackers)
        self._captures = QemuCaptures(self._place, self._machines, self._trackers, self._leftovers)
        self._replicas = QemuReplicas(self._place, self._machines, self._domain_type)
        self._randomness = ports.randomness

    def connect(self) -> None:
        """Connect, and put the guard at libvirt's power switch where there is one."""
        self._connection.get()
        if not self._connection.is_embedded:
            guard.install(self._host, self.settings.hooks_directory, DRIVER, self.settings.directory)

    def _guard_support(self) -> Support:
        """Whether libvirt itself refuses what may not start; tried, because a file in place proves nothing."""
        if self._connection.is_embedded:
            return Support(is_supported=False, reason=_NO_HOOKS)
        is_refused = is_guarded(self._place, self._standings, self._randomness.uuid())
        return Support(is_supported=is_refused, reason="" if is_refused else _RESTART)

    def close(self) -> None:
        """Close the connection; safe to repeat."""
        self._connection.close()
        self._host.close()

    def capabilities(self) -> Mapping[Capability, Support]:
        """What this site can do; every capability is named."""
        missing = self._missing_programs()
        tools = Support(
            is_supported=not missing, reason=f"missing on the host: {', '.join(missing)}" if missing else ""
        )
        yes = Support(is_supported=True)
        return {
            Capability.INVENTORY: yes,
            Capability.POWER: yes,
            Capability.CAPTURE_RUNNING: tools,
            Capability.CAPTURE_STOPPED: tools,
            Capability.CHANGE_TRACKING: Support(
                is_supported=True, reason="of qcow2 disks; others are compared in full, and so are all after a crash"
            ),
            Capability.REPLICA: tools,
            Capability.GUARD: self._guard_support(),
            Capability.FREEZE: Support(is_supported="virsh" not in missing, reason="where the guest runs an agent"),
            Capability.SERIAL_LOG: Support(
                is_supported=True, reason="of machines whose serial device writes to a file"
            ),
            Capability.SCREENSHOT: Support(is_supported=True, reason="of machines with a screen, from QEMU 7.1 on"),
            Capability.BOOT_BIOS: yes,
            Capability.BOOT_UEFI: self._uefi_support(),
            Capability.BOOT_PV: Support(is_supported=False, reason="QEMU boots full hardware only"),
        }

    def _missing_programs(self) -> list[str]:
        script = 'for p in "$@"; do command -v "$p" >/dev/null || echo "$p"; done'
        done = self._host.run(["sh", "-c", script, "missing", *_NEEDED_PROGRAMS])
        return done.stdout.decode().split()

    def _uefi_support(self) -> Support:
        with told(self.settings.name, "asking what it can do"):
            capabilities = self._connection.get().getDomainCapabilities(None, "x86_64", "q35", "qemu")
        has_uefi = "<value>efi</value>" in capabilities
        return Support(is_supported=has_uefi, reason="" if has_uefi else "no UEFI firmware (package ovmf) on the host")

    def _domain_type(self) -> tuple[str, str]:
        """What new machines run on, and the reason of a choice that may surprise.

        That ``/dev/kvm`` exists proves nothing (nested hosts): the site's option ``accelerator`` decides, or else what
        the machines that run here already use.
        """
        chosen = self.settings.options.get("accelerator", "")
        if chosen in ("kvm", "qemu", "tcg"):
            return ("kvm" if chosen == "kvm" else "qemu"), ""
        if chosen:
            raise UsageError(f"'{chosen}' is no accelerator of a QEMU site.", hint="Use accelerator=kvm or tcg.")
        with told(self.settings.name, "looking at its machines"):
            xmls = [domain.XMLDesc(0) for domain in self._connection.get().listAllDomains()]
        used = Counter(read_definition(xml).domain_type for xml in xmls)
        if used:
            return used.most_common(1)[0][0], ""
        return "qemu", (
            "No machine here shows whether KVM works: the replica is emulated, which is slow."
            " Set the site's option accelerator=kvm where it does."
        )

    # The contract's words, each handed to who knows.

    def machines(self) -> Sequence[MachineStatus]:
        """All machines of the site, by name."""
        return self._machines.machines()

    def machine(self, machine_id: MachineId) -> MachineStatus:
        """One machine, its agent asked."""
        return self._machines.machine(machine_id)

    def power(self, machine_id: MachineId) -> PowerState:
        """Whether it runs."""
        return self._machines.power(machine_id)

    def start(self, machine_id: MachineId, epoch: int) -> None:
        """Switch on, if the standing here lets this epoch start."""
        self._switch.start(machine_id, epoch)

    def stop(self, machine_id: MachineId, grace_seconds: float) -> bool:
        """Ask the guest to shut down, then switch off."""
        return self._switch.stop(machine_id, grace_seconds)

    def kill(self, machine_id: MachineId) -> None:
        """Switch off at once."""
        self._switch.kill(machine_id)

    def set_autostart(self, machine_id: MachineId, *, is_on: bool) -> bool:
        """Whether the host starts the machine when it boots."""
        return self._switch.set_autostart(machine_id, is_on=is_on)

    def serial_log(self, machine_id: MachineId, last_bytes: int) -> str:
        """The end of the serial log."""
        return self._switch.serial_log(machine_id, last_bytes)

    def screenshot(self, machine_id: MachineId) -> bytes:
        """The console as PNG."""
        return self._switch.screenshot(machine_id)

    def capture(self, request: CaptureRequest) -> AbstractContextManager[Capture]:
        """Capture a machine, running or stopped."""
        return self._captures.capture(request)

    def arm_trackers(self, machine_id: MachineId, capture_id: str) -> Mapping[DiskKey, str]:
        """Leave trackers on a stopped machine."""
        return self._captures.arm_trackers(machine_id, capture_id)

    def prepare_replica(self, request: ReplicaRequest) -> ReplicaChanges:
        """Create the replica, or make it follow the spec."""
        return self._replicas.prepare(request)

    def remove_replica(self, machine_id: MachineId) -> None:
        """Remove a replica that we made."""
        self._replicas.remove(machine_id)

    def write_disk(self, machine_id: MachineId, key: DiskKey) -> AbstractContextManager[DiskDoor]:
        """Open a stopped machine's disk for reading and writing."""
        return self._replicas.open_disk(machine_id, key, is_writable=True)

    def read_disk(self, machine_id: MachineId, key: DiskKey) -> AbstractContextManager[DiskDoor]:
        """Open a stopped machine's disk for reading."""
        return self._replicas.open_disk(machine_id, key, is_writable=False)

    def standing(self, machine_id: MachineId) -> Standing | None:
        """The machine's standing here."""
        return self._standings.read(machine_id)

    def standings(self) -> Sequence[Standing]:
        """All of them."""
        return self._standings.read_all()

    def write_standing(self, standing: Standing) -> None:
        """Write it, durably and as a whole."""
        self._standings.write(standing)

    def remove_standing(self, machine_id: MachineId) -> None:
        """Forget the machine."""
        self._standings.remove(machine_id)

    def leftovers(self, machine_id: MachineId | None, kept_trackers: Sequence[str]) -> Sequence[Leftover]:
        """All of ours that belongs to nobody alive."""
        return self._leftovers.find(machine_id, kept_trackers)

    def clean(self, leftover: Leftover) -> None:
        """Remove one."""
        self._leftovers.clean(leftover)


class QemuPlatform:
    """QEMU through libvirt. URIs: ``qemu:///system``, ``qemu+ssh://…/system``, ``qemu:///embed?root=…``."""

    name = "qemu"

    def open(self, settings: SiteSettings, ports: Ports) -> QemuSite:
        """Connect; raises UsageError, SiteUnreachable, HostKeyChanged, LoginRefused, SiteInUse."""
        if urlsplit(settings.uri).scheme.partition("+")[0] != DRIVER:
            raise UsageError(
                f"'{settings.uri}' is no URI of a QEMU site.", hint="Use qemu:///system or qemu+ssh://root@HOST/system."
            )
        site = QemuSite(settings, ports)
        try:
            site.connect()
        except BaseException:
            site.close()
            raise
        return site
