"""Writers, readers, removals, undos and collections in any order, against a model that knows what must be readable."""

from __future__ import annotations

import os
from dataclasses import dataclass

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from twinhull.model.errors import NotFound, SafetyError
from twinhull.model.machine import MachineId, PointId
from twinhull.repository import DiskRoot, MemoryStore, Point, Repository, Writer, WriterOverdue
from twinhull.repository.writer import SESSION_LIMIT_SECONDS

from .world import CHUNK, DATABASE, WEB, TurnedClock, content_of, document, made, noise, opened, ports, write_disk

DAY = 86_400.0
MAX_LEAPS = 3
"""How often the clock may leap within one grace; docs/repository-format.md says why."""
MACHINES = st.sampled_from([WEB, DATABASE])
CHANGES = st.lists(st.tuples(st.integers(0, 80), st.integers(0, 5)), max_size=6)
"""Which chunk becomes which of a few contents (0: zeros), so that content repeats between disks and points."""


@dataclass(frozen=True)
class OpenCapture:
    writer: Writer
    root: DiskRoot
    content: bytes
    machine_id: MachineId
    base: PointId | None
    began: float


class AnyOrder(RuleBasedStateMachine):
    open_captures = Bundle("open_captures")

    def __init__(self) -> None:
        super().__init__()
        self.clock = TurnedClock()
        self.store = MemoryStore()
        self.repository = made(self.store, ports(self.clock))
        self.visible: dict[PointId, tuple[Point, bytes]] = {}
        self.removed: dict[PointId, tuple[Point, bytes]] = {}
        self.writers: list[Writer] = []
        self.opened_count = 0
        self.leaps = 0

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

    @rule(capture=consumes(open_captures))
    def give_up(self, capture: OpenCapture) -> None:
        capture.writer.close()

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        if self.visible:
            point_id = data.draw(st.sampled_from(sorted(self.visible)))
            self._another().remove_point(point_id)
            self.removed[point_id] = self.visible.pop(point_id)

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

    @rule(days=st.integers(1, 5))
    def collect(self, days: int) -> None:
        self._another().collect()
        self.clock.pass_time(days * DAY)
        self._another().collect()

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

    @rule()
    def verify(self) -> None:
        report = self._another().verify(read_data=True)
        assert not report.findings


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(
    max_examples=1500 if os.environ.get("TWINHULL_EXHAUSTIVE") else 40,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
