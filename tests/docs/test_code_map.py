"""ARCHITECTURE's code map names every room of the source, and only files that exist."""

from __future__ import annotations

import re

import pytest

from tests.docs.documents import ROOT

SOURCE = ROOT / "src" / "twinhull"
_ROW = re.compile(r"^\| `([a-z_/]+)/` \| (.*) \| ([^|]*) \|$", re.MULTILINE)
_FILE = re.compile(r"`([a-z_0-9/]+\.py)`")
MAP = {room: (text, begin) for room, text, begin in _ROW.findall((ROOT / "ARCHITECTURE.md").read_text())}
_ROOMS = sorted(path.parent.name for path in SOURCE.glob("*/__init__.py"))


def test_every_room_is_on_the_map() -> None:
    assert _ROOMS
    assert set(_ROOMS) <= set(MAP)


@pytest.mark.parametrize("room", MAP)
def test_the_room_has_what_the_map_says(room: str) -> None:
    text, begin = MAP[room]
    assert _FILE.findall(begin), "the map names a file to begin with"
    for name in _FILE.findall(text + begin):
        assert (SOURCE / room / name).is_file(), f"{room}/{name}"


def test_files_in_the_text_exist() -> None:
    """A path with its room in it, as ``blocks/disk.py``, anywhere in the document."""
    names = [name for name in _FILE.findall((ROOT / "ARCHITECTURE.md").read_text()) if "/" in name]
    assert names
    assert not [name for name in names if not list(SOURCE.glob(name)) and not list(SOURCE.glob(f"*/{name}"))]
