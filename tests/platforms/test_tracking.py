"""Trackers in real images: what proves that one belongs to a disk, and that none costs a capture anything else."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from twinhull.hosts.host import LocalHost
from twinhull.model.machine import DiskKey
from twinhull.model.names import checked_tracker
from twinhull.model.ports import system_ports
from twinhull.platforms.libvirt.definition.domains import ImageFile
from twinhull.platforms.libvirt.images import ImageInfo, look_into
from twinhull.platforms.libvirt.tracking import (
    add_trackers,
    answer_of,
    drop_other_trackers,
    hindrances,
    name_of,
    proven,
    tracker_id,
    tracker_name,
)

HOST = LocalHost(system_ports())
KEY = DiskKey("vda")


def image_of(path: Path, key: str = "vda") -> ImageFile:
    return ImageFile(DiskKey(key), key, str(path), "qcow2", "virtio")


def make(path: Path, *options: str) -> ImageFile:
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *options, str(path), "1M"], check=True)
    return image_of(path)


def looked(images: Sequence[ImageFile]) -> list[tuple[ImageFile, ImageInfo]]:
    return list(zip(images, look_into(HOST, images), strict=True))


def test_a_tracker_s_id_can_be_kept_in_a_point_and_names_its_bitmap() -> None:
    name = tracker_name("sync-20261126-203000-0123abcd-0123abcd", DiskKey("v" * 32))
    assert checked_tracker(tracker_id(name, "0123456789abcdef"))
    assert name_of(tracker_id(name, "0123456789abcdef")) == name
    assert name_of("twinhull-of-an-older-version") == "twinhull-of-an-older-version"


@pytest.mark.parametrize(
    ("since", "reason"),
    [
        (None, "No earlier capture"),
        ("twinhull-c1", "is of an older version"),
        ("twinhull-c1-vda.ffff", "was left in another image"),
        ("twinhull-c1-vda.", "is of an older version"),
    ],
)
def test_what_proves_nothing_is_not_believed(tmp_path: Path, since: str | None, reason: str) -> None:
    [(image, info)] = looked([make(tmp_path / "a")])
    answer = answer_of(image, info, "", since)
    assert answer.bitmap is None
    assert reason in answer.reason


def test_a_tracker_that_is_left_is_believed_and_others_go(tmp_path: Path) -> None:
    image = make(tmp_path / "a")
    add_trackers(HOST, looked([image]), "old")
    left, reasons = add_trackers(HOST, looked([image]), "new")
    assert add_trackers(HOST, looked([image]), "new") == (left, []), "safe to repeat"
    drop_other_trackers(HOST, [image], {name_of(left[KEY])})
    [(_, info)] = looked([image])
    assert (info.trackers, reasons) == ({"twinhull-new-vda": True}, [])
    assert answer_of(image, info, "", left[KEY]).bitmap == "twinhull-new-vda"


def test_an_image_that_can_have_no_tracker_costs_the_others_nothing(tmp_path: Path) -> None:
    images = [
        make(tmp_path / "plain"),
        image_of(Path(make(tmp_path / "old", "-o", "compat=0.10").path), "vdb"),
        image_of(Path(make(tmp_path / "split", "-o", f"data_file={tmp_path}/data").path), "vdc"),
        image_of(tmp_path / "once", "vdd"),
        image_of(tmp_path / "once", "vde"),
        image_of(Path(make(tmp_path / "reverted").path), "vdf"),
    ]
    make(tmp_path / "once")
    subprocess.run(["qemu-img", "snapshot", "-c", "before", f"{tmp_path}/reverted"], check=True)
    disks = looked(images)
    hindered = hindrances(disks)
    left, reasons = add_trackers(HOST, disks, "c1")
    assert (list(left), reasons) == ([KEY], [])
    words = {"vdb": "version 2", "vdc": "in another file", "vdd": "another disk", "vde": "another disk"}
    words["vdf"] = "has snapshots"
    assert hindered.keys() == words.keys()
    for key, word in words.items():
        assert word in hindered[DiskKey(key)]
    assert "vdf" not in hindrances(disks, is_guarded=True), "the guard takes it out before a revert"


def test_a_tracker_that_qemu_does_not_add_is_a_reason(tmp_path: Path) -> None:
    """Here because another program has the image open for writing; as for want of room, or QEMU's limit."""
    image, socket = make(tmp_path / "a"), tmp_path / "s"
    server = subprocess.Popen(["qemu-nbd", "-t", "-f", "qcow2", "-k", str(socket), image.path])
    try:
        while not socket.exists():
            assert server.poll() is None
            time.sleep(0.01)
        left, [reason] = add_trackers(HOST, looked([image]), "c1")
    finally:
        server.terminate()
        server.wait(10)
    assert left == {}
    assert reason.startswith("Disk vda got no tracker (qemu-img: ")
    assert reason.endswith("the next capture compares it in full.")
    assert "\n" not in reason


def test_the_lineage_tells_a_file_and_what_lies_below_it_from_any_other(tmp_path: Path) -> None:
    base, overlay = make(tmp_path / 'b"a\\se'), tmp_path / "overlay"
    plain = make(tmp_path / "plain")
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", plain.path, str(overlay)], check=True
    )

    def lineage(path: Path | str) -> str:
        return look_into(HOST, [image_of(Path(path))])[0].lineage

    seen = lineage(overlay)
    assert seen
    assert len({seen, lineage(plain.path), lineage(base.path)}) == 3
    subprocess.run(["qemu-io", "-c", "write 0 4k", str(overlay)], check=True, capture_output=True)
    assert lineage(overlay) == seen, "what is written to the image itself is counted"
    subprocess.run(["qemu-io", "-c", "write 0 4k", plain.path], check=True, capture_output=True)
    assert lineage(overlay) != seen
    Path(plain.path).unlink()
    assert lineage(overlay) == "", "what lies below is not there"
    odd = ["qemu-img", "rebase", "-u", "-F", "qcow2", "-b", base.path, str(overlay)]
    subprocess.run(odd, check=True)
    info = look_into(HOST, [image_of(overlay)])[0]
    assert (info.lineage, info.size_bytes) == ("", 1 << 20), "a name that JSON escapes is not guessed"
    assert "could be believed" in hindrances([(image_of(overlay), info)])[KEY]
    assert proven(info, "", "twinhull-c1-vda.").bitmap is None
