"""Restoring into image files and NBD exports, with the real qemu-img and qemu-nbd of this machine."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.recovery.scenarios import synced
from tests.stepping import Journal, perform
from tests.story import DISK_BYTES, WEB, Story
from twinhull.actions.requests import RestoreRequest
from twinhull.blocks import nbd
from twinhull.blocks.nbd import NbdAddress, NbdDisk
from twinhull.blocks.servers import Image, serving
from twinhull.model.errors import AlreadyExists, TargetTooSmall, UsageError
from twinhull.model.ports import Ports, Process, SystemClock, SystemProcesses, SystemRandomness
from twinhull.model.steps import JsonValue
from twinhull.recovery.restore.action import RESTORE
from twinhull.recovery.restore.to_nbd import nbd_address

PORTS = Ports(SystemClock(), SystemRandomness(), SystemProcesses())


@pytest.fixture
def story() -> Story:
    return synced()


def start(argv: Sequence[str]) -> Process:
    return PORTS.processes.start(argv, has_pipes=True)


def restore(story: Story, journal: Journal | None = None, **where: object) -> dict[str, JsonValue]:
    request = RestoreRequest(story.run_id(), WEB, story.points()[0].id, **where)  # type: ignore[arg-type]
    context = replace(story.context(), ports=PORTS)
    return perform(RESTORE, context, request.facts(), journal or Journal())


def as_raw(path: Path, image_format: str, into: Path) -> bytes:
    raw = into / "as-raw"
    subprocess.run(["qemu-img", "convert", "-f", image_format, "-O", "raw", str(path), str(raw)], check=True)
    return raw.read_bytes()


@pytest.mark.parametrize("image_format", ["raw", "qcow2", "vmdk", "vhdx"])
def test_a_point_becomes_an_image_of_each_format(story: Story, tmp_path: Path, image_format: str) -> None:
    path = tmp_path / f"disk.{image_format}"
    facts = restore(story, to_path=str(path), file_format=image_format)
    wanted = story.content(story.points()[0], "vda")
    assert as_raw(path, image_format, tmp_path)[:DISK_BYTES] == wanted
    assert facts["disk_key"] == "vda"
    assert sorted(item.name for item in tmp_path.iterdir()) == ["as-raw", path.name]


@pytest.fixture(params=["links", "no links"])
def file_system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """One with hard links, and one without, as vfat is."""

    def refuse(path: Path, _: Path) -> None:
        raise FileExistsError if path.exists() else PermissionError("Operation not permitted")

    if request.param == "no links":
        monkeypatch.setattr(Path, "hardlink_to", refuse)


@pytest.mark.usefixtures("file_system")
def test_an_existing_file_is_replaced_only_when_that_was_asked_for(story: Story, tmp_path: Path) -> None:
    path = tmp_path / "disk.raw"
    path.write_bytes(b"somebody's only copy")
    with pytest.raises(AlreadyExists):
        restore(story, to_path=str(path))
    assert path.read_bytes() == b"somebody's only copy"
    wanted = story.content(story.points()[0], "vda")
    restore(story, to_path=str(path), is_overwriting=True)
    assert path.read_bytes() == wanted
    restore(story, to_path=str(tmp_path / "new.raw"))
    assert (tmp_path / "new.raw").read_bytes() == wanted
    assert sorted(item.name for item in tmp_path.iterdir()) == ["disk.raw", "new.raw"]


@pytest.mark.usefixtures("file_system")
def test_a_file_that_comes_meanwhile_is_not_replaced(story: Story, tmp_path: Path) -> None:
    path = tmp_path / "disk.raw"
    steps = list(RESTORE.steps)
    write = steps[1].do

    def write_and_be_overtaken(context: object, facts: object) -> object:
        found = write(context, facts)  # type: ignore[arg-type]
        path.write_bytes(b"overtaken")
        return found

    steps[1] = replace(steps[1], do=write_and_be_overtaken)  # type: ignore[arg-type]
    request = RestoreRequest(story.run_id(), WEB, story.points()[0].id, to_path=str(path))
    with pytest.raises(AlreadyExists):
        perform(replace(RESTORE, steps=tuple(steps)), replace(story.context(), ports=PORTS), request.facts(), Journal())
    assert path.read_bytes() == b"overtaken"
    assert [item.name for item in tmp_path.iterdir()] == ["disk.raw"], "what was half made is taken away"


def test_nonsense_is_refused_before_anything_is_made(story: Story, tmp_path: Path) -> None:
    for where in (
        {"to_path": str(tmp_path / "x"), "file_format": "floppy"},
        {"to_path": str(tmp_path / "no" / "x")},
        {"to_path": str(tmp_path / "x"), "disk_key": "vdz"},
        {"to_nbd_uri": "nbd://example.org/disk"},
        {"to_path": str(tmp_path / "x"), "to_site": "b"},
    ):
        with pytest.raises(UsageError):
            restore(story, **where)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_point_is_written_into_an_nbd_export(story: Story, tmp_path: Path) -> None:
    path, socket = tmp_path / "disk.raw", str(tmp_path / "nbd.sock")
    path.write_bytes(b"old" * 100 + bytes(DISK_BYTES - 300))
    image = Image(str(path), "raw", is_writable=True)
    with serving(start, image, socket):
        restore(story, to_nbd_uri=f"nbd+unix:///?socket={socket}")
        disk = NbdDisk(NbdAddress(socket))
        assert disk.read(0, DISK_BYTES) == story.content(story.points()[0], "vda")
        disk.close()


@pytest.mark.parametrize("options", [[], ["-e", "2"], ["-e", "8"]])
def test_a_point_is_written_to_a_foreign_server_with_few_connections(
    story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    """``qemu-nbd -t`` takes one client unless it is told otherwise, and never answers the next one."""
    monkeypatch.setattr(nbd, "STALL_SECONDS", 10)
    monkeypatch.setattr(nbd, "FURTHER_SECONDS", 1)
    story.workers = 4
    path, socket = tmp_path / "disk.raw", tmp_path / "nbd.sock"
    path.write_bytes(bytes(DISK_BYTES))
    server = subprocess.Popen(["qemu-nbd", "-t", "-f", "raw", "-k", str(socket), *options, str(path)])
    try:
        while not socket.exists():
            assert server.poll() is None
            time.sleep(0.01)
        restore(story, to_nbd_uri=f"nbd+unix:///?socket={socket}")
    finally:
        server.terminate()
        server.wait(10)
    assert path.read_bytes() == story.content(story.points()[0], "vda")


def test_an_export_that_is_too_small_is_left_alone(story: Story, tmp_path: Path) -> None:
    path, socket = tmp_path / "disk.raw", str(tmp_path / "nbd.sock")
    path.write_bytes(b"small" + bytes(4091))
    image = Image(str(path), "raw", is_writable=True)
    with (
        serving(start, image, socket),
        pytest.raises(TargetTooSmall),
    ):
        restore(story, to_nbd_uri=f"nbd+unix:///?socket={socket}")
    assert path.read_bytes()[:5] == b"small"


def test_nbd_uris_name_a_socket_and_an_export() -> None:
    address = nbd_address("nbd+unix:///my%20disk?socket=/run/nbd.sock")
    assert (address.socket_path, address.export) == ("/run/nbd.sock", "my disk")
