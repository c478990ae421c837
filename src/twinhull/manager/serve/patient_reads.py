"""Questions to a repository that may hang, for a loop that has more urgent things to do than to wait for an answer."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from threading import Lock, Thread
from typing import Any, TypeVar

from twinhull.repository import StoreError

PATIENCE_SECONDS = 2.0
"""How long an answer is waited for; none is, while an earlier question has no answer yet."""

Answer = TypeVar("Answer")


class StillAsking(StoreError):
    """The repository has not answered yet; the question goes on to be asked."""


@dataclass
class PatientReads:
    """Asks one question at a time, in a thread of its own. Safe for threads."""

    _lock: Lock = field(default_factory=Lock)
    _asked: dict[str, Future[Any]] = field(default_factory=dict)

    def ask(self, name: str, question: Callable[[], Answer]) -> Answer:
        """The answer; raises what the question raises, and StillAsking if there is no answer yet.

        ``name`` tells questions apart: one that has no answer yet is not asked again, and a later call takes its
        answer.
        """
        asked, patience = self._asking(name, question)
        if not asked or wait([asked], timeout=patience).not_done:
            raise StillAsking(
                f"The repository has not answered for {PATIENCE_SECONDS:g} s.", hint="Is its disk hanging?"
            )
        with self._lock:
            self._asked.pop(name, None)
        answer: Answer = asked.result()
        return answer

    def _asking(self, name: str, question: Callable[[], Answer]) -> tuple[Future[Answer] | None, float]:
        """The question as it was asked before or is now, and how long to wait; None while another one is asked."""
        with self._lock:
            if name in self._asked:
                return self._asked[name], 0.0
            if any(not other.done() for other in self._asked.values()):
                return None, 0.0
            asked = self._asked[name] = Future[Answer]()
        # A daemon: a question that hangs keeps no process from ending.
        Thread(target=_answer, args=(asked, question), name=f"ask for {name}", daemon=True).start()
        return asked, PATIENCE_SECONDS


def _answer(asked: Future[Answer], question: Callable[[], Answer]) -> None:
    try:
        asked.set_result(question())
    except BaseException as error:  # noqa: BLE001 - it is raised where the answer is taken
        asked.set_exception(error)
