"""A libvirt connection that stays usable: local, embedded or through ssh, with libvirt's errors told as ours.

Through ssh, libvirt's own socket is forwarded by our :class:`~twinhull.hosts.host.Host`, so that host keys are
verified once, in one place, and everything else is the same code as for a local connection.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import parse_qs, urlsplit

import libvirt

from twinhull.hosts.host import Host
from twinhull.hosts.ssh_command import ssh_target
from twinhull.model.errors import LoginRefused, NotFound, SiteError, SiteInUse, SiteUnreachable
from twinhull.model.ports import Clock

KEEPALIVE_SECONDS = 5
KEEPALIVE_COUNT = 6
"""A libvirtd that answers nothing for half a minute counts as gone."""

REATTACH_SECONDS = 5.0
"""How long an embedded libvirt may take to find its running guests again after it was opened."""

_SOCKETS = ("/run/libvirt/libvirt-sock", "/run/libvirt/virtqemud-sock", "/var/run/libvirt/libvirt-sock")

_event_loop_lock = threading.Lock()
_event_loop: list[threading.Thread] = []


def _turn_events() -> None:
    while True:
        libvirt.virEventRunDefaultImpl()


def ensure_event_loop() -> None:
    """Run libvirt's event loop in a thread of its own; it must be registered before the first connection."""
    with _event_loop_lock:
        if _event_loop:
            return
        # Errors are raised to us; libvirt would print them as well.
        libvirt.registerErrorHandler(lambda _context, _error: None, None)
        libvirt.virEventRegisterDefaultImpl()
        thread = threading.Thread(target=_turn_events, name="twinhull-libvirt-events", daemon=True)
        thread.start()
        _event_loop.append(thread)


@contextmanager
def told(site: str, doing: str) -> Iterator[None]:
    """Turn libvirt's errors inside the block into ours; ``doing`` says what we were at."""
    try:
        yield
    except libvirt.libvirtError as error:
        raise as_site_error(site, doing, error) from error


def as_site_error(site: str, doing: str, error: libvirt.libvirtError) -> SiteError | NotFound:
    """What a libvirt error means, as one of our errors."""
    code, text = error.get_error_code(), error.get_error_message() or str(error)
    if code == libvirt.VIR_ERR_NO_DOMAIN:
        return NotFound(f"Site '{site}' has no such machine ({doing}).", hint="List them with: twinhull machine list")
    if code in (libvirt.VIR_ERR_AUTH_FAILED, libvirt.VIR_ERR_AUTH_UNAVAILABLE, libvirt.VIR_ERR_AUTH_CANCELLED):
        return LoginRefused(f"libvirt of site '{site}' refused the login: {text}")
    lost = ("Failed to connect socket", "Cannot recv data", "client socket is closed", "End of file while reading")
    if code == libvirt.VIR_ERR_NO_CONNECT or any(word in text for word in (*lost, "connection closed", "keepalive")):
        return SiteUnreachable(
            f"libvirt of site '{site}' does not answer ({doing}): {text}",
            hint="Is libvirtd running there? Machines go on without it.",
        )
    if "Failed to acquire pid file" in text or "already in use" in text.lower():
        return SiteInUse(
            f"The embedded site '{site}' is held by another process: {text}",
            hint="Only one process at a time can use an embedded site; end the other one.",
        )
    return SiteError(f"libvirt of site '{site}' failed ({doing}): {text}")


class LibvirtConnection:
    """One connection, opened at the first use and opened again when it was lost. Any thread may use it."""

    def __init__(self, site: str, uri: str, host: Host, clock: Clock) -> None:
        self.uri = uri
        self._site = site
        self._host = host
        self._clock = clock
        self._lock = threading.RLock()
        self._open: libvirt.virConnect | None = None
        self._forwarded = ExitStack()

    @property
    def is_embedded(self) -> bool:
        """Whether libvirt runs inside this very process."""
        return urlsplit(self.uri).path == "/embed"

    @property
    def uri_on_host(self) -> str:
        """The URI under which a program on the site's own host reaches the same libvirt."""
        return "qemu:///system" if ssh_target(self.uri) else self.uri

    def get(self) -> libvirt.virConnect:
        """The open connection; raises SiteUnreachable, LoginRefused, HostKeyChanged, SiteInUse."""
        with self._lock:
            if self._open is not None and not self._is_alive():
                self.close()
            if self._open is None:
                self._open = self._connect()
            return self._open

    def close(self) -> None:
        """Close the connection; safe to repeat."""
        with self._lock:
            connection, self._open = self._open, None
            try:
                if connection is not None:
                    connection.close()
            except libvirt.libvirtError:
                # It was lost before: nothing is left to close.
                pass
            finally:
                self._forwarded.close()

    def _is_alive(self) -> bool:
        try:
            return self._open is not None and bool(self._open.isAlive())
        except libvirt.libvirtError:
            return False

    def _connect(self) -> libvirt.virConnect:
        ensure_event_loop()
        uri = self._local_uri()
        with told(self._site, "connecting"):
            connection = libvirt.open(uri)
        if self.is_embedded:
            self._wait_reattached(connection)
        else:
            with told(self._site, "connecting"):
                connection.setKeepAlive(KEEPALIVE_SECONDS, KEEPALIVE_COUNT)
        return connection

    def _local_uri(self) -> str:
        """The URI to open from here: for a host behind ssh, its libvirt's socket is forwarded."""
        if not ssh_target(self.uri):
            return self.uri
        wanted = parse_qs(urlsplit(self.uri).query).get("socket", list(_SOCKETS))
        script = 'for s in "$@"; do [ -S "$s" ] && { echo "$s"; exit; }; done; exit 1'
        found = self._host.run(["sh", "-c", script, "twinhull-find", *wanted])
        if not found.is_ok:
            raise SiteUnreachable(
                f"No libvirtd listens on {self._host.name} (looked for {', '.join(wanted)}).",
                hint="Start libvirtd there, or name its socket with &socket=PATH in the site's URI.",
            )
        socket = self._forwarded.enter_context(self._host.forward(found.stdout.decode().strip()))
        return f"{urlsplit(self.uri).scheme.partition('+')[0]}+unix:///system?socket={socket}"

    def _wait_reattached(self, connection: libvirt.virConnect) -> None:
        """Wait until an embedded libvirt has met its running guests again: it does so in the background."""
        deadline = self._clock.monotonic() + REATTACH_SECONDS
        with told(self._site, "finding its running machines"):
            domains = connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE)
        for domain in domains:
            while not _answers(domain) and self._clock.monotonic() < deadline:
                self._clock.sleep(0.05)


def _answers(domain: libvirt.virDomain) -> bool:
    """Whether libvirt has met the guest's QEMU again, or knows by now that it is gone."""
    try:
        domain.memoryStats()
    except libvirt.libvirtError:
        try:
            return not domain.isActive()
        except libvirt.libvirtError:
            return True
    return True


def qemu_identity(connection: libvirt.virConnect) -> str:
    """``UID:GID`` that QEMU runs as on that host, from libvirt's capabilities; ``0:0`` where it does not say."""
    capabilities = connection.getCapabilities()
    _, _, dac = capabilities.partition("<model>dac</model>")
    _, found, rest = dac.partition("<baselabel")
    label = rest.partition(">")[2].partition("<")[0].replace("+", "") if found else ""
    return label or "0:0"


__all__ = ["LibvirtConnection", "as_site_error", "ensure_event_loop", "qemu_identity", "told"]
