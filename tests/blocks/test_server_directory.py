"""Where an NBD server of ours may work: root opens its log and its process id there by name."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from twinhull.blocks.servers import Image, serving
from twinhull.model.errors import SiteError
from twinhull.model.ports import system_ports


@pytest.fixture
def image(tmp_path: Path) -> Image:
    path = tmp_path / "disk.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(path), "1M"], check=True)
    return Image(str(path), "qcow2")


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770, 0o702, 0o720])
def test_a_directory_that_others_may_write_to_is_refused(tmp_path: Path, image: Image, mode: int) -> None:
    place = tmp_path / "place"
    place.mkdir()
    place.chmod(mode)
    _refused(place, image)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_another_user_s_directory_is_refused_and_nothing_in_it_is_opened(tmp_path: Path, image: Image) -> None:
    """That user has laid links to what only root may write."""
    place, victim = tmp_path / "place", tmp_path / "victim"
    victim.write_text("root's own")
    place.mkdir(mode=0o700)
    for name in ("nbd.log", "nbd.lock", "nbd.pid"):
        (place / name).symlink_to(victim)
    os.chown(place, 65534, 65534)
    _refused(place, image)
    assert victim.read_text() == "root's own"


def _refused(place: Path, image: Image) -> None:
    start = lambda argv: system_ports().processes.start(argv, has_pipes=True)  # noqa: E731 - one argument more
    refused = pytest.raises(SiteError, match=r"others may write to|belongs to another user")
    with refused, serving(start, image, f"{place}/nbd"):
        pass
