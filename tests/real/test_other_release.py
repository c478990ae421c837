"""The tests without hypervisors hold on the other supported release of Debian, too."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.other_release import check, other_release

pytestmark = pytest.mark.real


@pytest.mark.timeout(2400)
def test_make_check_holds_on_the_other_release() -> None:
    done = check(Path(__file__).parents[2])
    assert done.returncode == 0, f"{other_release()}:\n{done.stdout[-20_000:]}"
    assert " passed" in done.stdout
