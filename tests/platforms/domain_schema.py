"""Everything that a libvirt domain's definition can say, walked out of libvirt's own RELAX NG schema.

The schema (``/usr/share/libvirt/schemas/domain.rng``, package libvirt0) is split over files that include one another;
patterns are named by ``define`` and used by ``ref``. What comes out are paths of element names below ``domain``
(``devices/disk/serial``), and of attributes (``devices/disk@device``). An element with any name is ``*``.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

SCHEMAS = Path("/usr/share/libvirt/schemas")
_RNG = "{http://relaxng.org/ns/structure/1.0}"
_DEPTH = 9
"""Deeper elements repeat themselves (a backing store has a backing store)."""


def paths(folder: Path = SCHEMAS) -> set[str]:
    """All of them."""
    return set(_Schema(folder).walk())


class _Schema:
    def __init__(self, folder: Path) -> None:
        self._defines: dict[str, list[ET.Element]] = {}
        self._seen: set[tuple[str, str]] = set()
        self._load(folder, "domain.rng")

    def _load(self, folder: Path, name: str) -> None:
        root = ET.parse(folder / name).getroot()  # noqa: S314 - libvirt's own file on this machine
        for element in root.iter():
            if element.tag == f"{_RNG}include":
                self._load(folder, element.get("href", ""))
            if element.tag == f"{_RNG}define":
                self._defines.setdefault(element.get("name", ""), []).append(element)

    def walk(self) -> Iterator[str]:
        for define in self._defines["domain"]:
            for child in define.iter(f"{_RNG}element"):
                if child.get("name") == "domain":
                    yield from self._inside(child, "")

    def _inside(self, pattern: ET.Element, path: str) -> Iterator[str]:
        for child in pattern:
            yield from self._pattern(child, path)

    def _pattern(self, pattern: ET.Element, path: str) -> Iterator[str]:
        kind = pattern.tag.removeprefix(_RNG)
        if kind == "element":
            yield from self._element(pattern, path)
        elif kind == "attribute":
            yield f"{path}@{_name(pattern)}"
        elif kind == "ref":
            yield from self._ref(pattern.get("name", ""), path)
        elif kind not in ("value", "data", "text", "param"):
            yield from self._inside(pattern, path)

    def _element(self, pattern: ET.Element, path: str) -> Iterator[str]:
        below = f"{path}/{_name(pattern)}".removeprefix("/")
        yield below
        if below.count("/") < _DEPTH:
            yield from self._inside(pattern, below)

    def _ref(self, name: str, path: str) -> Iterator[str]:
        if (name, path) in self._seen:
            return
        self._seen.add((name, path))
        for define in self._defines.get(name, []):
            yield from self._inside(define, path)


def _name(pattern: ET.Element) -> str:
    name = pattern.get("name")
    if name is None:
        found = pattern.find(f"{_RNG}name")
        name = found.text if found is not None else None
    namespace = pattern.get("ns", "")
    return f"{{{namespace}}}{name}" if namespace and name else name or "*"
