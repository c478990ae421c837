"""Sites on libvirt's own test driver: real definitions, images, NBD servers and locks, and no hypervisor.

The driver starts machines that execute nothing, and asks no hooks.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

import libvirt
import pytest

from twinhull.model.machine import MachineSpec, SiteName
from twinhull.model.ports import Completed, Ports, Process, Processes, system_ports
from twinhull.platforms.contract import SiteSettings
from twinhull.platforms.libvirt.definition.writing import begin_domain
from twinhull.platforms.xen import definition
from twinhull.platforms.xen.site import XenSite


@dataclass
class CountedProcesses:
    """This machine's programs, and the word by which each one was started (``twinhull-survey``)."""

    real: Processes
    words: list[str] = field(default_factory=list)

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout_seconds: float = 60.0,
        env: Mapping[str, str] | None = None,
    ) -> Completed:
        self._note(argv)
        return self.real.run(argv, stdin=stdin, timeout_seconds=timeout_seconds, env=env)

    def start(
        self,
        argv: Sequence[str],
        *,
        has_pipes: bool = False,
        log: IO[bytes] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Process:
        self._note(argv)
        return self.real.start(argv, has_pipes=has_pipes, log=log, env=env)

    def _note(self, argv: Sequence[str]) -> None:
        self.words.append(argv[3] if argv[:2] == ["sh", "-c"] else " ".join(argv[:2]))


@dataclass
class CountedSite:
    """A site, and how many commands it has run on its host."""

    site: XenSite
    processes: CountedProcesses
    directory: Path

    def words(self) -> list[str]:
        """What was run since the last question."""
        words, self.processes.words = self.processes.words, []
        return words


def counted_ports() -> tuple[Ports, CountedProcesses]:
    ports = system_ports()
    processes = CountedProcesses(ports.processes)
    return replace(ports, processes=processes), processes


@pytest.fixture
def xen(monkeypatch: pytest.MonkeyPatch) -> Iterator[CountedSite]:
    """A Xen site on libvirt's test driver."""

    def begin(_: str, spec: MachineSpec) -> object:
        return begin_domain("test", spec)

    monkeypatch.setattr(definition, "begin_domain", begin)
    monkeypatch.setattr(libvirt.virConnect, "setKeepAlive", lambda *_: 0)  # nothing lies between us and the driver
    with tempfile.TemporaryDirectory(prefix="th-") as name:  # short: a socket's path has 107 bytes at most
        ports, processes = counted_ports()
        other = Path(name) / "hooks" / "libxl.d" / "other"  # so that no libvirtd of this machine need be told
        other.parent.mkdir(parents=True)
        other.touch()
        settings = SiteSettings(
            SiteName("x"),
            "xen",
            "test:///default",
            {"directory": f"{name}/d", "hooks_directory": f"{name}/hooks", "boot_mode": "pv"},
        )
        site = XenSite(settings, ports)
        site.connect()
        site.prepare()
        yield CountedSite(site, processes, Path(name) / "d")
        site.close()
