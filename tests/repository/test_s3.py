"""A repository in a bucket of a real S3 server."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import pytest

from twinhull.model.errors import UsageError
from twinhull.repository import LimitedStore, StoreError, open_store

from .flaky_proxy import flaky_way_to
from .world import CHUNK, WEB, capture, content_of, document, made, noise, opened, write_disk

ONE = noise("one", 30 * CHUNK) + bytes(100 * CHUNK) + b"end"
TWO = ONE[: 10 * CHUNK] + noise("two", CHUNK) + ONE[11 * CHUNK :]


def test_a_day_in_a_bucket(s3_endpoint: str, tmp_path: Path) -> None:
    url = f"s3://twinhull/{tmp_path.name}?endpoint={s3_endpoint}"
    repository = made(open_store(url))
    first = capture(repository, ONE)
    second = capture(repository, TWO, (first, ONE))
    other = opened(open_store(repository.store.url))
    assert [content_of(other, point) for point in other.points()] == [ONE, TWO]
    assert (
        sum(extent.length_bytes for extent in other.diff(*(p.document.disks[0].root for p in (first, second)))) == CHUNK
    )
    other.remove_point(first.id)
    assert repository.collect(is_now=True).points_gone == (first.id,)
    assert repository.verify(read_data=True).is_good
    assert content_of(repository, second) == TWO


def test_writers_of_one_machine_in_a_bucket(s3_endpoint: str, tmp_path: Path) -> None:
    url = f"s3://twinhull/{tmp_path.name}?endpoint={s3_endpoint}"
    made(open_store(url))
    start = threading.Barrier(4)

    def write(number: int) -> None:
        repository = opened(open_store(url), seed=f"writer {number}")
        with repository.writer() as writer:
            root = write_disk(writer, noise(number, 3 * CHUNK))
            start.wait()
            writer.publish(document({"vda": root}))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reader = opened(open_store(url))
    points = reader.points(WEB)
    assert [point.sequence for point in points] == [1, 2, 3, 4]
    assert {content_of(reader, point) for point in points} == {noise(number, 3 * CHUNK) for number in range(4)}


def test_what_fails_for_the_moment_is_tried_again(s3_endpoint: str, tmp_path: Path) -> None:
    with flaky_way_to(s3_endpoint) as server:
        repository = made(open_store(f"s3://twinhull/{tmp_path.name}?endpoint={server.endpoint}"))
        first = capture(repository, ONE)
        second = capture(repository, TWO, (first, ONE))
        repository.remove_point(first.id)
        assert repository.collect(is_now=True).points_gone == (first.id,)
        assert content_of(repository, second) == TWO
        assert repository.verify(read_data=True).is_good
        assert {"PUT", "GET"} <= set(server.lost_answers)


def test_what_fails_for_good_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        address = nobody.getsockname()
    store = open_store(f"s3://twinhull/x?endpoint=http://{address[0]}:{address[1]}")
    with pytest.raises(StoreError, match="Could not read 'config'"):
        store.read("config")


def test_an_address_may_carry_a_limit(s3_endpoint: str, tmp_path: Path) -> None:
    store = open_store(f"s3://twinhull/{tmp_path.name}?endpoint={s3_endpoint}&limit_mib_per_second=0.5")
    assert isinstance(store, LimitedStore)
    assert isinstance(open_store(store.url), LimitedStore), "an export of the same store is as slow"
    began = time.monotonic()
    store.create("config", [bytes(2**18)])
    assert time.monotonic() - began >= 0.5
    with pytest.raises(UsageError, match="not a limit"):
        open_store("s3://twinhull/x?limit_mib_per_second=fast")
