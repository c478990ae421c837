"""How strong each site's guard is: asked when the site is connected, checked or served, and remembered in between."""

from __future__ import annotations

import json

from twinhull.manager.catalog.catalog import Catalog
from twinhull.model.machine import SiteName
from twinhull.platforms.contract import Absent, Grade, GuardGrade, Site


def grade_of(site: Site) -> GuardGrade:
    """The grade right now; a site that holds no standings has none, whatever its platform offers."""
    if isinstance(site.parts.standings, Absent):
        return GuardGrade(Grade.NONE, site.parts.standings.reason)
    if isinstance(site.parts.guard, Absent):
        return GuardGrade(Grade.NOTICES, site.parts.guard.reason)
    return site.parts.guard.grade()


def note_guard(catalog: Catalog, site: Site) -> GuardGrade:
    """Ask for the grade and remember it; raises what asking raises."""
    found = grade_of(site)
    catalog.set(_key(site.settings.name), json.dumps({"grade": found.grade.value, "reason": found.reason}))
    return found


def known_guard(catalog: Catalog, site: Site) -> GuardGrade | None:
    """The grade as it was last asked for; None if it never was, as in the state of an older version."""
    if isinstance(site.parts.standings, Absent):
        return grade_of(site)
    noted = catalog.setting(_key(site.settings.name))
    raw = json.loads(noted) if noted else None
    return GuardGrade(Grade(raw["grade"]), str(raw["reason"])) if raw else None


def forget_guard(catalog: Catalog, name: SiteName) -> None:
    """The site of that name is another one from now on."""
    catalog.set(_key(name), "")


def _key(name: SiteName) -> str:
    return f"guard of {name}"
