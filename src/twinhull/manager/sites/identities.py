"""One host, one site: on a host that is connected twice, a machine would be its own replica."""

from __future__ import annotations

from collections.abc import Mapping

from twinhull.actions.patience import in_time
from twinhull.manager.catalog.catalog import Catalog
from twinhull.manager.sites.pool import SitePool
from twinhull.model.errors import AlreadyExists, SiteError
from twinhull.model.machine import SiteName
from twinhull.platforms.contract import SiteIdentity


def identities(catalog: Catalog, pool: SitePool, without: SiteName) -> Mapping[SiteName, SiteIdentity]:
    """Which host and directory each other site is; a site that does not answer is left out."""
    found: dict[SiteName, SiteIdentity] = {}
    for settings in catalog.sites():
        if settings.name != without:
            try:
                found[settings.name] = in_time(settings.name, lambda name=settings.name: _ask(pool, name))  # type: ignore[misc]
            except SiteError:
                continue  # it is compared when it is checked, or when the next site is added
    return found


def _ask(pool: SitePool, name: SiteName) -> SiteIdentity:
    with pool.lease(is_looking=True) as door:
        return door(name).identity()


def require_another(name: SiteName, identity: SiteIdentity, others: Mapping[SiteName, SiteIdentity]) -> None:
    """Refuse a site that is another one under a second name; raises AlreadyExists."""
    for other, known in others.items():
        if identity.host == known.host:
            raise AlreadyExists(
                f"'{name}' is the host of the site '{other}' under another name; a machine's replica must be on"
                " another host.",
                hint=f"Use the site '{other}', or name another host. If these are two hosts, they share a libvirt host"
                " UUID: give one of them another (host_uuid in /etc/libvirt/libvirtd.conf).",
            )
        if identity.directory and identity.directory == known.directory:
            raise AlreadyExists(
                f"'{name}' keeps its standings in the directory of the site '{other}': each would overwrite the"
                " other's.",
                hint="Give each site a directory of its own with --directory. If the directory was copied from the"
                " other host, remove the file site-id in the copy.",
            )
