"""A sync over a damaged repository: the point that it makes is whole, whatever its trackers and its base say."""

from __future__ import annotations

import pytest

from tests.recovery.scenarios import synced
from tests.repository.damage import DAMAGES, do_damage
from tests.story import CHUNK_BYTES, SECRET, Story, check_as_found, check_points, check_replicas
from twinhull.replication.bases import TRACKED
from twinhull.repository import Repository

COMPARING = {"tracked": "", "compared": "that was asked for"}


def _verify(story: Story) -> None:
    with Repository.open(story.store, SECRET, ports=story.world.ports) as repository:
        assert not repository.verify(read_data=True).is_good


@pytest.mark.parametrize("is_written_to", [True, False], ids=["changed meanwhile", "unchanged"])
@pytest.mark.parametrize("comparing", COMPARING)
@pytest.mark.parametrize("kind", ["data", "node"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_sync_after_a_verification_makes_a_whole_point(
    damage: str, kind: str, comparing: str, *, is_written_to: bool
) -> None:
    story = synced()
    story.sync()  # what the guest wrote since is in a point, too
    before = story.points()
    do_damage(story.store, damage, kind)
    _verify(story)
    if is_written_to:
        story.write(1)
    facts = story.sync(compare_reason=COMPARING[comparing])
    new = story.points()[-1]
    assert new.id not in {point.id for point in before}
    story.content(new, "vda")
    check_replicas(story)
    check_as_found(story)
    if not is_written_to:
        assert story.content(before[-1], "vda") == story.content(new, "vda"), "the same content heals the older point"
    if damage != "without_footer" or kind == "data":
        assert any("stored anew" in reason or "is in this point anew" in reason for reason in _reasons(facts))
    _verify_points(story, is_written_to=is_written_to)


def _reasons(facts: object) -> list[str]:
    assert isinstance(facts, dict)
    return [str(reason) for reason in facts["reasons"]]


def _verify_points(story: Story, *, is_written_to: bool) -> None:
    with Repository.open(story.store, SECRET, ports=story.world.ports) as repository:
        lost = repository.verify(read_data=True).lost_points
    assert story.points()[-1].id not in lost
    assert is_written_to or story.points()[-2].id not in lost
    story.write(2)
    story.sync()
    story.content(story.points()[-1], "vda")


@pytest.mark.parametrize("comparing", COMPARING)
@pytest.mark.parametrize("damage", ["rotten", "missing", "truncated"])
def test_a_lost_tree_that_nobody_knew_of_costs_a_comparison_and_no_point(damage: str, comparing: str) -> None:
    story = synced()
    do_damage(story.store, damage, "node")
    facts = story.sync(compare_reason=COMPARING[comparing])
    assert any("is in this point anew" in reason for reason in _reasons(facts))
    story.content(story.points()[-1], "vda")
    check_replicas(story)


def test_a_tracked_sync_reads_what_is_damaged_and_nothing_else() -> None:
    story = synced()
    story.sync()
    do_damage(story.store, "missing", "data")
    facts = story.sync()
    assert story.points()[-1].document.disks[0].tracker["read"] == TRACKED
    data = story.content(story.points()[-1], "vda")
    used = sum(any(data[at : at + CHUNK_BYTES]) for at in range(0, len(data), CHUNK_BYTES)) * CHUNK_BYTES
    assert used
    assert facts["source_read_bytes"] == used
    check_points(story)
    assert story.sync()["source_read_bytes"] == 0, "it is whole now"
