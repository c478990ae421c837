"""A site behind libvirt: its host, its connection and our directory there, the same for each of its platforms."""

from __future__ import annotations

from twinhull.hosts import host_directory
from twinhull.hosts.host import check, open_host
from twinhull.model.ports import Ports
from twinhull.model.sealing import FindKeys
from twinhull.platforms.contract import Site, SiteIdentity, SiteSettings
from twinhull.platforms.guard import guard
from twinhull.platforms.guard.standings import StandingFiles
from twinhull.platforms.libvirt.connection import LibvirtConnection, told
from twinhull.platforms.libvirt.definition.xml import parse_xml
from twinhull.platforms.libvirt.hook import LibvirtGuard
from twinhull.platforms.libvirt.options import LibvirtOptions
from twinhull.platforms.libvirt.place import Place


class LibvirtSite(Site):
    """One host's libvirt. ``driver`` is libvirt's name of its driver. Each platform brings the parts."""

    _guard: LibvirtGuard

    def __init__(
        self, settings: SiteSettings, options: LibvirtOptions, ports: Ports, keys: FindKeys, driver: str
    ) -> None:
        super().__init__(settings)
        self._driver = driver
        self._host = open_host(settings.uri, ports)
        self._connection = LibvirtConnection(settings.name, settings.uri, self._host, ports.clock)
        self._place = Place(settings.name, self._connection, self._host, ports.clock, options.directory, keys)
        is_guarded = not self._connection.is_embedded
        protected = guard.protected_path(options.hooks_directory, options.directory) if is_guarded else ""
        self._standings = StandingFiles(self._host, options.directory, protected, keys, settings.name)
        self._ports = ports

    def connect(self) -> None:
        """Meet libvirt, and change nothing; raises SiteUnreachable, SiteInUse."""
        self._connection.get()

    def prepare(self) -> None:
        """Make our directory there, and put the guard at libvirt's power switch if it asks hooks; safe to repeat."""
        home = host_directory.prepare(self._host, self._place.directory, self._ports.randomness.uuid())
        self._guard.prepare()
        self._standings.take_over(home)

    def identity(self) -> SiteIdentity:
        """The running host with its libvirt, and our directory there."""
        with told(self.settings.name, "asking which host it is"):
            capabilities = parse_xml(self._connection.get().getCapabilities())
        boot = check(self._host, ["cat", "/proc/sys/kernel/random/boot_id"]).decode().strip()
        root = self._connection.uri if self._connection.is_embedded else ""
        host = " ".join([self._driver, capabilities.findtext("host/uuid") or "", boot, root]).strip()
        return SiteIdentity(host, host_directory.read_id(self._host, self._place.directory))

    def close(self) -> None:
        """Close the connection; safe to repeat."""
        self._connection.close()
        self._host.close()
