"""One QEMU site, all of it in one hand; and the platform that opens it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from urllib.parse import urlsplit

import libvirt

from twinhull.blocks.nbd import NbdDisk
from twinhull.model.errors import UsageError
from twinhull.model.machine import DiskKey, MachineId, MachineStatus
from twinhull.model.ports import Ports
from twinhull.model.sealing import FindKeys, no_keys
from twinhull.platforms.contract import (
    Capability,
    SiteSettings,
    Support,
)
from twinhull.platforms.guard import guard
from twinhull.platforms.libvirt.connection import told
from twinhull.platforms.libvirt.definition.xml import parse_xml
from twinhull.platforms.libvirt.finding import would_wait
from twinhull.platforms.libvirt.replicas import open_disk
from twinhull.platforms.libvirt.site import LibvirtSite
from twinhull.platforms.qemu import screen
from twinhull.platforms.qemu.canary import is_guarded
from twinhull.platforms.qemu.captures import QemuCaptures
from twinhull.platforms.qemu.inventory import Machines
from twinhull.platforms.qemu.leftovers import Leftovers
from twinhull.platforms.qemu.replicas import QemuReplicas
from twinhull.platforms.qemu.trackers import Trackers

DRIVER = "qemu"
"""libvirt's name of its QEMU driver, in URIs and hook directories."""

_NOT_TRIED = "it is in place, and was not tried"
_NOT_THERE = "it is not in place yet; 'twinhull site check {site}' puts it there and tries it"
_OLDER = "the guard is an older one: install python3 and run twinhull site check {site}"
_NO_HOOKS = "an embedded libvirt asks no hooks: only Twinhull itself keeps a machine with a past epoch from starting"
_RESTART = "its libvirtd asks no hooks, because it found none when it started: restart it once (machines go on)"
_APPARMOR_RULES = ("/etc/apparmor.d/local/abstractions/libvirt-qemu", "/etc/apparmor.d/abstractions/libvirt-qemu.d")
"""Where an administrator adds what every QEMU may use; the first is the place for it on Debian."""

_NEEDED_PROGRAMS = ("qemu-img", "qemu-nbd", "flock", "virsh")
_SHUTDOWN_REQUESTS = (libvirt.VIR_DOMAIN_SHUTDOWN_GUEST_AGENT, libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)


class QemuSite(LibvirtSite):
    """A libvirt host that runs QEMU."""

    def __init__(self, settings: SiteSettings, ports: Ports, keys: FindKeys = no_keys) -> None:
        super().__init__(settings, ports, keys, DRIVER, _SHUTDOWN_REQUESTS)
        self._machines = Machines(self._place, self._standings)
        trackers = Trackers(self._place)
        self._leftovers = Leftovers(self._place, trackers)
        self._captures = QemuCaptures(self._place, self._machines, trackers, self._leftovers)
        self._replicas = QemuReplicas(self._place, self._standings, self._domain_type)

    def close(self) -> None:
        """Close the connection; safe to repeat."""
        self._machines.close()
        super().close()

    def _guard_support(self) -> Support:
        """Whether libvirt itself refuses what may not start; tried, because a file in place proves nothing."""
        if self._connection.is_embedded:
            return Support(is_supported=False, reason=_NO_HOOKS)
        if not self._is_prepared:
            settings = self.settings
            is_there = guard.is_installed(self._host, settings.hooks_directory, DRIVER, settings.directory)
            return Support(
                is_supported=is_there, reason=_NOT_TRIED if is_there else _NOT_THERE.format(site=settings.name)
            )
        if not is_guarded(self._place, self._standings):
            return Support(is_supported=False, reason=_RESTART)
        is_current = guard.has_python(self._host)
        return Support(is_supported=True, reason="" if is_current else _OLDER.format(site=self.settings.name))

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
            Capability.CAPTURE_RUNNING: self._confinement() if tools.is_supported else tools,
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

    def _confinement(self) -> Support:
        """Whether AppArmor is known to let QEMU make its sockets in our directory; the conformance kit tries it."""
        with told(self.settings.name, "asking what it can do"):
            is_confined = "<model>apparmor</model>" in self._connection.get().getCapabilities()
        # libvirt's profile of each machine has a name of its own: no QEMU reaches what is another's.
        place = f"{self._place.scratch}/@{{profile_name}}/"
        known = ["grep", "-rqsF", "--", place, *_APPARMOR_RULES]
        if not is_confined or self._host.run(known).is_ok:
            return Support(is_supported=True)
        rule = f"{place}** rwk,"
        return Support(is_supported=True, reason=f"AppArmor confines QEMU here: put '{rule}' into {_APPARMOR_RULES[0]}")

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
            domains = self._connection.get().listAllDomains()
            xmls = [domain.XMLDesc(0) for domain in domains if not would_wait(self._place, domain)]
        used = Counter(parse_xml(xml).get("type", DRIVER) for xml in xmls)
        if used:
            return used.most_common(1)[0][0], ""
        return "qemu", (
            "No machine here shows whether KVM works: the replica is emulated, which is slow."
            " Set the site's option accelerator=kvm where it does."
        )

    def machines(self) -> Sequence[MachineStatus]:
        """All machines of the site, by name."""
        return self._machines.machines()

    def machine(self, machine_id: MachineId) -> MachineStatus:
        """One machine, its agent asked."""
        return self._machines.machine(machine_id)

    def serial_log(self, machine_id: MachineId, last_bytes: int) -> str:
        """The end of the serial log."""
        return screen.serial_log(self._place, machine_id, last_bytes)

    def screenshot(self, machine_id: MachineId) -> bytes:
        """The console as PNG."""
        return screen.screenshot(self._place, machine_id)

    def open_disk(
        self, machine_id: MachineId, key: DiskKey, *, is_writable: bool
    ) -> AbstractContextManager[Callable[[], NbdDisk]]:
        """Open a stopped machine's disk; QEMU's image lock keeps others, and the machine itself, away meanwhile."""
        return open_disk(self._place, machine_id, key, is_writable=is_writable)


class QemuPlatform:
    """QEMU through libvirt. URIs: ``qemu:///system``, ``qemu+ssh://…/system``, ``qemu:///embed?root=…``."""

    name = "qemu"

    def open(
        self, settings: SiteSettings, ports: Ports, *, keys: FindKeys = no_keys, is_looking: bool = False
    ) -> QemuSite:
        """Connect; raises UsageError, SiteUnreachable, HostKeyChanged, LoginRefused, SiteInUse."""
        if urlsplit(settings.uri).scheme.partition("+")[0] != DRIVER:
            raise UsageError(
                f"'{settings.uri}' is no URI of a QEMU site.", hint="Use qemu:///system or qemu+ssh://root@HOST/system."
            )
        site = QemuSite(settings, ports, keys)
        try:
            site.connect()
            if not is_looking:
                site.prepare()
        except BaseException:
            site.close()
            raise
        return site
