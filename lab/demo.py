"""``make demo``: the story with a real Debian server under load, on QEMU and Xen, and one table at its end."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from lab.casts import debian_cast, tiny_cast
from lab.stage import stage
from lab.story import Station, Story
from twinhull.model.units import format_bytes, format_duration


def _bytes(facts: dict[str, Any], key: str) -> str:
    return format_bytes(facts[key]) if facts.get(key) is not None else ""


def _seconds(facts: dict[str, Any], key: str) -> str:
    return format_duration(facts[key]) if facts.get(key) is not None else ""


def _row(station: Station) -> list[str]:
    facts = station.facts
    return [
        station.name,
        format_duration(station.seconds),
        "" if station.guest_bytes is None else format_bytes(station.guest_bytes),
        _bytes(facts, "source_read_bytes"),
        _bytes(facts, "stored_bytes"),
        _bytes(facts, "replica_written_bytes"),
        _seconds(facts, "freeze_seconds"),
        _seconds(facts, "rpo_seconds"),
        _seconds(facts, "rto_seconds"),
        station.verdict,
    ]


def show(stations: list[Station], console: Console) -> None:
    """Print the closing table."""
    table = Table(title="What was moved, what was reached, and what the guest's own database says")
    columns = ("station", "time", "guest wrote", "read", "stored", "replica", "freeze", "RPO", "RTO", "verdict")
    for column in columns:
        table.add_column(column, justify="left" if column in ("station", "verdict") else "right", overflow="fold")
    for station in stations:
        table.add_row(*_row(station))
    console.print(table)


def main() -> int:
    """Play the story; 0 if every verdict holds."""
    console = Console(width=170, highlight=False)
    started = time.monotonic()

    def tell(sentence: str) -> None:
        console.print(f"[{time.monotonic() - started:6.1f} s] {sentence}", markup=False)

    tell("preparing the guest's image and the Xen host's (built once, then kept in ~/.cache/twinhull-lab)")
    cast = tiny_cast() if "--tiny" in sys.argv[1:] else debian_cast()
    with tempfile.TemporaryDirectory(prefix="twinhull-demo-") as directory, stage(Path(directory), cast) as played:
        stations = Story(played, tell).play()
    show(stations, console)
    holds = all(station.holds for station in stations)
    tell("every verdict holds" if holds else "NOT every verdict holds")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
