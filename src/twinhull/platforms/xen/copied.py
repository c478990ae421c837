"""The copy of a running machine's changes: what was not copied cannot be read."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from twinhull.blocks.disk import Disk
from twinhull.blocks.nbd import NbdDisk
from twinhull.model.errors import DataError
from twinhull.model.extents import Extent, aligned, intersection, total_bytes
from twinhull.model.units import MIB, format_bytes
from twinhull.platforms.libvirt.opened import OpenedDisk

COPIED_GRAIN_BYTES = MIB
"""A running machine's changes are copied widened to this grain, which is the largest chunk that can be read of them."""


def copied_at_most(changed_bytes: int, grain_bytes: int, size_bytes: int) -> int:
    """How much is copied of changes that a tracker counts in its own grain, if each lies alone in one of ours."""
    return min(changed_bytes * max(COPIED_GRAIN_BYTES // grain_bytes, 1), size_bytes)


class CopiedDisk:
    """A disk of which only what has changed (widened) was copied; reading anything else is an error, never zeros."""

    def __init__(self, disk: NbdDisk, changed: Sequence[Extent]) -> None:
        self._disk = disk
        self.size_bytes = disk.size_bytes
        self._copied = list(aligned(changed, COPIED_GRAIN_BYTES, disk.size_bytes))
        self._starts = [copied.offset_bytes for copied in self._copied]

    def extents(self, offset_bytes: int, length_bytes: int) -> Iterator[Extent]:
        """Zero or data where it was copied; data, for all that is known, elsewhere."""
        position = offset_bytes
        for copied in self._copied_of(Extent(offset_bytes, length_bytes)):
            if copied.offset_bytes > position:
                yield Extent(position, copied.offset_bytes - position)
            yield from self._disk.extents(copied.offset_bytes, copied.length_bytes)
            position = copied.end_bytes
        if position < offset_bytes + length_bytes:
            yield Extent(position, offset_bytes + length_bytes - position)

    def read(self, offset_bytes: int, length_bytes: int) -> bytes:
        """The bytes of the range; raises DataError where they were not copied."""
        wanted = Extent(offset_bytes, length_bytes)
        if total_bytes(self._copied_of(wanted)) < length_bytes:
            raise DataError(
                f"Bytes {offset_bytes} to {wanted.end_bytes} have not changed since the last capture and were not"
                f" copied from the running machine (changes are copied by {format_bytes(COPIED_GRAIN_BYTES)}).",
                hint="A repository with larger chunks needs a capture without a tracker, or of the stopped machine.",
            )
        return self._disk.read(offset_bytes, length_bytes)

    def _copied_of(self, wanted: Extent) -> Iterator[Extent]:
        """What of a range was copied; a busy disk has very many copied ranges, and each read asks."""
        first = max(bisect_right(self._starts, wanted.offset_bytes) - 1, 0)
        behind = bisect_left(self._starts, wanted.end_bytes, first)
        return intersection([wanted], self._copied[first:behind])

    def write(self, offset_bytes: int, data: bytes) -> None:
        """Refused by the server: a captured disk is read-only."""
        self._disk.write(offset_bytes, data)

    def zero(self, offset_bytes: int, length_bytes: int) -> None:
        """Refused by the server: a captured disk is read-only."""
        self._disk.zero(offset_bytes, length_bytes)

    def flush(self) -> None:
        """Nothing was written."""
        self._disk.flush()

    def close(self) -> None:
        """Close the handle; safe to repeat."""
        self._disk.close()


@dataclass(frozen=True, slots=True)
class PartlyCopied(OpenedDisk):
    """A captured disk of which only the changes were copied, and its probes."""

    @property
    def is_whole(self) -> bool:
        """What was not copied cannot be read."""
        return False

    def open(self) -> Disk:
        """A further read-only handle."""
        return CopiedDisk(NbdDisk(self.address), [*self.changed(), *self.probes])
