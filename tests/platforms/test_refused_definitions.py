"""What libvirt refuses to define leaves nothing behind: no image, no note, and nothing is gone."""

from __future__ import annotations

import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from tests.platforms.libvirt_fixtures import CountedSite, xen
from twinhull.model.errors import AlreadyExists, NotSupportedHere, SiteError
from twinhull.model.hardware import DiskTraits, Hardware
from twinhull.model.lacks import Consequence, Lack
from twinhull.model.machine import BootMode, DiskKey, DiskSpec, MachineId, MachineSpec
from twinhull.model.units import MIB
from twinhull.platforms.contract import ReplicaRequest
from twinhull.platforms.xen import replicas

__all__ = ["xen"]

VDA, VDB, VDC = (DiskKey(key) for key in ("vda", "vdb", "vdc"))
TAKEN = "test"
"""The machine that libvirt's test driver has from the start."""


@pytest.fixture
def spec() -> MachineSpec:
    disks = (DiskSpec(VDA, 2 * MIB), DiskSpec(VDB, 2 * MIB))
    machine_id = str(uuid.uuid4())
    return MachineSpec(MachineId(machine_id), f"refused-{machine_id}", 1, 64 * MIB, disks=disks)


def files(directory: Path) -> set[str]:
    """What lies below our directory, but for locks and the machine's images that are there on purpose."""
    return {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}


def test_a_replica_that_is_refused_leaves_nothing(xen: CountedSite, spec: MachineSpec) -> None:
    before = files(xen.directory)
    with pytest.raises(AlreadyExists, match="no replica was defined"):
        xen.site.replicas.prepare(ReplicaRequest(replace(spec, name=TAKEN)))
    assert files(xen.directory) == before


def test_what_cannot_boot_here_is_refused_before_anything_is_made(xen: CountedSite, spec: MachineSpec) -> None:
    before = files(xen.directory)
    for ask in (xen.site.replicas.prepare, xen.site.replicas.lacks):
        with pytest.raises(NotSupportedHere, match="pvh"):
            ask(ReplicaRequest(spec, boot_mode=BootMode.PVH))
    assert files(xen.directory) == before


def refuse(*_: object) -> None:
    raise SiteError("The definition was refused.")


def test_a_replica_is_renamed_with_its_machine_or_says_that_it_is_not(xen: CountedSite, spec: MachineSpec) -> None:
    xen.site.replicas.prepare(ReplicaRequest(spec))
    other = f"other-{spec.machine_id}"
    assert xen.site.replicas.prepare(ReplicaRequest(replace(spec, name=other))).reasons == ()
    assert xen.site.inventory.machine(spec.machine_id).spec.name == other
    said = xen.site.replicas.prepare(ReplicaRequest(replace(spec, name=TAKEN))).reasons
    assert f"still called '{other}'" in said[0]
    assert xen.site.inventory.machine(spec.machine_id).spec.name == other


def test_a_replica_that_may_not_follow_stays_as_it_was(
    xen: CountedSite, spec: MachineSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    xen.site.replicas.prepare(ReplicaRequest(spec))
    before = files(xen.directory)
    wanted = replace(spec, disks=(spec.disks[0], DiskSpec(VDC, 2 * MIB)))
    with monkeypatch.context() as patch:
        patch.setattr(replicas, "define", refuse)
        with pytest.raises(SiteError, match="refused"):
            xen.site.replicas.prepare(ReplicaRequest(wanted))
    assert files(xen.directory) == before
    xen.site.replicas.prepare(ReplicaRequest(wanted))
    gone, come = (f"replicas/{spec.machine_id}/{key}.qcow2" for key in (VDB, VDC))
    assert files(xen.directory) == before - {gone} | {come}


def test_what_a_replica_lacks_is_asked_without_making_it(xen: CountedSite, spec: MachineSpec) -> None:
    shared = Lack("the shared directory share", Consequence.BOOTS_WITHOUT)
    large = replace(spec.disks[0], traits=DiskTraits(logical_block_bytes=4096))
    request = ReplicaRequest(replace(spec, disks=(large, spec.disks[1]), hardware=Hardware(unspoken=(shared,))))
    asked = xen.site.replicas.lacks(request)
    assert [lack.consequence for lack in asked] == [Consequence.BOOTS_WITHOUT, Consequence.WILL_NOT_BOOT]
    assert list((xen.directory / "replicas").iterdir()) == []
    assert xen.site.replicas.prepare(request).lacks == tuple(asked)
    assert list(xen.site.replicas.lacks(request)) == list(asked)
    machine = xen.site.inventory.machine(spec.machine_id).spec
    assert machine.hardware == request.spec.hardware
    assert machine.disks == request.spec.disks
