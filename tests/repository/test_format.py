"""The format is what its document says: a second reader, written from it, restores the same bytes."""

from __future__ import annotations

from pathlib import Path

from twinhull.repository import open_store

from .independent_reader import IndependentReader
from .world import CHUNK, DATABASE, PASSPHRASE, capture, document, made, noise, write_disk


def test_a_second_reader_restores_every_disk(tmp_path: Path) -> None:
    repository = made(open_store(str(tmp_path)))
    text = b"compresses well " * (40 * CHUNK // 16)
    one = noise("one", 70 * CHUNK) + bytes(5000 * CHUNK) + text + b"short"
    other = bytes(64 * CHUNK)
    changed = one[:CHUNK] + noise("changed", CHUNK) + one[2 * CHUNK :]
    with repository.writer() as writer:
        first = writer.publish(document({"vda": write_disk(writer, one), "vdb": write_disk(writer, other)}))
    second = capture(repository, changed, (first, one))
    removed = capture(repository, text, machine_id=DATABASE)
    repository.remove_point(removed.id)

    reader = IndependentReader(tmp_path, PASSPHRASE)
    points = reader.points()
    assert [point["sequence"] for point in points] == [first.sequence, second.sequence]
    assert [reader.disk(disk) for disk in points[0]["disks"]] == [one, other]
    assert [reader.disk(disk) for disk in points[1]["disks"]] == [changed]
    assert points[0]["machine_id"] == first.machine_id
    assert points[0]["spec"] == {"name": "web"}
    assert reader.index_entries() == {
        chunk_id: (path.name, offset, length) for chunk_id, (path, _, offset, length) in reader.places.items()
    }
