"""The threat model names tests that are there, and links that lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "SECURITY.md").read_text()


def _named_tests() -> list[str]:
    """Each test file that the text names; one without a folder is in that of the file before it."""
    found: list[str] = []
    for name in re.findall(r"`([a-z/_0-9]*test_[a-z_0-9]+\.py)`", TEXT):
        found.append(name if "/" in name else f"{found[-1].rpartition('/')[0]}/{name}")
    return found


def test_it_names_tests() -> None:
    assert len(_named_tests()) > 10


@pytest.mark.parametrize("name", _named_tests())
def test_a_named_test_is_there(name: str) -> None:
    assert (ROOT / name).is_file()
