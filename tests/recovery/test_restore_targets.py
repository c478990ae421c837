"""What a restore to a path does with everything that a path can name: it writes a file, or refuses and leaves it."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.recovery.scenarios import synced
from tests.recovery.test_restore_to_files import PORTS, restore
from tests.stepping import Journal, perform
from tests.story import WEB, Story
from twinhull.actions.requests import RestoreRequest
from twinhull.model.errors import AlreadyExists, SiteError, SiteFull, UsageError
from twinhull.model.progress import Progress
from twinhull.recovery.restore.action import RESTORE

FORMATS = ("raw", "qcow2", "vmdk", "vhdx")


@pytest.fixture
def story() -> Story:
    return synced()


@pytest.fixture
def open_umask() -> Iterator[None]:
    """The user whose files are for everyone, unless a program says otherwise."""
    before = os.umask(0)
    yield
    os.umask(before)


def _a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def _a_link_to_a_file(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(b"somebody's only copy")
    path.symlink_to(other)


NODES: dict[str, Callable[[Path], None]] = {
    "a directory": lambda path: path.mkdir(),
    "a FIFO": os.mkfifo,
    "a socket": _a_socket,
    "a character device": lambda path: os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3)),
    "a link to a file": _a_link_to_a_file,
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a link to itself": lambda path: path.symlink_to(path),
    "a link to /dev/null": lambda path: path.symlink_to("/dev/null"),
}


@pytest.mark.parametrize("is_overwriting", [False, True])
@pytest.mark.parametrize("node", NODES)
def test_a_node_that_is_no_file_is_refused_and_never_replaced(
    story: Story, tmp_path: Path, node: str, *, is_overwriting: bool
) -> None:
    path = tmp_path / "disk.raw"
    NODES[node](path)
    before = {item.name: item.lstat() for item in tmp_path.iterdir()}
    with pytest.raises(UsageError, match=node.split(" to ", maxsplit=1)[0]) as refused:
        restore(story, to_path=str(path), is_overwriting=is_overwriting)
    assert refused.value.hint
    assert {item.name: item.lstat() for item in tmp_path.iterdir()} == before


@pytest.mark.parametrize("node", NODES)
def test_a_node_that_comes_while_a_file_is_written_is_left_as_it_is(story: Story, tmp_path: Path, node: str) -> None:
    path = tmp_path / "disk.raw"
    path.write_bytes(b"to be replaced")
    kinds: list[int] = []

    def on_progress(_: Progress) -> None:
        if not kinds:
            path.unlink()
            NODES[node](path)
            kinds.append(stat.S_IFMT(path.lstat().st_mode))

    request = RestoreRequest(story.run_id(), WEB, story.points()[0].id, to_path=str(path), is_overwriting=True)
    context = replace(story.context(), ports=PORTS, on_progress=on_progress)
    with pytest.raises(UsageError):
        perform(RESTORE, context, request.facts(), Journal())
    assert [stat.S_IFMT(path.lstat().st_mode)] == kinds
    assert not list(tmp_path.glob(".*")), "what was half made is taken away"


@pytest.mark.usefixtures("open_umask")
@pytest.mark.parametrize("is_there", [False, True])
@pytest.mark.parametrize("image_format", FORMATS)
def test_a_restored_file_is_its_owners_from_its_first_byte_on(
    story: Story, tmp_path: Path, image_format: str, *, is_there: bool
) -> None:
    path = tmp_path / f"disk.{image_format}"
    if is_there:
        path.write_bytes(b"for everyone")
    modes: set[int] = set()

    def on_progress(_: Progress) -> None:
        modes.update(stat.S_IMODE(item.stat().st_mode) for item in tmp_path.glob(".*"))

    request = RestoreRequest(
        story.run_id(), WEB, story.points()[0].id, to_path=str(path), file_format=image_format, is_overwriting=True
    )
    context = replace(story.context(), ports=PORTS, on_progress=on_progress)
    perform(RESTORE, context, request.facts(), Journal())
    assert modes == {0o600}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_file_is_private_before_the_program_that_fills_it_begins(
    story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, modes = PORTS.processes.run, []

    def look_and_run(argv: list[str], **options: object) -> object:
        modes.append(stat.S_IMODE(Path(argv[-2]).stat().st_mode))
        return run(argv, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(PORTS.processes, "run", look_and_run)
    restore(story, to_path=str(tmp_path / "disk.raw"))
    assert modes == [0o600]


def test_another_name_of_the_same_file_is_written_beside_it(story: Story, tmp_path: Path) -> None:
    """A hard link is a plain file: the other name keeps what it has."""
    path, other = tmp_path / "disk.raw", tmp_path / "other.raw"
    other.write_bytes(b"kept")
    path.hardlink_to(other)
    with pytest.raises(AlreadyExists):
        restore(story, to_path=str(path))
    restore(story, to_path=str(path), is_overwriting=True)
    assert other.read_bytes() == b"kept"


def test_what_the_file_system_refuses_is_told_with_the_name_that_was_asked_for(
    story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise SiteFull("There is no room left on the storage behind /run/inner.sock.")

    path = tmp_path / "disk.raw"
    with monkeypatch.context() as patched:
        patched.setattr("twinhull.recovery.restore.to_file.apply_disk", full)
        with pytest.raises(SiteFull, match=str(path)) as refused:
            restore(story, to_path=str(path))
    assert "inner.sock" not in f"{refused.value}"
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(SiteError, match="No file can be made in /proc"):
        restore(story, to_path="/proc/disk.raw")
