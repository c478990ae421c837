"""Waiting for a site no longer than one would wait for an answer.

A host whose storage has died may take connections and answer nothing, for ever; libvirt's own calls have no end then.
Whoever would rather go on without an answer asks in a thread, and leaves that behind.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from twinhull.model.errors import SiteUnreachable

PATIENCE_SECONDS = 60.0
"""How long a site may take to answer a question, or to switch a machine off, before it counts as silent."""

Answer = TypeVar("Answer")


def in_time(site: str, ask: Callable[[], Answer], seconds: float | None = None) -> Answer:
    """What the question gives; raises what it raises, and SiteUnreachable where there is no answer in time.

    A question that hangs goes on in its thread: it must do no harm late. ``seconds`` None is PATIENCE_SECONDS.
    """
    patience = PATIENCE_SECONDS if seconds is None else seconds
    thread = ThreadPoolExecutor(1, thread_name_prefix=f"ask-{site}")
    try:
        return thread.submit(ask).result(patience)
    except TimeoutError as error:
        raise SiteUnreachable(
            f"{site} has not answered for {patience:.0f} s.", hint="Is its storage, or its libvirtd, hanging?"
        ) from error
    finally:
        thread.shutdown(wait=False)
