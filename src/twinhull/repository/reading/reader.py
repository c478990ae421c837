"""Reading disks of points, at any place, in any order."""

from __future__ import annotations

from collections.abc import Iterator

from twinhull.model.errors import UsageError
from twinhull.model.extents import Extent, merged
from twinhull.repository.format.ids import ChunkId
from twinhull.repository.format.points import DiskRoot
from twinhull.repository.format.tree import Shape, changed_chunks, chunk_ids
from twinhull.repository.reading.chunks import Chunks


class Reader:
    """Random access to any disk of any point. Safe for threads; every byte is checked against its chunk's id."""

    def __init__(self, chunks: Chunks, chunk_size_bytes: int) -> None:
        self._chunks = chunks
        self.chunk_size_bytes = chunk_size_bytes

    def read(self, root: DiskRoot, offset_bytes: int, length_bytes: int) -> bytes:
        """The bytes of a disk; raises UsageError behind its end, ChunkLost where they are gone."""
        first, end = self._span(root, offset_bytes, length_bytes)
        wanted = dict(chunk_ids(self._chunks.node, self._shape(root), root, first, end))
        contents = self._chunks.data_of(wanted.values())
        size = self.chunk_size_bytes
        result = bytearray(length_bytes)
        for number, chunk_id in wanted.items():
            start = number * size - offset_bytes
            low, high = max(start, 0), min(start + size, length_bytes)
            result[low:high] = memoryview(contents[chunk_id])[low - start : high - start]
        return bytes(result)

    def extents(self, root: DiskRoot, offset_bytes: int = 0, length_bytes: int | None = None) -> Iterator[Extent]:
        """Data and zero extents of a disk's range (by default from the offset to the end), in order, gap-free."""
        length = root.size_bytes - offset_bytes if length_bytes is None else length_bytes
        first, end = self._span(root, offset_bytes, length)
        return merged(self._states(root, first, end, Extent(offset_bytes, length)))

    def chunk_ids(self, root: DiskRoot, offset_bytes: int, length_bytes: int) -> Iterator[ChunkId | None]:
        """The id of every chunk that the range touches, in order; None for zeros. Compare with ``chunk_id``."""
        first, end = self._span(root, offset_bytes, length_bytes)
        number = first
        for found, chunk_id in chunk_ids(self._chunks.node, self._shape(root), root, first, end):
            for _ in range(number, found):
                yield None
            yield chunk_id
            number = found + 1
        for _ in range(number, end):
            yield None

    def diff(self, old: DiskRoot | None, new: DiskRoot) -> Iterator[Extent]:
        """Where the new disk differs from the old one, with ``is_zero`` as the new one has it.

        What the old disk does not reach counts as zeros; without an old disk, the data of the new one comes.
        """
        return merged(self._changes(old, new))

    def _changes(self, old: DiskRoot | None, new: DiskRoot) -> Iterator[Extent]:
        for number, chunk_id in changed_chunks(self._chunks.node, old, new, self.chunk_size_bytes):
            offset = number * self.chunk_size_bytes
            length = min(self.chunk_size_bytes, new.size_bytes - offset)
            yield Extent(offset, length, chunk_id is None)

    def _states(self, root: DiskRoot, first: int, end: int, within: Extent) -> Iterator[Extent]:
        position = within.offset_bytes
        for number, _ in chunk_ids(self._chunks.node, self._shape(root), root, first, end):
            start = max(number * self.chunk_size_bytes, within.offset_bytes)
            stop = min((number + 1) * self.chunk_size_bytes, within.end_bytes)
            if start > position:
                yield Extent(position, start - position, is_zero=True)
            yield Extent(start, stop - start)
            position = stop
        if position < within.end_bytes:
            yield Extent(position, within.end_bytes - position, is_zero=True)

    def _shape(self, root: DiskRoot) -> Shape:
        return Shape(root.size_bytes, self.chunk_size_bytes)

    def _span(self, root: DiskRoot, offset_bytes: int, length_bytes: int) -> tuple[int, int]:
        """The chunks that a range touches; raises UsageError where it is not in the disk."""
        if offset_bytes < 0 or length_bytes < 0 or offset_bytes + length_bytes > root.size_bytes:
            raise UsageError(
                f"The range at {offset_bytes} of {length_bytes} bytes is not in a disk of {root.size_bytes} bytes."
            )
        end = -(-(offset_bytes + length_bytes) // self.chunk_size_bytes)
        first = offset_bytes // self.chunk_size_bytes
        return first, max(first, end) if length_bytes else first
