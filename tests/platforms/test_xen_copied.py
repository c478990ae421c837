"""The copy of a running Xen machine's changes: what room it takes, and how it is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, cast

import pytest

from twinhull.blocks.memory import MemoryDisk
from twinhull.blocks.nbd import NbdDisk
from twinhull.model.errors import DataError
from twinhull.model.extents import Extent, intersection
from twinhull.model.machine import DiskKey, MachineId
from twinhull.model.units import GIB, KIB, MIB
from twinhull.platforms.contract import CaptureRequest
from twinhull.platforms.libvirt.definition.domains import read_definition
from twinhull.platforms.libvirt.images import ImageInfo
from twinhull.platforms.xen import copied, running
from twinhull.platforms.xen.copied import CopiedDisk
from twinhull.platforms.xen.qmp import Qmp
from twinhull.platforms.xen.survey import XenMachine

ID = MachineId("11111111-2222-4333-8444-555555555555")
KEY = DiskKey("xvda")
DEFINITION = f"""<domain type='xen'><name>web</name><uuid>{ID}</uuid><os><type>linux</type></os><devices>
<disk type='file'>
<driver name='qemu' type='qcow2'/><source file='/a.qcow2'/><target dev='xvda' bus='xen'/></disk></devices></domain>"""


class Answering:
    """The monitor of a QEMU whose one disk has a tracker."""

    def __init__(self, changed_bytes: int, grain_bytes: int) -> None:
        tracker = {"name": "twinhull-t", "recording": True, "count": changed_bytes, "granularity": grain_bytes}
        self._node = {"node-name": "n", "file": "/a.qcow2", "drv": "qcow2", "dirty-bitmaps": [tracker]}

    def nodes(self) -> list[dict[str, Any]]:
        return [self._node]


@pytest.mark.parametrize(
    ("changed_bytes", "grain_bytes", "wanted_bytes"),
    [(0, 64 * KIB, 0), (MIB, 64 * KIB, 16 * MIB), (MIB, 4 * KIB, 256 * MIB), (5 * GIB, 64 * KIB, 8 * GIB)],
)
def test_room_is_wanted_for_changes_that_lie_far_apart_and_no_more_than_the_disk_has(
    changed_bytes: int, grain_bytes: int, wanted_bytes: int
) -> None:
    machine = XenMachine(read_definition(DEFINITION), None, [ImageInfo(8 * GIB, lineage="0f")], None)
    request = CaptureRequest(ID, "c", {KEY: "twinhull-t.0f"})
    qmp = cast("Qmp", Answering(changed_bytes, grain_bytes))
    plans = running._plans(qmp, machine, {KEY: 8 * GIB}, request, "/scratch")
    assert [plan.room_bytes - running._SPARE_BYTES for plan in plans] == [wanted_bytes]


def test_what_was_copied_is_read_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """And each read looks at the ranges that it meets, however many others there are."""
    met = 0

    def counting(left: Iterable[Extent], right: Iterable[Extent]) -> Iterator[Extent]:
        nonlocal met
        there = list(right)
        met = max(met, len(there))
        return intersection(left, there)

    monkeypatch.setattr(copied, "intersection", counting)
    below = MemoryDisk(256 * MIB)
    changes = [Extent(offset, 64 * KIB) for offset in range(0, 256 * MIB, 2 * MIB)]
    disk = CopiedDisk(cast("NbdDisk", below), changes)
    for offset in (0, 128 * MIB, 254 * MIB):
        below.write(offset, b"x" * MIB)
        assert disk.read(offset, MIB) == b"x" * MIB
        assert disk.read(offset + MIB - 512, 512) == b"x" * 512
        for nothing_there in (Extent(offset + MIB, MIB), Extent(offset + MIB - 512, 1024)):
            with pytest.raises(DataError, match="were not copied"):
                disk.read(nothing_there.offset_bytes, nothing_there.length_bytes)
    told = list(disk.extents(MIB, 3 * MIB))
    assert [(extent.offset_bytes, extent.length_bytes) for extent in told] == [
        (MIB, MIB),
        (2 * MIB, MIB),
        (3 * MIB, MIB),
    ]
    assert met <= 2
