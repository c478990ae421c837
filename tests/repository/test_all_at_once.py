"""Writers, a remover, a collector, a copier, a reader and a verifier, each in a thread of its own, on a slow store.

Every operation of the store waits before it is done and again before its answer comes, so that operations overlap and
overtake one another in every way that the contract of a store allows; nothing is shown late that was answered for.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count

import pytest

from twinhull.model.errors import NotFound, SafetyError
from twinhull.model.machine import MachineId, PointId
from twinhull.repository import ChunkLost, MemoryStore, Point, Repository, copy_points
from twinhull.repository.writing.writer import SESSION_LIMIT_SECONDS

from .misbehaving import SlowStore
from .world import CHUNK, DATABASE, WEB, TurnedClock, content_of, document, made, noise, opened, ports, write_disk

DAY = 86_400.0
CAPTURES = 8
assert SESSION_LIMIT_SECONDS == 3 * DAY


class _Standstill:
    """Time does not pass while somebody is in a context of it: no publishing takes a day."""

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._inside = 0

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            self._lock.notify_all()

    def pass_day(self, clock: TurnedClock) -> None:
        with self._lock:
            self._lock.wait_for(lambda: self._inside == 0)
            clock.pass_time(DAY)


class _World:
    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.clock = TurnedClock()
        self.inner = MemoryStore()
        self.standstill = _Standstill()
        made(self.inner, ports(self.clock))
        self.copy = made(MemoryStore(), ports(self.clock, "copy"))
        self.must_be_there: dict[PointId, bytes] = {}
        """What was published and nobody has begun to remove."""
        self.ever: dict[PointId, bytes] = {}
        self.writers_at_work = 2
        self.numbers = count()

    def opened(self, name: str) -> Repository:
        slow = SlowStore(self.inner, random.Random(self.dice.random()))
        return opened(slow, ports(self.clock, f"{name} {next(self.numbers)}"))

    def write(self, machine_id: MachineId) -> None:
        dice = random.Random(machine_id)
        base: tuple[Point, bytes] | None = None
        for number in range(CAPTURES):
            repository = self.opened(f"{machine_id} {number}")
            content = b"".join(noise(dice.randrange(6), CHUNK) for _ in range(dice.randrange(1, 70)))
            with repository.writer() as writer:
                root = write_disk(writer, content, (base[0].document.disks[0].root, base[1]) if base else None)
                with self.standstill:
                    try:
                        point = writer.publish(document({"vda": root}, machine_id))
                    except NotFound:  # the base was removed meanwhile
                        base = None
                        continue
                    self.must_be_there[point.id] = self.ever[point.id] = content
            base = (point, content) if number % 2 else None
        self.writers_at_work -= 1

    def remove(self) -> None:
        while self.writers_at_work:
            repository = self.opened("remover")
            chosen = sorted(self.must_be_there)[: self.dice.randrange(3)]
            for point_id in chosen:
                content = self.must_be_there.pop(point_id)
                repository.remove_point(point_id)
                if self.dice.random() < 0.5:
                    self._take_back(repository, point_id, content)

    def _take_back(self, repository: Repository, point_id: PointId, content: bytes) -> None:
        try:
            repository.restore_point(point_id)
        except (NotFound, SafetyError):
            return
        self.must_be_there[point_id] = content

    def collect(self) -> None:
        while self.writers_at_work:
            self.opened("collector").collect()
            self.standstill.pass_day(self.clock)

    def read(self) -> None:
        while self.writers_at_work:
            repository = self.opened("reader")
            for point in repository.points():
                try:
                    assert content_of(repository, point) == self.ever.get(point.id, content_of(repository, point))
                except ChunkLost:
                    assert point.id not in self.must_be_there

    def verify(self) -> None:
        while self.writers_at_work:
            repository = self.opened("verifier")
            with self.standstill:
                assert repository.verify(read_data=True).findings == ()

    def copy_out(self) -> None:
        while self.writers_at_work:
            with suppress(ChunkLost):  # of what is removed and collected while it is read
                copy_points(self.opened("copier"), self.copy)

    def check(self) -> None:
        repository = opened(self.inner, ports(self.clock, "afterwards"))
        found = {point.id: content_of(repository, point) for point in repository.points()}
        assert found == self.must_be_there
        assert repository.verify(read_data=True).is_good
        copied = {point.id: content_of(self.copy, point) for point in self.copy.points()}
        assert copied.items() <= self.ever.items()


@pytest.mark.parametrize("seed", range(3))
def test_nothing_that_must_be_there_is_lost(seed: int) -> None:
    world = _World(seed)
    work: list[Callable[[], None]] = [
        lambda: world.write(WEB),
        lambda: world.write(DATABASE),
        world.remove,
        world.collect,
        world.read,
        world.verify,
        world.copy_out,
    ]
    with ThreadPoolExecutor(len(work)) as threads:
        under_way = [threads.submit(each) for each in work]
        try:
            for future in under_way:
                future.result()
        finally:
            world.writers_at_work = 0
    assert len(world.ever) > CAPTURES
    world.check()


def test_creations_overtake_one_another() -> None:
    """Or else nothing above would mean anything."""
    store = SlowStore(MemoryStore(), random.Random(1))
    order: list[str] = []

    def create(number: int) -> None:
        time.sleep(0.0005 * number)
        store.create(f"point-{number:02}", [b"x"])
        order.append(f"point-{number:02}")

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(create, range(16)))
    assert order != sorted(order)
