"""A store that hangs is given up in time, and costs nobody more than that."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from twinhull.repository import DirectoryStore, StoreError, open_store
from twinhull.repository.errors import ObjectExists
from twinhull.repository.store import patient
from twinhull.repository.store.contract import Store

CALLS: dict[str, Callable[[Store], object]] = {
    "create": lambda store: store.create("point-00", [b"x"]),
    "read": lambda store: store.read("config"),
    "read_range": lambda store: store.read_range("config", 0, 1),
    "size": lambda store: store.size("config"),
    "list": lambda store: list(store.list("point-")),
    "delete": lambda store: store.delete("point-00"),
    "locked_until": lambda store: store.locked_until("config"),
    "sweep": lambda store: store.sweep(),
}


@pytest.fixture
def mended() -> Iterator[threading.Event]:
    """Set, it ends what hangs."""
    event = threading.Event()
    yield event
    event.set()


@pytest.mark.parametrize("name", CALLS)
def test_every_call_that_hangs_is_given_up_and_the_next_one_sooner(
    name: str, tmp_path: Path, mended: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(str(tmp_path))
    store.create("config", [b"whole"])
    for limit, seconds in (("READ_SECONDS", 0.2), ("WRITE_SECONDS", 0.2), ("HANGING_SECONDS", 0.05)):
        monkeypatch.setattr(patient, limit, seconds)
    inner = getattr(DirectoryStore, name)

    def hanging(self: DirectoryStore, *args: object) -> object:
        mended.wait()
        return inner(self, *args)

    monkeypatch.setattr(DirectoryStore, name, hanging)
    with pytest.raises(StoreError, match=r"has not answered for 0\.2 s while") as told:
        CALLS[name](store)
    assert "hangs" in told.value.hint
    with pytest.raises(StoreError, match=r"for 0\.05 s"):
        CALLS[name](store)
    mended.set()
    monkeypatch.undo()
    with suppress(ObjectExists):  # a creation that was given up may be made in the end
        CALLS[name](store)
    assert store.read("config") == b"whole"


def test_errors_come_through_and_threads_go_with_their_store(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    store = open_store(str(tmp_path))
    for _ in range(3):
        with pytest.raises(StoreError, match="no object"):
            store.read("point-00")
    (thread,) = set(threading.enumerate()) - before
    del store
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()
