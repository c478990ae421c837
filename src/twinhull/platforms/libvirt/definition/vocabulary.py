"""What each word of a libvirt definition means to a replica: kept, harmless or reported.

A *path* names a word: ``devices/disk/serial`` an element, ``devices/disk@sgio`` an attribute. Every element and
attribute of a definition is looked up in the table (:mod:`~twinhull.platforms.libvirt.definition.words`). A path that
ends in ``/`` stands for all that is below it as well. What the table does not know is reported as unknown, so that
nothing is lost in silence when libvirt learns a new word.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from twinhull.model.checks import one_line
from twinhull.model.lacks import Consequence, Lack

REMOVABLE = "devices/disk[removable]"
"""The path of a disk that is a drive for media: a CD-ROM or floppy."""
MAX_LACKS = 64
"""A definition with more than these is cut off, and says so."""


class Verdict(StrEnum):
    """What becomes of a word."""

    KEPT = "kept"
    """The machine's description has a word for it; whether a platform can keep it is the platform's to say."""
    HARMLESS = "harmless"
    REPORTED = "reported"


@dataclass(frozen=True, slots=True)
class Word:
    """One word. ``text`` is why it is harmless, or what a replica lacks without it.

    ``usual`` are values with which nothing is lost; ``named_by`` is where its own name stands (``target@dir``).
    """

    verdict: Verdict
    text: str
    consequence: Consequence = Consequence.BOOTS_WITHOUT
    usual: frozenset[str] = frozenset()
    named_by: str = ""


def kept(text: str = "") -> Word:
    """The description has it."""
    return Word(Verdict.KEPT, text)


def harmless(why: str) -> Word:
    """Nothing is lost without it."""
    return Word(Verdict.HARMLESS, why)


def reported(what: str, *usual: str, named_by: str = "") -> Word:
    """A replica boots without it, and that is said, unless its value is a usual one."""
    return Word(Verdict.REPORTED, what, usual=frozenset(usual), named_by=named_by)


def vital(what: str, *usual: str) -> Word:
    """A replica does not boot without it."""
    return Word(Verdict.REPORTED, what, Consequence.WILL_NOT_BOOT, frozenset(usual))


Table = Mapping[str, Word]


def look_up(table: Table, path: str) -> tuple[Word | None, bool]:
    """The word for a path, and whether it speaks of the path itself; None where the table knows none.

    A path's own word wins over that of a whole element above it.
    """
    if path in table:
        return table[path], True
    element = path.partition("@")[0]
    is_itself = "@" not in path
    while element:
        if f"{element}/" in table:
            return table[f"{element}/"], is_itself
        element, is_itself = element.rpartition("/")[0], False
    return None, True


def lacks_of(table: Table, root: ET.Element) -> tuple[Lack, ...]:
    """What a definition says for which the machine's description has no word, each once."""
    found = list(dict.fromkeys(_Walk(table).below(root, "", "")))
    if len(found) <= MAX_LACKS:
        return tuple(found)
    more = Lack(f"{len(found) - MAX_LACKS} more things of its definition", Consequence.BOOTS_WITHOUT)
    return (*found[:MAX_LACKS], more)


@dataclass(frozen=True, slots=True)
class _Walk:
    table: Table

    def below(self, element: ET.Element, path: str, owner: str) -> Iterator[Lack]:
        for name, value in element.attrib.items():
            yield from self._judged(f"{path}@{name}", value, element, owner)
        for child in element:
            yield from self._element(child, f"{path}/{child.tag}".removeprefix("/"), owner)

    def _element(self, element: ET.Element, path: str, owner: str) -> Iterator[Lack]:
        if path == "devices/disk" and element.get("device") in ("cdrom", "floppy"):
            path = REMOVABLE
        owner = _owner(path, element) or owner
        yield from self._judged(path, (element.text or "").strip(), element, owner)
        if look_up(self.table, path)[0]:
            yield from self.below(element, path, owner)

    def _judged(self, path: str, value: str, element: ET.Element, owner: str) -> Iterator[Lack]:
        word, is_itself = look_up(self.table, path)
        if word is None:
            what = f"'{path}'{owner}, a word of its definition that Twinhull does not know"
            yield Lack(one_line(what), Consequence.BOOTS_WITHOUT)
        elif word.verdict is Verdict.REPORTED and is_itself and value not in word.usual:
            name = f" {_at(element, word.named_by)}" if word.named_by else ""
            what, colon, more = word.text.partition(": ")
            yield Lack(one_line(f"{what.replace('{value}', value)}{name}{owner}{colon}{more}"), word.consequence)


def _owner(path: str, element: ET.Element) -> str:
    """The disk or card that a word belongs to, in words."""
    if path in ("devices/disk", REMOVABLE):
        return f" of disk {_at(element, 'target@dev')}"
    if path == "devices/interface":
        return f" of network card {_at(element, 'mac@address')}"
    return ""


def _at(element: ET.Element, where: str) -> str:
    """What stands at a place below an element: ``target@dev``, ``@type``."""
    path, _, attribute = where.partition("@")
    found = element.find(path) if path else element
    if found is None:
        return ""
    return (found.get(attribute, "") if attribute else found.text or "").strip()
