"""The story: a machine is kept in step on another hypervisor, taken over there, brought home, lost, and rolled back.

Played by the demo with Debian and PostgreSQL and by the tests with the tiny guest. At each station the guest itself is
asked what it has (see :mod:`lab.ledger`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from lab.ledger import Address, judge
from lab.stage import HOME, Stage

LOAD_TRANSACTIONS = 40
"""How many transactions are acknowledged between two stations, at least."""


GUARD = "must not start here"
"""What the guard says when it refuses a start."""


@dataclass(frozen=True)
class Station:
    """One station of the story and what came of it. ``facts`` is the run's own result document."""

    name: str
    seconds: float
    guest_bytes: int | None
    facts: dict[str, Any]
    holds: bool
    verdict: str


@dataclass
class Story:
    """Plays the stations in order; ``tell`` hears of each as it begins and ends.

    With ``is_comparing`` whole disks are compared after both planned changes of sides: the replica with its point by
    Twinhull itself, and the stopped machine's disk with the point by its checksum.
    """

    stage: Stage
    tell: Callable[[str], None]
    is_comparing: bool = False
    stations: list[Station] = field(default_factory=list)

    def play(self) -> list[Station]:
        """Play all of it."""
        stage = self.stage
        self.tell(f"switching on {stage.machine} on {HOME}")
        stage.power_on_at_home()
        home = stage.at_home()
        stage.connect_sites()
        self._protect(home)
        away = self._planned_failover(home)
        home = self._failback(away)
        instants = self._keep_in_step(home)
        away = self._lose_the_source(home, instants[-1])
        self._old_site_comes_back()
        self._rollback(away, instants)
        self._serve(away)
        return self.stations

    def _protect(self, home: Address) -> None:
        with self.stage.writer(home) as writer:
            writer.wait_for_more(LOAD_TRANSACTIONS)
            self._run("first sync", home, "sync", self.stage.machine)
            for number in (1, 2, 3):
                writer.wait_for_more(LOAD_TRANSACTIONS)
                self._run(f"increment {number} under load", home, "sync", self.stage.machine)

    def _planned_failover(self, home: Address) -> Address:
        with self.stage.writer(home) as writer:
            writer.wait_for_more(LOAD_TRANSACTIONS)
            facts, seconds = self._timed("failover", self.stage.machine, "--planned", "--yes", *self._verifying())
        self._compare("the disk at home is its point, byte by byte", self.stage.disk_sum_at_home)
        away = self.stage.away()
        self._judged("planned failover to Xen", seconds, facts, away, time.monotonic())
        return away

    def _failback(self, away: Address) -> Address:
        with self.stage.writer(away) as writer:
            writer.wait_for_more(LOAD_TRANSACTIONS)
            facts, seconds = self._timed("failback", self.stage.machine, "--yes", *self._verifying())
        self._compare("the disk on Xen is its point, byte by byte", self.stage.disk_sum_away)
        home = self.stage.at_home()
        self._judged("failback of the difference", seconds, facts, home, time.monotonic())
        return home

    def _keep_in_step(self, home: Address) -> list[float]:
        instants = []
        with self.stage.writer(home) as writer:
            for number in (4, 5, 6):
                writer.wait_for_more(LOAD_TRANSACTIONS)
                instants.append(time.monotonic())
                self._run(f"increment {number} under load", home, "sync", self.stage.machine)
            writer.wait_for_more(LOAD_TRANSACTIONS)
        return instants

    def _lose_the_source(self, home: Address, captured: float) -> Address:
        del home  # it is gone now
        self.tell(f"killing the machine's QEMU, then the whole of {HOME}")
        self.stage.qemu.kill_guest(self.stage.machine)
        self.stage.qemu.kill()
        facts, seconds = self._timed("failover", self.stage.machine, "--unplanned", "--yes")
        away = self.stage.away()
        book = self._judged("unplanned failover to Xen", seconds, facts, away, captured)
        self.stage.ledger.forget_all_but(book)
        return away

    def _old_site_comes_back(self) -> None:
        """The next sync goes the other way: it fences the old side, then brings it to what runs now."""
        stage = self.stage
        stage.restart_home()
        facts, seconds = self._timed("sync", stage.machine)
        refusal = stage.refusal_at_home()
        holds = GUARD in refusal
        verdict = (
            "holds: its guard refuses to start the machine" if holds else f"FALLS SHORT: {refusal or 'it started'}"
        )
        self._station(Station("the old site comes back", seconds, None, facts, holds, verdict))

    def _rollback(self, away: Address, instants: list[float]) -> None:
        with self.stage.writer(away) as writer:
            writer.wait_for_more(LOAD_TRANSACTIONS)
            # N was captured on Xen when the old site came back, N-1 is increment 6: N-2 is increment 5.
            facts, seconds = self._timed("rollback", self.stage.machine, "--to", "N-2", "--yes")
        away = self.stage.away()
        book = self._judged("rollback to N-2", seconds, facts, away, instants[-2])
        later = self.stage.ledger.before(time.monotonic()) - self.stage.ledger.before(instants[-1])
        self._require(not later & book.numbers, "rollback to N-2", "transactions from after N-2 are still there")
        self.stage.ledger.forget_all_but(book)

    def _serve(self, away: Address) -> None:
        """Nobody asks for this sync: the plan does."""
        self.tell("twinhull serve, until it has made a sync by itself")
        started = time.monotonic()
        with self.stage.writer(away), self.stage.twinhull.serving() as server:
            run = self.stage.twinhull.synced_by_itself()
            status = server.stop()
        health = self.stage.twinhull("status")["machines"][0]["health"]
        holds = status == 0 and health == "protected"
        verdict = "holds: in step by itself" if holds else f"FALLS SHORT: exit status {status}, the machine is {health}"
        self._station(Station("serve", time.monotonic() - started, None, run["result"], holds, verdict))

    def _verifying(self) -> list[str]:
        return ["--verify"] if self.is_comparing else []

    def _compare(self, name: str, disk_sum: Callable[[], str]) -> None:
        """The stopped side's whole disk against the latest point, which was captured when it was stopped."""
        if not self.is_comparing:
            return
        started = time.monotonic()
        is_same = disk_sum() == self.stage.point_sum()
        verdict = "holds: the checksums are equal" if is_same else "FALLS SHORT: the checksums differ"
        self._station(Station(name, time.monotonic() - started, None, {}, holds=is_same, verdict=verdict))

    def _run(self, name: str, address: Address, *command: str) -> None:
        before = self.stage.cast.service.written_bytes(address)
        facts, seconds = self._timed(*command)
        written = self.stage.cast.service.written_bytes(address) - before
        self._station(Station(name, seconds, written, facts, holds=True, verdict="done"))

    def _timed(self, *command: str) -> tuple[dict[str, Any], float]:
        self.tell(f"twinhull {' '.join(command)}")
        started = time.monotonic()
        document = self.stage.twinhull(*command)
        return document["runs"][0]["result"], time.monotonic() - started

    def _judged(self, name: str, seconds: float, facts: dict[str, Any], where: Address, instant: float) -> Any:  # noqa: ANN401
        book = self.stage.cast.service.book(where)
        verdict = judge(book, self.stage.ledger, instant)
        self._station(Station(name, seconds, None, facts, verdict.holds, str(verdict)))
        return book

    def _require(self, is_so: bool, name: str, complaint: str) -> None:  # noqa: FBT001 - a condition reads best first
        if not is_so:
            self._station(Station(name, 0.0, None, {}, holds=False, verdict=f"FALLS SHORT: {complaint}"))

    def _station(self, station: Station) -> None:
        self.stations.append(station)
        self.tell(f"{station.name}: {station.seconds:.1f} s, {station.verdict}")
