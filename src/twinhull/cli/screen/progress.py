"""Watching a run: bars with rate and time left for a person at a terminal, one line per sentence for everybody else."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING

from twinhull.cli.screen.plain import plain
from twinhull.cli.screen.screen import Screen, is_terminal

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from twinhull.manager.runs.wants import Ears
    from twinhull.model.progress import Progress


@contextmanager
def watching(screen: Screen, about: str = "") -> Iterator[Ears]:
    """As a context: ears that show what they hear on stderr, at a terminal with the machine that it is ``about``."""
    if screen.is_json or not is_terminal(sys.stderr):
        yield _plain(screen)
        return
    with _bars() as bars:
        yield _Lively(bars, f"{about}: " if about else "").ears()


def _plain(screen: Screen) -> Ears:
    from twinhull.manager.runs.wants import Ears  # noqa: PLC0415 - loaded when a run is watched

    return Ears(on_message=screen.message)


def _bars() -> Bars:
    from rich.console import Console  # noqa: PLC0415 - loaded at a terminal only
    from rich.progress import (  # noqa: PLC0415 - as above
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )


class _Lively:
    """A bar for each phase of each disk."""

    def __init__(self, bars: Bars, about: str) -> None:
        self._bars = bars
        self._about = about
        self._tasks: dict[tuple[str, str], TaskID] = {}
        self._lock = Lock()

    def ears(self) -> Ears:
        """What the run talks to."""
        from twinhull.manager.runs.wants import Ears  # noqa: PLC0415 - loaded when a run is watched

        return Ears(on_message=self._say, on_step=self._begin_step, on_progress=self._move)

    def _say(self, text: str) -> None:
        self._bars.console.print(plain(text), markup=False, highlight=False, soft_wrap=True)

    def _begin_step(self, name: str) -> None:
        with self._lock:
            self._bars.refresh()  # a phase that was over between two pictures is seen at its end
            for task in self._tasks.values():
                self._bars.remove_task(task)
            self._tasks.clear()
        self._say(f"… {self._about}{name}")

    def _move(self, progress: Progress) -> None:
        key = (progress.phase, progress.subject)
        with self._lock:
            if key not in self._tasks:
                self._tasks[key] = self._bars.add_task(
                    plain(f"{self._about}{' '.join(key)}"), total=progress.total_bytes
                )
            self._bars.update(self._tasks[key], completed=progress.done_bytes, total=progress.total_bytes)
