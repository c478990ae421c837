"""The task ``readiness``: what in a machine's own files keeps it from coming up on its other site.

Linux on ext file systems is looked into; what cannot be is a finding, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from twinhull.inspection.guest.booting import missing_drivers, unreadable_menus
from twinhull.inspection.guest.devices import DeviceNames
from twinhull.inspection.guest.mounts import command_lines, crypttab, fstab, parameters, units
from twinhull.inspection.guest.networks import named_cards
from twinhull.inspection.guest.partitions import Readable
from twinhull.inspection.guest.systems import System, Volume, open_system
from twinhull.inspection.readiness import Finding, SeenDisk, Surroundings, finding_to_json
from twinhull.model.steps import JsonValue

LARGEST_COUNT = 20
"""Findings of one kind on one volume."""

_DRILL = "Restore it there and start it once: twinhull restore MACHINE:N --to site:NAME --name test"

_Check = Callable[[Volume], Iterator[Finding]]


def run(disks: Sequence[Readable], question: Mapping[str, Any]) -> Iterator[JsonValue]:
    """Each finding once, in boot order, what takes longest last."""
    surroundings = Surroundings(**{**question, "disks": tuple(SeenDisk(**disk) for disk in question["disks"])})
    system = open_system(zip(surroundings.disks, disks, strict=True))
    seen = set()
    for finding in _findings(system, surroundings):
        if finding not in seen:
            seen.add(finding)
            yield finding_to_json(finding)


def _findings(system: System, surroundings: Surroundings) -> Iterator[Finding]:
    yield from _unseen(system)
    for check in _checks(system, surroundings):
        for volume in system.volumes:
            yield from islice(check(volume), LARGEST_COUNT)
    for volume in system.volumes:
        if volume.files.is_damaged:
            yield Finding(f"{volume.disk.key} has unreadable files: its file system is damaged.", _DRILL)


def _checks(system: System, surroundings: Surroundings) -> list[_Check]:
    names = DeviceNames(surroundings)
    lines = [text for volume in system.volumes for _, text in command_lines(volume.files)]
    roots = [volume.disk for volume in system.roots[:1]] or surroundings.disks
    checks: list[_Check] = [
        lambda volume: fstab(volume.files, names),
        lambda volume: crypttab(volume.files, names),
        lambda volume: units(volume.files, names),
        lambda volume: parameters(volume.files, names),
        lambda volume: named_cards(volume.files, surroundings, lines),
    ]
    if surroundings.is_paravirtual:
        checks.append(lambda volume: unreadable_menus(volume.files))
    return [*checks, lambda volume: missing_drivers(volume.files, roots)]


def _unseen(system: System) -> Iterator[Finding]:
    if not system.roots:
        yield Finding(
            "No Linux root file system was found that can be inspected (only ext file systems can be).", _DRILL
        )
    for key, kinds in system.unseen.items():
        yield Finding(f"{key} was not inspected completely: it holds {', '.join(kinds)}.", _DRILL)
