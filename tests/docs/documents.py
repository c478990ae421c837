"""The documents of this repository, and what they link to."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)


def links(document: Path) -> list[tuple[Path, str]]:
    """Each file that a document links to, with the heading in it ("" for the whole file)."""
    targets = [target for target in _LINK.findall(_CODE.sub("", document.read_text())) if "://" not in target]
    parts = [target.partition("#") for target in targets]
    return [((document.parent / path).resolve() if path else document, heading) for path, _, heading in parts]


def anchors(document: Path) -> set[str]:
    """What the headings of a document can be linked by, as GitHub makes it."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
