"""Whoever may add objects to a store, without a key, keeps nothing from working: every kind of object, every extra.

The attacker of these tests has create-only rights: no object that is there is changed or deleted.
"""

from __future__ import annotations

import os
import random
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from twinhull.model.errors import NotFound
from twinhull.model.machine import MachineId, PointId
from twinhull.repository import (
    DirectoryStore,
    MemoryStore,
    Repository,
    RetentionRules,
    Store,
    copy_points,
    repair,
)
from twinhull.repository.format.envelope import HEADER, ObjectKind
from twinhull.repository.points.high_water import gone_back
from twinhull.repository.store.directory import PARTIAL_PREFIX

from .world import CHEAP, CHUNK, DATABASE, PASSPHRASE, WEB, TurnedClock, capture, content_of, made, noise, opened, ports

DAY = 86_400.0
NEW = "battery staple"
STRANGER = MachineId("0c000000-0000-4000-8000-000000000003")
SEALED = {kind.purpose: kind for kind in ObjectKind if "pack" not in kind.purpose} | {"pack": ObjectKind.DATA_PACK}
NUMBERED = ("collection", "verification", "rotation")
OF_POINTS = ("point", "removal", "hold")
KINDS = (*SEALED, "key")
HIGHEST = {WEB: 4, DATABASE: 1, "collection": 1, "verification": 2, "keys": 2}
FALSE_TAG = "ab" * 16

Objects = dict[str, bytes]


def _content(number: int) -> bytes:
    return noise("common", 3 * CHUNK) + noise(number, CHUNK)


def _world(store: Store, clock: TurnedClock, seed: str) -> Repository:
    """Points 1 to 4 of one machine, of which 1 is removed and 2 is held, and one point of another machine."""
    repository = made(store, ports(clock, seed))
    points = [capture(repository, _content(number)) for number in (1, 2, 3, 4)]
    capture(repository, _content(5), machine_id=DATABASE)
    repository.remove_point(points[0].id)
    repository.hold_point(points[1].id, "evidence")
    repository.verify(read_data=True)
    repository.collect()
    repository.rotate_keys(PASSPHRASE, PASSPHRASE, CHEAP)
    return repository


@pytest.fixture(scope="module")
def genuine() -> Objects:
    store = MemoryStore()
    _world(store, TurnedClock(), "genuine")
    return dict(store.objects)


@pytest.fixture(scope="module")
def foreign() -> Objects:
    """A repository of someone who uses the same passphrase."""
    store = MemoryStore()
    _world(store, TurnedClock(), "foreign")
    return dict(store.objects)


def _names(kind: str) -> Iterator[str]:
    yield from (
        f"{kind}-",
        f"{kind}-00",
        f"{kind}-{'f' * 90}",
        f"{kind}-\u00c4",
        f"{kind}-\udcff",
        f"{kind}-{'0' * 300}",
    )
    if kind in NUMBERED:
        for number in (*range(6), 99_999_999):
            yield from (f"{kind}-{number:08d}", f"{kind}-{number:08d}-{FALSE_TAG}")
        yield from (f"{kind}-000000005", f"{kind}-0000000", f"{kind}-ffffffff")
    if kind in OF_POINTS:
        for machine in (WEB, DATABASE, STRANGER):
            for number in (*range(9), 99_999_999):
                yield from (f"{kind}-{machine}-{number:08d}", f"{kind}-{machine}-{number:08d}-{FALSE_TAG}")
            yield from (
                f"{kind}-{machine}",
                f"{kind}-{machine}-",
                f"{kind}-{machine}-0000000",
                f"{kind}-{machine}-000000001",
            )
    if kind in ("pack", "index"):
        yield from (f"{kind}-{'00' * 32}", f"{kind}-{'ab' * 32}", f"{kind}-{'ff' * 32}", f"{kind}-{'cd' * 31}")
    if kind == "key":
        yield from (f"key-{'0' * 16}", f"key-{'8' * 16}", f"key-{'f' * 16}")


def _header(kind: str, *, version: int = 1, key_number: int = 1) -> bytes:
    return HEADER.pack(b"TWINHULL", version, SEALED.get(kind, ObjectKind.POINT), key_number, bytes(32))


def _of_kind(objects: Objects, kind: str) -> bytes:
    return max(data for name, data in objects.items() if name.startswith(f"{kind}-"))


Extra = Callable[[Objects, Objects, str], bytes]
EXTRAS: dict[str, Extra] = {
    "empty": lambda _ours, _theirs, _kind: b"",
    "random": lambda _ours, _theirs, kind: noise(kind, 700),
    "braces": lambda _ours, _theirs, _kind: b"{" * 5000,
    "header of a newer version": lambda _ours, _theirs, kind: _header(kind, version=99) + noise(kind, 90),
    "header of an unknown key": lambda _ours, _theirs, kind: _header(kind, key_number=65_535) + noise(kind, 90),
    "cut copy": lambda ours, _theirs, kind: _of_kind(ours, kind)[:-20],
    "header of a genuine one": lambda ours, _theirs, kind: _of_kind(ours, kind)[: HEADER.size] + noise(kind, 90),
    "renamed": lambda ours, _theirs, kind: _of_kind(ours, kind),
    "of another kind": lambda ours, _theirs, kind: _of_kind(ours, "hold" if kind == "point" else "point"),
    "of another repository": lambda _ours, theirs, kind: _of_kind(theirs, kind),
    "packed integers": lambda _ours, _theirs, _kind: struct.pack("<64Q", *[2**64 - 1] * 64),
}


def _infest(objects: Objects, extra: Callable[[str], bytes], kinds: tuple[str, ...] = KINDS) -> set[str]:
    """Add what is not there; the names of what was added."""
    new = {name: extra(kind) for kind in kinds for name in _names(kind) if name not in objects}
    objects |= new
    return set(new)


def _everything_works(store: Store, junk: set[str]) -> None:
    clock = TurnedClock()
    repository = opened(store, ports(clock, "opened"))
    first = [PointId(f"{WEB}/{number:08d}") for number in (2, 3, 4)] + [PointId(f"{DATABASE}/00000001")]
    _reads(repository, first)
    _reports(repository, junk)
    assert repository.held_points() == {first[0]}
    assert [removal.point_id for removal in repository.removed_points()] == [f"{WEB}/00000001"]
    with pytest.raises(NotFound, match="is removed"):
        repository.point(PointId(f"{WEB}/00000001"))
    before = repository.high_water()
    assert before == HIGHEST, "junk raises no number"
    new = _writes(repository)
    _reads(repository, [*first, *new])
    _copies(repository, [*first, *new])
    _removes(repository, first[1])
    _reads(repository, [*first, *new])
    _collects(repository, clock, [*first, *new])
    assert repair(repository).lost == ()
    _reads(repository, [*first, *new])
    _changes_keys(store, [*first, *new])
    assert not list(gone_back(before, opened(store, seed="high").high_water())), "honest work lowers no number"


def _reads(repository: Repository, expected: list[PointId]) -> None:
    assert sorted(point.id for point in repository.points()) == sorted(expected)
    told: list[PointId] = []
    points = repository.points(on_damage=lambda point_id, _: told.append(point_id))
    assert not {point.id for point in points}.intersection(told)
    for point in points:
        assert repository.point(point.id) == point
        assert content_of(repository, point).startswith(noise("common", 3 * CHUNK))


def _reports(repository: Repository, junk: set[str]) -> None:
    report = repository.verify(read_data=True)
    assert report.lost_points == ()
    named = {finding.object_name for finding in report.findings}
    named |= {f"point-{name.replace('/', '-')}" for name in named}
    assert junk - named == set()


def _writes(repository: Repository) -> list[PointId]:
    before = repository.index.tables
    points = [capture(repository, _content(number)) for number in (4, 6)]
    points.append(capture(repository, _content(5), machine_id=DATABASE))
    assert [point.sequence > least for point, least in zip(points, (4, 4, 1), strict=True)] == [True] * 3
    with repository.writer() as writer:
        writer.disk(CHUNK).write(0, _content(4)[-CHUNK:])
        assert writer.stats.chunks_new == 0, "what is stored is not stored anew"
    assert before
    return [point.id for point in points]


def _copies(repository: Repository, expected: list[PointId]) -> None:
    target = MemoryStore()
    copy = made(target, ports(seed="copy"))
    _infest(target.objects, lambda kind: noise(kind, 300))
    verdicts = copy_points(repository, copy)
    assert sorted(each.point_id for each in verdicts if each.is_copied) == sorted(expected)
    assert not any(each.is_damaged for each in verdicts)
    _reads(opened(target, seed="second"), expected)
    assert not any(each.is_copied for each in copy_points(repository, copy))
    assert copy.held_points() == repository.held_points()


def _removes(repository: Repository, point: PointId) -> None:
    repository.remove_point(point)
    with pytest.raises(NotFound):
        repository.point(point)
    repository.restore_point(point)
    repository.hold_point(point, "for now")
    assert repository.hold_reason(point) == "for now"
    repository.release_point(point)
    verdicts = repository.retain(WEB, RetentionRules(keep_last=1, minimum_count=1))
    gone = [verdict.point.id for verdict in verdicts if not verdict.stays]
    assert point in gone
    for each in gone:
        repository.restore_point(each)


def _collects(repository: Repository, clock: TurnedClock, expected: list[PointId]) -> None:
    gone: list[PointId] = []
    for _ in range(9):
        clock.pass_time(DAY)
        gone += repository.collect().points_gone
    assert f"{WEB}/00000001" in gone
    _reads(repository, expected)
    assert repository.removed_points() == []


def _changes_keys(store: Store, expected: list[PointId]) -> None:
    repository = opened(store, seed="keys")
    paper = repository.add_recovery_key(CHEAP)
    _reads(Repository.open(store, paper, ports=ports(seed="paper")), expected)
    repository.change_passphrase(PASSPHRASE, NEW, CHEAP)
    repository.rotate_keys(NEW, PASSPHRASE, CHEAP)
    again = opened(store, seed="again")
    capture(again, noise("common", 3 * CHUNK))
    assert len(again.points()) == len(expected) + 1


@pytest.mark.parametrize("kind", KINDS)
def test_no_extra_object_of_a_kind_keeps_anything_from_working(kind: str, genuine: Objects, foreign: Objects) -> None:
    dice = random.Random(kind)
    store = MemoryStore()
    store.objects = dict(genuine)
    junk = _infest(store.objects, lambda of: dice.choice(list(EXTRAS.values()))(genuine, foreign, of), (kind,))
    _everything_works(store, junk)


@pytest.mark.parametrize("extra", EXTRAS)
def test_no_extra_of_whatever_content_keeps_anything_from_working(
    extra: str, genuine: Objects, foreign: Objects
) -> None:
    store = MemoryStore()
    store.objects = dict(genuine)
    junk = _infest(store.objects, lambda kind: EXTRAS[extra](genuine, foreign, kind))
    _everything_works(store, junk)


HUGE_BYTES = 1 << 40


def _sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, HUGE_BYTES)


def _socket(path: Path) -> None:
    here = os.open(path.parent, os.O_RDONLY)  # the address of a socket must be short
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(f"/proc/self/fd/{here}/s")
        (path.parent / "s").rename(path)
    finally:
        os.close(here)


ODD_FILES: dict[str, Callable[[Path], object]] = {
    "a sparse file of a tebibyte": _sparse,
    "a folder": lambda path: path.mkdir(),
    "a pipe": os.mkfifo,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a link to nothing": lambda path: path.symlink_to("/nowhere"),
    "a link to itself": lambda path: path.symlink_to(path),
    "a socket": _socket,
    "a link to a folder": lambda path: path.symlink_to("/tmp"),
}


def _path_of(root: Path, name: str) -> Path:
    kind, _, rest = name.partition("-")
    return root / kind / (rest[:2] if kind in ("pack", "index") else "") / name


@pytest.mark.parametrize("odd", ODD_FILES)
def test_no_odd_file_keeps_anything_from_working(odd: str, tmp_path: Path) -> None:
    _world(DirectoryStore(tmp_path), TurnedClock(), "genuine")
    junk = set()
    for kind in KINDS:
        for name in _names(kind):
            path = _path_of(tmp_path, name)
            if len(name) < 200 and not (name.endswith("-") and kind in ("pack", "index")) and not path.exists():
                path.parent.mkdir(exist_ok=True)
                ODD_FILES[odd](path)
                junk.add(name)
        (tmp_path / kind / "zz").touch()
        ODD_FILES[odd](tmp_path / kind / f"{PARTIAL_PREFIX}0123")
    _everything_works(DirectoryStore(tmp_path), junk if odd == "a sparse file of a tebibyte" else set())
