"""Sites whose standings are files, as on real hosts, and managers that work on them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from uuid import NAMESPACE_DNS, uuid5

from tests.repository.world import PASSPHRASE, made, ports
from twinhull.hosts.host import LocalHost
from twinhull.manager.catalog.state import StateDirectory
from twinhull.manager.manager import Manager
from twinhull.model.machine import SiteName
from twinhull.model.ports import Ports, system_ports
from twinhull.model.sealing import FindKeys, no_keys
from twinhull.platforms.contract import NoOptions, Site, SiteIdentity, SiteSettings
from twinhull.platforms.guard.standings import StandingFiles
from twinhull.platforms.simulated import SimulatedSite, SimulatedWorld
from twinhull.repository import open_store


def home_of(name: str) -> str:
    """The id of a site's directory."""
    return str(uuid5(NAMESPACE_DNS, name))


def settings_of(name: SiteName) -> SiteSettings:
    return SiteSettings(name, "simulated", f"simulated:{name}")


class FileSite(SimulatedSite):
    def __init__(self, directory: Path, settings: SiteSettings, keys: FindKeys) -> None:
        super().__init__(SimulatedWorld(), settings)
        self._files = StandingFiles(LocalHost(system_ports()), str(directory), keys=keys)
        self.parts = replace(self.parts, standings=self._files)
        self._id = directory / "site-id"

    def prepare(self) -> None:
        if not self._id.exists():
            self._id.parent.mkdir(parents=True, exist_ok=True)
            self._id.write_text(home_of(self.settings.name))
        self._files.take_over(self._id.read_text())

    def identity(self) -> SiteIdentity:
        return SiteIdentity(f"host of {self.settings.name}", self._id.read_text() if self._id.exists() else "")


class FilePlatform:
    """Sites below one directory, each in a directory of its name."""

    name = "simulated"
    options = NoOptions

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def open(self, settings: SiteSettings, ports: Ports, *, keys: FindKeys = no_keys, is_looking: bool = False) -> Site:
        site = FileSite(self._directory / settings.name, settings, keys)
        if not is_looking:
            site.prepare()
        return site


def repository_at(path: Path, seed: str) -> Path:
    made(open_store(str(path)), ports(seed=seed)).close()
    return path


def manager_at(state: Path, repository: Path) -> Manager:
    said = {"TWINHULL_PASSPHRASE": PASSPHRASE}
    return Manager(StateDirectory(state), system_ports(), said, repository_url=str(repository))
