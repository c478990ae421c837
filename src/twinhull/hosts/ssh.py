"""A host behind ssh: commands, pipes and unix sockets through one multiplexed connection of the system's ssh."""

from __future__ import annotations

import base64
import hashlib
import os
import shlex
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from twinhull.hosts.private_directory import private_directory
from twinhull.hosts.ssh_command import (
    CONNECT_SECONDS,
    PLAIN_LANGUAGE,
    SshTarget,
    control_command,
    ssh_command,
    ssh_environment,
)
from twinhull.model.errors import HostKeyChanged, LoginRefused, SiteError, SiteUnreachable
from twinhull.model.ports import Completed, Ports, Process
from twinhull.model.processes import TooLong

_OWN_SECONDS = 10.0
"""How long ssh may take to answer what concerns our own end of the connection only."""

_PLAINLY = ["env", *(f"{name}={value}" for name, value in PLAIN_LANGUAGE.items())]


_SHOWN_CHARACTERS = 200


def shown(argv: Sequence[str]) -> str:
    """A command as an error names it: a script of ours by its word (``twinhull-info``), never by its text."""
    words = argv[3:] if list(argv[:2]) == ["sh", "-c"] else argv
    text = shlex.join(words) or "a script"
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


@contextmanager
def in_time(host: str, argv: Sequence[str]) -> Iterator[None]:
    """Tell a program that does not end in time, or is not there, as one of our errors."""
    try:
        yield
    except TimeoutError as error:
        raise SiteUnreachable(
            f"{host} did not answer: '{shown(argv)}' has not ended ({error}).",
            hint="Is its storage hanging? Machines and points are as they were; what was asked can be repeated.",
        ) from error
    except TooLong as error:
        raise SiteError(f"{host} answered '{shown(argv)}' with far too much ({error}).") from error
    except FileNotFoundError as error:
        raise SiteError(f"'{argv[0]}' is not installed on this machine.", hint="Install it.") from error


class SshHost:
    """A host behind ssh: one multiplexed connection, opened at the first use."""

    def __init__(self, target: SshTarget, ports: Ports) -> None:
        self._target = target
        self._ports = ports
        self._directory = ""
        self._owned = ExitStack()
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """``user@host:port``."""
        return f"{self._target.address}:{self._target.port}"

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_seconds: float = 60.0) -> Completed:
        """Run a program there to its end."""
        with in_time(self.name, argv):
            done = self._ports.processes.run(
                self._remotely(argv), stdin=stdin, timeout_seconds=timeout_seconds, env=ssh_environment(os.environ)
            )
        if done.exit_status == 255:  # noqa: PLR2004 - ssh's own failures
            raise ssh_error(self.name, done.complaint)
        return done

    def start(self, argv: Sequence[str]) -> Process:
        """Start a program there with pipes on its standard input and output."""
        self._connect()
        return self._ports.processes.start(self._remotely(argv), has_pipes=True, env=ssh_environment(os.environ))

    @contextmanager
    def forward(self, socket_path: str) -> Iterator[str]:
        """A local unix socket that ssh connects to the host's one."""
        self._connect()
        digest = hashlib.sha256(socket_path.encode() + self._ports.randomness.token(8)).digest()
        local = f"{self._run_directory()}/{base64.b32encode(digest[:10]).decode().lower()}"
        done = self._own("forward", "-L", f"{local}:{socket_path}")
        if not done.is_ok:
            raise SiteError(f"ssh to {self.name} could not forward {socket_path}: {done.complaint}")
        try:
            yield local
        finally:
            with suppress(SiteError):  # it goes with the connection, if there still is one
                self._own("cancel", "-L", f"{local}:{socket_path}")
            Path(local).unlink(missing_ok=True)

    def close(self) -> None:
        """End the connection; safe to repeat."""
        if not self._directory:
            return
        with suppress(SiteError):  # it ends by itself when nobody has used it for a while
            self._own("exit")
        with self._lock:
            self._directory = ""
            self._owned.close()

    def _connect(self) -> None:
        # Asked of our own end of the connection: costs no round trip where it stands already.
        if self._own("check").is_ok:
            return
        done = self.run(["true"], timeout_seconds=CONNECT_SECONDS * 2)
        if not done.is_ok:
            raise SiteUnreachable(f"{self.name} does not run commands: {done.complaint}")

    def _own(self, command: str, *arguments: str) -> Completed:
        """Ask our own end of the connection."""
        words = control_command(self._target, self._control_path(), command, *arguments)
        with in_time(self.name, ["ssh", "-O", command]):
            return self._ports.processes.run(words, timeout_seconds=_OWN_SECONDS, env=ssh_environment(os.environ))

    def _run_directory(self) -> str:
        with self._lock:
            if not self._directory:
                self._directory = self._owned.enter_context(private_directory())
            return self._directory

    def _control_path(self) -> str:
        return f"{self._run_directory()}/c"

    def _remotely(self, argv: Sequence[str]) -> list[str]:
        """The command line that runs a program there."""
        return [*ssh_command(self._target, self._control_path()), shlex.join([*_PLAINLY, *argv])]


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
