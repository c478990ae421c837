"""A real directory, a real process: killed in the middle, and a disk that fills up."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from twinhull.repository import (
    ChunkLost,
    DirectoryStore,
    RepositoryHealer,
    StoreError,
    StoreFull,
    copy_points,
    open_store,
    repair,
)
from twinhull.repository.store.reserve import FILE_NAME

from .world import CHUNK, DATABASE, capture, content_of, document, made, noise, opened, ports, write_disk

DISK = noise("disk", 60 * CHUNK)
CAPTURES = """
import sys
from tests.repository.world import CHUNK, capture, noise, opened
from twinhull.repository import open_store
repository = opened(open_store(sys.argv[1]), seed=sys.argv[2])
for number in range(1000):
    content = noise(number, 60 * CHUNK)
    print(capture(repository, content).id, number, flush=True)
"""


def test_a_process_killed_at_any_moment_leaves_whole_points(tmp_path: Path) -> None:
    root = tmp_path / "repository"
    made(open_store(str(root)))
    told: dict[str, int] = {}
    for round_number in range(4):
        told |= _killed_after(0.45 + 0.03 * round_number, root, str(round_number))
        repository = opened(open_store(str(root)), seed=f"after {round_number}")
        points = {str(point.id): point for point in repository.points()}
        assert told.keys() <= points.keys()
        for point_id, number in told.items():
            assert content_of(repository, points[point_id]) == noise(number, 60 * CHUNK)
        for point in points.values():
            assert content_of(repository, point) in [noise(number, 60 * CHUNK) for number in range(len(points) + 1)]
    assert told, "no capture came to its end before the kill: the test did not test"
    repository.collect(is_now=True)
    assert repository.verify(read_data=True).is_good
    assert not list(root.rglob(".twinhull-partial-*"))


def _killed_after(seconds: float, root: Path, seed: str) -> dict[str, int]:
    """What the process said it had published before it was killed, that long after its first word."""
    here = Path(__file__).parents[2]
    argv = [sys.executable, "-c", CAPTURES, str(root), seed]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=here) as process:
        assert process.stdout
        first = process.stdout.readline()
        time.sleep(seconds - 0.4)
        process.kill()
        lines = [first, *process.stdout.read().splitlines()]
    return {words[0]: int(words[1]) for words in (line.split() for line in lines) if len(words) == 2}


def test_a_full_disk_fails_the_capture_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = made(open_store(str(tmp_path)))
    point = capture(repository, DISK)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    room = [100 * CHUNK]
    write = os.write

    def write_while_there_is_room(descriptor: int, data: memoryview) -> int:
        room[0] -= len(data)
        if room[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", write_while_there_is_room)
    with pytest.raises(StoreFull, match="No space left"):
        capture(repository, noise("too large", 200 * CHUNK))
    monkeypatch.undo()
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert before.items() <= after.items()
    assert {path.name.partition("-")[0] for path in after.keys() - before.keys()} <= {"pack", "index"}
    later = opened(open_store(str(tmp_path)))
    assert later.points() == [point]
    assert content_of(later, capture(later, noise("fits", 3 * CHUNK))) == noise("fits", 3 * CHUNK)


def test_a_write_that_tears_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel may take fewer bytes than it was given."""
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:1000]))
    store = DirectoryStore(tmp_path)
    store.create("config", [noise("a", 5000), noise("b", 1)])
    monkeypatch.undo()
    assert store.read("config") == noise("a", 5000) + noise("b", 1)


@dataclass(frozen=True)
class _Mount:
    """A disk that can be taken away under a repository: what was there is elsewhere then."""

    root: Path
    what_is_left: str

    def unmount(self) -> None:
        self.root.rename(self.root.with_name("away"))
        if self.what_is_left == "another disk":
            made(open_store(str(self.root)), ports(seed="another"))
        if self.what_is_left == "an empty directory":
            self.root.mkdir()

    def mount(self) -> None:
        written = {path.relative_to(self.root).parts[0] for path in self.root.rglob("*")}
        assert written == ({"config", "key", FILE_NAME} if self.what_is_left == "another disk" else set())
        assert self.root.exists() == (self.what_is_left != "nothing")
        shutil.rmtree(self.root, ignore_errors=True)
        self.root.with_name("away").rename(self.root)


@pytest.fixture(params=["an empty directory", "nothing", "another disk"])
def mount(request: pytest.FixtureRequest, tmp_path: Path) -> _Mount:
    made(open_store(str(tmp_path / "points")))
    return _Mount(tmp_path / "points", request.param)


@contextmanager
def _refused() -> Iterator[None]:
    with pytest.raises(StoreError, match=r"is no longer in .*") as caught:
        yield
    assert "mounted" in caught.value.hint


@pytest.mark.parametrize("moment", ["in the middle", "while a pack is written", "before publishing"])
def test_a_disk_that_is_unmounted_under_a_capture_fails_it(
    mount: _Mount, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    repository = opened(open_store(str(mount.root)))
    point = capture(repository, DISK)
    sync = os.fsync

    def sync_and_unmount(descriptor: int) -> None:
        monkeypatch.undo()
        sync(descriptor)
        mount.unmount()

    with _refused(), repository.writer() as writer:
        root = write_disk(writer, noise("first", 30 * CHUNK))
        if moment == "while a pack is written":
            monkeypatch.setattr(os, "fsync", sync_and_unmount)
        else:
            writer.flush()
            mount.unmount()
        if moment == "in the middle":
            root = write_disk(writer, noise("second", 30 * CHUNK))
        writer.publish(document({"vda": root}))
    mount.mount()
    assert repository.points() == [point]
    later = noise("later", CHUNK)
    assert content_of(repository, capture(repository, later)) == later
    assert repository.verify(read_data=True).is_good


def test_a_disk_that_is_changed_just_after_the_look_still_gets_its_object(
    mount: _Mount, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is written beside it: what took the disk's place stays as it was."""
    store = DirectoryStore(mount.root)
    store.read("config")
    sync = os.fsync

    def sync_and_unmount(descriptor: int) -> None:
        monkeypatch.undo()
        sync(descriptor)
        mount.unmount()

    monkeypatch.setattr(os, "fsync", sync_and_unmount)
    store.create("pack-00", [b"x"])
    mount.mount()
    assert store.read("pack-00") == b"x"


def test_nothing_is_said_to_be_missing_on_a_disk_that_is_not_there(mount: _Mount) -> None:
    repository = opened(open_store(str(mount.root)))
    point = capture(repository, DISK)
    removed = capture(repository, DISK)
    repository.remove_point(removed.id)
    mount.unmount()
    questions: list[Callable[[], object]] = [
        repository.points,
        repository.removed_points,
        lambda: repository.point(point.id),
        lambda: repository.restore_point(removed.id),
        lambda: repository.store.delete("point-00"),
        lambda: repository.store.size("config"),
        repository.verify,
        repository.collect,
    ]
    for question in questions:
        with _refused():
            question()
    mount.mount()
    assert repository.points() == [point]


class _BadPlaces:
    """Reading these files fails from that byte on, as a disk's bad sectors make it fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.from_byte: dict[Path, int] = {}
        self._pread = os.pread
        monkeypatch.setattr(os, "pread", self._read)

    def _read(self, descriptor: int, length: int, offset: int) -> bytes:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if offset + length > self.from_byte.get(path, 1 << 62):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return self._pread(descriptor, length, offset)


def test_a_bad_place_of_the_disk_is_damage_that_a_repair_heals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository, copy = made(open_store(str(tmp_path / "one"))), made(open_store(str(tmp_path / "two")))
    large = noise("large", 3 * 256 * CHUNK)
    spoiled, other = capture(repository, large), capture(repository, DISK, machine_id=DATABASE)
    copy_points(repository, copy)
    largest = max((tmp_path / "one").rglob("pack-*"), key=lambda path: path.stat().st_size)
    places = _BadPlaces(monkeypatch)
    places.from_byte[largest] = largest.stat().st_size // 2
    report = opened(open_store(str(tmp_path / "one"))).verify(read_data=True)
    assert {finding.object_name for finding in report.findings} == {largest.name}
    assert report.lost_points == (spoiled.id,)
    lost = [finding for finding in report.findings if finding.points]
    assert len(lost) == 2 * 256, "what lies before the bad place is not lost"
    fresh = opened(open_store(str(tmp_path / "one")))
    with pytest.raises(ChunkLost):
        content_of(fresh, spoiled)
    assert content_of(fresh, other) == DISK
    mended = repair(fresh, [RepositoryHealer(copy)])
    assert (mended.repaired, mended.lost) == ((spoiled.id,), ())
    assert content_of(opened(open_store(str(tmp_path / "one"))), spoiled) == large


def test_bad_places_in_a_tree_an_index_and_a_point_are_told_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = made(open_store(str(tmp_path)))
    point = capture(repository, DISK)
    places = _BadPlaces(monkeypatch)
    smallest = min(tmp_path.rglob("pack-*"), key=lambda path: path.stat().st_size)
    index, document = next(tmp_path.rglob("index-*")), next(tmp_path.rglob("point-*"))
    for path in (smallest, index):
        places.from_byte = {path: 0}
        report = opened(open_store(str(tmp_path))).verify(read_data=True)
        assert path.name in {finding.object_name for finding in report.findings}
        assert report.lost_points == (() if path == index else (point.id,))
    places.from_byte = {document: 0}
    assert not opened(open_store(str(tmp_path))).verify().is_good


def test_a_disk_that_gives_nothing_at_all_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = made(open_store(str(tmp_path)))
    capture(repository, DISK)
    places = _BadPlaces(monkeypatch)
    places.from_byte = dict.fromkeys(tmp_path.rglob("*"), 0)
    with pytest.raises(StoreError, match="Input/output error"):
        repository.verify(read_data=True)
