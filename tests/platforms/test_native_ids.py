from __future__ import annotations

import pytest

from twinhull.model.errors import DataError, NotFound
from twinhull.model.machine import MachineId
from twinhull.platforms.native_ids import Native, NativeIds, machine_id_of

CARRIED = MachineId("6f5a3f0e-0000-4000-8000-000000000001")


def test_a_machine_keeps_the_id_that_it_carries_and_is_found_by_it() -> None:
    ids = NativeIds("there", "cluster", lambda: [Native("100", CARRIED.upper()), Native("101")])
    assert ids.all()[CARRIED] == "100"
    assert ids.native(CARRIED) == "100"


@pytest.mark.parametrize("carried", ["", "none", "../../etc"])
def test_what_is_no_uuid_is_not_carried_and_the_derived_id_is_the_same_at_each_look(carried: str) -> None:
    first, again = (machine_id_of("cluster", Native("100", carried)) for _ in range(2))
    assert first == again
    assert first != machine_id_of("cluster", Native("101"))
    assert first != machine_id_of("another cluster", Native("100"))


def test_clones_that_carry_one_id_are_listed_and_none_is_taken_for_the_machine() -> None:
    ids = NativeIds("there", "cluster", lambda: [Native("100", CARRIED), Native("200", CARRIED), Native("300")])
    assert sorted(ids.all().values()) == ["100", "200", "300"]
    assert CARRIED not in ids.all()
    with pytest.raises(DataError, match="100 and 200"):
        ids.native(CARRIED)


def test_a_machine_that_is_not_there_is_not_found() -> None:
    with pytest.raises(NotFound):
        NativeIds("there", "cluster", list).native(CARRIED)
