"""Restoring onto block devices: real loop devices of this machine, which needs root."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.recovery.scenarios import synced
from tests.recovery.test_restore_to_files import PORTS, restore
from tests.stepping import Journal, perform
from tests.story import DISK_BYTES, WEB, Story
from twinhull.actions.requests import RestoreRequest
from twinhull.model.errors import AlreadyExists, MachineBusy, RunFailed, TargetTooSmall, UsageError
from twinhull.recovery.restore.action import RESTORE
from twinhull.runs import failures

pytestmark = pytest.mark.real

SPARE_BYTES = 3 * 1024 * 1024
OLD = b"old" * 1000


@dataclass(frozen=True)
class Device:
    """A loop device, and the file behind it."""

    path: Path
    image: Path

    def content(self) -> bytes:
        return self.image.read_bytes()


def run(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


@contextmanager
def looped(image: Path, size_bytes: int) -> Iterator[Device]:
    image.write_bytes(OLD + os.urandom(size_bytes - len(OLD)))
    path = run("losetup", "--find", "--show", "--partscan", str(image))
    try:
        yield Device(Path(path), image)
    finally:
        run("losetup", "--detach", path)


@pytest.fixture
def story() -> Story:
    return synced()


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    with looped(tmp_path / "image", DISK_BYTES + SPARE_BYTES) as found:
        yield found


@pytest.mark.parametrize("by_link", [False, True], ids=["by its name", "by a link, as LVM's are"])
def test_a_device_is_written_in_place(story: Story, device: Device, tmp_path: Path, *, by_link: bool) -> None:
    name = device.path
    if by_link:
        name = tmp_path / "volume"
        name.symlink_to(device.path)
    node, behind = device.path.lstat(), device.content()[DISK_BYTES:]
    facts = restore(story, to_path=str(name), is_overwriting=True)
    assert device.content() == story.content(story.points()[0], "vda") + behind
    assert "were left as they are" in str(facts["reasons"])
    now = device.path.lstat()
    assert (now.st_ino, now.st_mode, now.st_rdev) == (node.st_ino, node.st_mode, node.st_rdev)
    assert name.is_symlink() is by_link
    again = restore(story, to_path=str(name), is_overwriting=True)
    assert again["written_bytes"] == 0, "only what differs is written"


def test_a_device_is_overwritten_only_when_that_was_asked_for(story: Story, device: Device) -> None:
    before = device.content()
    with pytest.raises(AlreadyExists, match="is a block device"):
        restore(story, to_path=str(device.path))
    with pytest.raises(UsageError, match="raw data"):
        restore(story, to_path=str(device.path), file_format="qcow2", is_overwriting=True)
    assert device.content() == before


def test_a_device_that_is_too_small_is_left_alone(story: Story, tmp_path: Path) -> None:
    with looped(tmp_path / "small", DISK_BYTES - 4096) as small:
        before = small.content()
        with pytest.raises(TargetTooSmall, match="nothing was written"):
            restore(story, to_path=str(small.path), is_overwriting=True)
        assert small.content() == before


@contextmanager
def mounted(device: Device, tmp_path: Path) -> Iterator[None]:
    run("mke2fs", "-q", "-F", str(device.path))
    place = tmp_path / "mounted"
    place.mkdir()
    run("mount", "-t", "ext2", str(device.path), str(place))
    try:
        yield
    finally:
        run("umount", str(place))


@contextmanager
def held_open(path: Path) -> Iterator[None]:
    """As a virtual machine holds it: opened plainly, which the kernel does not count as use."""
    with path.open("rb") as held, subprocess.Popen(["sleep", "60"], stdin=held) as holder:
        held.close()
        try:
            yield
        finally:
            holder.kill()


@contextmanager
def open_elsewhere(device: Device, _: Path) -> Iterator[None]:
    with held_open(device.path):
        yield


@pytest.mark.parametrize("use", [mounted, open_elsewhere])
def test_a_device_in_use_is_left_alone(
    story: Story, device: Device, tmp_path: Path, use: Callable[[Device, Path], Iterator[None]]
) -> None:
    with use(device, tmp_path):  # type: ignore[attr-defined]
        before = device.content()
        with pytest.raises(MachineBusy, match="nothing was written"):
            restore(story, to_path=str(device.path), is_overwriting=True)
        assert device.content() == before
    restore(story, to_path=str(device.path), is_overwriting=True)


def test_a_restore_that_is_broken_off_says_what_the_device_holds(story: Story, device: Device) -> None:
    told: list[str] = []

    def stop(_: object) -> None:
        raise KeyboardInterrupt

    request = RestoreRequest(story.run_id(), WEB, story.points()[0].id, to_path=str(device.path), is_overwriting=True)
    context = replace(story.context(), ports=PORTS, on_progress=stop, on_reason=told.append)
    journal = Journal()
    with pytest.raises(KeyboardInterrupt):
        perform(RESTORE, context, request.facts(), journal)
    journal.recorded["write"] = {"error": failures.encode(RuntimeError("stopped")), "is_begun": True}
    with pytest.raises(RunFailed):
        perform(RESTORE, context, request.facts(), journal)
    assert any("restore onto it once more" in reason for reason in told)
    restore(story, to_path=str(device.path), is_overwriting=True)
    assert device.content()[:DISK_BYTES] == story.content(story.points()[0], "vda")
