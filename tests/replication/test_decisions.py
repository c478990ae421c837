"""The pure decisions: what a capture starts from, what is known of a replica, where chunks lie."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinhull.actions.requests import ReconcileRequest, RollbackRequest, SyncRequest
from twinhull.blocks.memory import MemoryDisk
from twinhull.model.codec import spec_from_json, spec_to_json, standing_from_json, standing_to_json
from twinhull.model.errors import DataError, UsageError
from twinhull.model.extents import Extent
from twinhull.model.machine import (
    BootMode,
    Consistency,
    DiskKey,
    DiskSpec,
    Firmware,
    MachineId,
    MachineSpec,
    NicSpec,
    PointId,
    Role,
    SiteName,
    Standing,
)
from twinhull.model.units import KIB
from twinhull.replication.bases import (
    READ,
    TRACKED,
    TRACKER,
    UNCOMPARED,
    choose_base,
    comparison_due,
    followed_seconds,
    uncompared_seconds,
)
from twinhull.replication.known import Known, what_is_known
from twinhull.replication.places import chunk_states, clipped, spans, union
from twinhull.repository import ChunkId, DiskRoot, Point, PointDisk, PointDocument

WEB = MachineId("6f5a3f0e-0000-4000-8000-000000000001")
A, B = SiteName("a"), SiteName("b")
START = datetime(2026, 1, 1, tzinfo=UTC)
DAY_SECONDS = 86_400
VDA, VDB = DiskKey("vda"), DiskKey("vdb")


def root(size_bytes: int, letter: str = "x") -> DiskRoot:
    return DiskRoot(size_bytes, ChunkId(letter.encode() * 32))


def point(sequence: int, site: SiteName = A, how: str = TRACKED, **disks: DiskRoot) -> Point:
    made = tuple(
        PointDisk(DiskKey(key), disk, {TRACKER: f"t{sequence}", READ: how})
        for key, disk in (disks or {"vda": root(10)}).items()
    )
    return Point(sequence, PointDocument(WEB, START, Consistency.CRASH, site, 1, {}, made))


def followed(seconds: float | None, sequence: int) -> Point:
    """A point of one disk that was followed by its tracker for so long; None: the point says nothing of that."""
    noted = {} if seconds is None else {UNCOMPARED: seconds}
    return Point(sequence, replace(point(1).document, disks=(PointDisk(VDA, root(10), noted),)))


class TestBase:
    def test_the_first_capture_has_none(self) -> None:
        assert choose_base([], A, None).point is None

    def test_the_latest_point_of_this_site_with_its_trackers(self) -> None:
        points = [point(1), point(2), point(3, B)]
        base = choose_base(points, A, Standing(WEB, Role.PRIMARY, 1))
        assert (base.point, base.trackers) == (points[1], {VDA: "t2"})

    def test_a_point_of_another_site_has_no_trackers_here(self) -> None:
        base = choose_base([point(1), point(2)], B, None)
        assert base.point
        assert (base.point.sequence, base.trackers) == (2, {})

    def test_armed_trackers_come_first_unless_their_point_is_gone(self) -> None:
        points = [point(1), point(2), point(3)]
        armed = Standing(WEB, Role.PRIMARY, 2, points[0].id, trackers={VDA: "armed"})
        base = choose_base(points, A, armed)
        assert (base.point, base.trackers) == (points[0], {VDA: "armed"})
        assert choose_base(points[1:], A, armed).point == points[2]

    def test_time_on_trackers_alone_adds_up_from_point_to_point(self) -> None:
        young = followed(None, 0)
        assert followed_seconds(young, VDA, START + timedelta(hours=5)) == 5 * 3600
        older = followed(3 * DAY_SECONDS, 0)
        assert followed_seconds(older, VDA, START + timedelta(hours=5)) == 3 * DAY_SECONDS + 5 * 3600
        assert uncompared_seconds(older) == 3 * DAY_SECONDS
        assert (
            followed_seconds(older, VDB, START) == followed_seconds(None, VDA, START) == uncompared_seconds(None) == 0
        )

    def test_a_clock_that_leaps_makes_no_comparison_due_and_one_that_goes_back_none_undue(self) -> None:
        base = followed(3 * DAY_SECONDS, 0)
        assert followed_seconds(base, VDA, START + timedelta(days=4000)) == 4 * DAY_SECONDS
        assert followed_seconds(base, VDA, START - timedelta(days=4000)) == 3 * DAY_SECONDS

    def test_the_disk_that_was_trusted_longest_counts(self) -> None:
        disks = [PointDisk(VDA, root(1), {UNCOMPARED: 5}), PointDisk(VDB, root(1), {UNCOMPARED: 70})]
        assert uncompared_seconds(Point(1, replace(point(1).document, disks=tuple(disks)))) == 70

    def test_a_comparison_is_due_with_its_reason(self) -> None:
        assert comparison_due(8 * DAY_SECONDS, 7 * DAY_SECONDS) == "trackers alone were trusted for 8 d 0 h"
        assert comparison_due(6 * DAY_SECONDS, 7 * DAY_SECONDS) == ""
        assert comparison_due(8 * DAY_SECONDS, 0) == ""


class TestKnown:
    OLD, HALF = root(100, "o"), root(100, "h")

    def known(
        self,
        wanted: int,
        here: int | None,
        old: DiskRoot | None,
        half: DiskRoot | None = None,
        *,
        is_dirty: bool = False,
    ) -> Known:
        points = {}
        if old:
            points[PointId("old")] = point(1, vda=old)
        if half:
            points[PointId("half")] = point(2, vda=half)
        standing = Standing(WEB, Role.REPLICA, 1, PointId("old"), is_dirty, PointId("half") if is_dirty else None)
        spec = MachineSpec(WEB, "web", 1, 1, disks=(DiskSpec(VDA, wanted),))
        there = MachineSpec(WEB, "web", 1, 1, disks=(DiskSpec(VDA, here),) if here else ())
        return what_is_known(spec, there, standing, points)[VDA]

    def test_clean_at_a_point(self) -> None:
        assert self.known(100, 100, self.OLD) == Known(self.OLD)

    def test_half_way(self) -> None:
        assert self.known(100, 100, self.OLD, self.HALF, is_dirty=True) == Known(self.OLD, self.HALF)

    def test_grown_half_way(self) -> None:
        grown = root(200, "h")
        assert self.known(200, 200, self.OLD, grown, is_dirty=True) == Known(self.OLD, grown)
        assert self.known(200, 100, self.OLD) == Known(self.OLD)

    def test_absent_disks_are_made_and_one_that_was_there_cannot_be_told_again(self) -> None:
        absent = self.known(100, None, self.OLD)
        assert (absent.is_to_be_made, absent.can_be_told_again) == (True, False)

    def test_a_disk_that_must_shrink_is_made_anew(self) -> None:
        assert self.known(50, 100, self.OLD) == Known(is_to_be_made=True)

    @pytest.mark.parametrize(
        ("here", "old", "half", "is_dirty"),
        [
            (100, None, None, False),
            (100, None, HALF, True),
            (100, OLD, None, True),
            (100, OLD, root(50, "h"), True),
            (70, OLD, None, False),
            (100, root(70, "o"), None, False),
        ],
        ids=["no point", "only the further point", "further point gone", "was to shrink", "smaller", "larger"],
    )
    def test_all_else_is_unknown(
        self,
        here: int,
        old: DiskRoot | None,
        half: DiskRoot | None,
        is_dirty: bool,  # noqa: FBT001
    ) -> None:
        assert self.known(100, here, old, half, is_dirty=is_dirty).is_unknown

    def test_a_disk_that_came_half_way(self) -> None:
        points = {PointId("old"): point(1, vda=self.OLD), PointId("half"): point(2, vda=self.OLD, vdb=self.HALF)}
        standing = Standing(WEB, Role.REPLICA, 1, PointId("old"), is_dirty=True, applying_point_id=PointId("half"))
        spec = MachineSpec(WEB, "web", 1, 1, disks=(DiskSpec(VDA, 100), DiskSpec(VDB, 100)))
        assert what_is_known(spec, spec, standing, points)[VDB] == Known(half=self.HALF)
        clean = Standing(WEB, Role.REPLICA, 1, PointId("old"))
        assert what_is_known(spec, spec, clean, points)[VDB].is_unknown


CHUNK = 4
SIZE = 64
bits = st.lists(st.booleans(), min_size=SIZE, max_size=SIZE)


def as_extents(flags: list[bool]) -> list[Extent]:
    return [Extent(at, 1) for at, flag in enumerate(flags) if flag]


def as_set(extents: list[Extent]) -> set[int]:
    return {at for extent in extents for at in range(extent.offset_bytes, extent.end_bytes)}


@given(bits, bits)
def test_a_union_holds_what_either_side_holds_and_no_place_twice(left: list[bool], right: list[bool]) -> None:
    both = list(union(as_extents(left), as_extents(right)))
    assert as_set(both) == as_set(as_extents(left)) | as_set(as_extents(right))
    assert all(one.end_bytes < two.offset_bytes for one, two in pairwise(both))
    assert as_set(list(clipped(both, 10))) == {at for at in as_set(both) if at < 10}


@given(bits, st.integers(1, SIZE))
def test_spans_gather_every_place_once_and_none_beyond_the_limit(flags: list[bool], limit: int) -> None:
    places = as_extents(flags)
    gathered = list(spans(places, limit))
    assert [place for _, members in gathered for place in members] == places
    for span, members in gathered:
        assert span.length_bytes <= limit
        assert (span.offset_bytes, span.end_bytes) == (members[0].offset_bytes, members[-1].end_bytes)


@given(st.lists(st.sampled_from(range(0, 1024 * KIB, 512)), max_size=8), st.integers(1, 16))
def test_chunk_states_cover_a_place_and_call_no_data_zero(writes: list[int], chunks: int) -> None:
    disk = MemoryDisk(1024 * KIB + 512)
    for offset in writes:
        disk.write(offset, b"x" * 512)
    chunk = 4 * KIB * chunks
    states = list(chunk_states(disk, Extent(0, disk.size_bytes), chunk))
    assert [state.offset_bytes for state in states] == [0, *[state.end_bytes for state in states[:-1]]]
    assert states[-1].end_bytes == disk.size_bytes
    for state in states:
        assert state.offset_bytes % chunk == 0
        assert not state.is_zero or not any(disk.read(state.offset_bytes, state.length_bytes))


class TestForms:
    def test_a_spec_and_a_standing_survive_their_json_form(self) -> None:
        disks, nics = (DiskSpec(VDA, 5, "scsi"),), (NicSpec("52:54:00:00:00:01", "bridge:br0", "e1000"),)
        spec = MachineSpec(WEB, "web", 2, 3, Firmware.UEFI, BootMode.PV, disks, nics)
        assert spec_from_json(spec_to_json(spec)) == spec
        full = Standing(
            WEB,
            Role.FENCED,
            3,
            PointId(f"{WEB}/00000001"),
            is_dirty=True,
            applying_point_id=PointId(f"{WEB}/00000002"),
            trackers={VDA: "t"},
            claim="run-1",
            capture="sync-1",
            elsewhere="there",
        )
        for standing in (full, Standing(WEB, Role.PRIMARY, 1)):
            assert standing_from_json(standing_to_json(standing)) == standing

    @pytest.mark.parametrize("broken", [{}, {"machine_id": WEB, "role": "king", "epoch": 1, "is_dirty": False}])
    def test_what_is_none_is_refused(self, broken: dict[str, object]) -> None:
        with pytest.raises(DataError):
            standing_from_json(broken)
        with pytest.raises(DataError):
            spec_from_json({"name": "web", "disks": 5})

    def test_requests_survive_as_facts_of_a_run(self) -> None:
        for request in (
            SyncRequest("run-1", WEB, A, B, {"br0": "xenbr0"}, "pv", compare_reason="why not"),
            RollbackRequest("run-1", WEB, A, PointId("p"), other_sites=(B,)),
            ReconcileRequest("run-1", WEB, (A, B)),
        ):
            assert type(request).of({**request.facts(), "a later fact": 1}) == request
        with pytest.raises(UsageError, match="no run id"):
            SyncRequest("Run 1!", WEB, A)
