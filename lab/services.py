"""The two services that keep a ledger inside a guest: PostgreSQL (demo), and plain files in the tiny guest (tests)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg

from lab.guests import TinyClient
from lab.ledger import Address, Book, written_bytes_of

_PAYLOAD = "x" * 1000

_TABLES = """
create table if not exists ledger (number bigint primary key, payload text not null);
create table if not exists mirror (number bigint primary key, payload text not null);
"""


class Postgres:
    """Each transaction writes one row of the same number into two tables: a number in one only is half there."""

    lost_connection: tuple[type[Exception], ...] = (psycopg.Error, OSError)

    def prepare(self, address: Address) -> None:
        """Make the tables."""
        with connect(address, timeout_seconds=5) as connection:
            connection.execute(_TABLES)

    @contextmanager
    def session(self, address: Address) -> Iterator[Callable[[int], None]]:
        """A connection that commits one number after the other."""
        with connect(address) as connection:

            def commit(number: int) -> None:
                connection.execute("insert into ledger values (%s, %s)", (number, _PAYLOAD))
                connection.execute("insert into mirror values (%s, %s)", (number, _PAYLOAD))
                connection.commit()

            yield commit

    def book(self, address: Address) -> Book:
        """Every number, with its payload read back so that the database verifies its own pages."""
        with connect(address) as connection:
            tables = [
                {number for number, length in connection.execute(query) if length == len(_PAYLOAD)}
                for query in (
                    "select number, length(payload) from ledger",
                    "select number, length(payload) from mirror",
                )
            ]
        return Book(frozenset(tables[0] & tables[1]), frozenset(tables[0] ^ tables[1]))

    def written_bytes(self, address: Address) -> int:
        """Of the guest kernel's own count."""
        with connect(address) as connection:
            row = connection.execute("select pg_read_file('/proc/diskstats', 0, 1000000)").fetchone()
        assert row is not None  # noqa: S101 - a select without a table returns one row
        return written_bytes_of(row[0])


def connect(address: Address, *, timeout_seconds: int = 30) -> psycopg.Connection:
    """A session with the guest's database; leaving it as a context commits."""
    return psycopg.connect(
        host=address.host,
        port=address.port,
        user="lab",
        password="lab",  # noqa: S106 - the lab's own throw-away guest
        dbname="lab",
        connect_timeout=timeout_seconds,
        options="-c statement_timeout=60000",
    )


class TinyFiles:
    """Each transaction appends one line to a file and syncs it: a line that is no number is half there."""

    lost_connection: tuple[type[Exception], ...] = (OSError, RuntimeError)

    def prepare(self, address: Address) -> None:
        """Make the file."""
        _tiny(address).shell("touch /data/ledger; sync", timeout_seconds=10)

    @contextmanager
    def session(self, address: Address) -> Iterator[Callable[[int], None]]:
        """Each commit is a connection of its own."""
        client = _tiny(address)

        def commit(number: int) -> None:
            client.shell(f"echo {number}. >> /data/ledger && sync")

        yield commit

    def book(self, address: Address) -> Book:
        """Read the file; a whole line ends with a full stop."""
        lines = _tiny(address).shell("cat /data/ledger").split()
        whole = {int(line[:-1]) for line in lines if line.endswith(".") and line[:-1].isdigit()}
        half = [line for line in lines if not (line.endswith(".") and line[:-1].isdigit())]
        return Book(frozenset(whole), frozenset(range(len(half))))

    def written_bytes(self, address: Address) -> int:
        """Of the guest kernel's own count."""
        return written_bytes_of(_tiny(address).shell("cat /proc/diskstats"))


def _tiny(address: Address) -> TinyClient:
    return TinyClient(address.port, address.host)
