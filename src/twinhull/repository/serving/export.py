"""Serving a disk of a restore point as a read-only NBD export, for qemu, nbdcopy, libguestfs and the like.

The server is nbdkit with our plugin (``export_plugin.py``). It is told what to serve through its standard input, so
that the key is on no command line, in no file and in no environment; when that pipe closes because we are gone, it
ends.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from twinhull.model.errors import UsageError
from twinhull.model.ports import Ports, Process, system_ports
from twinhull.repository.errors import RepositoryError
from twinhull.repository.format.points import DiskRoot
from twinhull.repository.repository import Repository

START_SECONDS = 30.0
"""How long a server may take until it answers: it reads the repository's index first."""
POLL_SECONDS = 0.02
_PLUGIN = Path(__file__).with_name("export_plugin.py")


@dataclass(frozen=True, slots=True)
class ExportOrder:
    """What the server is told, as one line of JSON."""

    path: list[str]
    store_url: str
    cache: str | None
    """The directory in which pieces of a store that is far away are kept."""
    repository_id: str
    repository_keys: list[str]
    chunk_size_bytes: int
    size_bytes: int
    root: str | None
    directory: str
    """What to remove when its starter is gone."""


class DiskExport:
    """A running server; close it, or use it as a context manager."""

    def __init__(self, process: Process, directory: Path, log: IO[bytes]) -> None:
        self._process = process
        self._directory = directory
        self._log = log

    @property
    def socket(self) -> Path:
        """The unix socket that it listens on."""
        return self._directory / "disk.sock"

    @property
    def uri(self) -> str:
        """The export as an NBD URI."""
        return f"nbd+unix:///?socket={self.socket}"

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the server and remove its socket; safe to repeat."""
        self._process.end()
        self._log.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def is_ready(self) -> bool:
        """Whether the server accepts connections; it writes its process id when it does."""
        return (self._directory / "pid").exists()

    def complaint(self) -> str:
        """What the server has written to its error output."""
        return " ".join((self._directory / "log").read_text(errors="replace").split())


def export_disk(repository: Repository, root: DiskRoot, ports: Ports | None = None) -> DiskExport:
    """Serve a disk of a point, read-only, on a unix socket in a directory of its own; ready when this returns.

    Raises UsageError for a repository in memory, RepositoryError where the server does not come up.
    """
    world = ports or system_ports()
    if repository.store.url.startswith("memory:"):
        raise UsageError("A repository in memory cannot be served by another process.")
    directory = Path(tempfile.mkdtemp(prefix="twinhull-export-"))
    log = (directory / "log").open("wb")
    try:
        export = DiskExport(world.processes.start(_command(directory), has_pipes=True, log=log), directory, log)
    except FileNotFoundError:
        log.close()
        shutil.rmtree(directory, ignore_errors=True)
        raise RepositoryError(
            "nbdkit is not installed.", hint="Install it: apt-get install nbdkit nbdkit-plugin-python"
        ) from None
    try:
        _tell(export, _order(repository, root, directory))
        _wait_until_ready(export, world)
    except BaseException:
        export.close()
        raise
    return export


def _command(directory: Path) -> list[str]:
    sock, pid = str(directory / "disk.sock"), str(directory / "pid")
    return ["nbdkit", "--foreground", "--readonly", "--unix", sock, "--pidfile", pid, "python", str(_PLUGIN)]


def _order(repository: Repository, root: DiskRoot, directory: Path) -> ExportOrder:
    return ExportOrder(
        path=sys.path,
        store_url=repository.store.url,
        cache=str(repository.near.directory) if repository.near else None,
        repository_id=repository.id,
        repository_keys=[key.hex() for key in repository.keys.ring],
        chunk_size_bytes=repository.chunk_size_bytes,
        size_bytes=root.size_bytes,
        root=root.node.hex() if root.node else None,
        directory=str(directory),
    )


def _tell(export: DiskExport, order: ExportOrder) -> None:
    pipe = export._process.stdin  # noqa: SLF001 - the export's own module
    if pipe is None:
        raise RepositoryError("The server of a restore point has no standard input.")
    line = json.dumps({name: getattr(order, name) for name in order.__slots__})
    try:
        pipe.write(line.encode() + b"\n")
        pipe.flush()
    except BrokenPipeError:  # it has ended already, and the wait says why
        return


def _wait_until_ready(export: DiskExport, world: Ports) -> None:
    deadline = world.clock.monotonic() + START_SECONDS
    while not export.is_ready():
        if export._process.poll() is not None:  # noqa: SLF001 - the export's own module
            raise RepositoryError(f"The server of a restore point did not start: {export.complaint()}")
        if world.clock.monotonic() > deadline:
            raise RepositoryError(f"The server of a restore point did not answer within {START_SECONDS:.0f} s.")
        world.clock.sleep(POLL_SECONDS)
