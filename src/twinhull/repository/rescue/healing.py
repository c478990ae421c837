"""Where lost content may still lie: in another copy of the repository, or on a disk that once held the same.

A healer only says where to look. What is found there is taken by its id alone, so a disk that has moved on since, or
is another machine's altogether, costs time and never a wrong byte.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from twinhull.blocks.disk import Disk
from twinhull.model.machine import DiskKey, MachineId
from twinhull.repository.format.points import Point
from twinhull.repository.reading.disk import PointDiskReader
from twinhull.repository.repository import Repository


class Healer(Protocol):
    """A place to look in."""

    @property
    def name(self) -> str:
        """What to call it: "the repository …", "the disk …"."""
        ...

    def disk(self, point: Point, key: DiskKey) -> Disk | None:
        """An open disk that may hold, at the same offsets, what the point's disk holds; None where there is none."""
        ...

    def has(self, point: Point, key: DiskKey) -> bool:
        """Whether there is such a disk; opens nothing, and changes nothing."""
        ...


@dataclass(frozen=True, slots=True)
class DiskHealer:
    """An open disk: a replica's, a source's, an image that lay somewhere. It is read by one thread."""

    name: str
    machine_id: MachineId
    key: DiskKey
    opened: Disk

    def disk(self, point: Point, key: DiskKey) -> Disk | None:
        """See ``Healer.disk``."""
        return self.opened if self.has(point, key) else None

    def has(self, point: Point, key: DiskKey) -> bool:
        """See ``Healer.has``."""
        return (point.machine_id, key) == (self.machine_id, self.key)


@dataclass(frozen=True, slots=True)
class RepositoryHealer:
    """Another repository that holds points of the same machines. Those of each machine are read once."""

    repository: Repository
    _points: dict[MachineId, list[Point]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """See ``Healer.name``."""
        return f"the repository in {self.repository.store.url}"

    def disk(self, point: Point, key: DiskKey) -> Disk | None:
        """The disk in the point of the same number, or else in the nearest one."""
        others = sorted(self._of(point.machine_id), key=lambda other: abs(other.sequence - point.sequence))
        found = next((disk for other in others if (disk := other.disk(key))), None)
        return PointDiskReader(self.repository.reader(), found.root) if found else None

    def has(self, point: Point, key: DiskKey) -> bool:
        """See ``Healer.has``."""
        return any(other.disk(key) for other in self._of(point.machine_id))

    def _of(self, machine_id: MachineId) -> list[Point]:
        if machine_id not in self._points:
            self._points[machine_id] = self.repository.points(machine_id, on_damage=lambda _id, _error: None)
        return self._points[machine_id]
