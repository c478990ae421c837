"""Writers, readers, removals, undos, collections, copies and rotations in any order, on every kind of store, against a
model that knows what must be readable."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from twinhull.model.errors import NotFound, SafetyError
from twinhull.model.machine import MachineId, PointId
from twinhull.repository import (
    DirectoryStore,
    DiskRoot,
    MemoryStore,
    Point,
    Repository,
    Store,
    Writer,
    WriterOverdue,
    copy_points,
    open_store,
    parse_point_id,
)
from twinhull.repository.writing.writer import SESSION_LIMIT_SECONDS

from .world import (
    CHEAP,
    CHUNK,
    DATABASE,
    PASSPHRASE,
    WEB,
    TurnedClock,
    capture,
    content_of,
    document,
    made,
    noise,
    opened,
    ports,
    write_disk,
)

DAY = 86_400.0
MAX_LEAPS = 3
"""How often the clock may leap within one grace; docs/repository-format.md says why."""
MACHINES = st.sampled_from([WEB, DATABASE])
CHANGES = st.lists(st.tuples(st.integers(0, 80), st.integers(0, 5)), max_size=6)
"""Which chunk becomes which of a few contents (0: zeros), so that content repeats between disks and points."""
FIRST = noise(1, CHUNK) + bytes(70 * CHUNK) + noise(2, CHUNK)
EXHAUSTIVE = bool(os.environ.get("TWINHULL_EXHAUSTIVE"))


@dataclass(frozen=True)
class OpenCapture:
    writer: Writer
    root: DiskRoot
    content: bytes
    machine_id: MachineId
    base: PointId | None
    began: float


class AnyOrder(RuleBasedStateMachine):
    """On a store in memory; subclasses bring other ones."""

    open_captures = Bundle("open_captures")

    def __init__(self) -> None:
        super().__init__()
        self.clock = TurnedClock()
        self.store = self.make_store()
        self.repository = made(self.store, ports(self.clock))
        self.copy = made(MemoryStore(), ports(self.clock, "copy"), 2 * CHUNK)
        first = capture(self.repository, FIRST)
        self.visible: dict[PointId, tuple[Point, bytes]] = {first.id: (first, FIRST)}
        self.removed: dict[PointId, tuple[Point, bytes]] = {}
        self.copied: dict[PointId, bytes] = {}
        self.latest_copied = {WEB: 0, DATABASE: 0}
        self.held: set[PointId] = set()
        self.contents = [FIRST]
        """Of every point that there ever was."""
        self.writers: list[Writer] = []
        self.opened_count = 0
        self.leaps = 0

    def make_store(self) -> Store:
        return MemoryStore()

    def teardown(self) -> None:
        for writer in self.writers:
            writer.close()
        self.repository.close()

    def _another(self) -> Repository:
        self.opened_count += 1
        return opened(self.store, ports(self.clock, f"opened {self.opened_count}"))

    @rule(target=open_captures, machine_id=MACHINES, changes=CHANGES, size=st.integers(1, 80 * CHUNK))
    def begin(self, machine_id: MachineId, changes: list[tuple[int, int]], size: int) -> OpenCapture:
        mine = [found for found in self.visible.values() if found[0].machine_id == machine_id]
        base = mine[-1] if mine else None
        content = bytearray((base[1] if base else b"")[:size].ljust(size, b"\0"))
        for number, kind in changes:
            start = number * CHUNK
            piece = (noise(kind, CHUNK) if kind else bytes(CHUNK))[: max(len(content) - start, 0)]
            content[start : start + len(piece)] = piece
        writer = self._another().writer()
        self.writers.append(writer)
        root = write_disk(writer, bytes(content), (base[0].document.disks[0].root, base[1]) if base else None)
        began = self.clock.seconds
        return OpenCapture(writer, root, bytes(content), machine_id, base[0].id if base else None, began)

    @rule(capture=consumes(open_captures))
    def publish(self, capture: OpenCapture) -> None:
        must_fail = capture.base is not None and capture.base not in self.visible
        is_late = self.clock.seconds - capture.began > SESSION_LIMIT_SECONDS
        try:
            point = capture.writer.publish(document({"vda": capture.root}, capture.machine_id))
        except WriterOverdue:
            assert is_late
        except NotFound:
            # Another point may hold the very disk that the base held; then there is nothing to refuse.
            assert must_fail
        else:
            assert not is_late
            assert point.id not in self.visible | self.removed
            self.visible[point.id] = (point, capture.content)
            self.contents.append(capture.content)

    @rule(target=open_captures, data=st.data())
    def begin_again(self, data: st.DataObject) -> OpenCapture:
        """What a removed point held comes back, as after a rollback: its chunks may be condemned, or gone."""
        there = [content for _, content in self.visible.values()]
        content = data.draw(st.sampled_from([each for each in self.contents if each not in there] or self.contents))
        writer = self._another().writer()
        self.writers.append(writer)
        return OpenCapture(writer, write_disk(writer, content), content, WEB, None, self.clock.seconds)

    @rule(data=st.data(), days_gone=st.integers(10, 14), days_at_work=st.integers(0, 2))
    def come_back(self, data: st.DataObject, days_gone: int, days_at_work: int) -> None:
        """A removed point's content is captured once more in the days in which its packs go."""
        self.remove(data, days_gone)
        capture = self.begin_again(data)
        self.collect(1, days_at_work)
        self.publish(capture)

    @rule(machine_id=MACHINES, changes=CHANGES, size=st.integers(1, 80 * CHUNK))
    def capture(self, machine_id: MachineId, changes: list[tuple[int, int]], size: int) -> None:
        self.publish(self.begin(machine_id, changes, size))

    @rule(capture=consumes(open_captures))
    def give_up(self, capture: OpenCapture) -> None:
        capture.writer.close()

    @rule(data=st.data(), days=st.sampled_from([0, 0, 6, 7, 11, 12, 13, 14]))
    def remove(self, data: st.DataObject, days: int) -> None:
        if self.visible:
            point_id = data.draw(st.sampled_from(sorted(self.visible)))
            if point_id in self.held:
                self._another().release_point(point_id)
                self.held.remove(point_id)
            self._another().remove_point(point_id)
            self.removed[point_id] = self.visible.pop(point_id)
            self.collect(1, days)  # up to where its content is about to go

    @rule(data=st.data())
    def take_back(self, data: st.DataObject) -> None:
        if self.removed:
            point_id = data.draw(st.sampled_from(sorted(self.removed)))
            is_waiting = point_id in [removal.point_id for removal in self.repository.removed_points()]
            try:
                self._another().restore_point(point_id)
            except (NotFound, SafetyError):
                assert not is_waiting
            else:
                self.visible[point_id] = self.removed.pop(point_id)

    @rule(days=st.sampled_from([0, 1, 1, 5]), times=st.sampled_from([1, 1, 2, 8]))
    def collect(self, days: int, times: int) -> None:
        for _ in range(times):
            self.clock.pass_time(days * DAY)
            self._another().collect()

    @rule()
    def copy_out(self) -> None:
        """What is newer than everything that the copy ever had is sent; nothing is sent twice."""
        latest = dict(self.latest_copied)
        for verdict in copy_points(self._another(), self.copy):
            machine_id, sequence = parse_point_id(verdict.point_id)
            assert verdict.is_copied == (sequence > latest[machine_id])
            assert not verdict.is_damaged
            if verdict.is_copied:
                self.copied[verdict.point_id] = self.visible[verdict.point_id][1]
                self.latest_copied[machine_id] = sequence
        assert self.copy.held_points() >= self.held & self.copied.keys()

    @rule(data=st.data())
    def hold(self, data: st.DataObject) -> None:
        if self.visible:
            point_id = data.draw(st.sampled_from(sorted(self.visible)))
            self._another().hold_point(point_id, "just so")
            self.held.add(point_id)

    @rule(data=st.data())
    def remove_from_the_copy(self, data: st.DataObject) -> None:
        if self.copied:
            point_id = data.draw(st.sampled_from(sorted(self.copied)))
            if point_id in self.copy.held_points():
                self.copy.release_point(point_id)
            self.copy.remove_point(point_id)
            del self.copied[point_id]
            self.copy.collect()

    @precondition(lambda self: self.leaps < MAX_LEAPS)
    @rule(leap=st.sampled_from([-4000 * DAY, 4000 * DAY]))
    def leap(self, leap: float) -> None:
        self.leaps += 1
        self.clock.jump(leap)

    @rule()
    def reopen(self) -> None:
        self.repository.close()
        self.repository = self._another()

    @rule()
    def rotate(self) -> None:
        """Who has the repository open finds the new key; who is at work goes on."""
        self._another().rotate_keys(PASSPHRASE, PASSPHRASE, CHEAP)

    @rule()
    def lose_the_index(self) -> None:
        for info in list(self.store.list("index-")):
            self.store.delete(info.name)

    @invariant()
    def every_visible_point_reads_as_it_was_captured(self) -> None:
        found = {point.id: point for point in self.repository.points()}
        assert found.keys() == self.visible.keys()
        for point_id, (point, content) in self.visible.items():
            assert found[point_id] == point
            assert content_of(self.repository, point) == content

    @invariant()
    def every_copy_reads_as_its_original_was_captured(self) -> None:
        assert {point.id: content_of(self.copy, point) for point in self.copy.points()} == self.copied

    @rule()
    def verify(self) -> None:
        report = self._another().verify(read_data=True)
        assert not report.findings


class AnyOrderInADirectory(AnyOrder):
    def make_store(self) -> Store:
        self.directory = Path(tempfile.mkdtemp(prefix="twinhull-any-order-"))
        return DirectoryStore(self.directory)

    def teardown(self) -> None:
        super().teardown()
        shutil.rmtree(self.directory)


class AnyOrderInABucket(AnyOrder):
    endpoint: ClassVar[str]
    count: ClassVar[int] = 0

    def make_store(self) -> Store:
        AnyOrderInABucket.count += 1
        return open_store(f"s3://twinhull/any-order-{self.count}?endpoint={self.endpoint}")


def _runs(count: int) -> settings:
    """So many runs of up to 25 steps; a hundred times as many where there is time."""
    return settings(
        max_examples=100 * count if EXHAUSTIVE else count,
        stateful_step_count=25,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = _runs(60)
TestAnyOrderInADirectory = AnyOrderInADirectory.TestCase
TestAnyOrderInADirectory.settings = _runs(12)


@pytest.fixture
def bucket(s3_endpoint: str) -> None:
    AnyOrderInABucket.endpoint = s3_endpoint


TestAnyOrderInABucket = AnyOrderInABucket.TestCase
TestAnyOrderInABucket.settings = _runs(5)
pytest.mark.usefixtures("bucket")(TestAnyOrderInABucket)
