"""The host under a site: this machine, or one behind ssh. Commands, small files and forwarded sockets.

Platforms use it for what their hypervisor's own interface does not reach: image files, NBD servers, guard scripts.
"""

from __future__ import annotations

import base64
import hashlib
import shlex
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import parse_qs, urlsplit

from twinhull.model.errors import HostKeyChanged, LoginRefused, SiteError, SiteFull, SiteUnreachable
from twinhull.model.ports import Completed, Ports, Process

_CONNECT_SECONDS = 20


class Host(Protocol):
    """Where a hypervisor runs."""

    @property
    def name(self) -> str:
        """What to call it in an error."""
        ...

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_seconds: float = 60.0) -> Completed:
        """Run a program there to its end; raises SiteUnreachable, LoginRefused, HostKeyChanged, TimeoutError."""
        ...

    def start(self, argv: Sequence[str]) -> Process:
        """Start a program there with pipes on its standard input and output; it ends when its input is closed."""
        ...

    def forward(self, socket_path: str) -> AbstractContextManager[str]:
        """As a context: a local unix socket path that reaches the host's unix socket."""
        ...

    def close(self) -> None:
        """Close the connection; safe to repeat."""
        ...


def check(host: Host, argv: Sequence[str], *, stdin: bytes = b"", timeout_seconds: float = 60.0) -> bytes:
    """Run a program on the host and return its output; raises SiteError (SiteFull) with its complaint."""
    done = host.run(argv, stdin=stdin, timeout_seconds=timeout_seconds)
    require_ok(host, argv, done)
    return done.stdout


def require_ok(host: Host, argv: Sequence[str], done: Completed) -> None:
    """Raise SiteError (SiteFull) with the complaint of a program that failed on the host."""
    if done.is_ok:
        return
    if "No space left on device" in done.complaint:
        raise SiteFull(
            f"There is no room left on {host.name}: {done.complaint}",
            hint="Free space there, or give the site another directory.",
        )
    raise SiteError(f"'{shlex.join(argv)}' failed on {host.name} ({done.exit_status}): {done.complaint}")


def read_file(host: Host, path: str) -> bytes | None:
    """A small file of the host, or None where there is none."""
    done = host.run(["sh", "-c", 'test -e "$1" || exit 44; cat -- "$1"', "twinhull-read", path])
    if done.exit_status == 44:  # noqa: PLR2004 - our own status for "no such file"
        return None
    if not done.is_ok:
        raise SiteError(f"{path} on {host.name} could not be read: {done.complaint}")
    return done.stdout


FILES = """
files() {
  for file in "$1"/$2; do
    [ -f "$file" ] || continue
    printf '%s\\0' "$file"
    # What a crash has left of a file may be zeros.
    tr -d '\\0' < "$file"
    printf '\\0'
  done
  printf '\\0'
}
"""
"""The shell function ``files DIRECTORY PATTERN``: path and content of each small file there, for ``parse_files``."""


def parse_files(answer: bytes) -> tuple[dict[str, bytes], bytes]:
    """What ``files`` told, by path, and what was printed behind it."""
    found = {}
    path, _, rest = answer.partition(b"\0")
    while path:
        content, _, rest = rest.partition(b"\0")
        found[path.decode(errors="replace")] = content
        path, _, rest = rest.partition(b"\0")
    return found, rest


_WRITE = """
set -e
umask 022
mkdir -p -- "$(dirname -- "$1")"
cat > "$1.new"
chmod "$2" "$1.new"
sync "$1.new"
mv -- "$1.new" "$1"
sync "$(dirname -- "$1")"
"""


def write_file(host: Host, path: str, content: bytes, *, mode: str = "0600") -> None:
    """Write a small file of the host, durably and as a whole."""
    check(host, ["sh", "-c", _WRITE, "twinhull-write", path, mode], stdin=content)


class LocalHost:
    """This machine."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    @property
    def name(self) -> str:
        """This machine."""
        return "this machine"

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_seconds: float = 60.0) -> Completed:
        """Run a program to its end."""
        return self._ports.processes.run(argv, stdin=stdin, timeout_seconds=timeout_seconds)

    def start(self, argv: Sequence[str]) -> Process:
        """Start a program with pipes."""
        return self._ports.processes.start(argv, has_pipes=True)

    @contextmanager
    def forward(self, socket_path: str) -> Iterator[str]:
        """The socket itself: nothing to forward."""
        yield socket_path

    def close(self) -> None:
        """Nothing to close."""


@dataclass(frozen=True, slots=True)
class SshTarget:
    """A host behind ssh. Host keys are verified against ``known_hosts`` (None: the user's own file) always."""

    host: str
    user: str = ""
    port: int = 22
    key_path: str | None = None
    known_hosts: str | None = None

    @property
    def address(self) -> str:
        """``user@host``."""
        return f"{self.user}@{self.host}" if self.user else self.host


def ssh_target(uri: str) -> SshTarget | None:
    """The ssh part of a libvirt URI (``qemu+ssh://``, ``xen+ssh://``), or None where it names this machine."""
    parts = urlsplit(uri)
    if "+ssh" not in parts.scheme or not parts.hostname:
        return None
    query: Mapping[str, list[str]] = parse_qs(parts.query)
    return SshTarget(
        parts.hostname,
        parts.username or "",
        parts.port or 22,
        next(iter(query.get("keyfile", [])), None),
        next(iter(query.get("known_hosts", [])), None),
    )


class SshHost:
    """A host behind ssh: one multiplexed connection, opened at the first use."""

    def __init__(self, target: SshTarget, ports: Ports) -> None:
        self._target = target
        self._ports = ports
        self._directory: tempfile.TemporaryDirectory[str] | None = None

    @property
    def name(self) -> str:
        """``user@host:port``."""
        return f"{self._target.address}:{self._target.port}"

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_seconds: float = 60.0) -> Completed:
        """Run a program there to its end."""
        done = self._ports.processes.run(
            [*self._ssh(), self._target.address, "--", shlex.join(argv)],
            stdin=stdin,
            timeout_seconds=timeout_seconds,
        )
        if done.exit_status == 255:  # noqa: PLR2004 - ssh's own failures
            raise ssh_error(self.name, done.complaint)
        return done

    def start(self, argv: Sequence[str]) -> Process:
        """Start a program there with pipes on its standard input and output."""
        self._connect()
        return self._ports.processes.start([*self._ssh(), self._target.address, "--", shlex.join(argv)], has_pipes=True)

    @contextmanager
    def forward(self, socket_path: str) -> Iterator[str]:
        """A local unix socket that ssh connects to the host's one."""
        self._connect()
        digest = hashlib.sha256(socket_path.encode() + self._ports.randomness.token(8)).digest()
        local = f"{self._run_directory()}/{base64.b32encode(digest[:10]).decode().lower()}"
        self._control("forward", "-L", f"{local}:{socket_path}")
        try:
            yield local
        finally:
            self._control("cancel", "-L", f"{local}:{socket_path}")
            Path(local).unlink(missing_ok=True)

    def close(self) -> None:
        """End the connection."""
        if self._directory:
            self._ports.processes.run([*self._ssh(), "-O", "exit", self._target.address])
            self._directory.cleanup()
            self._directory = None

    def _connect(self) -> None:
        # Asked of our own end of the connection: costs no round trip where it stands already.
        if self._ports.processes.run([*self._ssh(), "-O", "check", self._target.address]).is_ok:
            return
        done = self.run(["true"], timeout_seconds=_CONNECT_SECONDS * 2)
        if not done.is_ok:
            raise SiteUnreachable(f"{self.name} does not run commands: {done.complaint}")

    def _control(self, command: str, *arguments: str) -> None:
        done = self._ports.processes.run([*self._ssh(), "-O", command, *arguments, self._target.address])
        if not done.is_ok and command != "cancel":
            raise SiteError(f"ssh to {self.name} could not {command} {arguments[-1]}: {done.complaint}")

    def _run_directory(self) -> str:
        if not self._directory:
            # Short, because a unix socket's path may have 107 bytes only.
            self._directory = tempfile.TemporaryDirectory(prefix="twinhull-ssh-")
        return self._directory.name

    def _ssh(self) -> list[str]:
        target = self._target
        command = ["ssh", "-p", str(target.port), "-oBatchMode=yes", f"-oConnectTimeout={_CONNECT_SECONDS}"]
        command += ["-oServerAliveInterval=5", "-oServerAliveCountMax=3", "-oStrictHostKeyChecking=yes"]
        command += ["-oControlMaster=auto", "-oControlPersist=30", f"-oControlPath={self._run_directory()}/c"]
        command += ["-oStreamLocalBindUnlink=yes"]
        if target.key_path:
            command += ["-i", target.key_path, "-oIdentitiesOnly=yes"]
        if target.known_hosts:
            command += [f"-oUserKnownHostsFile={target.known_hosts}", "-oGlobalKnownHostsFile=/dev/null"]
        return command


def ssh_error(name: str, complaint: str) -> SiteError:
    """What an ssh complaint means, as one of our errors."""
    if "REMOTE HOST IDENTIFICATION HAS CHANGED" in complaint:
        return HostKeyChanged(
            f"{name} shows another host key than the one that is known; nothing was sent to it.",
            hint="Find out why. If the host was reinstalled, replace its key in known_hosts.",
        )
    if "Host key verification failed" in complaint:
        return HostKeyChanged(
            f"{name} shows a host key that is not known; nothing was sent to it.",
            hint="Compare its fingerprint with the host's own, then add it to known_hosts (ssh-keyscan).",
        )
    if "Permission denied" in complaint:
        return LoginRefused(
            f"{name} refused the login: {complaint}",
            hint="Name a key that it accepts with ?keyfile=PATH in the site's URI.",
        )
    return SiteUnreachable(
        f"{name} does not answer: {complaint or 'ssh gave no reason'}",
        hint="Check the network and the host; machines and points are as they were.",
    )


def open_host(uri: str, ports: Ports) -> Host:
    """The host that a libvirt URI names."""
    target = ssh_target(uri)
    return SshHost(target, ports) if target else LocalHost(ports)


__all__ = [
    "FILES",
    "Host",
    "LocalHost",
    "SshHost",
    "SshTarget",
    "check",
    "open_host",
    "parse_files",
    "read_file",
    "require_ok",
    "ssh_error",
    "ssh_target",
    "write_file",
]
