"""The format is what its document says: a second reader, written from it, restores the same bytes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from twinhull.repository import open_store

from . import golden_repository as golden
from . import worked_example
from .independent_reader import IndependentReader
from .world import CHEAP, CHUNK, DATABASE, PASSPHRASE, capture, content_of, document, made, noise, opened, write_disk


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
        chunk_id: (path.name, *place) for chunk_id, (path, _, *place) in reader.places.items()
    }
    assert max(position for *_, position in reader.places.values()) > 0, "chunks share payloads"


@pytest.fixture(params=golden.VERSIONS)
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of the golden repository of each version."""
    return Path(shutil.copytree(golden.ROOT.with_name(f"version-{request.param}"), tmp_path / "golden"))


def test_the_golden_repository_is_read(kept: Path) -> None:
    repository = opened(open_store(str(kept)))
    first, second = repository.points()
    assert content_of(repository, first) == golden.ONE
    assert content_of(repository, first, "vdb") == golden.SMALL
    assert content_of(repository, second) == golden.TWO
    assert repository.held_points() == {first.id}
    assert content_of(repository, repository.restore_point(repository.removed_points()[0].point_id)) == golden.SMALL
    assert repository.verify(read_data=True).is_good


def test_the_golden_repository_is_read_by_the_second_reader(kept: Path) -> None:
    reader = IndependentReader(kept, PASSPHRASE)
    assert [[reader.disk(disk) for disk in point["disks"]] for point in reader.points()] == [
        [golden.ONE, golden.SMALL],
        [golden.TWO],
    ]


def test_the_golden_repository_goes_on(kept: Path) -> None:
    repository = opened(open_store(str(kept)))
    second = repository.points()[1]
    grown = golden.TWO + b"grown"
    assert content_of(repository, capture(repository, grown, (second, golden.TWO))) == grown
    assert repository.collect(is_now=True).points_gone
    assert opened(open_store(repository.store.url)).verify(read_data=True).is_good


def test_the_worked_example_in_the_docs_is_the_golden_repository() -> None:
    assert worked_example.TARGET.read_text() == worked_example.example(), (
        "write it anew: python -m tests.repository.worked_example"
    )


def test_the_golden_repository_is_rotated_and_given_another_passphrase(kept: Path) -> None:
    repository = opened(open_store(str(kept)))
    repository.rotate_keys(PASSPHRASE, "another phrase", CHEAP)
    repository.change_passphrase("another phrase", PASSPHRASE, CHEAP)
    capture(repository, golden.SMALL)
    assert IndependentReader(kept, PASSPHRASE).points()[-1]["sequence"] == 3
    assert opened(open_store(str(kept)), seed="again").verify(read_data=True).is_good


def test_the_second_reader_passes_over_what_nobody_with_the_keys_wrote(kept: Path) -> None:
    before = IndependentReader(kept, PASSPHRASE).points()
    for point in before:
        name = f"{point['machine_id']}-{point['sequence']:08d}"
        (kept / "removal" / f"removal-{name}").write_bytes(b"junk")
        (kept / "point" / f"point-{point['machine_id']}-99999999").write_bytes(b"junk")
    assert IndependentReader(kept, PASSPHRASE).points() == before
