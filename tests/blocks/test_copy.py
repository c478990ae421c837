"""Copying, comparing and summing disks."""

from __future__ import annotations

import random
from contextlib import closing
from pathlib import Path
from threading import Event

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.blocks.conftest import Served, make_image
from twinhull.blocks.copy import Work, checksum, copy, differences
from twinhull.blocks.disk import Disk
from twinhull.blocks.memory import GRAIN_BYTES, MemoryDisk
from twinhull.blocks.progress import Moved
from twinhull.blocks.servers import Image
from twinhull.blocks.workers import Cancelled
from twinhull.model.errors import DataError, TargetTooSmall
from twinhull.model.extents import Extent
from twinhull.model.ports import SystemClock
from twinhull.model.units import MIB

WORK = Work(SystemClock())


def a_disk(seed: int, size_bytes: int = 8 * MIB) -> MemoryDisk:
    chance = random.Random(seed)
    disk = MemoryDisk(size_bytes)
    for _ in range(6):
        offset = chance.randrange(size_bytes - 200_000)
        disk.write(offset, chance.randbytes(chance.randrange(1, 200_000)))
    return disk


def test_a_copy_equals_its_source_and_reads_no_zeros() -> None:
    source, target = a_disk(1), a_disk(2)
    done = copy(lambda: source, lambda: target, WORK)
    assert target.read(0, 8 * MIB) == source.read(0, 8 * MIB)
    assert done.data_bytes + done.zero_bytes == 8 * MIB
    data = sum(extent.length_bytes for extent in source.extents(0, 8 * MIB) if not extent.is_zero)
    assert done.data_bytes == data
    assert target.flush_count == WORK.workers


def test_a_copy_over_real_servers_equals_its_source(tmp_path: Path, served: Served) -> None:
    source = served(Image(str(make_image(tmp_path / "a", "32M")), "qcow2", is_writable=True))
    target = served(Image(str(make_image(tmp_path / "b", "32M", "raw")), "raw", is_writable=True))
    with closing(source()) as disk:
        disk.write(3 * MIB, random.Random(3).randbytes(5 * MIB))
    told: list[Moved] = []
    done = copy(source, target, Work(SystemClock(), listener=told.append))
    assert done.data_bytes == 5 * MIB
    assert told[-1].done_bytes == 5 * MIB
    assert told[-1].bytes_per_second > 0
    assert differences(source, target, WORK) == []
    assert checksum(source, WORK) == checksum(target, WORK)


def test_only_the_given_extents_are_copied() -> None:
    source, target = a_disk(1), MemoryDisk(8 * MIB)
    done = copy(lambda: source, lambda: target, WORK, [Extent(MIB, 2 * MIB)])
    assert done.data_bytes == 2 * MIB
    assert target.read(MIB, 2 * MIB) == source.read(MIB, 2 * MIB)
    assert target.read(0, MIB) == bytes(MIB)
    assert target.read(3 * MIB, 5 * MIB) == bytes(5 * MIB)


def test_a_target_that_is_too_small_stays_untouched() -> None:
    source, target = a_disk(1), MemoryDisk(4 * MIB)
    with pytest.raises(TargetTooSmall):
        copy(lambda: source, lambda: target, WORK)
    assert target.read(0, 4 * MIB) == bytes(4 * MIB)


class Broken(MemoryDisk):
    def read(self, offset_bytes: int, length_bytes: int) -> bytes:
        raise DataError(f"the platter is scratched at {offset_bytes}")


class ClosesCounted(MemoryDisk):
    opened = 0
    closed = 0

    def open(self) -> Disk:
        self.opened += 1
        return self

    def close(self) -> None:
        self.closed += 1


def test_the_first_error_wins_and_every_handle_is_closed() -> None:
    source, target = Broken(64 * MIB), ClosesCounted(64 * MIB)
    with pytest.raises(DataError, match="scratched"):
        copy(lambda: source, target.open, WORK, [Extent(0, 64 * MIB)])
    assert target.opened == target.closed


def test_a_copy_can_be_called_off() -> None:
    stop = Event()
    source = a_disk(1, 64 * MIB)
    target = MemoryDisk(64 * MIB)
    work = Work(SystemClock(), is_cancelled=stop.is_set)
    stop.set()
    with pytest.raises(Cancelled):
        copy(lambda: source, lambda: target, work)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000), st.lists(st.integers(0, 8 * MIB - 1), max_size=4))
def test_differences_are_found_where_they_are(seed: int, places: list[int]) -> None:
    left, right = a_disk(seed), a_disk(seed)
    for place in places:
        right.write(place, bytes([right.read(place, 1)[0] ^ 255]))
    odd = {place // MIB for place in places if left.read(place, 1) != right.read(place, 1)}
    found = differences(lambda: left, lambda: right, WORK)
    covered = {index for extent in found for index in range(extent.offset_bytes // MIB, extent.end_bytes // MIB)}
    assert covered == odd
    assert (checksum(lambda: left, WORK) == checksum(lambda: right, WORK)) == (not odd)


def test_a_hole_and_written_zeros_have_one_checksum() -> None:
    hole, zeros = MemoryDisk(2 * MIB), MemoryDisk(2 * MIB, bytes(2 * MIB))
    assert checksum(lambda: hole, WORK) == checksum(lambda: zeros, WORK)
    assert checksum(lambda: hole, WORK) != checksum(lambda: MemoryDisk(3 * MIB), WORK)


@given(st.lists(st.tuples(st.integers(0, 9 * GRAIN_BYTES), st.integers(1, 2 * GRAIN_BYTES), st.booleans()), max_size=8))
def test_a_memory_disk_behaves_as_plain_bytes(writes: list[tuple[int, int, bool]]) -> None:
    disk, model = MemoryDisk(11 * GRAIN_BYTES), bytearray(11 * GRAIN_BYTES)
    for offset, length, is_zero in writes:
        if is_zero:
            disk.zero(offset, length)
        else:
            disk.write(offset, b"\xa5" * length)
        model[offset : offset + length] = bytes(length) if is_zero else b"\xa5" * length
    assert disk.read(0, len(model)) == bytes(model)
    for extent in disk.extents(0, len(model)):
        if extent.is_zero:
            assert not any(model[extent.offset_bytes : extent.end_bytes])
