"""Platforms by name, and sites that are opened when they are needed and shared while they are open."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from threading import Lock
from typing import cast
from urllib.parse import quote

from twinhull.model.errors import NotFound, UsageError
from twinhull.model.machine import SiteName
from twinhull.model.names import checked_plan_name, checked_site_name
from twinhull.model.ports import Ports
from twinhull.model.sealing import FindKeys, no_keys
from twinhull.platforms.contract import Platform, Site, SiteSettings

PLATFORMS = {
    "qemu": "twinhull.platforms.qemu",
    "xen": "twinhull.platforms.xen",
    "simulated": "twinhull.platforms.simulated",
}
"""Where each platform lives; its module has a ``PLATFORM``. Adding one: docs/adding-a-platform.md."""


def platform(name: str) -> Platform:
    """The platform of that name, its module loaded only now; raises NotFound."""
    module = PLATFORMS.get(name)
    if not module:
        raise NotFound(f"There is no platform '{name}'.", hint=f"Platforms: {', '.join(PLATFORMS)}.")
    return cast("Platform", import_module(module).PLATFORM)


def guess_platform(uri: str) -> str:
    """The platform that the URI's scheme names (``qemu+ssh://…`` is ``qemu``); raises UsageError."""
    scheme = uri.partition(":")[0].partition("+")[0]
    if scheme not in PLATFORMS:
        raise UsageError(
            f"'{uri}' does not say of which platform the site is.",
            hint=f"Name it with --platform ({', '.join(PLATFORMS)}), or write the URI as qemu:///system or "
            "xen+ssh://root@host/.",
        )
    return scheme


def checked_name(word: str, what: str) -> str:
    """``word`` if it can name a site or a plan; raises UsageError."""
    try:
        return checked_site_name(word) if what == "site" else checked_plan_name(word)
    except ValueError as error:
        raise UsageError(
            f"'{word}' cannot be the name of a {what}.",
            hint="Use lower-case letters, digits and '-', at most 40, beginning with a letter or digit.",
        ) from error


def with_known_hosts(uri: str, path: str | None) -> str:
    """The URI, naming the file of host keys that ssh shall accept."""
    if not path:
        return uri
    sign = "&" if "?" in uri else "?"
    return f"{uri}{sign}known_hosts={quote(path, safe='/')}"


@dataclass(slots=True)
class _Shared:
    site: Site
    lease_count: int = 0
    is_prepared: bool = False


class SitePool:
    """Open sites, shared by everything in this process that uses them at the same time.

    A site is closed when its last user leaves, so that a connection that broke is a new one at the next use.
    """

    def __init__(
        self,
        find: Callable[[SiteName], SiteSettings],
        ports: Ports,
        keys: Callable[[SiteName], FindKeys] = lambda _: no_keys,
    ) -> None:
        """``keys`` are those of a site's standings."""
        self._find = find
        self._keys = keys
        self._ports = ports
        self._open: dict[SiteName, _Shared] = {}
        self._opening: dict[SiteName, Lock] = {}
        self._lock = Lock()

    @contextmanager
    def lease(self, *, is_looking: bool = False) -> Iterator[Callable[[SiteName], Site]]:
        """As a context: a door that opens sites by name; raises whatever opening a site raises.

        ``is_looking``: nothing is changed on their hosts; otherwise they are made ready to be worked on.
        """
        taken: dict[SiteName, Site] = {}

        def door(name: SiteName) -> Site:
            if name not in taken:
                taken[name] = self._take(name, is_looking=is_looking)
            return taken[name]

        try:
            yield door
        finally:
            for name in taken:
                self._give_back(name)

    def _take(self, name: SiteName, *, is_looking: bool) -> Site:
        with self._lock:
            opening = self._opening.setdefault(name, Lock())
        # One opens, the others wait for it; other sites are not held up by a slow one.
        with opening:
            with self._lock:
                shared = self._open.get(name)
            if not shared:
                settings = self._find(name)
                keys = self._keys(name)
                site = platform(settings.platform).open(settings, self._ports, keys=keys, is_looking=True)
                shared = _Shared(site)
            with self._lock:
                self._open[name] = shared
                shared.lease_count += 1
        if not is_looking:
            self._prepare(name, shared)
        return shared.site

    def _prepare(self, name: SiteName, shared: _Shared) -> None:
        try:
            with self._opening[name]:
                if not shared.is_prepared:
                    shared.site.prepare()
                    shared.is_prepared = True
        except BaseException:
            self._give_back(name)
            raise

    def _give_back(self, name: SiteName) -> None:
        with self._opening[name]:
            with self._lock:
                shared = self._open[name]
                shared.lease_count -= 1
                is_last = shared.lease_count == 0
                if is_last:
                    del self._open[name]
            if is_last:
                shared.site.close()
