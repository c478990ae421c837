"""What a site is and offers, without trying anything on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from twinhull.manager.catalog.catalog import Catalog
from twinhull.manager.sites.guards import known_guard
from twinhull.platforms.contract import Absent, GuardGrade, Parts, Site, SiteSettings


@dataclass(frozen=True, slots=True)
class SiteShown:
    """A site. ``parts`` are those of the contract by name: why each is absent, empty if it is there."""

    settings: SiteSettings
    guard: GuardGrade | None
    parts: Mapping[str, str]
    machine_count: int | None


def show_site(catalog: Catalog, site: Site) -> SiteShown:
    """Ask the site; raises what asking raises."""
    inventory = site.parts.inventory
    return SiteShown(
        site.settings,
        known_guard(catalog, site),
        {each.name: _absence(getattr(site.parts, each.name)) for each in fields(Parts)},
        len(inventory.machines()) if inventory else None,
    )


def _absence(part: object) -> str:
    return part.reason if isinstance(part, Absent) else ""
