"""The clock of nested phases."""

from __future__ import annotations

from datetime import UTC, datetime

from twinhull.blocks.phases import PhaseClock
from twinhull.blocks.progress import Meter, Moved


class HandClock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


def test_phases_nest_and_add_up_in_one_line() -> None:
    clock = HandClock()
    phases = PhaseClock(clock)
    with phases.phase("capture"):
        with phases.phase("freeze"):
            clock.sleep(0.25)
        clock.sleep(1)
    for _ in range(2):
        with phases.phase("read"):
            clock.sleep(2)
    assert str(phases) == "capture 1.25 s (freeze 0.25 s), read 4.00 s"
    assert phases.seconds("capture", "freeze") == 0.25
    assert phases.seconds("never") == 0


def test_a_meter_reports_seldom_and_with_a_rate() -> None:
    clock = HandClock()
    told: list[Moved] = []
    meter = Meter(clock, told.append, total_bytes=1000)
    meter.add(100)
    clock.sleep(1)
    meter.add(100)
    assert told == [Moved(200, 1000, 200.0)]
