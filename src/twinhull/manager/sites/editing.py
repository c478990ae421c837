"""What changes when a plan or a site is edited, and the proof that a new address is the same host."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields

from twinhull.manager.catalog.catalog import Catalog
from twinhull.manager.catalog.records import Plan
from twinhull.model.errors import SafetyError, UsageError
from twinhull.model.machine import MachineId, SiteName
from twinhull.platforms.contract import SiteIdentity, SiteSettings

Telling = Callable[[object], str]


def changes(old: Plan | SiteSettings, new: Plan | SiteSettings, telling: Mapping[str, Telling]) -> dict[str, str]:
    """``{field: "old → new"}`` of what differs, as ``telling`` puts the values; raises UsageError if nothing does."""
    found = {
        item.name: f"{_said(old, item.name, telling)} → {_said(new, item.name, telling)}"
        for item in fields(old)
        if getattr(old, item.name) != getattr(new, item.name)
    }
    if not found:
        raise UsageError(f"Nothing of '{old.name}' would change.", hint="Add an option: --help lists them.")
    return found


def _said(record: Plan | SiteSettings, name: str, telling: Mapping[str, Telling]) -> str:
    return telling.get(name, str)(getattr(record, name))


def edited_machines(
    machines: tuple[MachineId, ...], added: list[MachineId], removed: list[MachineId]
) -> tuple[MachineId, ...]:
    """The plan's machines in their order, without the removed and with the added ones; raises UsageError."""
    missing = [machine_id for machine_id in removed if machine_id not in machines]
    if missing:
        raise UsageError(f"The plan does not have {', '.join(missing)}.", hint="'twinhull plan list' shows the plans.")
    kept = tuple(dict.fromkeys([*(each for each in machines if each not in removed), *added]))
    if not kept:
        raise UsageError("A plan has at least one machine.", hint="To give it up: twinhull plan remove PLAN")
    return kept


def remember_identity(catalog: Catalog, name: SiteName, identity: SiteIdentity) -> None:
    """Which host the site is, for the day on which its address changes and the old one does not answer."""
    known = remembered_identity(catalog, name)
    # A directory whose file system is not mounted is no new one.
    directory = identity.directory or (known.directory if known else "")
    catalog.set(_key(name), json.dumps({"host": identity.host, "directory": directory}))


def forget_identity(catalog: Catalog, name: SiteName) -> None:
    """The site of that name is another one from now on."""
    catalog.set(_key(name), "")


def remembered_identity(catalog: Catalog, name: SiteName) -> SiteIdentity | None:
    """The host that the site was when it was last connected; None if that was never noted."""
    noted = catalog.setting(_key(name))
    if not noted:
        return None
    found = json.loads(noted)
    return SiteIdentity(str(found["host"]), str(found["directory"]))


def require_same_host(name: SiteName, known: SiteIdentity | None, found: SiteIdentity) -> None:
    """Refuse an address that is another host's; raises SafetyError. ``known`` None: nothing says which host it was."""
    if known is None:
        raise SafetyError(
            f"Whether that address is the host of '{name}' cannot be told: the old address does not answer, and its "
            "host was never noted. Nothing was changed.",
            hint="If you are sure that it is the same host, add --same-host.",
        )
    if found.directory and found.directory == known.directory:
        return  # a host that was booted meanwhile has another id
    if found.host != known.host:
        raise SafetyError(
            f"That address is another host than '{name}': its id is {found.host}, and {name}'s is {known.host}. "
            "Nothing was changed.",
            hint="Connect another host as a site of its own: twinhull site add NAME URI",
        )
    if found.directory and known.directory:
        raise SafetyError(
            f"That address is the host of '{name}', with another directory of standings. Nothing was changed.",
            hint="Is its file system mounted?",
        )


def _key(name: SiteName) -> str:
    return f"identity of {name}"
