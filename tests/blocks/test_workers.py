from __future__ import annotations

import threading
from contextlib import closing

import pytest

from twinhull.blocks.disk import Disk
from twinhull.blocks.memory import MemoryDisk
from twinhull.blocks.workers import IN_FLIGHT_PER_WORKER, Handles, Stream, in_order


def numbers(count: int, seen: list[int]) -> Stream[int]:
    try:
        for number in range(count):
            seen.append(number)
            yield number
    finally:
        seen.append(-1)


def test_results_come_in_order_and_never_run_far_ahead() -> None:
    seen: list[int] = []
    with closing(in_order(numbers(100, seen), lambda number: number * 2, 3)) as results:
        for expected in range(100):
            assert next(results) == expected * 2
            assert max(seen) - expected <= 3 * IN_FLIGHT_PER_WORKER
    assert seen[-1] == -1, "the items are closed"


def test_what_a_worker_raises_is_raised_in_its_place() -> None:
    def work(number: int) -> float:
        return 1 / (3 - number)

    with closing(in_order(numbers(10, []), work, 2)) as results:
        assert [next(results) for _ in range(3)] == [1 / 3, 1 / 2, 1.0]
        with pytest.raises(ZeroDivisionError):
            next(results)


def test_a_reader_that_gives_up_waits_for_the_threads_before_their_handles_are_closed() -> None:
    at_work, may_end = threading.Event(), threading.Event()
    is_open, was_open = True, []

    def work(number: int) -> int:
        if number:
            at_work.set()
            may_end.wait(10)
            was_open.append(is_open)
        return number

    def give_up() -> None:
        with closing(in_order(numbers(9, []), work, 2)) as results:
            next(results)
            assert at_work.wait(10)
            threading.Timer(0.05, may_end.set).start()
            raise RuntimeError("the reader gives up")

    with pytest.raises(RuntimeError, match="gives up"):
        give_up()
    is_open = False
    assert was_open
    assert all(was_open)


def test_handles_are_opened_as_needed_lent_to_one_at_a_time_and_closed_together() -> None:
    opened: list[MemoryDisk] = []

    def opener() -> Disk:
        opened.append(MemoryDisk(512))
        return opened[-1]

    with Handles(opener) as handles:
        assert opened == []
        with handles.lent() as one, handles.lent() as two:
            assert one is not two
        with handles.lent(), handles.lent():
            pass
        handles.flush()
    assert len(opened) == 2
    assert [disk.flush_count for disk in opened] == [1, 1]
