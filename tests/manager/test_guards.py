from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tests.manager.world import THERE, make_setup
from twinhull.platforms.contract import Grade, GuardGrade

if TYPE_CHECKING:
    import pytest


def test_the_guards_grade_is_remembered_when_a_site_is_checked_and_status_knows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = make_setup(tmp_path, monkeypatch)
    setup.world.host("there").guard = GuardGrade(Grade.NOTICES, "Its libvirtd asks no hooks.")
    with setup.manager() as manager:
        view = manager.lookout.look_at(THERE)
        assert view.guard is not None
        assert view.guard.is_refusing, "as it was when the site was connected"
        manager.check_site(THERE, is_looking_only=False)
        assert manager.lookout.look_at(THERE).guard == setup.world.host("there").guard
        assert manager.status().reports[0].situation.side(THERE).guard == setup.world.host("there").guard
