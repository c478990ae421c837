"""Every link of a document leads to a file that exists, and to a heading in it; every document can be reached."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.documents import DOCUMENTS, ROOT, anchors, links


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    for target, heading in links(document):
        assert target.exists(), target
        assert not heading or heading in anchors(target), f"{target.name}#{heading}"


def test_every_document_can_be_reached_from_the_readme() -> None:
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        document = waiting.pop()
        if document.is_dir():
            document /= "README.md"
        if document.suffix == ".md" and document not in reached:
            reached.add(document)
            waiting += [target for target, _ in links(document)]
    assert set(DOCUMENTS) <= reached
