"""The host under a site: this machine, or one behind ssh. Commands, small files and forwarded sockets.

Platforms use it for what their hypervisor's own interface does not reach: image files, NBD servers, guard scripts.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from twinhull.hosts.ssh import SshHost, in_time, shown
from twinhull.hosts.ssh_command import PLAIN_LANGUAGE, ssh_target
from twinhull.model.errors import SiteError, SiteFull, SiteUnreachable
from twinhull.model.ports import Completed, Ports, Process
from twinhull.model.processes import TooLong, read_line
from twinhull.model.units import MIB


class Host(Protocol):
    """Where a hypervisor runs."""

    @property
    def name(self) -> str:
        """What to call it in an error."""
        ...

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_seconds: float = 60.0) -> Completed:
        """Run a program there to its end; raises SiteUnreachable, LoginRefused, HostKeyChanged, SiteError.

        A program that does not end in time leaves the host SiteUnreachable: what it did is not known.
        """
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
    raise SiteError(f"'{shown(argv)}' failed on {host.name} ({done.exit_status}): {done.complaint}")


def first_word(host: Host, process: Process, timeout_seconds: float, question: str) -> str:
    """What a program on the host answers first, before anything else is done; raises SiteUnreachable where it hangs.

    ``question`` is what it was to say ("whether …").
    """
    try:
        return read_line(process, timeout_seconds)
    except TimeoutError as error:
        raise SiteUnreachable(
            f"{host.name} did not say within {timeout_seconds:.0f} s {question}.",
            hint="Is its storage hanging? Nothing was begun.",
        ) from error
    except TooLong as error:
        raise SiteError(f"{host.name} answers with something else than {question}: {error}.") from error


MAX_FILE_BYTES = MIB
"""A small file is smaller by far. Of one that something has blown up a byte more is read, to tell it by."""


def read_file(host: Host, path: str) -> bytes | None:
    """A small file of the host, or None where there is none."""
    script = f'test -e "$1" || exit 44; head -c {MAX_FILE_BYTES + 1} -- "$1"'
    done = host.run(["sh", "-c", script, "twinhull-read", path])
    if done.exit_status == 44:  # noqa: PLR2004 - our own status for "no such file"
        return None
    if not done.is_ok:
        raise SiteError(f"{path} on {host.name} could not be read: {done.complaint}")
    return done.stdout


FILES = f"""
files() {{
  for file in "$1"/$2; do
    [ -f "$file" ] || continue
    printf '%s\\0' "$file"
    # What a crash has left of a file may be zeros.
    head -c {MAX_FILE_BYTES + 1} -- "$file" | tr -d '\\0'
    printf '\\0'
  done
  printf '\\0'
}}
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


RECEIVE = """
receive() {
  directory=${1%/*}
  mkdir -p -- "$directory"
  # What a host that crashed has left of an earlier one; of two that sweep at once, one is too late.
  find "$directory" -maxdepth 1 -name "${1##*/}.??????" -mmin +60 -delete || true
  new=$(mktemp -- "$1.XXXXXX")
  trap 'rm -f -- "$new"' EXIT
  cat > "$new"
  # A caller that is killed closes its end as one does that has said everything.
  came=$(wc -c < "$new")
  if [ "$came" -ne "$3" ]; then echo "only $came of $3 bytes came" >&2; exit 48; fi
  chmod "$2" "$new"
  sync "$new"
}
"""
"""The shell function ``receive PATH MODE BYTES``: what comes, whole and durable, in the file ``$new`` beside PATH.

It goes with the shell unless it is moved. For shells that end at the first failure (``set -e``).
"""

_WRITE = (
    "set -e\numask 022"
    + RECEIVE
    + """
receive "$1" "$2" "$3"
mv -- "$new" "$1"
sync "$directory"
"""
)


def write_file(host: Host, path: str, content: bytes, *, mode: str = "0600") -> None:
    """Write a small file of the host, durably and as a whole; one that came in part leaves what was there."""
    check(host, ["sh", "-c", _WRITE, "twinhull-write", path, mode, str(len(content))], stdin=content)


def _plain() -> dict[str, str]:
    """Our environment, with the language in which programs are understood."""
    return {**os.environ, **PLAIN_LANGUAGE}


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
        with in_time(self.name, argv):
            return self._ports.processes.run(argv, stdin=stdin, timeout_seconds=timeout_seconds, env=_plain())

    def start(self, argv: Sequence[str]) -> Process:
        """Start a program with pipes."""
        with in_time(self.name, argv):
            return self._ports.processes.start(argv, has_pipes=True, env=_plain())

    @contextmanager
    def forward(self, socket_path: str) -> Iterator[str]:
        """The socket itself: nothing to forward."""
        yield socket_path

    def close(self) -> None:
        """Nothing to close."""


def open_host(uri: str, ports: Ports) -> Host:
    """The host that a libvirt URI names."""
    target = ssh_target(uri)
    return SshHost(target, ports) if target else LocalHost(ports)


__all__ = [
    "FILES",
    "RECEIVE",
    "Host",
    "LocalHost",
    "check",
    "open_host",
    "parse_files",
    "read_file",
    "require_ok",
    "write_file",
]
