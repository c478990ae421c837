"""What a machine that lost its power held on another one is let go of, though nobody closed anything."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from twinhull.blocks import heartbeat
from twinhull.blocks.servers import Image, serving
from twinhull.model.ports import Process, system_ports

SILENCE_SECONDS = 3


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Image:
    monkeypatch.setattr(heartbeat, "SILENCE_SECONDS", SILENCE_SECONDS)
    path = tmp_path / "disk.raw"
    path.write_bytes(bytes(1 << 20))
    return Image(str(path), "raw", is_writable=True)


@pytest.fixture
def sockets() -> Iterator[Path]:
    """A directory with a short path."""
    with tempfile.TemporaryDirectory(prefix="twh-") as name:
        yield Path(name)


def start(argv: object) -> Process:
    return system_ports().processes.start(argv, has_pipes=True)  # type: ignore[arg-type]


def is_served(socket: str) -> bool:
    asked = subprocess.run(["nbdinfo", "--size", f"nbd+unix:///?socket={socket}"], check=False, capture_output=True)
    return asked.returncode == 0


def wait_until(is_true: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_server_ends_when_nothing_comes_from_who_wanted_it(
    image: Image, sockets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 1000.0)
    socket = sockets / "s"
    with serving(start, image, str(socket)):
        assert is_served(str(socket))
        wait_until(lambda: not socket.exists(), 30)
    assert list(sockets.iterdir()) == []


def test_a_server_stays_as_long_as_beats_come(image: Image, sockets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.1)
    socket = sockets / "s"
    with serving(start, image, str(socket)):
        silent_since = time.monotonic()
        wait_until(lambda: time.monotonic() - silent_since > 2 * SILENCE_SECONDS, 30)
        assert is_served(str(socket))
    assert list(sockets.iterdir()) == []
