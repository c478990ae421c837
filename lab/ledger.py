"""A steady load of committed transactions on a guest, and the book-keeping that proves what survived.

The writer, outside the guest, notes a transaction's number only when the guest has acknowledged it as durable. So after
any capture, failover or rollback the guest itself can be asked for every number acknowledged before the capture (a
missing one is a lost transaction) and for transactions that are half there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol, Self

DISK_SECTOR_BYTES = 512


@dataclass(frozen=True)
class Address:
    """Where a guest's service is reachable from here at the moment."""

    host: str
    port: int


@dataclass(frozen=True)
class Book:
    """What a guest says it has: the numbers of whole transactions, and of those that are half there."""

    numbers: frozenset[int]
    half: frozenset[int]


class Service(Protocol):
    """What runs in a guest and commits transactions. ``lost_connection`` are the errors of a guest that went away."""

    lost_connection: tuple[type[Exception], ...]

    def prepare(self, address: Address) -> None:
        """Make the book; raises a ``lost_connection`` error while the guest does not answer yet."""
        ...

    def session(self, address: Address) -> AbstractContextManager[Callable[[int], None]]:
        """A connection; what it yields commits the transaction of that number and returns when it is durable."""
        ...

    def book(self, address: Address) -> Book:
        """Read everything back."""
        ...

    def written_bytes(self, address: Address) -> int:
        """How many bytes the guest's kernel has written to its disks since it booted."""
        ...


def written_bytes_of(diskstats: str) -> int:
    """Bytes written to whole disks, of the text of a guest's ``/proc/diskstats``.

    The columns are those of Linux's Documentation/admin-guide/iostats.rst; the tenth counts sectors of 512 bytes.
    """
    rows = [line.split() for line in diskstats.splitlines()]
    disks = [row for row in rows if len(row) > 9 and row[2] in ("vda", "xvda", "sda")]  # noqa: PLR2004 - see above
    return sum(int(row[9]) for row in disks) * DISK_SECTOR_BYTES


@dataclass
class Ledger:
    """All transactions that were acknowledged, with when (monotonic seconds)."""

    acknowledged: dict[int, float] = field(default_factory=dict)
    attempted: int = 0

    def before(self, instant: float) -> frozenset[int]:
        """The numbers acknowledged before that instant."""
        return frozenset(number for number, when in self.acknowledged.items() if when < instant)

    def forget_all_but(self, book: Book) -> None:
        """The guest went back in time, rightly: what it no longer has is no longer expected of it."""
        self.acknowledged = {number: when for number, when in self.acknowledged.items() if number in book.numbers}


@dataclass(frozen=True)
class Verdict:
    """What the guest itself says, held against the ledger."""

    expected: int
    found: int
    lost: int
    half: int
    later: int

    @property
    def holds(self) -> bool:
        """Whether nothing acknowledged in time is missing and nothing is half there."""
        return self.expected > 0 and self.lost == 0 and self.half == 0

    def __str__(self) -> str:
        word = "holds" if self.holds else "FALLS SHORT"
        return f"{word}: {self.expected} due, {self.lost} lost, {self.half} half, {self.later} later ones"


def judge(book: Book, ledger: Ledger, instant: float) -> Verdict:
    """Hold what a guest has against what was acknowledged before the instant (monotonic seconds)."""
    expected = ledger.before(instant)
    return Verdict(
        expected=len(expected),
        found=len(book.numbers),
        lost=len(expected - book.numbers),
        half=len(book.half),
        later=len(book.numbers - expected),
    )


def wait_for(service: Service, address: Address, seconds: float) -> Address:
    """Wait until the guest's service answers at the address, and return the address.

    Raises:
        TimeoutError: it did not in time.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            service.prepare(address)
        except service.lost_connection as error:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the guest's service did not answer in {seconds} s: {error}") from error
            time.sleep(0.5)
        else:
            return address


class Writer:
    """Commits transactions, one after the other, from ``start`` until ``stop`` or until the guest goes away."""

    def __init__(self, service: Service, address: Address, ledger: Ledger, *, pause_seconds: float = 0.05) -> None:
        self._service = service
        self._address = address
        self._ledger = ledger
        self._pause_seconds = pause_seconds
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._write, name="ledger", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *details: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop and wait for the transaction under way; raises TimeoutError if it hangs."""
        self._stopping.set()
        self._thread.join(120)
        if self._thread.is_alive():
            raise TimeoutError("the ledger's writer hangs in a transaction")

    def wait_for_more(self, count: int, seconds: float = 120) -> None:
        """Wait until that many further transactions are acknowledged; raises TimeoutError."""
        goal = len(self._ledger.acknowledged) + count
        deadline = time.monotonic() + seconds
        while len(self._ledger.acknowledged) < goal:
            if time.monotonic() > deadline or not self._thread.is_alive():
                raise TimeoutError(f"the guest acknowledged too little: {len(self._ledger.acknowledged)} of {goal}")
            time.sleep(0.1)

    def _write(self) -> None:
        # A guest that is taken away breaks the connection: that ends the load, as it would end a client's.
        try:
            with self._service.session(self._address) as commit:
                while not self._stopping.is_set():
                    self._transaction(commit)
                    self._stopping.wait(self._pause_seconds)
        except self._service.lost_connection:
            return

    def _transaction(self, commit: Callable[[int], None]) -> None:
        self._ledger.attempted += 1
        number = self._ledger.attempted
        commit(number)
        self._ledger.acknowledged[number] = time.monotonic()
