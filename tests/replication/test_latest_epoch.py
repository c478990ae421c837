"""Which epoch the points know, and which site they call its primary."""

from __future__ import annotations

from dataclasses import replace

from tests.recovery.scenarios import failed_over
from tests.story import A, B
from twinhull.replication.bases import latest_epoch
from twinhull.repository import current_points


def test_without_points_no_epoch_is_known() -> None:
    assert latest_epoch([]) == (0, None)


def test_the_site_that_captured_last_in_the_highest_epoch_is_its_primary() -> None:
    story = failed_over(is_planned=False)
    assert latest_epoch(story.points()) == (1, A)
    story.sync(B, A)
    assert latest_epoch(story.points()) == (2, B)


def test_a_divergent_point_names_no_primary() -> None:
    story = failed_over(is_planned=False)
    story.sync(B, A)
    last = current_points(story.points())[-1]
    late = replace(last.document, source_site=A, is_divergent=True)
    assert latest_epoch([*story.points(), replace(last, document=late)]) == (2, B)
    assert latest_epoch([replace(last, document=late)]) == (2, None)
