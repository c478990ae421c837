"""The log of ``serve``: one event a line, as text for people or as JSON for a journal.

Each event passes one chain: a time, its severity, secrets out, one line. The screen prints the line without control
characters.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

import structlog

from twinhull.cli.screen.plain import plain_json
from twinhull.cli.screen.screen import SCHEMA_VERSION, Screen, error_shape
from twinhull.manager.serve.events import severity
from twinhull.model.errors import TwinhullError
from twinhull.model.redaction import redacted, redacted_fact

if TYPE_CHECKING:
    from twinhull.model.ports import Clock

_Event = MutableMapping[str, Any]
_FIRST = ("schema_version", "timestamp", "level", "event", "machine", "plan", "site", "run", "state", "reason")
"""The order of what most events have; what else one has follows."""


class EventLog:
    """Writes events to the screen, as JSON if that is what it prints. Safe for threads."""

    def __init__(self, screen: Screen, clock: Clock) -> None:
        self._screen = screen
        self._log = structlog.wrap_logger(
            _Lines(screen),
            processors=[_dated(clock), _graded, _redacted, _json_line if screen.is_json else _text_line],
            wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        )

    def event(self, name: str, facts: Mapping[str, object]) -> None:
        """Report that something happened; ``facts`` has a ``reason`` in one sentence."""
        self._log.info(name, **facts)

    def end_by(self, error: TwinhullError) -> None:
        """Report why ``serve`` ends: as an event among others, or on stderr for a person."""
        if self._screen.is_json:
            self.event("error", {"reason": error.message, "error": error_shape(error)})
        else:
            self._screen.error(TwinhullError(redacted(error.message), hint=redacted(error.hint)))


class _Lines:
    """What structlog hands its lines to."""

    def __init__(self, screen: Screen) -> None:
        self.info = screen.line


def _dated(clock: Clock) -> Callable[[object, str, _Event], _Event]:
    def dated(_: object, __: str, event: _Event) -> _Event:
        return {**event, "timestamp": clock.now()}

    return dated


def _graded(_: object, __: str, event: _Event) -> _Event:
    return {**event, "level": severity(event["event"], event).value}


def _redacted(_: object, __: str, event: _Event) -> _Event:
    """The one door through which a secret would leave. Our own words and the time need no search."""
    ours = ("timestamp", "event", "level")
    return {redacted(name): fact if name in ours else redacted_fact(name, fact) for name, fact in event.items()}


def _json_line(_: object, __: str, event: _Event) -> str:
    event = {"schema_version": SCHEMA_VERSION, **event, "timestamp": event["timestamp"].isoformat()}
    first = {name: event[name] for name in _FIRST if name in event}
    return plain_json({**first, **event}, None)


def _text_line(_: object, __: str, event: _Event) -> str:
    about = event.get("machine") or event.get("site") or ""
    run = f" ({event['run']})" if event.get("run") else ""
    subject = f"{about}: " if about else ""
    return f"{event['timestamp']:%Y-%m-%d %H:%M:%S} UTC  {event['event']:<9}  {subject}{event['reason']}{run}"
