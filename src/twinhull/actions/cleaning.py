"""Removing what killed processes left on a site, before anything new is opened there."""

from __future__ import annotations

from collections.abc import Collection

from twinhull.model.machine import MachineId
from twinhull.platforms.contract import TRACKER, Site


def clean_leftovers(site: Site, machine_id: MachineId, kept_trackers: Collection[str] | None) -> list[str]:
    """Clean what carries our label and belongs to nothing alive; says what it was.

    ``kept_trackers`` are those that the next capture starts from; None where nobody can say: then all are kept.
    """
    found = site.leftovers.find(machine_id, sorted(set(kept_trackers or ())))
    if kept_trackers is None:
        found = [leftover for leftover in found if leftover.kind != TRACKER]
    for leftover in found:
        site.leftovers.clean(leftover)
    return [
        f"The {leftover.kind} '{leftover.name}' on {site.settings.name} belonged to nothing any more: it was removed."
        for leftover in found
    ]
