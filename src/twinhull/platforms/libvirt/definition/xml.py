"""Reading XML that a site hands out: bounded, and without document types or entities.

A host's libvirt is foreign to the manager. Nothing that it writes needs a DOCTYPE; with one come entities, which grow
without bound or name files.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import NoReturn

from twinhull.model.errors import SiteError

MAX_XML_BYTES = 4 << 20
"""Definitions with much foreign metadata have some hundred kilobytes."""
MAX_XML_DEPTH = 64


class BadDefinition(SiteError):
    """A machine is described in a way that cannot be worked with; the site's other machines can."""


def parse_xml(text: str) -> ET.Element:
    """The document's root.

    Raises:
        BadDefinition: it is no XML, or more than a definition needs.
    """
    if len(text) > MAX_XML_BYTES:
        raise BadDefinition(f"libvirt described something in {len(text)} characters, far more than it needs; not read.")
    parser = ET.XMLParser(target=_Builder())  # noqa: S314 - the builder refuses document types, and so entities
    try:
        parser.feed(text)
        root = parser.close()
    except (ET.ParseError, ValueError) as error:
        raise BadDefinition(f"libvirt described something in a way that cannot be read: {error}") from error
    if not isinstance(root, ET.Element):
        raise BadDefinition("libvirt described something as an empty document.")
    return root


class _Builder(ET.TreeBuilder):
    """Builds the tree, within bounds."""

    def __init__(self) -> None:
        super().__init__()
        self._depth = 0

    def doctype(self, *_: str | None) -> NoReturn:
        raise ValueError("it has a document type, which no definition needs")

    def start(self, tag: str, attrs: dict[str, str], /) -> ET.Element:
        self._depth += 1
        if self._depth > MAX_XML_DEPTH:
            raise ValueError(f"its elements are nested more than {MAX_XML_DEPTH} deep")
        return super().start(tag, attrs)

    def end(self, tag: str, /) -> ET.Element:
        self._depth -= 1
        return super().end(tag)
