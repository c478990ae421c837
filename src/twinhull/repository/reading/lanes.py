"""Index tables side by side in lanes: in a lane no two share a range of ids, so a search looks into one of each lane.

Tables that were written by one merge follow one another, and fill one lane however many they are; each capture's own
tables reach from the first id to the last and take a lane each, until collection puts them together.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from twinhull.repository.format.ids import ChunkId
from twinhull.repository.format.index_table import IndexTable


@dataclass(frozen=True, slots=True)
class Lane:
    """Tables in order of their ids, with a gap between each and the next."""

    tables: list[IndexTable] = field(default_factory=list)
    firsts: list[bytes] = field(default_factory=list)

    @property
    def entry_count(self) -> int:
        """How many entries all of its tables have."""
        return sum(map(len, self.tables))

    def add(self, table: IndexTable) -> bool:
        """Take a table that begins behind the last one's end; whether it does."""
        if self.tables and self.tables[-1].rows[-1] >= table.rows[0]:
            return False
        self.tables.append(table)
        self.firsts.append(table.rows[0])
        return True


@dataclass(frozen=True, slots=True)
class Lanes:
    """As few lanes as the tables allow."""

    lanes: Sequence[Lane]

    @classmethod
    def of(cls, tables: Iterable[IndexTable]) -> Lanes:
        """The lanes of some tables; empty tables are left out."""
        lanes: list[Lane] = []
        for table in sorted((table for table in tables if len(table)), key=lambda table: table.rows[0]):
            if not any(lane.add(table) for lane in lanes):
                lanes.append(Lane([table], [table.rows[0]]))
        return cls(lanes)

    def around(self, chunk_id: ChunkId) -> Iterator[IndexTable]:
        """The tables that the id may be in."""
        for lane in self.lanes:
            number = bisect_right(lane.firsts, chunk_id)
            if number:
                yield lane.tables[number - 1]
