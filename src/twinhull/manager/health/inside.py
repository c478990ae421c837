"""A look into a machine's disks for readiness: of a restore point, or of the machine itself on its site."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass

from twinhull.blocks.disk import Disk
from twinhull.inspection import READINESS, Finding, Readable, Surroundings, inspect
from twinhull.model.errors import NotFound, TwinhullError
from twinhull.model.machine import DiskKey, MachineStatus
from twinhull.model.ports import Ports
from twinhull.platforms.contract import CapturedDisk, CaptureRequest, Site
from twinhull.repository import Point, Repository
from twinhull.repository.format.points import DiskRoot
from twinhull.repository.reading.disk import PointDiskReader

DRILL = "Check by a drill that it boots on the other site."


@dataclass(frozen=True, slots=True)
class Unopened:
    """A disk that could not be opened: the look goes on with the others, and says so."""

    error: TwinhullError
    size_bytes: int = 1 << 20

    def read(self, _offset_bytes: int, _length_bytes: int) -> bytes:
        """Nothing can be read; raises why."""
        raise self.error


def inspect_point(repository: Repository, point: Point, surroundings: Surroundings, ports: Ports) -> list[Finding]:
    """What keeps a machine from coming up on its other site, by the files in a restore point."""
    reader = repository.reader()
    roots: dict[str, DiskRoot] = {disk.key: disk.root for disk in point.document.disks}
    disks: list[Readable] = [
        PointDiskReader(reader, roots[disk.key]) if disk.key in roots else _gone(disk.key)
        for disk in surroundings.disks
    ]
    return look_inside(surroundings, disks, ports)


def inspect_machine(
    site: Site, status: MachineStatus, label: str, surroundings: Surroundings, ports: Ports
) -> list[Finding]:
    """The same by the machine's own files; ``label`` names what is opened on its site for it.

    A running machine is captured for it, without a freeze and without leaving a tracker. What the site refuses is a
    finding: the look raises nothing for it.
    """
    found: list[Finding] = []
    try:
        with _live_disks(site, status, label, surroundings) as disks:
            found += look_inside(surroundings, disks, ports)
    except TwinhullError as error:
        found.append(Finding(f"The machine could not be inspected: {error.message}", error.hint or DRILL))
    return found


def look_inside(surroundings: Surroundings, disks: Sequence[Readable], ports: Ports) -> list[Finding]:
    """Look into disks, in the order of ``surroundings``; whatever goes wrong with it is one of the findings."""
    if not disks:
        return [Finding("The machine has no disk.", "Nothing can be protected but its description.")]
    outcome = inspect(READINESS, surroundings, disks, ports)
    found = list(outcome.records)
    for index, error in outcome.unreadable.items():
        key = surroundings.disks[index].key
        found.append(Finding(f"{key} could not be inspected: {error.message}", error.hint or DRILL))
    if outcome.failure:
        found.append(Finding(f"The disks could not be inspected to the end: {outcome.failure}.", DRILL))
    return found


@contextmanager
def _live_disks(
    site: Site, status: MachineStatus, label: str, surroundings: Surroundings
) -> Iterator[Sequence[Readable]]:
    with ExitStack() as opened:
        open_one = _door(site, status, label, opened)
        yield [_opened(open_one, DiskKey(disk.key), opened) for disk in surroundings.disks]


def _door(site: Site, status: MachineStatus, label: str, opened: ExitStack) -> Callable[[DiskKey], Disk]:
    """Opens disks of a stopped machine one by one, of a running one at one instant."""
    machine_id = status.spec.machine_id
    if status.power.is_off:
        return lambda key: opened.enter_context(site.disks.reading(machine_id, key))()
    request = CaptureRequest(machine_id, label, is_freezing=False, is_tracking=False)
    disks = {disk.key: disk for disk in opened.enter_context(site.captures.capture(request)).disks}
    return lambda key: _captured(disks.get(key), key)


def _captured(disk: CapturedDisk | None, key: DiskKey) -> Disk:
    if disk is None:
        raise _gone(key).error
    return disk.open()


def _opened(open_one: Callable[[DiskKey], Disk], key: DiskKey, opened: ExitStack) -> Readable:
    try:
        return opened.enter_context(closing(open_one(key)))
    except TwinhullError as error:
        return Unopened(error)


def _gone(key: str) -> Unopened:
    return Unopened(NotFound(f"the disk {key} is not there."))
