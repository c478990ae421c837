"""Reading in order is reading ahead; reading here and there is not; and what is read is what was written."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from twinhull.model.errors import UsageError
from twinhull.model.units import KIB
from twinhull.repository import ChunkLost, MemoryStore, Point, Repository, StoreError
from twinhull.repository.format import packs
from twinhull.repository.reading import readahead
from twinhull.repository.reading.readahead import MAX_PIECES_AHEAD, ReadAheadDisk

from .world import CHUNK, capture, made, noise, opened

PIECE = 32 * KIB
DISK = noise("a", 30 * CHUNK) + bytes(100 * CHUNK) + noise("b", 200 * CHUNK) + b"end"
WAIT_SECONDS = 20.0


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readahead, "PIECE_BYTES", PIECE)
    monkeypatch.setattr(packs, "PAYLOAD_CONTENT_BYTES", CHUNK)


class _Gate(MemoryStore):
    """Lets nobody read of a pack until so many are there who want to."""

    def __init__(self) -> None:
        super().__init__()
        self.wanted = 0
        self.reads = 0
        self._arrived = threading.Condition()
        self._waiting = 0

    def read_range(self, name: str, offset_bytes: int, length_bytes: int) -> bytes:
        if name.startswith("pack-"):
            with self._arrived:
                self.reads += 1
                self._waiting += 1
                self._arrived.notify_all()
                if not self._arrived.wait_for(lambda: self._waiting >= self.wanted, WAIT_SECONDS):
                    raise StoreError(f"only {self._waiting} fetches were under way")
        return super().read_range(name, offset_bytes, length_bytes)


def _disk(repository: Repository, point: Point) -> ReadAheadDisk:
    return ReadAheadDisk(repository.reader(), point.document.disks[0].root)


def test_several_fetches_are_under_way_for_one_reader() -> None:
    store = _Gate()
    point = capture(made(store), DISK)
    repository = opened(store)
    disk = _disk(repository, point)
    list(disk.extents(0, len(DISK)))  # the tree is known now
    start = 140 * CHUNK // PIECE * PIECE
    assert disk.read(start, CHUNK) == DISK[start : start + CHUNK]
    store._waiting, store.wanted = 0, 3
    assert disk.read(start + CHUNK, CHUNK) == DISK[start + CHUNK : start + 2 * CHUNK]
    disk.close()
    assert store._waiting >= 3


def test_reads_here_and_there_fetch_nothing_more() -> None:
    store = _Gate()
    point = capture(made(store), DISK)
    disk = _disk(opened(store), point)
    list(disk.extents(0, len(DISK)))
    before = store.reads
    numbers = range(130, 330, 40)
    for number in numbers:
        assert disk.read(number * CHUNK, CHUNK) == DISK[number * CHUNK : (number + 1) * CHUNK]
    disk.close()
    assert store.reads - before == len(numbers)


@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_read_in_whatever_order_is_right(seed: int) -> None:
    point = capture(repository := made(MemoryStore()), DISK)
    disk = _disk(repository, point)
    dice = random.Random(seed)
    ranges = []
    offset = 0
    for _ in range(300):
        offset = dice.choice([offset, offset, offset, dice.randrange(len(DISK))])
        length = min(dice.randrange(3 * PIECE), len(DISK) - offset)
        ranges.append((offset, length))
        offset = (offset + length) % len(DISK)
    with ThreadPoolExecutor(4) as threads:
        for (start, length), data in zip(ranges, threads.map(lambda r: disk.read(*r), ranges), strict=True):
            assert data == DISK[start : start + length]
    assert len(disk._pieces) <= MAX_PIECES_AHEAD + 5
    disk.close()


def test_what_is_lost_ahead_is_lost_when_it_is_asked_for() -> None:
    store = MemoryStore()
    point = capture(repository := made(store), DISK)
    root = point.document.disks[0].root
    (chunk_id,) = repository.reader().chunk_ids(root, 150 * CHUNK, CHUNK)
    place = repository.index.find(chunk_id) if chunk_id else None
    assert place
    whole = store.objects[place.pack.name]
    at = place.entry.offset_bytes
    store.objects[place.pack.name] = whole[:at] + b"?" + whole[at + 1 :]
    disk = _disk(opened(store), point)
    for number in range(130, 150):
        assert disk.read(number * CHUNK, CHUNK) == DISK[number * CHUNK : (number + 1) * CHUNK]
    with pytest.raises(ChunkLost):
        disk.read(150 * CHUNK, CHUNK)
    assert disk.read(151 * CHUNK, CHUNK) == DISK[151 * CHUNK : 152 * CHUNK]
    disk.close()


def test_behind_the_end_there_is_nothing() -> None:
    point = capture(repository := made(MemoryStore()), DISK)
    disk = _disk(repository, point)
    with pytest.raises(UsageError):
        disk.read(len(DISK) - 1, 2)
    assert disk.read(len(DISK), 0) == b""
    disk.close()
