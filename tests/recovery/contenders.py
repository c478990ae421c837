"""Two managers at work on one machine, each in a thread of its own, taking turns by a schedule.

A turn is all that a manager does from one call on a site up to its next one; nothing else moves meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from tests.stepping import Journal, perform
from tests.story import Story
from twinhull.actions.context import Context, OpenSites
from twinhull.actions.requests import Request
from twinhull.model.errors import SiteUnreachable, TwinhullError
from twinhull.model.machine import SiteName
from twinhull.model.steps import Action
from twinhull.platforms.contract import Site

PATIENCE_SECONDS = 60.0
UNTIL_ITS_END = 1_000_000

Segment = tuple[int, int]
"""Who goes on, and for how many turns."""


class Turns:
    """Lets one of the managers go on at a time, by the schedule's segments; who has ended gives up its turns."""

    def __init__(self, schedule: Sequence[Segment], on_turn: Callable[[], None]) -> None:
        self.calls: list[int] = []
        self._segments = [list(segment) for segment in schedule]
        self._on_turn = on_turn
        self._at_work: int | None = None
        self._changed = threading.Condition()

    def take(self, who: int) -> None:
        """End one's turn, wait for the next one, and begin it."""
        with self._changed:
            self._rest(who)
            if not self._changed.wait_for(lambda: self._is_turn_of(who), PATIENCE_SECONDS):
                raise AssertionError(f"manager {who} never had its turn")
            self._at_work = who
            self._on_turn()
            self.calls.append(who)
            if self._segments:
                self._segments[0][1] -= 1
            while self._segments and self._segments[0][1] <= 0:
                self._segments.pop(0)

    def end(self, who: int) -> None:
        """No more calls come from this one."""
        with self._changed:
            self._segments = [segment for segment in self._segments if segment[0] != who]
            self._rest(who)

    def _rest(self, who: int) -> None:
        if self._at_work == who:
            self._at_work = None
        self._changed.notify_all()

    def _is_turn_of(self, who: int) -> bool:
        return self._at_work is None and (not self._segments or self._segments[0][0] == who)


class _Turned:
    """A site, or a part of it, each call on which waits for its manager's turn."""

    def __init__(self, site: object, turn: Callable[[], None]) -> None:
        self._site = site
        self._turn = turn

    def __getattr__(self, name: str) -> object:
        found = getattr(self._site, name)
        if callable(found):
            return partial(self._call, found)
        return found if name in ("settings", "parts") else _Turned(found, self._turn)

    def _call(self, act: Callable[..., object], *arguments: object, **named: object) -> object:
        self._turn()
        return act(*arguments, **named)


@dataclass
class Manager:
    """One of the two. ``unreachable`` are the sites that it cannot reach, whoever else can."""

    action: Action[Context]
    request: Request
    unreachable: tuple[SiteName, ...] = ()
    journal: Journal = field(default_factory=Journal)
    error: TwinhullError | None = None
    bug: BaseException | None = None

    def work(self, who: int, story: Story, turns: Turns) -> None:
        """Perform its run to its end."""
        try:
            turns.take(who)
            self._perform(who, story, turns)
        except TwinhullError as error:
            self.error = error
        except BaseException as bug:  # noqa: BLE001 - raised again in the test's own thread
            self.bug = bug
        finally:
            turns.end(who)

    def _perform(self, who: int, story: Story, turns: Turns) -> None:
        ours = story.context()

        def site(name: SiteName) -> Site:
            if name in self.unreachable:
                raise SiteUnreachable(f"manager {who} does not reach {name}")
            return _Turned(ours.site(name), lambda: turns.take(who))  # type: ignore[return-value]

        context = Context(ours.repository, OpenSites(site), ours.ports, on_reason=ours.on_reason)
        perform(self.action, context, self.request.facts(), self.journal)


def contend(
    story: Story, managers: Sequence[Manager], schedule: Sequence[Segment], on_turn: Callable[[], None]
) -> Turns:
    """Let them all work to their ends, in the schedule's order; ``on_turn`` looks at the world before each call."""
    turns = Turns(schedule, on_turn)
    threads = [
        threading.Thread(target=manager.work, args=(who, story, turns), daemon=True)
        for who, manager in enumerate(managers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()
    for manager in managers:
        if manager.bug:
            raise manager.bug
    return turns
