"""A tracker counts one disk's history: whatever an owner does to the images meanwhile, a point equals the disk.

Real qcow2 images and dirty bitmaps on a site without a hypervisor, captured while the machine is off. Each trick is
one thing that owners do between two syncs; the random histories mix them.
"""

from __future__ import annotations

import hashlib
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.platforms.libvirt_fixtures import CountedSite, xen
from tests.story import Story
from twinhull.actions.context import Context, OpenSites
from twinhull.model.machine import DiskKey, MachineId, SiteName
from twinhull.model.units import MIB
from twinhull.platforms.contract import Site
from twinhull.replication.capture import Captured, CaptureOrder, capture_machine

__all__ = ["xen"]

X, WEB = SiteName("x"), MachineId("6f5a3f0e-0000-4000-8000-00000000000a")
P, Q = DiskKey("xvda"), DiskKey("xvdb")
SIZE = 4 * MIB
_XML = """<domain type='test'><name>web</name><uuid>{uuid}</uuid><memory>65536</memory><os><type>hvm</type></os>
<devices>{disks}</devices></domain>"""
_DISK = """<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{path}'/>
<target dev='{key}' bus='xen'/></disk>"""


def run(*words: str | Path) -> None:
    done = subprocess.run([str(word) for word in words], check=False, capture_output=True, text=True)
    assert done.returncode == 0, (words, done.stderr)


@dataclass
class Owner:
    """A machine whose owner does what he likes to its two images, and syncs in between."""

    site: CountedSite
    directory: Path
    context: Context
    images: dict[DiskKey, Path] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    fills: int = 0

    def make(self) -> None:
        self.images = {P: self.directory / "p.qcow2", Q: self.directory / "q.qcow2"}
        for path in self.images.values():
            run("qemu-img", "create", "-q", "-f", "qcow2", path, str(SIZE))
            self.write(path, 0, SIZE)
        self.define()

    def define(self) -> None:
        disks = "".join(_DISK.format(path=path, key=key) for key, path in self.images.items())
        self.site.site._place.connection.get().defineXML(_XML.format(uuid=WEB, disks=disks))

    @property
    def is_shared(self) -> bool:
        """One image is both disks by now: there is no other to be swapped with."""
        return self.images[P] == self.images[Q]

    def replace(self, old: Path, new: Path) -> None:
        """One image in another's place, wherever it is."""
        self.images = {key: new if path == old else path for key, path in self.images.items()}
        self.define()

    def write(self, path: Path, offset: int, length: int) -> None:
        self.fills = self.fills % 250 + 1
        run("qemu-io", "-f", "qcow2", "-c", f"write -P {self.fills} {offset} {length}", path)

    def write_some(self) -> None:
        for number, path in enumerate(self.images.values()):
            self.write(path, number * MIB, 100_000)

    def bitmaps(self, path: Path) -> set[str]:
        told = subprocess.run(["qemu-img", "info", str(path)], check=True, capture_output=True, text=True).stdout
        return {word for word in told.split() if word.startswith("twinhull-")}

    def forget_trackers(self, path: Path) -> None:
        """What an owner does whose own snapshots are in the way of a revert."""
        for name in self.bitmaps(path):
            run("qemu-img", "bitmap", "--remove", path, name)

    def sync(self) -> Captured:
        """Capture, and hold the point against the disks."""
        captured = capture_machine(self.context, CaptureOrder("sync", WEB, X))
        reader = self.context.repository.reader()
        for key, path in self.images.items():
            disk = captured.point.disk(key)
            assert disk
            raw = self.directory / "raw"
            run("qemu-img", "convert", "-O", "raw", path, raw)
            held, is_ = reader.read(disk.root, 0, disk.root.size_bytes), raw.read_bytes()
            assert hashlib.sha256(held).digest() == hashlib.sha256(is_).digest(), (key, self.done, captured.reasons)
        return captured


@pytest.fixture
def owner(xen: CountedSite, tmp_path: Path) -> Iterator[Owner]:
    story = Story.begin(disk_count=1)
    ours = story.context()

    def site(_: SiteName) -> Site:
        return xen.site

    owner = Owner(xen, tmp_path, Context(ours.repository, OpenSites(site), ours.ports))
    owner.make()
    yield owner
    owner.context.repository.close()


def _swap_in_the_definition(owner: Owner) -> None:
    owner.images = {P: owner.images[Q], Q: owner.images[P]}
    owner.define()


def _swap_the_files(owner: Owner) -> None:
    if owner.is_shared:
        return
    p, q, other = owner.images[P], owner.images[Q], owner.directory / "other"
    p.rename(other)
    q.rename(p)
    other.rename(q)


def _swap_the_contents(owner: Owner) -> None:
    """The files stay the same ones, each with the other's bitmaps."""
    if owner.is_shared:
        return
    p, q, other = owner.images[P], owner.images[Q], owner.directory / "other"
    shutil.copyfile(p, other)
    shutil.copyfile(q, p)
    shutil.copyfile(other, q)


def _copy_over_the_other(owner: Owner) -> None:
    if not owner.is_shared:
        shutil.copyfile(owner.images[P], owner.images[Q])


def _one_image_as_two_disks(owner: Owner) -> None:
    owner.images = {P: owner.images[P], Q: owner.images[P]}
    owner.define()


def _another_file_with_the_bitmaps(owner: Owner) -> None:
    path, new = owner.images[P], owner.directory / "new"
    run("qemu-img", "convert", "-O", "qcow2", "--bitmaps", path, new)
    new.replace(path)
    owner.write(path, 2 * MIB, 5000)


def _an_older_copy_comes_back(owner: Owner) -> None:
    path, kept = owner.images[P], owner.directory / "kept"
    if kept.exists():
        shutil.copyfile(kept, path)
    else:
        shutil.copyfile(path, kept)
        owner.write(path, 3 * MIB, 5000)


def _smaller_and_larger(owner: Owner, size: int = SIZE - MIB) -> None:
    path = owner.images[Q]
    run("qemu-img", "resize", "-q", "--shrink", path, str(size // 512 * 512))
    run("qemu-img", "resize", "-q", path, str(SIZE))


def _smaller_and_larger_with_a_new_end(owner: Owner) -> None:
    _smaller_and_larger(owner)
    owner.write(owner.images[Q], SIZE - 70_000, 70_000)


def _smaller_and_larger_by_a_little(owner: Owner) -> None:
    _smaller_and_larger(owner, SIZE - 66_000)


def _revert_to_a_snapshot(owner: Owner) -> None:
    path = owner.images[Q]
    run("qemu-img", "snapshot", "-c", "before", path)
    owner.write(path, MIB, 3000)
    owner.forget_trackers(path)
    run("qemu-img", "snapshot", "-a", "before", path)


def _an_overlay(owner: Owner) -> None:
    path, overlay = owner.images[P], owner.directory / f"overlay-{owner.fills}"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", path, "-F", "qcow2", overlay)
    owner.replace(path, overlay)
    owner.write(overlay, MIB // 2, 5000)


def _below(path: Path) -> Path | None:
    told = subprocess.run(["qemu-img", "info", str(path)], check=True, capture_output=True, text=True).stdout
    found = [line for line in told.splitlines() if line.startswith("backing file: ")]
    return Path(found[0].split(": ")[1]) if found else None


def _back_below_the_overlay(owner: Owner) -> None:
    below = _below(owner.images[P])
    if below:
        owner.replace(owner.images[P], below)


def _a_write_below_the_overlay(owner: Owner) -> None:
    below = _below(owner.images[P])
    if below:
        owner.write(below, 2 * MIB, 5000)


def _the_overlay_is_committed(owner: Owner) -> None:
    below = _below(owner.images[P])
    if below:
        run("qemu-img", "commit", "-q", owner.images[P])
        owner.replace(owner.images[P], below)


def _an_overlay_with_the_bitmaps_of_what_is_below(owner: Owner) -> None:
    """What libvirt does when it makes an external snapshot: the overlay counts on under the same names."""
    path = owner.images[P]
    owner.write(path, 3 * MIB, 5000)
    _an_overlay(owner)
    for name in owner.bitmaps(path):
        run("qemu-img", "bitmap", "--add", owner.images[P], name)


def _written_by_another_program(owner: Owner) -> None:
    owner.write(owner.images[P], MIB + 17, 70_000)


TRICKS: dict[str, Callable[[Owner], None]] = {
    trick.__name__.strip("_"): trick
    for trick in (
        _swap_in_the_definition,
        _swap_the_files,
        _swap_the_contents,
        _copy_over_the_other,
        _one_image_as_two_disks,
        _another_file_with_the_bitmaps,
        _an_older_copy_comes_back,
        _smaller_and_larger,
        _smaller_and_larger_with_a_new_end,
        _smaller_and_larger_by_a_little,
        _revert_to_a_snapshot,
        _an_overlay,
        _back_below_the_overlay,
        _a_write_below_the_overlay,
        _the_overlay_is_committed,
        _an_overlay_with_the_bitmaps_of_what_is_below,
        _written_by_another_program,
    )
}
ON_AN_OVERLAY = {"back_below_the_overlay", "a_write_below_the_overlay", "the_overlay_is_committed"}


@pytest.mark.parametrize("name", TRICKS)
def test_a_point_holds_the_disk_whatever_its_owner_did_to_the_image(owner: Owner, name: str) -> None:
    if name in ON_AN_OVERLAY:
        _an_overlay(owner)
    owner.sync()
    for _ in range(2):
        TRICKS[name](owner)
        owner.sync()


def test_a_disk_that_its_tracker_follows_is_not_compared(owner: Owner) -> None:
    """The proofs do not cost what trackers are there for: an honest history is read by its changes alone."""
    owner.sync()
    for _ in range(2):
        owner.write_some()
        captured = owner.sync()
        assert 0 < captured.source_read_bytes <= MIB, captured.reasons
    assert owner.sync().source_read_bytes == 0


@pytest.mark.parametrize("seed", range(2))
def test_a_random_history_is_in_its_points(owner: Owner, seed: int) -> None:
    chance = random.Random(seed)
    owner.sync()
    for _ in range(6):
        for name in chance.choices(sorted(TRICKS), k=chance.randint(1, 3)):
            owner.done.append(name)
            TRICKS[name](owner)
        owner.write_some()
        owner.sync()
