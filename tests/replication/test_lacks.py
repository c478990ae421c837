"""What the replica lacks of its machine, from the description at home to the sync's result."""

from __future__ import annotations

from dataclasses import replace

from tests.story import A, B, Story
from twinhull.model.hardware import Hardware
from twinhull.model.lacks import Consequence, Lack, lacks_from_json
from twinhull.platforms.contract import ReplicaRequest

TPM = Lack("its TPM", Consequence.BOOTS_WITHOUT)
KERNEL = Lack("its kernel /boot/vmlinuz, which lies outside of its disks", Consequence.WILL_NOT_BOOT)


def with_lacks() -> Story:
    story = Story.begin()
    machine = story.machine()
    machine.spec = replace(machine.spec, hardware=Hardware(unspoken=(TPM, KERNEL)))
    return story


def test_each_sync_says_what_the_replica_lacks() -> None:
    story = with_lacks()
    for _ in range(2):
        result = story.sync()
        assert lacks_from_json(result["lacks"]) == (TPM, KERNEL)
        assert {TPM.reason, KERNEL.reason} <= set(story.reasons)
        reasons = result["reasons"]
        assert isinstance(reasons, list)
        assert reasons.count(TPM.reason) == 1
    assert story.context().site(B).replicas.lacks(ReplicaRequest(story.machine().spec)) == (TPM, KERNEL)


def test_the_owner_s_own_definition_lacks_nothing() -> None:
    story = with_lacks()
    story.sync()
    assert story.context().site(A).replicas.lacks(ReplicaRequest(story.machine().spec)) == ()


def test_a_machine_of_which_all_is_kept_says_nothing() -> None:
    assert Story.begin().sync()["lacks"] == []
