"""Images and NBD servers for the tests of the blocks room: real qemu-img, real qemu-nbd."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from twinhull.blocks.disk import Disk
from twinhull.blocks.nbd import NbdAddress, NbdDisk
from twinhull.blocks.servers import Image, serving
from twinhull.model.ports import SystemProcesses

Served = Callable[..., Callable[[], Disk]]


def make_image(path: Path, size: str, format_: str = "qcow2") -> Path:
    subprocess.run(["qemu-img", "create", "-q", "-f", format_, str(path), size], check=True)
    return path


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """Serve an image until the test ends; gives an opener of handles."""
    processes = SystemProcesses()
    with ExitStack() as stack:

        def serve(image: Image, bitmap: str | None = None) -> Callable[[], Disk]:
            socket = tmp_path / f"{len(list(tmp_path.iterdir()))}.sock"
            start = lambda argv: processes.start(argv, has_pipes=True)  # noqa: E731
            path = stack.enter_context(serving(start, image, str(socket)))
            return lambda: NbdDisk(NbdAddress(path, bitmap=bitmap))

        yield serve
