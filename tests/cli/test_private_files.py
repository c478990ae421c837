"""What holds secrets, or the way to them, is its owner's alone, whatever the user's umask says."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import WEB, Shell, spec
from twinhull.manager.catalog.state import write_private


@pytest.fixture
def open_umask() -> Iterator[None]:
    """The user whose files are for everyone, unless a program says otherwise."""
    before = os.umask(0)
    yield
    os.umask(before)


def for_others(directory: Path) -> dict[str, str]:
    """Files and directories that somebody else could open, with their modes."""
    found = {path: path.lstat() for path in (directory, *directory.rglob("*")) if not path.is_symlink()}
    return {str(path): oct(status.st_mode) for path, status in found.items() if status.st_mode & 0o077}


@pytest.mark.usefixtures("open_umask")
@pytest.mark.parametrize("is_there", [False, True], ids=["a new state directory", "one that is there, for everyone"])
def test_files_of_the_manager_are_private(shell: Shell, tmp_path: Path, *, is_there: bool) -> None:
    if is_there:
        shell.state.mkdir(mode=0o777)
        for name in ("catalog.db", "runs.db"):
            (shell.state / name).touch(mode=0o666)
    shell.world.host("here").add_machine(spec(WEB, "web1"))
    shell.world.host("there")
    shell.ok("repository", "create", str(tmp_path / "points"), "--generate")
    for site in ("here", "there"):
        shell.ok("site", "add", site, f"simulated:{site}")
    shell.ok("plan", "create", "shop", "-m", "web1", "--from", "here", "--to", "there")
    shell.ok("sync", "shop")
    assert {"catalog.db", "runs.db", "passphrase", "locks"} <= {path.name for path in shell.state.iterdir()}
    assert for_others(shell.state) == {}
    assert for_others(tmp_path / "points") == {}


def test_two_that_write_one_private_file_at_once_do_not_disturb_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "passphrase"
    fsync, others = os.fsync, iter([b"another's"])

    def while_another_writes(descriptor: int) -> None:
        for content in others:
            write_private(path, content)
            assert path.read_bytes() == content
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", while_another_writes)
    write_private(path, b"ours")
    assert path.read_bytes() == b"ours"
    assert list(tmp_path.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_private_file_that_cannot_be_written_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "passphrase"
    write_private(path, b"before")

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        write_private(path, b"after")
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]
