"""One QEMU site, all of it in one hand; and the platform that opens it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from urllib.parse import urlsplit

import libvirt

from twinhull.model.errors import UsageError
from twinhull.model.ports import Ports
from twinhull.model.sealing import FindKeys, no_keys
from twinhull.platforms.contract import Capability, Grade, GuardGrade, Parts, SiteSettings, Support, options_of
from twinhull.platforms.guard import guard
from twinhull.platforms.guard.standings import StandingFiles
from twinhull.platforms.libvirt.connection import told
from twinhull.platforms.libvirt.definition.xml import parse_xml
from twinhull.platforms.libvirt.disks import LibvirtDisks
from twinhull.platforms.libvirt.finding import would_wait
from twinhull.platforms.libvirt.hook import LibvirtGuard
from twinhull.platforms.libvirt.place import Place
from twinhull.platforms.libvirt.power import LibvirtPower
from twinhull.platforms.libvirt.site import LibvirtSite
from twinhull.platforms.qemu.canary import is_guarded
from twinhull.platforms.qemu.captures import QemuCaptures
from twinhull.platforms.qemu.inventory import Machines
from twinhull.platforms.qemu.leftovers import Leftovers
from twinhull.platforms.qemu.options import Accelerator, QemuOptions
from twinhull.platforms.qemu.replicas import QemuReplicas
from twinhull.platforms.qemu.screen import QemuScreen, QemuSerialLog
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


class QemuGuard(LibvirtGuard):
    """The guard of a QEMU site; tried, because a file in place proves nothing."""

    def __init__(self, place: Place, standings: StandingFiles, hooks_directory: str) -> None:
        is_asked = not place.connection.is_embedded
        super().__init__(place.host, hooks_directory, DRIVER, place.directory, is_asked=is_asked)
        self._place = place
        self._standings = standings

    def grade(self) -> GuardGrade:
        """Whether libvirt itself refuses what may not start."""
        if not self.is_asked:
            return GuardGrade(Grade.NOTICES, _NO_HOOKS)
        if not self.is_prepared:
            is_there = self.is_installed
            reason = _NOT_TRIED if is_there else _NOT_THERE.format(site=self._place.site)
            return GuardGrade(Grade.REFUSES if is_there else Grade.NOTICES, reason)
        if not is_guarded(self._place, self._standings):
            return GuardGrade(Grade.NOTICES, _RESTART)
        return GuardGrade(Grade.REFUSES, "" if guard.has_python(self._host) else _OLDER.format(site=self._place.site))


class QemuSite(LibvirtSite):
    """A libvirt host that runs QEMU."""

    def __init__(self, settings: SiteSettings, ports: Ports, keys: FindKeys = no_keys) -> None:
        self._options = options_of(QemuOptions, settings)
        super().__init__(settings, self._options, ports, keys, DRIVER)
        place, standings = self._place, self._standings
        self._guard = QemuGuard(place, standings, self._options.hooks_directory)
        self._machines = Machines(place, standings)
        trackers = Trackers(place)
        leftovers = Leftovers(place, trackers)
        self.parts = Parts(
            inventory=self._machines,
            power=LibvirtPower(place, standings, _SHUTDOWN_REQUESTS),
            captures=QemuCaptures(place, self._machines, trackers, leftovers),
            replicas=QemuReplicas(place, standings, self._domain_type),
            # QEMU's image lock keeps others, and the machine itself, away from an open disk.
            disks=LibvirtDisks(place),
            standings=standings,
            guard=self._guard,
            leftovers=leftovers,
            serial_log=QemuSerialLog(place),
            screen=QemuScreen(place),
        )

    def close(self) -> None:
        """Close the connection; safe to repeat."""
        self._machines.close()
        super().close()

    def limits(self) -> Mapping[Capability, Support]:
        """What this site cannot do, or only within limits."""
        missing = self._missing_programs()
        tools = Support(
            is_supported=not missing, reason=f"missing on the host: {', '.join(missing)}" if missing else ""
        )
        return {
            Capability.CAPTURE_RUNNING: self._confinement() if tools.is_supported else tools,
            Capability.CAPTURE_STOPPED: tools,
            Capability.CHANGE_TRACKING: Support(
                is_supported=True, reason="of qcow2 disks; others are compared in full, and so are all after a crash"
            ),
            Capability.REPLICA: tools,
            Capability.FREEZE: Support(is_supported="virsh" not in missing, reason="where the guest runs an agent"),
            Capability.SERIAL_LOG: Support(
                is_supported=True, reason="of machines whose serial device writes to a file"
            ),
            Capability.SCREENSHOT: Support(is_supported=True, reason="of machines with a screen, from QEMU 7.1 on"),
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
        chosen = self._options.accelerator
        if chosen is not Accelerator.AS_OTHERS:
            return ("kvm" if chosen is Accelerator.KVM else "qemu"), ""
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


class QemuPlatform:
    """QEMU through libvirt. URIs: ``qemu:///system``, ``qemu+ssh://…/system``, ``qemu:///embed?root=…``."""

    name = "qemu"
    options = QemuOptions

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
