"""A kind of site."""

from __future__ import annotations

from typing import Any, Protocol

from twinhull.model.ports import Ports
from twinhull.model.sealing import FindKeys, no_keys
from twinhull.platforms.contract.settings import SiteSettings
from twinhull.platforms.contract.site import Site


class Platform(Protocol):
    """A kind of site."""

    @property
    def name(self) -> str:
        """The platform's word: ``qemu``, ``xen``, ``simulated``."""
        ...

    @property
    def options(self) -> type[Any]:
        """Its options: a frozen dataclass (:mod:`twinhull.platforms.contract.options`)."""
        ...

    def open(self, settings: SiteSettings, ports: Ports, *, keys: FindKeys = no_keys, is_looking: bool = False) -> Site:
        """Connect, and prepare the site unless it is only looked at; standings are sealed and believed by the keys.

        Raises SiteUnreachable, HostKeyChanged, LoginRefused, SiteInUse.
        """
        ...
